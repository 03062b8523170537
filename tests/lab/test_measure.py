"""What a window is worth, with windows that the test makes up."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from windows import sample

from eitherway.errors import LabError
from eitherway.lab import measure as module
from eitherway.lab.histogram import Histogram as LatencyHistogram
from eitherway.lab.load import LoadResult, Request
from eitherway.lab.measure import measure
from eitherway.lab.samples import Sample


def measured(monkeypatch: pytest.MonkeyPatch, *windows: Sequence[float], clients: int) -> tuple[Sample, list[float]]:
    """What is found where these latencies are seen one window after the other, and how long each was warmed up."""
    left: Iterator[Sequence[float]] = iter(windows)
    warmed: list[float] = []

    def window(server: Any, requests: Any, clients: int, seconds: float, warm_up: float, timeout: float) -> Sample:
        warmed.append(warm_up)
        return replace(sample(clients, next(left), seconds=seconds), waited=warm_up)

    monkeypatch.setattr(module, "_window", window)
    found = measure(None, [Request()], clients, 1.0, warm_up=0.1)  # type: ignore[arg-type]
    assert next(left, None) is None
    return found, warmed


def test_a_queue_that_is_as_long_as_it_stays_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found, warmed = measured(monkeypatch, [0.4] * 20, clients=8)
    assert (found.answered, warmed) == (20, [0.1])


def test_a_queue_that_was_filling_is_given_time_and_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found, warmed = measured(monkeypatch, [0.2] * 20, [0.4] * 20, clients=8)
    assert found.result.histogram.mean == pytest.approx(0.4, rel=0.05)
    assert warmed == [0.1, pytest.approx(1.1 * 8 / 20)]


def test_so_is_one_that_looks_settled_before_each_had_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four that were first, then two that waited long: on the average as long as eight in a line would."""
    found, warmed = measured(monkeypatch, [0.8] * 4 + [2.4] * 2, [1.3] * 6, clients=8)
    assert found.settled
    assert found.result.histogram.mean == pytest.approx(1.3, rel=0.05)
    assert warmed == [0.1, pytest.approx(1.1 * 8 / 6)]


class Board:
    """A server of which a window needs to know only that nothing happened to it."""

    host, port, pid = "127.0.0.1", 1, os.getpid()
    is_alive = True

    def status(self) -> dict[str, Any]:
        return {"balancer": None, "workers": [], "total": {"histograms": {"queue_wait": [], "loop_lag": []}}}


def seen(answers: int) -> LoadResult:
    histogram = LatencyHistogram()
    for _ in range(answers):
        histogram.record(0.1)
    statuses = {200: answers} if answers else {}
    return LoadResult(1.0, answers, statuses, {}, 0, histogram, cpu=0.1, client_limited=False)


@pytest.mark.parametrize(("windows", "answered"), [((10, 20), 10), ((0, 10), 10), ((0, 0, 10), None)])
def test_a_stall_of_the_whole_machine_is_no_fault_but_two_windows_without_an_answer_are(
    monkeypatch: pytest.MonkeyPatch, windows: tuple[int, ...], answered: int | None
) -> None:
    left = iter(windows)
    monkeypatch.setattr(module, "_drain", lambda server, request, timeout: None)
    monkeypatch.setattr(module, "run_load", lambda load, watch: seen(next(left)))
    if answered is None:
        with pytest.raises(LabError, match="no good answer with 1 clients: none within 1 s"):
            measure(Board(), [Request()], 1, 1.0)  # type: ignore[arg-type]
    else:
        assert measure(Board(), [Request()], 1, 1.0).answered == answered  # type: ignore[arg-type]
