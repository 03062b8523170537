"""Whether a worker was killed for lack of memory is told from what the system has counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from eitherway.supervisor.memory import OutOfMemory


class System:
    """Files as the kernel writes them."""

    def __init__(self, directory: Path) -> None:
        self.group, self.all = directory / "memory.events", directory / "vmstat"
        self.kills = [3, 7]  # long ago
        self.write()
        self.memory = OutOfMemory(str(self.group), str(self.all))

    def write(self) -> None:
        self.group.write_text(f"low 0\noom 9\noom_kill {self.kills[0]}\noom_group_kill 0\n")
        self.all.write_text(f"nr_free_pages 1000\noom_kill {self.kills[1]}\n")

    def kill(self, within_group: bool) -> None:
        self.kills[0] += within_group
        self.kills[1] += 1
        self.write()


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)


def test_a_kill_by_anybody_else_is_no_lack_of_memory(system: System) -> None:
    assert system.memory.word() == ""


def test_the_cgroup_is_told_from_the_machine(system: System) -> None:
    system.kill(within_group=True)
    assert system.memory.word() == "; its cgroup was out of memory"
    assert system.memory.word() == ""
    system.kill(within_group=False)
    assert system.memory.word() == "; the kernel was out of memory"
    assert system.memory.word() == ""
    system.kill(within_group=True)
    assert system.memory.word() == "; its cgroup was out of memory"


def test_two_that_were_killed_at_once_are_both_told(system: System) -> None:
    for _ in range(2):
        system.kill(within_group=True)
    assert [system.memory.word() for _ in range(3)] == ["; its cgroup was out of memory"] * 2 + [""]


def test_a_kill_of_long_ago_explains_nothing(system: System) -> None:
    system.kill(within_group=False)
    system.memory.look()  # it may have been seen before the worker's end was
    system.kill(within_group=True)
    assert system.memory.word() == "; its cgroup was out of memory"
    for _ in range(2):
        system.memory.look()
    assert system.memory.word() == ""


def test_files_that_are_not_there_say_nothing(tmp_path: Path) -> None:
    assert OutOfMemory("", str(tmp_path / "none")).word() == ""
