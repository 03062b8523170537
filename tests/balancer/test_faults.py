"""Workers die, come and go, under load; and the supervisor dies."""

from __future__ import annotations

import signal
import threading
from typing import Any

import pytest
from fleet import Fleet

from serving import wait_until


class Load:
    """Clients that ask again and again on keep-alive connections. `statuses` counts answers, `errors` the rest."""

    def __init__(self, fleet: Fleet, method: str = "GET", clients: int = 4) -> None:
        self.fleet = fleet
        self.method = method
        self.statuses: dict[int, int] = {}
        self.errors: list[BaseException] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        body = b"x" * 10 if self.method == "POST" else b""
        target = "/digest" if body else "/"
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        request = f"{self.method} {target} HTTP/1.1\r\nHost: x\r\n{length}\r\n".encode() + body
        try:
            with self.fleet.connect() as client:
                while not self._stop.is_set():
                    client.send(request)
                    status = client.response().status
                    with self._lock:
                        self.statuses[status] = self.statuses.get(status, 0) + 1
        except BaseException as error:
            self.errors.append(error)

    @property
    def answered(self) -> int:
        return sum(self.statuses.values())

    def more(self, count: int) -> None:
        """Wait for so many more answers."""
        wanted = self.answered + count
        wait_until(lambda: self.answered >= wanted or self.errors)

    def stop(self) -> dict[int, int]:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        assert not self.errors, self.errors
        return self.statuses


def test_killed_workers_cost_no_idempotent_request(start_fleet: Any) -> None:
    fleet = start_fleet(3)
    load = Load(fleet)
    for _ in range(3):
        load.more(100)
        victim = min(fleet.workers)
        fleet.kill(victim)
        load.more(50)
        fleet.balancer.tell(remove=victim)
        assert fleet.balancer.hear("removed") == {"removed": victim}
        fleet.workers.pop(victim).close()
        fleet.add()
    load.more(100)
    assert set(load.stop()) == {200}


def test_killed_workers_cost_at_most_the_posts_inside(start_fleet: Any) -> None:
    fleet = start_fleet(3)
    load = Load(fleet, "POST")
    for victim in (1, 2):
        load.more(100)
        fleet.kill(victim)
    load.more(100)
    statuses = load.stop()
    assert statuses.get(502, 0) <= 2
    assert set(statuses) <= {200, 502}


def test_a_post_in_a_dying_worker_is_not_run_again(start_fleet: Any) -> None:
    fleet = start_fleet(2)
    with fleet.get("/die", method="POST", body=b"x") as client:
        assert client.response().status == 502
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.response().status == 200
    assert fleet.log().count("POST /die ") == 1


def test_a_request_that_kills_its_workers_does_not_kill_them_all(start_fleet: Any) -> None:
    fleet = start_fleet(4)
    with fleet.get("/die") as client:
        assert client.response().status == 502
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.response().status == 200
    assert fleet.log().count("GET /die ") == 2


def test_an_answer_that_has_begun_is_broken_off_visibly(start_fleet: Any) -> None:
    fleet = start_fleet(1)
    with fleet.get(f"/die-late?{fleet.file('late')}") as client:
        client.read_until(b"xxx")
        fleet.open("late")
        body = client.read_all()
        assert b"HTTP/1.1" not in body
        assert len(body) <= 100_000 < 1_000_000


def test_a_request_in_the_queue_outlives_the_last_worker(start_fleet: Any) -> None:
    fleet = start_fleet(1)
    with fleet.get(f"/gate?{fleet.file('gate')}", method="POST") as inside:
        wait_until(fleet.log)  # the worker has read it: else it would be run again
        with fleet.get("/") as waiting:
            fleet.wait_queued(1)
            fleet.kill(1)
            assert inside.response().status == 502
            fleet.add()
            assert waiting.response().status == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_connection_that_its_worker_closed_is_not_trusted(start_fleet: Any, method: str) -> None:
    """The worker closes idle connections sooner than the balancer expects it."""
    fleet = start_fleet(1, options=("--keep-alive-timeout", "0.2"))
    with fleet.connect() as client:
        for _ in range(3):
            length = "Content-Length: 0\r\n" if method == "POST" else ""
            client.send(f"{method} / HTTP/1.1\r\nHost: x\r\n{length}\r\n".encode())
            assert client.response().status == 200
            wait_until(lambda: fleet.balancer.snapshot()["backends"][0]["idle_connections"] == 0)


@pytest.mark.parametrize(("engine", "slots"), [("sync", 1), ("threads", 4), ("uvloop", 4)])
def test_workers_come_and_go_under_load_without_a_failure(start_fleet: Any, engine: str, slots: int) -> None:
    fleet = start_fleet(2, engine, slots=slots)
    loads = [Load(fleet, method, 3) for method in ("GET", "POST")]
    for _ in range(3):
        loads[0].more(50)
        fleet.add()
        fleet.remove(min(fleet.workers))
    loads[1].more(50)
    assert [set(load.stop()) for load in loads] == [{200}, {200}]
    assert fleet.balancer.snapshot()["tally"]["retried"] == 0


def test_a_worker_is_removed_when_its_last_request_is_done(start_fleet: Any) -> None:
    fleet = start_fleet(2)
    with fleet.get(f"/gate?{fleet.file('gate')}") as slow:
        fleet.wait_running(1)
        busy = next(b["id"] for b in fleet.balancer.snapshot()["backends"] if b["running"])
        fleet.balancer.tell(remove=busy)
        with fleet.connect() as client:
            for _ in range(4):
                client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert int(client.response().body) != fleet.workers[busy].process.pid
        assert [b["leaving"] for b in fleet.balancer.snapshot()["backends"] if b["id"] == busy] == [True]
        fleet.open("gate")
        assert slow.response().status == 200
    assert fleet.balancer.hear("removed") == {"removed": busy}
    assert [b["id"] for b in fleet.balancer.snapshot()["backends"]] != [busy]


def test_drain_answers_what_was_asked(start_fleet: Any) -> None:
    fleet = start_fleet(1)
    with fleet.get("/") as idle:
        assert idle.response().status == 200
        running = fleet.get(f"/gate?{fleet.file('gate')}")
        fleet.wait_running(1)
        waiting = fleet.get("/")
        fleet.wait_queued(1)
        fleet.balancer.tell(drain=True)
        assert idle.is_closed()
        fleet.open("gate")
        for client in (running, waiting):
            response = client.response()
            assert (response.status, response.headers["connection"]) == (200, "close")
            assert client.is_closed()
            client.socket.close()
    assert fleet.balancer.process.wait(20) == 0


@pytest.mark.parametrize("how", ["TERM", "the supervisor's death"])
def test_the_balancer_ends_when_it_is_to(start_fleet: Any, how: str) -> None:
    fleet = start_fleet(1)
    with fleet.get("/") as client:
        assert client.response().status == 200
        if how == "TERM":
            fleet.balancer.process.send_signal(signal.SIGTERM)
        else:
            fleet.balancer.end()
        assert client.is_closed()
    assert fleet.balancer.process.wait(20) == 0


def test_orders_that_make_no_sense_are_survived(start_fleet: Any) -> None:
    fleet = start_fleet(1)
    fleet.balancer.control.sendall(b'not json\n{"fly": true}\n{"add": 1}\n[]\n')
    fleet.balancer.tell(add=1, path="/nowhere", slots=1)
    fleet.balancer.tell(remove=77)
    assert fleet.balancer.hear("removed") == {"removed": 77}
    with fleet.get("/") as client:
        assert client.response().status == 200
