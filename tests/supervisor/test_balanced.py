"""What holds when the supervisor puts the balancer before its workers."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from supervising import StartSupervised, control, eitherway, get, status, workers

from serving import Server, wait_until

PAIRS = [("supervised:app", "sync"), ("supervised:app", "threads"), ("supervised:app", "gevent")]
PAIRS += [("supervised:app", "eventlet")]
PAIRS += [("supervised:asgi", "uvloop"), ("supervised:asgi", "asyncio")]


@pytest.mark.parametrize(("app", "engine"), PAIRS)
def test_the_application_sees_the_client_and_nobody_elses_word(
    supervised: StartSupervised, app: str, engine: str
) -> None:
    server = supervised(app, engine, 2, "--balance", "request", "--forwarded-allow-ips", "10.0.0.0/8")
    with server.connect() as client:
        client.send(b"GET /client HTTP/1.1\r\nHost: shop.test\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n")
        assert client.response().body == b"127.0.0.1 http shop.test"
    wait_until(lambda: status(server)["balancer"]["requests"] == 1)


def test_a_request_is_logged_once_with_its_client(supervised: StartSupervised, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    server = supervised("supervised:app", "sync", 2, "--access-log", str(log))
    assert get(server, "/fail")[0] == 500
    wait_until(lambda: log.exists() and log.read_text().count("\n") == 1)
    assert log.read_text().startswith("127.0.0.1 ")
    assert '"GET /fail HTTP/1.1" 500' in log.read_text()


def test_a_log_that_cannot_be_written_is_refused_at_the_start(supervised: StartSupervised) -> None:
    server = supervised("supervised:app", "sync", 2, "--access-log", "/no/such/directory/log", ready=False)
    assert server.wait() == 2
    assert server.log == "eitherway: cannot write the access log /no/such/directory/log: No such file or directory\n"


@pytest.mark.parametrize(
    ("engine", "balance", "policy"), [("threads", "request", os.SCHED_BATCH), ("threads", "kernel", os.SCHED_OTHER)]
)
def test_workers_do_not_take_the_cpu_from_the_balancer(
    supervised: StartSupervised, engine: str, balance: str, policy: int
) -> None:
    """Not one of their threads, whoever starts it."""
    server = supervised("supervised:app", engine, 2, "--balance", balance)
    assert get(server, "/") == (200, b"ok")
    assert {os.sched_getscheduler(thread) for pid in workers(server).values() for thread in threads(pid)} == {policy}
    if balance == "request":
        assert os.sched_getscheduler(status(server)["balancer"]["pid"]) == os.SCHED_OTHER


def test_what_an_operator_has_chosen_stays(supervised: StartSupervised) -> None:
    """As by `chrt --idle 0 eitherway serve ...`."""

    def start() -> Server:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # of this thread, and of what it starts
        return supervised("supervised:app", "sync", 2)

    with ThreadPoolExecutor(1) as pool:
        server = pool.submit(start).result()
    assert {os.sched_getscheduler(pid) for pid in workers(server).values()} == {os.SCHED_IDLE}


def threads(pid: int) -> list[int]:
    return [int(each.name) for each in Path(f"/proc/{pid}/task").iterdir()]


def test_status_shows_the_balancer(supervised: StartSupervised) -> None:
    server = supervised("supervised:app", "sync", 2)
    with server.connect() as client:
        assert client.ask("/").status == 200
        wait_until(lambda: status(server)["balancer"]["connections"] == 1)
        table = eitherway("status", "--control-socket", control(server)).stdout.splitlines()
    assert "1 connections, 0 queued" in table[1]
