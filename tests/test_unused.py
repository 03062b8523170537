"""Settings that change nothing on the engine, or with the processes, that there are: the start says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from eitherway.config import MODELS, Config, unused
from serving import Start

BALANCER = {"queue": 5, "queue_timeout": 1.0, "response_buffer": 0}


def named(engine: str, colour: str = "sync", *, balanced: bool = False, **given: Any) -> set[str]:
    """The settings that the lines speak of."""
    lines = list(unused(replace(Config(), **given), engine, colour, balanced))
    assert all(" changes nothing " in line for line in lines)
    return {line.partition(" ")[0] for line in lines}


def test_nothing_is_said_of_defaults() -> None:
    for engine in MODELS:
        for colour in ("sync", "async"):
            for balanced in (False, True):
                assert named(engine, colour, balanced=balanced) == set()


@pytest.mark.parametrize(
    ("engine", "colour", "used"),
    [
        ("threads", "sync", True),
        ("threads", "async", True),
        ("uvloop", "sync", True),
        ("trio", "sync", True),
        ("uvloop", "async", False),
        ("uvloop", "asyncio", False),
        ("twisted", "reactor", False),
        ("gevent", "sync", False),
        ("eventlet", "sync", False),
        ("sync", "sync", False),
        ("sync", "async", False),
    ],
)
def test_threads(engine: str, colour: str, used: bool) -> None:
    assert named(engine, colour, threads=16) == (set() if used else {"--threads"})


def test_the_balancers_settings() -> None:
    assert named("sync", **BALANCER) == {"--queue", "--queue-timeout", "--response-buffer"}
    assert named("sync", balanced=True, **BALANCER) == set()
    assert named("uvloop", "async", worker_concurrency=5) == {"--worker-concurrency"}
    assert named("uvloop", "async", balanced=True, worker_concurrency=5) == set()
    assert named("threads", balanced=True, worker_concurrency=5) == {"--worker-concurrency"}


def test_those_that_need_another() -> None:
    assert named("sync", max_requests_jitter=5) == {"--max-requests-jitter"}
    assert named("sync", max_requests_jitter=5, max_requests=9) == set()
    assert named("sync", access_format="json") == {"--access-format"}
    assert named("sync", access_format="json", access_log="-") == set()
    assert named("threads", ws_ping_timeout=5.0, ws_ping_interval=0.0) == {"--ws-ping-timeout"}
    assert named("gevent", reactor="epoll") == {"--reactor"}
    assert named("twisted", reactor="epoll") == set()


@pytest.mark.parametrize("options", [(), ("--workers", "2")])
def test_the_start_says_it_once(options: tuple[str, ...], own_server: Start) -> None:
    server = own_server("wsgi_routes:app", "sync", "--threads", "4", *options)
    assert server.stop() == 0
    line = "--threads changes nothing on the engine sync (one request at a time); leave it out, or use --engine threads"
    assert server.log.count(line) == 1
