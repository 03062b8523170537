"""The line between two processes: it never blocks, and neither end is brought down by what the other says."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest

from eitherway.supervisor.handle import Line, make_lines
from serving import wait_until


@pytest.fixture
def line() -> Iterator[tuple[Line, Line]]:
    ends = make_lines()
    yield ends
    for end in ends:
        end.close()


def test_messages_pass_in_order(line: tuple[Line, Line]) -> None:
    ours, theirs = line
    assert ours.receive() == []
    assert theirs.send({"ready": True}) and theirs.send({"failed": "a\nb", "exit_code": 3})
    assert ours.receive() == [{"ready": True}, {"failed": "a\nb", "exit_code": 3}]
    assert not ours.closed
    theirs.send({"last": 1})
    theirs.close()
    assert ours.receive() == [{"last": 1}]
    assert ours.closed
    assert not ours.send({"too": "late"})


@pytest.mark.parametrize("event", [lambda other: other.close(), lambda other: other.send({"drain": "final"})])
def test_what_came_before_a_signal_was_asked_for_is_told_by_one(
    line: tuple[Line, Line], event: Callable[[Line], object]
) -> None:
    ours, theirs = line
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    try:
        event(theirs)
        ours.tell_by(signal.SIGUSR1)
        wait_until(lambda: heard)
    finally:
        ours.tell_by(0)
        signal.signal(signal.SIGUSR1, before)


def test_a_message_of_any_length_fits_and_shows_its_ends(line: tuple[Line, Line]) -> None:
    ours, theirs = line
    assert theirs.send({"traceback": "File a.py" + 5_000_000 * "x" + "RuntimeError"})
    assert theirs.send({"next": 1})
    (message, following) = ours.receive()
    assert message["traceback"].startswith("File a.py") and message["traceback"].endswith("RuntimeError")
    assert 30_000 < len(message["traceback"]) < 40_000
    assert "[4967253 characters]" in message["traceback"]
    assert following == {"next": 1}


def test_what_is_no_message_closes_it(line: tuple[Line, Line]) -> None:
    ours, theirs = line
    theirs.socket.sendall(b'{"ready": true}\nprinted by an application\n[1]\n\xff\n')
    assert ours.receive() == [{"ready": True}]
    assert ours.closed


def test_what_does_not_fit_is_dropped(line: tuple[Line, Line]) -> None:
    ours, theirs = line
    sent = 0
    while sent < 10_000 and theirs.send({"text": "x" * 10_000}):
        sent += 1
    assert 10 < sent < 10_000
    assert len(ours.receive()) >= sent
