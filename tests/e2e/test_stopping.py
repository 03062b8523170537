"""Starting and stopping: signals, what is finished before the end, addresses, and one line for what goes wrong."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from serving import ASGI_ENGINES, PATIENCE, WSGI_ENGINES, WSGI_KINDS, Client, Server, Start, request_bytes, wait_until

WSGI, ASGI = "wsgi_routes:app", "asgi_routes:app"
PAIRS = [(WSGI, engine) for engine in WSGI_ENGINES] + [(ASGI, engine) for engine in ASGI_ENGINES]
every_pair = pytest.mark.parametrize(("app", "engine"), PAIRS, ids=[f"{app[:4]}-{engine}" for app, engine in PAIRS])


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


def hold(server: Server, gate: Path, key: str = "key", route: str = "held") -> Client:
    """A client whose request is running."""
    client = server.connect()
    client.send(request_bytes(f"/{route}?key={key}&gate={quote(str(gate))}"))
    wait_until(lambda: server.notes(key) == ["in"])
    return client


def refuses_connections(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return True
    return False


# ---- the end ----


@pytest.mark.parametrize(("app", "engine"), [(WSGI, "threads"), (ASGI, "uvloop")])
def test_who_has_just_connected_may_still_ask(app: str, engine: str, own_server: Start, gate: Path) -> None:
    """The first request may be on its way when the server begins to stop; one that never comes holds nothing up."""
    server = own_server(app, engine)
    with server.connect() as fresh, server.connect() as silent, hold(server, gate) as running:
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "stopping" in server.log)
        fresh.send(request_bytes("/hello"))
        response = fresh.response()
        assert (response.body, response.headers["connection"]) == (b"hello", "close")
        gate.touch()
        assert running.response().body == b"released"
        assert silent.is_closed()
    assert server.wait() == 0


@pytest.mark.parametrize(
    ("app", "engine", "number"),
    [(*pair, signal.SIGTERM) for pair in PAIRS] + [(WSGI, "threads", signal.SIGINT), (ASGI, "uvloop", signal.SIGINT)],
)
def test_what_runs_is_finished(app: str, engine: str, number: int, own_server: Start, gate: Path) -> None:
    server = own_server(app, engine)
    address = server.address
    with server.connect() as idle, hold(server, gate) as running:
        idle.send(request_bytes("/hello"))
        if engine != "sync":
            assert idle.response().body == b"hello"
        server.process.send_signal(number)
        if (app, engine) != (WSGI, "sync"):  # there the running request has the only thread
            wait_until(lambda: "stopping" in server.log)
            if engine != "sync":
                assert idle.is_closed()
        assert server.process.poll() is None
        gate.touch()
        response = running.response()
        assert response.body == b"released"
        if (app, engine) != (WSGI, "sync"):
            assert response.headers["connection"] == "close"
        if engine == "sync":
            assert idle.response().body == b"hello"
        assert running.is_closed()
    assert server.wait() == 0
    assert refuses_connections(address)
    assert "Traceback" not in server.log
    assert "cut off" not in server.log
    if app == ASGI:
        assert server.notes("lifespan") == ["shutdown"]


@pytest.mark.parametrize(
    ("app", "engine"),
    [
        # A stopped process takes its signals in any thread.
        *PAIRS,
    ],
)
def test_a_request_that_was_there_before_the_signal_is_answered(app: str, engine: str, own_server: Start) -> None:
    """It lies in the kernel's backlog, or in an open connection's buffer, when the server learns that it must stop."""
    server = own_server(app, engine)
    with server.connect() as known, server.connect() as idle:
        assert known.ask("/hello").body == idle.ask("/hello").body == b"hello"
        server.process.send_signal(signal.SIGSTOP)
        known.send(request_bytes("/hello"))
        with server.connect() as new:
            new.send(request_bytes("/hello"))
            server.process.send_signal(signal.SIGTERM)
            server.process.send_signal(signal.SIGCONT)
            for client in (known, new):
                assert client.response().body == b"hello"
                client.socket.settimeout(5)
                assert client.is_closed()
        assert idle.is_closed()
    assert server.wait() == 0


@pytest.mark.parametrize(
    ("app", "engine"),
    [
        *PAIRS,
    ],
)
def test_a_signal_that_another_thread_takes_stops_the_server_too(app: str, engine: str, own_server: Start) -> None:
    """The kernel gives a signal to any thread, as behind Ctrl-Z and `kill %1`; Python acts on it in the main thread."""
    server = own_server(app, engine)
    assert server.ask("/hello").body == b"hello"
    main = server.process.pid
    if engine == "threads":
        wait_until(lambda: len(list(Path(f"/proc/{main}/task").iterdir())) >= 9)
    wait_until(lambda: all(state_of(main) == "S" for _ in range(20)))  # it waits, and is not about to do so
    threads = [int(each.name) for each in Path(f"/proc/{main}/task").iterdir()]
    os.kill(next((each for each in threads if each != main), main), signal.SIGTERM)
    wait_until(lambda: server.process.poll() is not None, patience=5)
    assert server.process.returncode == 0


def state_of(process: int) -> str:
    """The state of a process's main thread: S while it waits."""
    time.sleep(0.005)
    return Path(f"/proc/{process}/task/{process}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.parametrize(("app", "engine"), [pair for pair in PAIRS if pair != (WSGI, "sync")])
def test_new_connections_are_refused_while_others_finish(app: str, engine: str, own_server: Start, gate: Path) -> None:
    server = own_server(app, engine)
    with hold(server, gate) as running:
        server.process.terminate()
        wait_until(lambda: "stopping: 1 request" in server.log)
        wait_until(lambda: refuses_connections(server.address))
        gate.touch()
        assert running.response().body == b"released"
    assert server.wait() == 0


@pytest.mark.parametrize(("app", "engine"), [(WSGI, engine) for engine in WSGI_KINDS if engine != "sync"])
def test_the_graceful_time_out_cuts_off(app: str, engine: str, own_server: Start, gate: Path) -> None:
    server = own_server(app, engine, "--graceful-timeout", "0.2")
    with hold(server, gate) as running:
        assert server.stop() == 0
        try:
            assert b"released" not in running.read_all()
        except ConnectionResetError:
            pass  # the other way to see that there is no answer
    assert "cut off after 0.2 s of stopping: GET /held?key=key" in server.log


def test_sync_cuts_off_what_waits_for_its_client(own_server: Start) -> None:
    server = own_server(WSGI, "sync", "--graceful-timeout", "0.2")
    with server.connect() as client:
        client.send(request_bytes("/taken?how=all", "POST", "Content-Length: 100000", "Expect: 100-continue"))
        client.read_until(b"100 Continue\r\n\r\n")
        assert server.stop() == 0
    assert server.log.count("cut off after 0.2 s of stopping: POST /taken") == 1
    assert "Traceback" not in server.log


def test_an_application_that_blocks_all_does_not_hold_up_the_end(own_server: Start, gate: Path, tmp_path: Path) -> None:
    """Where its thread, or the loop, is the only one, nobody is left who could stop in time."""
    path = tmp_path / "socket"
    (tmp_path / "threaded.py").write_text(
        "import threading\nfrom wsgi_routes import app\nthreading.Thread(target=threading.Event().wait).start()\n"
    )
    options = ("--graceful-timeout", "0.1", "--pythonpath", str(tmp_path))
    wsgi = own_server(WSGI, "sync", "--bind", f"unix:{path}", *options)
    asgi = own_server(ASGI, "asyncio", *options)
    threaded = own_server("threaded:app", "threads", *options)
    with hold(wsgi, gate), hold(asgi, gate, route="blocked"):
        for server in (wsgi, asgi, threaded):
            server.process.terminate()
        assert (wsgi.wait(), asgi.wait(), threaded.wait()) == (0, 0, 0)
    assert "cut off after 0.1 s of stopping: GET /held?key=key" in wsgi.log
    assert "cut off after 0.1 s of stopping: GET /blocked?key=key" in asgi.log
    assert "threads that are not daemons" in threaded.log
    assert not path.exists()


@every_pair
def test_a_second_interrupt_ends_it_now(app: str, engine: str, own_server: Start, gate: Path) -> None:
    server = own_server(app, engine)
    with hold(server, gate):
        server.process.send_signal(signal.SIGINT)
        if (app, engine) != (WSGI, "sync"):
            wait_until(lambda: "stopping" in server.log)
        else:
            # Its thread is in the application, whose sleep the signal interrupts; two at once would be one.
            wait_until(lambda: not pending(server, signal.SIGINT))
        server.process.send_signal(signal.SIGINT)
        assert server.wait() == 130


def pending(server: Server, number: int) -> bool:
    """Whether the process has not taken a signal yet (SigPnd and ShdPnd in /proc/PID/status)."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(("SigPnd", "ShdPnd"))]
    return any(mask >> (number - 1) & 1 for mask in masks)


@every_pair
def test_an_idle_server_ends_at_once(app: str, engine: str, own_server: Start) -> None:
    server = own_server(app, engine)
    assert server.stop() == 0
    lines = [line for line in server.log.splitlines() if not line.startswith("note ")]
    assert len(lines) == 2, lines  # the banner, and that it stops


# ---- addresses ----


@pytest.mark.parametrize("engine", ["threads", "gevent", "eventlet", "uvloop"])
def test_the_file_of_a_unix_socket_comes_and_goes(engine: str, own_server: Start, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()  # the file of a server that is gone may be replaced
    server = own_server(WSGI, engine, bind=f"unix:{path}")
    assert f"at unix:{path}, pid" in server.log
    with Client(socket.socket(socket.AF_UNIX)) as client:
        client.socket.settimeout(PATIENCE)
        client.socket.connect(str(path))
        assert client.ask("/hello").body == b"hello"
    assert server.stop() == 0
    assert not path.exists()


def test_two_addresses(own_server: Start, tmp_path: Path) -> None:
    server = own_server(WSGI, "threads", "--bind", f"unix:{tmp_path / 's'}")
    assert server.ask("/hello").body == b"hello"
    with Client(socket.socket(socket.AF_UNIX)) as client:
        client.socket.settimeout(PATIENCE)
        client.socket.connect(str(tmp_path / "s"))
        assert client.ask("/hello").body == b"hello"
    assert f"http://127.0.0.1:{server.port}, unix:{tmp_path / 's'}" in server.log


def test_ipv6(own_server: Start) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    server = own_server(WSGI, "threads", bind="[::1]:0")
    assert "http://[::1]:" in server.log
    assert server.port
    response = server.ask("/environ")
    assert b'"REMOTE_ADDR": "::1"' in response.body
    assert b'"SERVER_NAME": "::1"' in response.body


def test_port_0_is_a_free_one_and_the_banner_tells_which(own_server: Start) -> None:
    first, second = own_server(WSGI, "sync"), own_server(WSGI, "sync")
    assert 0 < first.port != second.port > 0


# ---- what prevents a start ----


def fails_with(server: Server, code: int, *texts: str) -> str:
    """The one line that the server ended with."""
    assert server.wait() == code
    assert server.log.endswith("\n")
    line = server.log.splitlines()[-1]
    assert line.startswith("eitherway: ")
    for text in texts:
        assert text in line
    return server.log.removesuffix(line + "\n")


def test_a_taken_port(own_server: Start) -> None:
    first = own_server(WSGI, "sync")
    second = own_server(WSGI, "sync", bind=f"127.0.0.1:{first.port}", ready=False)
    assert fails_with(second, 5, f"127.0.0.1:{first.port}", "another process listens there") == ""
    assert first.ask("/hello").body == b"hello"


def test_a_second_address_that_cannot_be_opened(own_server: Start, tmp_path: Path) -> None:
    server = own_server(WSGI, "sync", "--bind", f"unix:{tmp_path}/none/s", bind=f"unix:{tmp_path}/s", ready=False)
    assert fails_with(server, 5, f"{tmp_path}/none/s", "does not exist") == ""
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("bind", "text"),
    [
        ("unix:{tmp}/none/socket", "the directory does not exist"),
        ("unix:{tmp}/file", "is not a socket"),
        ("unix:{tmp}/" + "long" * 50, "cannot listen on unix:"),
        ("192.0.2.1:0", "no network interface of this machine has that address"),
        ("no.such.host.invalid:0", "cannot listen on no.such.host.invalid:0"),
    ],
)
def test_an_address_that_cannot_be_listened_on(bind: str, text: str, own_server: Start, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    server = own_server(WSGI, "sync", bind=bind.format(tmp=tmp_path), ready=False)
    assert fails_with(server, 5, text) == ""
    assert (tmp_path / "file").read_text() == "precious"


def test_another_server_s_unix_socket_is_left_alone(own_server: Start, tmp_path: Path) -> None:
    first = own_server(WSGI, "sync", bind=f"unix:{tmp_path / 's'}")
    second = own_server(WSGI, "sync", bind=f"unix:{tmp_path / 's'}", ready=False)
    assert fails_with(second, 5, "another process listens there") == ""
    assert (tmp_path / "s").exists()
    assert first.stop() == 0


@pytest.mark.parametrize("engine", ["threads", "gevent", "eventlet", "uvloop"])
def test_an_application_that_fails_to_import(engine: str, own_server: Start, tmp_path: Path) -> None:
    (tmp_path / "broken_shop.py").write_text("import os\n\nraise ValueError('no settings')\n")
    server = own_server("broken_shop:app", engine, "--pythonpath", str(tmp_path), ready=False)
    before = fails_with(server, 3, "importing broken_shop raised ValueError: no settings")
    assert before.startswith("Traceback (most recent call last):\n")
    assert f'File "{tmp_path}/broken_shop.py", line 3' in before
    assert "importlib" not in before


@pytest.mark.parametrize(
    ("app", "code", "text"),
    [
        ("wsgi_routes:ap", 3, "did you mean 'app'?"),
        ("wsgi_route:app", 3, "did you mean 'wsgi_routes'?"),
        ("wsgi_routes:BLOCK", 3, ""),
        ("", 3, "no application is named"),
    ],
)
def test_an_application_that_is_not_there(app: str, code: int, text: str, own_server: Start) -> None:
    assert fails_with(own_server(app, "threads", ready=False), code, text) == ""


def test_privileged_ports_need_rights(own_server: Start) -> None:
    limit = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    if os.geteuid() == 0 or not limit.exists() or int(limit.read_text()) <= 80:
        pytest.skip("every port is allowed here")
    assert fails_with(own_server(WSGI, "sync", bind="127.0.0.1:80", ready=False), 5, "not permitted") == ""
