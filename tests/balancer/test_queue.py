"""One queue: who is served when, who is refused, and what costs no worker."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest
from fleet import Fleet

from serving import PATIENCE, wait_until


def test_first_in_first_out(start_fleet: Any) -> None:
    fleet = start_fleet(1)
    blocked = fleet.get(f"/gate?{fleet.file('gate')}")
    fleet.wait_running(1)
    waiting = []
    for number in range(10):
        waiting.append(fleet.get(f"/?{number}"))
        fleet.wait_queued(number + 1)
    fleet.open("gate")
    for client in [blocked, *waiting]:
        assert client.response().status == 200
        client.socket.close()
    assert fleet.log()[1:] == [f"GET / {number}" for number in range(10)]


def test_slow_requests_do_not_delay_fast_ones_while_a_worker_is_free(start_fleet: Any) -> None:
    fleet = start_fleet(3)
    slow = [fleet.get(f"/gate?{fleet.file('gate')}") for _ in range(2)]
    fleet.wait_running(2)
    with fleet.connect() as client:
        for _ in range(100):
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.response().status == 200
    assert fleet.balancer.snapshot()["tally"]["waited"] == 0
    fleet.open("gate")
    for client in slow:
        assert client.response().status == 200
        client.socket.close()


def test_a_threaded_worker_gets_as_many_as_it_has_threads(start_fleet: Any) -> None:
    fleet = start_fleet(2, "threads", slots=3, options=("--threads", "3"))
    clients = [fleet.get(f"/gate?{fleet.file('gate')}") for _ in range(8)]
    fleet.wait_queued(2)
    wait_until(lambda: len(fleet.log()) == 6)
    assert [backend["running"] for backend in fleet.balancer.snapshot()["backends"]] == [3, 3]
    fleet.open("gate")
    for client in clients:
        assert client.response().status == 200
        client.socket.close()


def test_a_full_queue_is_said_at_once(start_fleet: Any) -> None:
    fleet = start_fleet(1, queue=2)
    held = [fleet.get(f"/gate?{fleet.file('gate')}")]
    fleet.wait_running(1)
    held += [fleet.get("/") for _ in range(2)]
    fleet.wait_queued(2)
    with fleet.connect() as client:
        for _ in range(3):  # each is answered while all that was there before is held
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            response = client.response()
            assert (response.status, response.headers["retry-after"]) == (503, "1")
    assert fleet.balancer.snapshot()["queued"] == 2
    fleet.open("gate")
    for client in held:
        assert client.response().status == 200
        client.socket.close()
    snapshot = fleet.balancer.snapshot()
    assert (snapshot["tally"]["queue_full"], snapshot["tally"]["waited"], snapshot["queued"]) == (3, 2, 0)
    assert sum(snapshot["waits"]) == 2


def test_waiting_too_long_is_a_503(start_fleet: Any) -> None:
    fleet = start_fleet(1, queue_timeout=0.2)
    blocked = fleet.get(f"/gate?{fleet.file('gate')}")
    fleet.wait_running(1)
    began = time.monotonic()
    with fleet.get("/") as client:
        response = client.response()
    assert (response.status, response.headers["retry-after"]) == (503, "1")
    assert time.monotonic() - began > 0.15
    fleet.open("gate")
    assert blocked.response().status == 200
    blocked.socket.close()
    assert fleet.balancer.snapshot()["tally"]["expired"] == 1
    assert len(fleet.log()) == 1


def test_without_workers_requests_wait_for_one(start_fleet: Any) -> None:
    fleet = start_fleet(1)
    fleet.remove(1)
    with fleet.get("/") as client:
        fleet.wait_queued(1)
        fleet.add()
        assert client.response().status == 200


def test_before_the_first_worker_clients_are_left_to_others_with_the_socket(start_fleet: Any) -> None:
    fleet = start_fleet(0)
    with fleet.get("/") as client:
        for _ in range(3):
            assert fleet.balancer.snapshot()["connections"] == 0
        fleet.add()
        assert client.response().status == 200


def test_an_end_before_the_first_worker_takes_no_client(start_fleet: Any) -> None:
    fleet = start_fleet(0)
    with fleet.get("/"):
        fleet.balancer.tell(drain=True)
        assert fleet.balancer.process.wait(PATIENCE) == 0
        assert "stopping" not in fleet.balancer.end()


def test_a_request_whose_client_has_gone_is_never_run(start_fleet: Any) -> None:
    fleet = start_fleet(1)
    blocked = fleet.get(f"/gate?{fleet.file('gate')}")
    fleet.wait_running(1)
    stays = fleet.get("/?stays")
    fleet.wait_queued(1)
    leaves = [
        fleet.get("/?closed"),
        fleet.get("/?reset"),
        fleet.get("/digest?body", method="POST", body=b"x" * 10),
        fleet.get("/digest?large", method="POST", body=b"x" * 100_000),
    ]
    fleet.wait_queued(5)
    leaves[1].socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    for client in leaves:
        client.socket.close()
    fleet.wait_queued(1)
    fleet.open("gate")
    assert blocked.response().status == stays.response().status == 200
    blocked.socket.close()
    stays.socket.close()
    assert fleet.log()[1:] == ["GET / stays"]
    assert fleet.balancer.snapshot()["tally"]["dropped"] == 4


def test_who_pipelines_while_waiting_has_not_gone(start_fleet: Any) -> None:
    fleet = start_fleet(1)
    blocked = fleet.get(f"/gate?{fleet.file('gate')}")
    fleet.wait_running(1)
    with fleet.get("/?1") as client:
        fleet.wait_queued(1)
        client.send(b"GET /?2 HTTP/1.1\r\nHost: x\r\n\r\n")
        fleet.open("gate")
        assert blocked.response().status == client.response().status == client.response().status == 200
    blocked.socket.close()


def test_a_slow_reader_frees_its_worker(start_fleet: Any) -> None:
    """An answer that fits into the buffer is taken whole; the worker does not wait for the client."""
    fleet = start_fleet(1, response_buffer=64 << 20)
    slow = fleet.get("/large?12000000")
    wait_until(lambda: "sent" in fleet.log())
    fleet.wait_running(0)
    with fleet.get("/") as client:
        assert client.response().status == 200
    assert len(slow.response().body) == 12_000_000
    slow.socket.close()


def test_memory_for_a_slow_reader_is_bounded(start_fleet: Any) -> None:
    fleet = start_fleet(1, response_buffer=1 << 20)
    slow = fleet.get("/large?200000000")
    slow.read_until(b"\r\n\r\n")
    pid = fleet.balancer.process.pid
    sizes = [0, 1]
    while sizes[-1] != sizes[-2]:  # until nothing moves any more
        time.sleep(0.1)
        sizes.append(resident(pid))
    assert "sent" not in fleet.log()
    assert sizes[-1] < 100 << 20
    size = len(slow.buffer)
    while data := slow.socket.recv(1 << 20):
        size += len(data)
        if size == 200_000_000:
            break
    wait_until(lambda: "sent" in fleet.log())
    slow.socket.close()


@pytest.mark.parametrize("bound", [0, 1, 100_000])
def test_any_bound_lets_an_answer_through(start_fleet: Any, bound: int) -> None:
    fleet = start_fleet(1, response_buffer=bound)
    with fleet.get("/chunked?20000000") as client:
        client.read_until(b"\r\n\r\n")
        wait_until(lambda: settled(fleet.balancer.process.pid))
        body = bytearray(client.buffer)
        while not body.endswith(b"\r\n0\r\n\r\n"):
            body += client.socket.recv(1 << 20)
    assert body.count(bytes(range(256))) > 70_000  # chunk heads interrupt some
    fleet.wait_running(0)


def settled(pid: int) -> bool:
    """Whether the process has used no processor time for a moment."""
    before = Path(f"/proc/{pid}/stat").read_text().split()[13:15]
    time.sleep(0.1)
    return Path(f"/proc/{pid}/stat").read_text().split()[13:15] == before


def test_an_async_application_hears_that_its_client_left(start_fleet: Any) -> None:
    fleet = start_fleet(1, "asyncio", app="balanced_asgi:app", slots=2)
    with fleet.get("/wait"):
        wait_until(lambda: fleet.log() == ["GET /wait"])
    wait_until(lambda: "disconnect" in fleet.log())
    fleet.wait_running(0)
    with fleet.get("/") as client:
        assert client.response().status == 200


def resident(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def test_a_client_that_leaves_a_large_answer_frees_the_worker(start_fleet: Any) -> None:
    fleet = start_fleet(1)
    with fleet.get("/large?200000000") as client:
        client.read_until(b"\r\n\r\n")
    with fleet.get("/") as client:
        assert client.response().status == 200
    wait_until(lambda: fleet.balancer.snapshot()["connections"] == 0)


def test_slow_clients_cost_no_worker(start_fleet: Any) -> None:
    """200 clients in the middle of a head, of a body, of reading an answer, or idle, beside one that is not slow."""
    fleet = start_fleet(2)
    slow = []
    for number in range(200):
        client = fleet.connect()
        slow.append(client)
        client.send(
            (
                b"GET / HTTP/1.1\r\nHos",
                b"POST /digest HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\nabc",
                b"GET /large?500000 HTTP/1.1\r\nHost: x\r\n\r\n",
                b"",
            )[number % 4]
        )
    with fleet.connect() as client:
        for _ in range(200):
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.response().status == 200
    fleet.wait_running(0)
    assert fleet.log().count("POST /digest ") == 0
    for client in slow:
        client.socket.close()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_client_of_a_silent_worker_is_answered(start_fleet: Any, method: str) -> None:
    fleet = start_fleet(2, timeout=1.0)
    with fleet.get(f"/gate?{fleet.file('gate')}", method=method) as client:
        assert client.response().status == 504
        (stuck,) = [each["id"] for each in fleet.balancer.snapshot()["backends"] if each["running"]]
        # The stuck worker gets nothing more while it is stuck; the client's connection goes on.
        others = fleet.pids - {fleet.workers[stuck].process.pid}
        for _ in range(4):
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert int(client.response().body) in others
    assert fleet.balancer.snapshot()["running"] == 1
    fleet.kill(stuck)
    fleet.wait_running(0)
    assert fleet.balancer.snapshot()["tally"]["timed_out"] == 1


def test_a_worker_that_awakes_is_used_again(start_fleet: Any) -> None:
    fleet = start_fleet(1, timeout=1.0)
    with fleet.get(f"/gate?{fleet.file('gate')}") as client:
        assert client.response().status == 504
        fleet.open("gate")
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.response().status == 200


def test_an_answer_that_has_begun_is_not_timed_out(start_fleet: Any) -> None:
    fleet: Fleet = start_fleet(1, timeout=1.0)
    with fleet.get(f"/ticks?{fleet.file('tick')}") as client, fleet.get("/") as second:
        client.read_until(b"first ")
        assert fleet.balancer.snapshot()["running"] == 1
        time.sleep(1.5)  # longer than the time-out
        fleet.open("tick")
        client.read_until(b"0\r\n\r\n")
        assert second.response().status == 200
    assert fleet.balancer.snapshot()["tally"]["timed_out"] == 0
