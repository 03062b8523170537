"""The load generator, on servers whose behaviour is known."""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from eitherway.errors import LabError
from eitherway.lab import generator
from eitherway.lab.framing import Head
from eitherway.lab.load import Load, Request, run_load
from serving import wait_until

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
HELLO_HEAD = Head(200, 5, False, True)
DELAY = 0.02

Answer = Callable[[socket.socket, bytes], bool]  # whether the connection goes on


@contextmanager
def serving(answer: Answer) -> Iterator[int]:
    """A server that gives every request, as one piece of bytes, to `answer`; its port. A thread a connection."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)

    def serve(client: socket.socket) -> None:
        with client, suppress(OSError):  # the generator may have ended
            while (request := client.recv(65536)) and answer(client, request):
                pass

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def hello(client: socket.socket, request: bytes) -> bool:
    client.sendall(HELLO)
    return True


def load(port: int, **more: object) -> Load:
    given: dict[str, object] = {"requests": (Request(),), "duration": 0.5, "warm_up": 0.1, **more}
    return Load("127.0.0.1", port, **given)  # type: ignore[arg-type]


def test_a_closed_loop_has_one_request_a_client_at_a_time() -> None:
    running: list[int] = [0, 0]
    lock = threading.Lock()

    def slow(client: socket.socket, request: bytes) -> bool:
        with lock:
            running[0] += 1
            running[1] = max(running)
        time.sleep(DELAY)
        with lock:
            running[0] -= 1
        return hello(client, request)

    with serving(slow) as port:
        result = run_load(load(port, clients=8))
    assert running[1] == 8
    assert result.statuses == {200: result.good}
    assert result.errors == {}
    assert 20 < result.good <= 8 * (0.5 / DELAY + 1)
    assert result.histogram.quantile(0.01) >= DELAY * 0.99
    assert result.histogram.count == result.good
    assert result.bytes >= result.good * len(HELLO)


def test_a_stall_shows_in_an_open_loop_as_long_as_it_was() -> None:
    """Coordinated omission: the requests that were due meanwhile have waited too."""
    gate, turns = threading.Lock(), iter(range(1 << 30))

    def stalling(client: socket.socket, request: bytes) -> bool:
        with gate:
            if next(turns) == 60:
                time.sleep(0.3)
        return hello(client, request)

    with serving(stalling) as port:
        result = run_load(load(port, clients=4, rate=200.0, duration=1.0))
    assert result.good == pytest.approx(200, abs=2)
    assert result.histogram.quantile(1.0) > 0.25
    due_meanwhile = sum(count for bound, count in result.histogram.buckets() if bound > 0.03)
    assert due_meanwhile > 30  # of 60; four of them were on their way


class Epoll:
    """Watches nothing: the test says what happens."""

    def register(self, fd: int, bits: int) -> None: ...
    def modify(self, fd: int, bits: int) -> None: ...


def unwatched(monkeypatch: pytest.MonkeyPatch, **order: object) -> generator.Generator:
    """A generator whose events the test makes. Its measured time is the second after the first."""
    monkeypatch.setattr(select, "epoll", Epoll)
    return generator.Generator({
        "requests": [["GET", "GET / HTTP/1.1\r\n\r\n"]], "address": [socket.AF_INET, []], "clients": 1,
        "timeout": 1.0, "warm_up": 1.0, "duration": 1.0, "rate": 0, "phase": 0.0, **order,
    })  # fmt: skip


def test_what_comes_on_an_idle_connection_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may say 408 there before it closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = unwatched(monkeypatch, rate=1.0, address=[socket.AF_INET, list(listener.getsockname())])
        made._from = 0.0
        client = made._clients[0]
        made._begin(client, 1.0)
        server, _ = listener.accept()
    with server:
        server.sendall(HELLO)
        made._on_event(client.socket.fileno(), select.EPOLLIN, 1.0)  # type: ignore[union-attr]
        assert not client.busy and client.socket is not None
        server.sendall(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        made._on_event(client.socket.fileno(), select.EPOLLIN, 1.0)
        assert client.socket is None
        counted = made._counted(0.0)
    assert (counted["statuses"], counted["errors"]) == ({200: 1}, {})


@pytest.mark.parametrize("rate", [0, 8.0])
def test_what_is_seen_too_late_is_not_of_a_closed_loop_and_due_in_an_open_one(
    monkeypatch: pytest.MonkeyPatch, rate: float
) -> None:
    """As by a generator that had to wait for the CPU from its first request until after its time."""
    made = unwatched(monkeypatch, rate=rate, clients=2)
    times = iter([0.0, 0.0, 0.0])  # both clients' first requests, and what they wait for
    monkeypatch.setattr(generator, "monotonic", lambda: next(times, 2.5))
    monkeypatch.setattr(made, "_send", lambda client: None)
    monkeypatch.setattr(made, "_wait", lambda look_at: [(client, 0) for client in made._clients if client.busy])
    monkeypatch.setattr(made, "_on_event", lambda client, bits, now: made._finish(client, HELLO_HEAD, now))
    counted = made.run(0.0)
    assert sum(counted["statuses"].values()) == (8 if rate else 0), "those due in the measured second"


def test_an_open_loop_counts_what_is_never_answered() -> None:
    def silent(client: socket.socket, request: bytes) -> bool:
        time.sleep(5)
        return False

    with serving(silent) as port:
        result = run_load(load(port, clients=2, rate=20.0, timeout=0.3))
    assert result.good == 0
    assert result.errors["timeout"] == pytest.approx(10, abs=2)


ODD: dict[str, tuple[Answer, str]] = {}


def odd(name: str, error: str) -> Callable[[Answer], Answer]:
    def keep(answer: Answer) -> Answer:
        ODD[name] = answer, error
        return answer

    return keep


@odd("closes without an answer", "closed")
def closes(client: socket.socket, request: bytes) -> bool:
    return False


@odd("closes in the middle", "closed")
def closes_in_the_middle(client: socket.socket, request: bytes) -> bool:
    client.sendall(HELLO[:-2])
    return False


@odd("resets", "reset")
def resets(client: socket.socket, request: bytes) -> bool:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    return False


@odd("speaks no HTTP", "malformed")
def speaks_no_http(client: socket.socket, request: bytes) -> bool:
    client.sendall(b"220 mail.test ESMTP\r\n\r\n")
    return True


@odd("never answers", "timeout")
def never_answers(client: socket.socket, request: bytes) -> bool:
    return True


@odd("never ends", "timeout")
def never_ends(client: socket.socket, request: bytes) -> bool:
    client.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(1000):
        client.sendall(b"1\r\nx\r\n")
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("name", ODD)
def test_what_goes_wrong_is_counted_apart(name: str) -> None:
    answer, error = ODD[name]
    with serving(answer) as port:
        result = run_load(load(port, clients=2, timeout=0.2))
    assert set(result.errors) == {error}
    assert (result.good, result.histogram.count) == (0, 0)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    result = run_load(load(port, clients=2))
    assert set(result.errors) == {"refused"}
    assert result.good == 0


def test_a_connection_that_is_closed_between_requests_is_no_error() -> None:
    def last(client: socket.socket, request: bytes) -> bool:
        client.sendall(HELLO)
        return False

    def said(client: socket.socket, request: bytes) -> bool:
        client.sendall(HELLO.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        return False

    for answer in (last, said):
        with serving(answer) as port:
            result = run_load(load(port, clients=2))
        assert result.good > 10
        # A generator that did not get the CPU in time cannot tell when the connection was closed.
        assert sum(result.errors.values()) < result.good / 4


def test_a_request_that_is_cut_off_is_an_error_on_a_used_connection_too() -> None:
    """A worker that dies has lost the requests it was at, whatever was answered there before."""

    def dies_at_the_second(client: socket.socket, request: bytes) -> bool:
        hello(client, request)
        client.recv(65536)
        time.sleep(0.1)
        return False

    with serving(dies_at_the_second) as port:
        result = run_load(load(port, clients=2, duration=1.0))
    assert result.errors["closed"] >= 2
    assert result.good >= 2


def test_an_answer_before_the_request_was_sent_ends_the_connection() -> None:
    """The server reads no more of it, and the next request would come after what is left."""
    over = threading.Event()

    def too_large(client: socket.socket, request: bytes) -> bool:
        client.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        over.wait(60)
        return False

    large = Request("PUT", "/", (), b"x" * (16 << 20))
    with serving(too_large) as port:
        result = run_load(load(port, requests=(large,), clients=2, rate=20.0, timeout=1.0))
        over.set()
    assert set(result.statuses) == {413}
    assert result.errors == {}


def test_what_came_in_the_warm_up_is_not_counted() -> None:
    with serving(hello) as port:
        result = run_load(load(port, clients=2, warm_up=0.5, duration=0.2))
    assert result.bytes == result.good * len(HELLO)


def test_other_statuses_are_no_good_answers() -> None:
    turns = iter(range(1 << 30))

    def every_second(client: socket.socket, request: bytes) -> bool:
        client.sendall(HELLO if next(turns) % 2 else HELLO.replace(b"200 OK", b"500 Oh"))
        return True

    with serving(every_second) as port:
        result = run_load(load(port))
    assert set(result.statuses) == {200, 500}
    assert result.good == result.statuses[200] == result.histogram.count


def test_requests_take_turns_and_are_sent_as_they_are() -> None:
    seen: set[bytes] = set()

    def note(client: socket.socket, request: bytes) -> bool:
        seen.add(request)
        if request.startswith(b"HEAD"):
            client.sendall(HELLO[:-5])
            return True
        return hello(client, request)

    requests = (
        Request("GET", "/a?b=c"),
        Request("HEAD", "/"),
        Request("POST", "/orders", (("Content-Type", "text/plain"),), b"tea"),
    )
    with serving(note) as port:
        result = run_load(load(port, requests=requests))
    host = b"Host: 127.0.0.1:%d\r\n" % port
    assert seen == {
        b"GET /a?b=c HTTP/1.1\r\n" + host + b"\r\n",
        b"HEAD / HTTP/1.1\r\n" + host + b"\r\n",
        b"POST /orders HTTP/1.1\r\n" + host + b"Content-Length: 3\r\nContent-Type: text/plain\r\n\r\ntea",
    }
    assert result.errors == {}


def test_a_large_body_is_sent_whole() -> None:
    body = os.urandom(4 << 20)
    got: list[int] = []

    def take(client: socket.socket, request: bytes) -> bool:
        left = len(body) + request.index(b"\r\n\r\n") + 4 - len(request)
        while left:
            left -= len(client.recv(min(left, 65536)))
        got.append(left)
        return hello(client, request)

    with serving(take) as port:
        result = run_load(load(port, requests=(Request("PUT", "/", (), body),)))
    assert result.errors == {}
    assert len(got) >= result.good > 0


def test_several_processes_share_the_clients(tmp_path: Path) -> None:
    calls: list[float] = []
    clients: set[int] = set()

    def note(client: socket.socket, request: bytes) -> bool:
        clients.add(client.fileno())
        time.sleep(0.001)
        return hello(client, request)

    with serving(note) as port:
        result = run_load(load(port, clients=5, processes=2), lambda: calls.append(time.monotonic()))
    assert len(clients) == 5
    assert len(calls) >= 3
    assert result.good > 20
    assert 0 < result.cpu < 2


def test_a_unix_socket_is_a_server_too(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            client, _ = listener.accept()
            with client, suppress(ConnectionError):
                while request := client.recv(65536):
                    hello(client, request)

        threading.Thread(target=serve, daemon=True).start()
        result = run_load(Load(f"unix:{path}", 0, (Request(),), duration=0.3, warm_up=0.0))
    assert result.good > 10


def test_a_unix_socket_with_a_short_queue_refuses_nobody(tmp_path: Path) -> None:
    """Its kernel says "try again" where TCP would make the client wait."""
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)

        def serve(client: socket.socket) -> None:
            with client, suppress(OSError):
                while request := client.recv(65536):
                    hello(client, request)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=serve, args=(client,), daemon=True).start()
                    time.sleep(0.002)

        threading.Thread(target=accept, daemon=True).start()
        result = run_load(Load(f"unix:{path}", 0, (Request(),), clients=20, duration=0.5, warm_up=0.0))
        listener.shutdown(socket.SHUT_RDWR)
    assert result.errors == {}
    assert result.good > 10


def test_a_name_of_several_addresses_is_the_one_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As "localhost" is ::1 and 127.0.0.1, of which a server often has one."""
    with serving(hello) as port, socket.create_server(("127.0.0.1", 0)) as other:
        nobody = other.getsockname()
        other.close()
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(*kind, nobody), (*kind, ("127.0.0.1", port))])
        result = run_load(Load("shop.test", port, (Request(),), duration=0.2, warm_up=0.0))
    assert result.errors == {}
    assert result.good > 10


def test_a_host_that_there_is_not_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(LabError, match=r"no host 'shop.test': Name or service not known"):
        run_load(Load("shop.test", 80, (Request(),)))


def test_more_clients_than_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (50, 100))
    with pytest.raises(LabError, match=r"1000 clients in a process .* 100 files .* --processes"):
        run_load(Load("127.0.0.1", 80, (Request(),), clients=1000))


def test_the_soft_limit_of_files_is_no_limit() -> None:
    script = (
        "import resource, sys; from eitherway.lab.load import *;"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]));"
        "found = run_load(Load('127.0.0.1', int(sys.argv[1]), (Request(),), clients=100, duration=0.5));"
        "print(found.good > 100, dict(found.errors))"
    )
    with serving(hello) as port:
        done = subprocess.run([sys.executable, "-c", script, str(port)], capture_output=True, text=True, timeout=60)
    assert done.stdout == "True {}\n", done.stderr


def test_files_of_the_working_directory_are_not_taken_for_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json.py", "select.py", "socket.py"):
        (tmp_path / name).write_text("raise SystemExit('taken for a module')")
    monkeypatch.chdir(tmp_path)
    with serving(hello) as port:
        assert run_load(load(port)).good > 10


def generators(parent: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_generator_is_left_behind(number: int) -> None:
    script = (
        "import sys; from eitherway.lab.load import *;"
        "run_load(Load('127.0.0.1', int(sys.argv[1]), (Request(),), clients=4, duration=60.0, processes=2))"
    )
    with serving(hello) as port:
        user = subprocess.Popen([sys.executable, "-c", script, str(port)], stderr=subprocess.DEVNULL)
        wait_until(lambda: len(generators(user.pid)) == 2)
        left = generators(user.pid)
        user.send_signal(number)
        assert user.wait(20) != 0
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left))
