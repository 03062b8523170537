"""What `--workers auto` counts: the CPUs we may run on, and the time on them that our cgroup is given."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from eitherway.supervisor.cpus import available, count


@pytest.mark.parametrize(
    ("allowed", "limits", "expected"),
    [
        (8, [], 8),
        (8, ["max 100000\n"], 8),
        (8, ["200000 100000\n"], 2),
        (8, ["150000 100000\n"], 2),
        (8, ["10000 100000\n"], 1),
        (2, ["400000 100000\n"], 2),
        (8, ["max 100000\n", "300000 100000\n", "600000 100000\n"], 3),
        (8, ["", "garbage\n", "100000 0\n", "-1 100000\n"], 8),
    ],
)
def test_the_least_limit_counts(allowed: int, limits: list[str], expected: int) -> None:
    assert count(allowed, limits) == expected


def make_groups(directory: Path, **limits: str) -> Path:
    """A tree of cgroups a/b/c, each with its limit."""
    at = directory
    for name, limit in limits.items():
        at /= name
        at.mkdir()
        (at / "cpu.max").write_text(limit)
    membership = directory / "membership"
    membership.write_text(f"2:cpu:/elsewhere\n0::/{at.relative_to(directory)}\n")
    return membership


def test_the_groups_above_ours_count_too(tmp_path: Path) -> None:
    membership = make_groups(tmp_path, a="100000 100000", b="max 100000", c="900000 100000")
    assert available(tmp_path, membership) == 1


def test_a_container_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    (tmp_path / "membership").write_text("0::/\n")
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    assert available(tmp_path, tmp_path / "membership") == 1


def test_without_cgroups_the_allowed_cpus_count(tmp_path: Path) -> None:
    assert available(tmp_path, tmp_path / "nothing") == len(os.sched_getaffinity(0))
