"""Bodies too large to be collected: the worker has the request while the rest still comes."""

from __future__ import annotations

import time
from typing import Any

from fleet import Fleet

from serving import Client, wait_until

CHUNK = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"


def begin(fleet: Fleet, target: str = "/digest", size: int = 1_000_000) -> Client:
    """A client that has sent half of its body, and whose request runs in a worker."""
    ran = len(fleet.log())
    client = fleet.connect()
    client.send(f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode() + b"x" * (size // 2))
    wait_until(lambda: len(fleet.log()) > ran)
    return client


def test_a_client_that_leaves_frees_the_worker(start_fleet: Any) -> None:
    fleet = start_fleet(1)
    with begin(fleet):
        assert fleet.balancer.snapshot()["running"] == 1
    fleet.wait_running(0)
    with fleet.get("/") as client:
        assert client.response().status == 200
    wait_until(lambda: fleet.balancer.snapshot()["connections"] == 0)


def test_a_body_that_is_too_large_is_refused_in_the_middle(start_fleet: Any) -> None:
    fleet = start_fleet(1, limit_body=200_000)
    with fleet.connect() as client:
        client.send(b"POST /digest HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNK * 13)
        assert client.response().status == 413
    fleet.wait_running(0)
    with fleet.get("/") as client:
        assert client.response().status == 200


def test_a_broken_body_is_refused_in_the_middle(start_fleet: Any) -> None:
    fleet = start_fleet(1)
    with fleet.connect() as client:
        client.send(b"POST /digest HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNK * 5 + b"-1\r\n")
        assert client.response().status == 400
    fleet.wait_running(0)
    with begin(fleet) as client:
        client.finish()
        response = client.response()
        assert (response.status, "ended before its end" in response.text) == (400, True)
    fleet.wait_running(0)


def test_a_body_that_stops_coming_is_a_408(start_fleet: Any) -> None:
    fleet = start_fleet(1, body_timeout=0.3)
    with begin(fleet) as client:
        assert client.response().status == 408
    fleet.wait_running(0)


def test_an_answer_may_come_before_the_whole_body(start_fleet: Any) -> None:
    fleet = start_fleet(1)
    with begin(fleet, "/") as client:
        response = client.response()
        assert (response.status, response.headers["connection"]) == (200, "close")
    with fleet.get("/") as client:
        assert client.response().status == 200


def test_a_large_answer_may_come_before_a_client_that_sends_first_reads(start_fleet: Any) -> None:
    fleet = start_fleet(1, app="wsgi_routes:app")
    size = 20_000_000
    with fleet.connect() as client:
        assert len(client.ask(f"/large?size={size}", "POST", body=b"x" * size).body) == size


def test_a_worker_that_waits_for_the_client_is_not_stuck(start_fleet: Any) -> None:
    fleet = start_fleet(1, timeout=1.0)
    with begin(fleet) as client:
        time.sleep(1.5)  # longer than the time-out
        client.send(b"x" * 500_000)
        assert client.response().text.endswith(" 1000000")


def test_a_worker_that_dies_with_half_a_body_is_a_502(start_fleet: Any) -> None:
    fleet = start_fleet(2)
    with begin(fleet) as client:
        fleet.kill(next(b["id"] for b in fleet.balancer.snapshot()["backends"] if b["running"]))
        assert client.response().status == 502
    assert len(fleet.log()) == 1
