"""Verdicts follow from intervals; the command tests what it is told to and keeps what it found."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from values import cost

from eitherway.cli import commands
from eitherway.errors import LabError
from eitherway.lab import claims
from eitherway.lab.bench import Bench, cpu, middle, of, plain, rate
from eitherway.lab.claims import CLAIMS, FAILS, HOLDS, UNKNOWN, Claim, Finding, at_least, at_most, examine, judge, ratio
from eitherway.lab.claims_command import page
from eitherway.lab.histogram import Histogram
from eitherway.lab.load import LoadResult, Request
from eitherway.lab.results import Interval
from eitherway.lab.samples import Sample
from eitherway.lab.switching import KINDS, measure
from serving import wait_until

VALUES = st.lists(st.floats(0.001, 1e6), min_size=3, max_size=3).map(lambda each: Interval(*sorted(each)))


def bench(heard: list[str]) -> Bench:
    return Bench(0.2, 1, 2, heard.append)


@given(VALUES, st.floats(0.001, 1e6))
def test_a_bound_inside_an_interval_leaves_it_open(value: Interval, bound: float) -> None:
    below, above = at_most(value, bound), at_least(value, bound)
    assert below in (True, None) or value.low > bound
    assert below in (False, None) or value.high <= bound
    if value.low < bound < value.high:
        assert below is above is None


@given(VALUES, VALUES)
def test_a_ratio_is_as_open_as_its_parts(above: Interval, below: Interval) -> None:
    said = ratio(above, below)
    assert said.low <= said.middle <= said.high
    assert said.low <= above.high / below.low * (1 + 1e-9)


def sample(answers: int, lost: float = 0.0) -> Sample:
    """A second's window of requests that took 10 ms each."""
    took = Histogram.of([0.01] * answers)
    result = LoadResult(1.0, answers, {200: answers}, {}, 0, took, 0.1, False)
    return Sample(1, result, cost(lost=lost))


def test_a_figure_of_few_rounds_is_no_sure_one() -> None:
    """So that a claim neither holds nor fails by chance."""
    said = of([sample(100)], rate)
    assert (said.low, said.middle, said.high) == pytest.approx((87.5, 100, 112.5))
    said = of([sample(100)] * 3, rate)
    assert said.low == said.middle == said.high == 100


def test_what_other_programs_had_is_left_open() -> None:
    crowded = [sample(100, lost=0.5)] * 3
    assert of(crowded, rate) == Interval(100, 100, 200)
    assert of(crowded, middle).low == pytest.approx(of(crowded, middle).middle / 2)
    assert of(crowded, cpu).low == of(crowded, cpu).high


def test_a_verdict_needs_every_part() -> None:
    assert judge(True, True) == HOLDS
    assert judge(True, None) == UNKNOWN
    assert judge(None, False) == FAILS


def test_every_claim_has_its_number() -> None:
    assert [claim.number for claim in CLAIMS] == list(range(1, 12))
    assert len({claim.title for claim in CLAIMS}) == len(CLAIMS)


def test_what_cannot_be_tried_is_told() -> None:
    def fails(bench: Bench) -> Finding:
        raise LabError("there is no database")

    finding = examine(Claim(12, "a", "b", fails), bench([]))
    assert (finding.verdict, finding.said) == (UNKNOWN, "there is no database.")


def test_a_load_is_measured_once() -> None:
    heard: list[str] = []
    here = bench(heard)
    request = Request("GET", "/wait?ms=10")
    first = here.loads([plain("sync", 2), plain("uvloop")], request, (1, 4))
    assert here.loads([plain("sync", 2), plain("uvloop")], request, (1, 4)) is first
    assert len(heard) == 2
    assert set(first) == {"sync, 2 workers", "uvloop"}
    assert first["uvloop"][4][0].result.errors == {}
    assert here.computing(0.001) is here.computing(0.001)


def test_a_burst_beyond_the_workers_waits() -> None:
    ends = bench([]).bursts(plain("sync", 2), Request("GET", "/wait?ms=100"), 3)
    assert 0.09 < ends[0].middle <= ends[1].middle < ends[2].middle
    assert ends[2].low > 0.19


@pytest.mark.parametrize("kind", KINDS)
def test_a_switch_takes_time_and_a_unit_memory(kind: str) -> None:
    if kind == "curio" and sys.version_info >= (3, 12):
        pytest.skip("Curio does not run on this Python")
    cost = measure(kind, 100)
    assert not cost.error
    assert 0 < cost.seconds < 0.01
    assert cost.bytes > 100


def test_what_blocks_stops_the_hub_also_where_sleep_is_patched() -> None:
    ends = bench([]).bursts(plain("eventlet"), Request("GET", "/block?ms=50"), 4)
    assert ends[-1].low > 0.19, "one after the other"


def test_a_kind_that_fails_says_why() -> None:
    assert "KeyError" in measure("fibres", 1).error


def test_the_command_prints_and_writes_what_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "_LOOPS", ("gevent", "uvloop"))  # not all of them: each starts a server
    file = tmp_path / "claims.md"
    done = CliRunner().invoke(commands, ["claims", "2", "6", "--duration", "200ms", "--rounds", "1", "-o", str(file)])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("2. Five clients, four sync workers")
    text = file.read_text()
    assert "\n## 6. A single request is not faster" in text
    assert "| 5. |" in text
    assert "## 1. " not in text


def test_a_claim_that_there_is_not_is_refused() -> None:
    done = CliRunner().invoke(commands, ["claims", "99"])
    assert done.exit_code != 0
    assert "there is no claim 99" in str(done.exception or done.output)


def test_an_interrupted_run_keeps_what_it_found(tmp_path: Path) -> None:
    file = tmp_path / "claims.md"
    command = [sys.executable, "-m", "eitherway", "claims", "2", "3", "-o", str(file)]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    assert run.stdout is not None
    assert run.stdout.readline().startswith("2. ")
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=30)
    assert run.returncode == 130
    wait_until(file.exists)
    assert "The run was interrupted" in file.read_text()


def test_a_page_without_a_table_is_a_page() -> None:
    finding = Finding((), UNKNOWN, "there is no database.", "One.")
    text = page([(CLAIMS[10], finding)], 2.0, 3)
    assert "**This cannot be told here.**" in text
