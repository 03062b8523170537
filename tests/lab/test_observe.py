"""What /proc says of processes whose use is known."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eitherway.lab.observe import Usage, cpu_time, descendants, lost_between, observe, spent_between
from serving import wait_until

MIB = 2**20
Run = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def run() -> Iterator[Run]:
    """`run(code)`: Python in a process of its own, which has printed a line when this returns."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


WAIT = "import sys; print('ready', flush=True); sys.stdin.readline()"


def test_computing_counts_as_user_time(run: Run) -> None:
    code = "import time\nwhile time.process_time() < 0.5: sum(range(100_000))\nprint('ready', flush=True)\ninput()"
    usage = observe(run(code).pid)
    assert 0.5 <= usage.cpu_user + usage.cpu_system < 5
    assert usage.cpu_user > usage.cpu_system


def test_cpu_time_is_exact_where_ticks_are_not(run: Run) -> None:
    """A tick is 10 ms; a request takes less than that."""
    process = run("print('ready', flush=True)\nwhile input(): print(sum(range(10000)), flush=True)")
    before = cpu_time(process.pid)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    process.stdout.readline()
    assert 0 < cpu_time(process.pid) - before < 0.01


def test_threads_and_processes_of_the_whole_tree_are_counted(run: Run) -> None:
    code = (
        "import subprocess, sys, threading, time\n"
        "for _ in range(3): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "child = subprocess.Popen([sys.executable, '-c', 'print(1, flush=True); input()'], stdin=-1, stdout=-1)\n"
        "child.stdout.readline()\n" + WAIT
    )
    process = run(code)
    usage = observe(process.pid)
    assert (usage.processes, usage.threads) == (2, 5)
    assert len(descendants(process.pid)) == 1


def test_memory_is_seen(run: Run) -> None:
    small, large = observe(run(WAIT).pid), observe(run("held = bytearray(64 * 2**20)\n" + WAIT).pid)
    assert large.resident - small.resident > 60 * MIB
    assert large.proportional - small.proportional > 60 * MIB
    assert small.proportional <= small.resident


def test_waiting_switches_voluntarily(run: Run) -> None:
    code = "import time\nfor _ in range(50): time.sleep(0.001)\n" + WAIT
    assert observe(run(code).pid).switches_voluntary >= 50


def test_a_process_that_has_ended_used_nothing(run: Run) -> None:
    process = run("print('ready', flush=True)")
    process.wait()
    wait_until(lambda: observe(process.pid).processes == 0)
    assert descendants(process.pid) == []


def test_a_cost_is_the_difference_by_request() -> None:
    before = Usage(10.0, 7.0, 1.0, 0.5, 100, 10, 0.0, 5, 4, 3, 2)
    after = Usage(12.0, 9.0, 1.8, 0.7, 300, 30, 0.0, 50, 40, 30, 20)
    cost = spent_between(before, after, 50.0, {"p50": 0.25})
    assert (cost.cpu_user, cost.cpu_system) == (pytest.approx(0.008), pytest.approx(0.002))
    assert cost.cpu == pytest.approx(0.01)
    assert (cost.switches_voluntary, cost.switches_forced) == (2.0, 0.2)
    assert (cost.resident, cost.proportional, cost.threads, cost.processes) == (50, 40, 30, 20)
    assert cost.cores == pytest.approx(0.5)
    assert (cost.queue_wait, cost.loop_lag) == ({"p50": 0.25}, {})


def test_nothing_answered_divides_by_nothing() -> None:
    assert spent_between(Usage(1.0), Usage(1.0, cpu_user=1.0), 0.0).cpu == 1.0


@pytest.mark.parametrize(
    ("busy", "used", "delayed", "generator", "workers", "lost"),
    [
        (2.0, 1.0, 0.0, 0.1, 1, 0.0),  # others work, on a CPU that the server does not want
        (2.0, 0.6, 0.4, 0.1, 1, 0.3),  # it waited, partly for the generator
        (1.0, 0.7, 0.3, 0.3, 1, 0.0),  # a machine of one CPU: it waited for the generator alone
        (2.0, 1.9, 6.0, 0.1, 8, 0.0),  # its workers waited for one another
        (2.0, 1.0, 3.0, 0.2, 4, 0.2),  # and for what others took
        (2.0, 0.7, 5.0, 0.1, 1, 0.3),  # many threads of one worker waited, for the rest of one CPU
        (9.0, 0.0, 9.0, 0.0, 1, 0.9),
    ],
)
def test_what_is_lost_is_what_others_had_while_it_was_wanted(
    busy: float, used: float, delayed: float, generator: float, workers: int, lost: float
) -> None:
    before, after = Usage(1.0), Usage(3.0, 2 * busy, cpu_user=2 * used, delayed=2 * delayed)
    assert lost_between(before, after, generator, workers) == pytest.approx(lost)


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the kernel does not count it")
def test_waiting_for_the_cpu_is_seen(run: Run) -> None:
    """Two that compute, and one CPU for both: each has to wait for the other."""
    cpu = min(os.sched_getaffinity(0))
    code = f"import os\nos.sched_setaffinity(0, [{cpu}])\nprint('ready', flush=True)\nwhile True: pass"
    first, second = run(code), run(code)
    before = observe(first.pid)
    wait_until(lambda: observe(first.pid).delayed - before.delayed > 0.02)
    assert observe(second.pid).delayed > 0 and observe(first.pid).busy > before.busy
