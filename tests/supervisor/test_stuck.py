"""supervisor/stuck.py: which requests are stuck, by looks at exchanges that the test makes up."""

from __future__ import annotations

from types import SimpleNamespace

from eitherway.supervisor.stuck import Watch

TIMEOUT = 10.0


class Request:
    """What is looked at of an exchange."""

    def __init__(self) -> None:
        self.started_at = 0.0
        self.bytes_sent = 0
        self.switched = False
        self.read_waiter: object = None
        self.write_waiter: object = None
        self.body = SimpleNamespace(complete=False)


def look(watch: Watch, exchange: Request, now: float, waiter: object = None) -> bool:
    """Whether it is stuck, at a look at which this waits for bytes of the client."""
    exchange.read_waiter = waiter
    return bool(watch.overdue([exchange], now))  # type: ignore[list-item]


def test_one_that_never_waits_is_stuck_after_the_time_out() -> None:
    watch, exchange = Watch(TIMEOUT), Request()
    assert [now for now in range(15) if look(watch, exchange, now)] == [11, 12, 13, 14]


def test_one_that_was_waiting_is_not_stuck_because_it_computes_when_the_time_out_has_passed() -> None:
    watch, exchange = Watch(TIMEOUT), Request()
    for now in range(10):
        assert not look(watch, exchange, now, waiter=object())
    assert [now for now in range(10, 25) if look(watch, exchange, now)] == [20, 21, 22, 23, 24]


def test_who_sends_is_not_stuck() -> None:
    watch, exchange = Watch(TIMEOUT), Request()
    for now in range(60):
        exchange.bytes_sent += 1
        assert not look(watch, exchange, now)
    assert [now for now in range(60, 75) if look(watch, exchange, now)] == [70, 71, 72, 73, 74]


def test_what_has_left_http_is_never_stuck() -> None:
    watch, exchange = Watch(TIMEOUT), Request()
    exchange.switched = True
    assert not any(look(watch, exchange, now) for now in range(100))
