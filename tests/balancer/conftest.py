"""Fixtures: fleets, of a test's own or shared by a module."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from fleet import Fleet

Start = Callable[..., Fleet]


@pytest.fixture
def start_fleet() -> Iterator[Start]:
    fleets: list[Fleet] = []

    def start(*arguments: object, **settings: object) -> Fleet:
        fleets.append(Fleet(*arguments, **settings))  # type: ignore[arg-type]
        return fleets[-1]

    yield start
    for fleet in fleets:
        fleet.close()


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """Two sync workers; the tests of a module share them."""
    shared = Fleet(2)
    yield shared
    shared.close()
