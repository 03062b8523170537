"""What a switch from one unit of concurrency to the next costs, and what a unit takes in memory.

`python -m eitherway.lab.switching KIND COUNT` measures in a process of its own, and prints JSON: {"ns": a switch,
"bytes": a unit}, or {"error": why not}. KIND is one of KINDS; COUNT of them are alive meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from inspect import isawaitable
from time import perf_counter
from typing import Any

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


Task = Callable[[], Coroutine[Any, Any, None]]


def _tasks(
    count: int, run: Callable[[Any], object], group: Callable[[], Any], start: Callable[[Any, Task], Any], sleep: Any
) -> tuple[float, float]:
    """Tasks of a library: what runs a coroutine, its group of tasks, what starts one in it, what lets others run."""
    rounds = max(1, _SWITCHES // count)
    found = [0.0, 0.0]

    async def task() -> None:
        for _ in range(rounds):
            await sleep(0)

    async def main() -> None:
        before = _resident()
        async with group() as tasks:
            for _ in range(count):
                started = start(tasks, task)
                if isawaitable(started):
                    await started
            await sleep(0)  # each runs as far as to its own
            found[1] = (_resident() - before) / count
            began = perf_counter()
        found[0] = (perf_counter() - began) / (rounds * count)

    run(main)
    return found[0], found[1]


def _on_asyncio(count: int, run: Callable[..., object]) -> tuple[float, float]:
    def start(group: asyncio.TaskGroup, task: Task) -> None:
        group.create_task(task())  # which the group keeps

    return _tasks(count, lambda main: run(main()), asyncio.TaskGroup, start, asyncio.sleep)


def _asyncio(count: int) -> tuple[float, float]:
    return _on_asyncio(count, asyncio.run)


def _uvloop(count: int) -> tuple[float, float]:
    import uvloop

    return _on_asyncio(count, uvloop.run)


def _trio(count: int) -> tuple[float, float]:
    import trio

    return _tasks(count, trio.run, trio.open_nursery, lambda nursery, task: nursery.start_soon(task), trio.sleep)


def _curio(count: int) -> tuple[float, float]:
    import curio

    return _tasks(count, curio.run, curio.TaskGroup, lambda group, task: group.spawn(task), curio.sleep)


def _greenlets(
    count: int, spawn: Callable[[Callable[[], None]], Any], wait: Callable[[Any], object], sleep: Callable[[int], None]
) -> tuple[float, float]:
    """Greenlets of a library: what starts one, what waits for its end, what lets others run."""
    rounds = max(1, _SWITCHES // count)

    def run() -> None:
        for _ in range(rounds):
            sleep(0)

    before = _resident()
    greenlets = [spawn(run) for _ in range(count)]
    sleep(0)
    unit = (_resident() - before) / count
    began = perf_counter()
    for each in greenlets:
        wait(each)
    return (perf_counter() - began) / (rounds * count), unit


def _gevent(count: int) -> tuple[float, float]:
    import gevent

    return _greenlets(count, gevent.spawn, lambda greenlet: greenlet.join(), gevent.sleep)


def _eventlet(count: int) -> tuple[float, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says of itself that it is deprecated
        import eventlet

    return _greenlets(count, eventlet.spawn, lambda greenlet: greenlet.wait(), eventlet.sleep)


_HOW = {
    "threads": _threads,
    "gevent": _gevent,
    "eventlet": _eventlet,
    "asyncio": _asyncio,
    "uvloop": _uvloop,
    "trio": _trio,
    "curio": _curio,
}
KINDS = tuple(_HOW)


def main() -> None:
    kind, count = sys.argv[1], int(sys.argv[2])
    try:
        seconds, unit = _HOW[kind](count)
    except (ImportError, RuntimeError, MemoryError) as error:
        print(json.dumps({"error": str(error)}))
    else:
        print(json.dumps({"ns": seconds * 1e9, "bytes": unit}))
    sys.stdout.flush()
    os._exit(0)  # daemon threads may still wait


if __name__ == "__main__":
    main()
