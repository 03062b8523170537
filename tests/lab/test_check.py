"""The generator measures what others measure."""

from __future__ import annotations

import shutil

import pytest

from eitherway.errors import LabError
from eitherway.lab.check import RIVALS, compare_with
from eitherway.lab.load import Load, Request
from serving import Start

CLOSE = 0.05  # how far the throughputs may be apart
TRIES = 4  # a machine that does something else meanwhile does not count


@pytest.mark.parametrize("name", RIVALS)
def test_both_find_the_same_throughput(name: str, own_server: Start) -> None:
    """The server is the limit: 8 threads that sleep, so that it says the same to whoever asks."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    server = own_server("supervised:app", "threads", "--threads", "8")
    load = Load("127.0.0.1", server.port, (Request(target="/sleep?0.02"),), clients=16, duration=1.0, warm_up=0.1)
    for _ in range(TRIES):
        said = compare_with(name, load, 3)
        if abs(said.ratio - 1) <= CLOSE:
            break
    else:
        if any(max(each) > min(each) * (1 + CLOSE) for each in (said.ours, said.theirs)):
            pytest.skip("the machine does other things: not even one generator finds the same twice")
    assert said.ratio == pytest.approx(1, abs=CLOSE)


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(LabError, match="there is no program of that name"):
        compare_with("wrk", Load("127.0.0.1", 1, (Request(),)), 1)


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
@pytest.mark.parametrize(
    "load",
    [
        Load("127.0.0.1", 1, (Request("POST"),)),
        Load("127.0.0.1", 1, (Request(), Request(target="/b"))),
        Load("127.0.0.1", 1, (Request(),), rate=10.0),
        Load("unix:/run/x.sock", 0, (Request(),)),
    ],
)
def test_what_others_cannot_do_is_refused(load: Load) -> None:
    with pytest.raises(LabError, match="one GET request over TCP only"):
        compare_with("wrk", load, 1)


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(LabError, match=r"--check wrk: it (failed|got no answer)"):
        compare_with("wrk", Load("127.0.0.1", 1, (Request(),), duration=0.2, warm_up=0.0), 1)
