"""What a switch from one unit of concurrency to the next costs, and what a unit takes in memory.

`python -m eitherway.lab.switching KIND COUNT` measures in a process of its own, and prints JSON: {"ns": a switch,
"bytes": a unit}, or {"error": why not}. KIND: threads, gevent, asyncio or uvloop; COUNT of them are alive meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

KINDS = ("threads", "asyncio", "uvloop", "gevent")

_SWITCHES = 100_000  # made altogether, at least one by each unit
_THREAD_SWITCHES = 20_000
_STACK = 256 << 10  # bytes of a thread's stack: address space, of which little is touched
_PATIENCE = 120.0  # seconds for one measurement


@dataclass(frozen=True, slots=True)
class Cost:
    """`seconds` a switch, `bytes` a unit; `error`: why it could not be measured."""

    seconds: float = 0.0
    bytes: float = 0.0
    error: str = ""


def measure(kind: str, count: int) -> Cost:
    """Measure in a process of its own."""
    command = [sys.executable, "-m", "eitherway.lab.switching", kind, str(count)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE)
        said = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return Cost(error=f"took longer than {_PATIENCE:g} s")
    except ValueError:
        lines = done.stderr.strip().splitlines()
        return Cost(error=lines[-1] if lines else f"ended with {done.returncode}")
    return Cost(said["ns"] / 1e9, said["bytes"]) if "ns" in said else Cost(error=said["error"])


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _threads(count: int) -> tuple[float, float]:
    """A ring: each thread lets the next one go, and waits."""
    rounds = max(1, _THREAD_SWITCHES // count)
    gates = [threading.Lock() for _ in range(count)]
    for gate in gates:
        gate.acquire()
    done = threading.Lock()
    done.acquire()

    def run(number: int) -> None:
        mine, following = gates[number], gates[(number + 1) % count]
        for _ in range(rounds):
            mine.acquire()
            if number < count - 1 or rounds_left():
                following.release()
        if number == count - 1:
            done.release()

    left = rounds

    def rounds_left() -> bool:
        nonlocal left
        left -= 1
        return left > 0

    threading.stack_size(_STACK)
    before = _resident()
    for number in range(count):
        threading.Thread(target=run, args=(number,), daemon=True).start()
    unit = (_resident() - before) / count
    began = perf_counter()
    gates[0].release()
    done.acquire()
    return (perf_counter() - began) / (rounds * count), unit


def _tasks(count: int, run: Callable[..., object]) -> tuple[float, float]:
    rounds = max(1, _SWITCHES // count)
    found = [0.0, 0.0]

    async def task(start: asyncio.Event) -> None:
        await start.wait()
        for _ in range(rounds):
            await asyncio.sleep(0)

    async def main() -> None:
        start = asyncio.Event()
        before = _resident()
        tasks = [asyncio.ensure_future(task(start)) for _ in range(count)]
        await asyncio.sleep(0)
        found[1] = (_resident() - before) / count
        began = perf_counter()
        start.set()
        await asyncio.gather(*tasks)
        found[0] = (perf_counter() - began) / (rounds * count)

    run(main())
    return found[0], found[1]


def _asyncio(count: int) -> tuple[float, float]:
    return _tasks(count, asyncio.run)


def _uvloop(count: int) -> tuple[float, float]:
    import uvloop

    return _tasks(count, uvloop.run)


def _gevent(count: int) -> tuple[float, float]:
    import gevent
    import gevent.event

    rounds = max(1, _SWITCHES // count)
    start = gevent.event.Event()

    def run() -> None:
        start.wait()
        for _ in range(rounds):
            gevent.sleep(0)

    before = _resident()
    greenlets = [gevent.spawn(run) for _ in range(count)]
    gevent.sleep(0)
    unit = (_resident() - before) / count
    began = perf_counter()
    start.set()
    gevent.joinall(greenlets)
    return (perf_counter() - began) / (rounds * count), unit


def main() -> None:
    kind, count = sys.argv[1], int(sys.argv[2])
    how = {"threads": _threads, "asyncio": _asyncio, "uvloop": _uvloop, "gevent": _gevent}[kind]
    try:
        seconds, unit = how(count)
    except (ImportError, RuntimeError, MemoryError) as error:
        print(json.dumps({"error": str(error)}))
    else:
        print(json.dumps({"ns": seconds * 1e9, "bytes": unit}))
    sys.stdout.flush()
    os._exit(0)  # daemon threads may still wait


if __name__ == "__main__":
    main()
