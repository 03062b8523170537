"""The supervisor as a whole: real servers, and faults while a load goes on."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest
from supervising import (
    StartSupervised,
    children,
    control,
    eitherway,
    get,
    is_alive,
    kill,
    status,
    wait_for_workers,
    workers,
)

import serving
from load import Load
from serving import wait_until

ENGINES = (
    ("supervised:app", "sync"),
    ("supervised:app", "threads"),
    ("supervised:app", "gevent"),
    ("supervised:app", "eventlet"),
    ("supervised:asgi", "uvloop"),
)
OTHER_LOOPS = tuple(("supervised:asgi", engine) for engine in ("twisted", *serving.OTHER_LOOPS))


# ---- start and end ----


def test_it_starts_and_stops(supervised: StartSupervised) -> None:
    server = supervised("supervised:app", "threads", 2)
    assert "by 2 workers (request balancing)" in server.log
    assert get(server, "/") == (200, b"ok")
    pids = set(workers(server).values())
    assert len(pids) == 2
    assert server.process.pid not in pids
    assert server.stop() == 0
    assert not any(is_alive(pid) for pid in pids)
    assert not Path(control(server)).exists()


def test_a_request_that_runs_is_answered_before_the_end(supervised: StartSupervised) -> None:
    server = supervised("supervised:app", "threads", 1)
    with server.connect() as client:
        client.send(b"GET /sleep?0.5 HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: status(server)["workers"][0]["running"] == 1)
        server.process.send_signal(signal.SIGTERM)
        response = client.response()
    assert response.status == 200
    assert response.headers["connection"] == "close"
    assert server.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGTERM])
def test_quit_and_a_second_term_end_it_now(supervised: StartSupervised, number: int) -> None:
    server = supervised("supervised:app", "sync", 2)
    with server.connect() as client:
        client.send(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: any(each["running"] for each in status(server)["workers"]))
        if number == signal.SIGTERM:
            server.process.send_signal(number)
            wait_until(lambda: "stopping 2 workers" in server.log)
        assert server.stop(number) == 0


def test_an_application_that_cannot_be_imported_ends_the_first_start(supervised: StartSupervised) -> None:
    server = supervised("no_such_module:app", "sync", 3, ready=False)
    assert server.wait() == 3
    assert server.log.count("no module named 'no_such_module'") == 1


def test_the_applications_traceback_is_printed_once(supervised: StartSupervised, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("app = 1 / 0\n")
    server = supervised("broken:app", "sync", 3, "--chdir", str(tmp_path), ready=False)
    assert server.wait() == 3
    assert server.log.count("Traceback") == server.log.count("app = 1 / 0") == 1


def test_a_supervisor_that_is_killed_leaves_nothing_behind(supervised: StartSupervised) -> None:
    server = supervised("supervised:app", "sync", 2)
    port = server.port
    pids = list(workers(server).values())
    with server.connect() as client:
        client.send(b"GET /sleep?0.5 HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: any(each["running"] for each in status(server)["workers"]))
        kill(server.process.pid)
        assert client.response().status == 200
    wait_until(lambda: not any(is_alive(pid) for pid in pids))
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do; a listener is still in the way
        sock.bind(("127.0.0.1", port))
        sock.listen()


def test_the_pid_file_is_there_while_it_serves(supervised: StartSupervised, tmp_path: Path) -> None:
    server = supervised("supervised:app", "sync", 1, "--pid-file", str(tmp_path / "pid"))
    assert int((tmp_path / "pid").read_text()) == server.process.pid
    assert server.stop() == 0
    assert not (tmp_path / "pid").exists()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_who_reads_the_pid_file_may_send_signals_at_once(
    supervised: StartSupervised, tmp_path: Path, number: int
) -> None:
    path = tmp_path / "pid"
    os.mkfifo(path)  # it is read the moment that it is written
    server = supervised("supervised:app", "sync", 2, "--pid-file", str(path), ready=False)
    os.kill(int(path.read_text()), number)
    path.unlink()
    if number != signal.SIGTERM:
        wait_for_workers(server.wait_ready(), 2)
        assert server.stop() == 0
    assert server.wait() == 0


# ---- workers that die ----


@pytest.mark.parametrize(("app", "engine"), ENGINES)
def test_a_killed_worker_is_replaced_under_load(supervised: StartSupervised, app: str, engine: str) -> None:
    server = supervised(app, engine, 2)
    with Load(server) as load:
        victim = workers(server)[1]
        kill(victim)
        wait_for_workers(server, 2, without={victim})
        load.wait_for(50)
    assert f"worker 1 (pid {victim}) was killed by signal 9 (SIGKILL)" in server.log
    assert set(load.statuses) == {200}
    assert len(load.failures) <= 8  # at most those whose connection was that worker's


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/exit", "ended with exit code 7 while running POST /exit"),
        ("/crash", "was killed by signal 11 (SIGSEGV) while running POST /crash"),
    ],
)
def test_a_worker_that_dies_of_a_request_is_named_with_it(supervised: StartSupervised, path: str, words: str) -> None:
    server = supervised("supervised:app", "threads", 2)
    before = set(workers(server).values())
    assert get(server, path, method="POST")[0] == 502
    wait_until(lambda: words in server.log)
    wait_until(lambda: len(set(workers(server).values()) - before) == 1 and len(workers(server)) == 2)
    assert get(server, "/") == (200, b"ok")
    if path == "/crash":
        assert 'supervised.py", line' in server.log  # the Python stack


def test_a_worker_that_an_operator_ends_has_not_failed(supervised: StartSupervised) -> None:
    server = supervised("supervised:app", "sync", 2)
    before = workers(server)
    os.kill(before[1], signal.SIGTERM)
    wait_for_workers(server, 2, without={before[1]})
    wait_until(lambda: f"worker 1 (pid {before[1]}) was told to end by others, and has" in server.log)
    assert "ERROR" not in server.log


def test_a_worker_that_closes_its_files_or_forks_does_not_harm_others(supervised: StartSupervised) -> None:
    server = supervised("supervised:app", "sync", 2)
    with Load(server) as load:
        assert get(server, "/fork")[0] == 200
        get(server, "/close")
        wait_until(lambda: "ended with exit code" in server.log or "was killed" in server.log)
        wait_for_workers(server, 2)
        load.wait_for(50)
    assert set(load.statuses) == {200}
    assert server.stop() == 0


def test_a_crash_loop_backs_off_and_ends_with_its_cause(supervised: StartSupervised, tmp_path: Path) -> None:
    source = Path(__file__).parent.parent / "apps" / "supervised.py"
    app = tmp_path / "looping.py"
    app.write_text(source.read_text())
    server = supervised("looping:app", "sync", 2, "--chdir", str(tmp_path))
    app.write_text("raise RuntimeError('gone bad')\n")
    kill(workers(server)[1])
    wait_until(lambda: "workers die early" in server.log)
    assert get(server, "/") == (200, b"ok")
    app.write_text(source.read_text())
    wait_for_workers(server, 2)
    wait_until(lambda: "gone bad" in server.log)


# ---- reload ----


@pytest.mark.parametrize(("app", "engine"), ENGINES)
def test_reloads_lose_no_request(supervised: StartSupervised, app: str, engine: str) -> None:
    server = supervised(app, engine, 2)
    with Load(server) as load:
        for _ in range(5):
            before = set(workers(server).values())
            server.process.send_signal(signal.SIGHUP)
            wait_for_workers(server, 2, without=before)
            load.wait_for(20)
    assert load.failures == []
    assert set(load.statuses) == {200}
    assert len(load.bodies) >= 6  # workers that answered
    wait_until(lambda: server.log.count("reloaded: all workers are new") == 5)
    assert " died" not in server.log
    assert "killed" not in server.log


def test_a_failed_reload_keeps_the_old_workers(supervised: StartSupervised, tmp_path: Path) -> None:
    app = tmp_path / "changing.py"
    source = (Path(__file__).parent.parent / "apps" / "supervised.py").read_text()
    app.write_text(source)
    server = supervised("changing:app", "threads", 2, "--chdir", str(tmp_path))
    before = workers(server)
    app.write_text("import no_such_module\n")
    with Load(server) as load:
        run = eitherway("reload", "--control-socket", control(server))
        load.wait_for(20)
    assert run.returncode == 1
    assert "the workers from before go on" in run.stderr
    assert "no_such_module" in run.stderr
    assert run.stderr.count("\n") == 1
    assert load.failures == []
    assert workers(server) == before
    app.write_text(source)
    run = eitherway("reload", "--control-socket", control(server))
    assert (run.returncode, run.stdout) == (0, "reloaded 2 workers\n")
    assert not set(workers(server).values()) & set(before.values())


def test_reload_follows_the_files(supervised: StartSupervised, tmp_path: Path) -> None:
    app = tmp_path / "edited.py"
    source = (Path(__file__).parent.parent / "apps" / "supervised.py").read_text()
    app.write_text(source)
    server = supervised("edited:app", "sync", 1, "--chdir", str(tmp_path), "--reload")
    wait_until(lambda: len(children(server.process.pid)) == 2)

    def edited() -> bool:
        # The watching begins some time after its process does: edit until it is seen.
        app.write_text(source.replace('b"ok"', 'b"new"'))
        return "reloaded" in server.log

    wait_until(edited)
    assert get(server, "/") == (200, b"new")
    assert server.stop() == 0


# ---- more, fewer, commands ----


def test_one_worker_more_or_less_by_signals(supervised: StartSupervised) -> None:
    server = supervised("supervised:app", "sync", 1)
    server.process.send_signal(signal.SIGTTIN)
    wait_for_workers(server, 2)
    server.process.send_signal(signal.SIGTTOU)
    wait_for_workers(server, 1)
    server.process.send_signal(signal.SIGTTOU)
    wait_until(lambda: server.log.count("1 workers from now on") == 2)
    assert len(workers(server)) == 1


def test_status_and_stop(supervised: StartSupervised) -> None:
    server = supervised("supervised:app", "threads", 2)
    assert get(server, "/fail")[0] == 500
    for _ in range(9):
        assert get(server, "/") == (200, b"ok")
    wait_until(lambda: status(server)["total"]["requests"] == 10)
    said = status(server)
    assert said["total"]["errors"] == 1
    assert said["total"]["request_time"]["p50"] > 0
    assert said["supervisor"]["pid"] == server.process.pid
    assert all(each["memory"] > 1 << 20 for each in said["workers"])
    table = eitherway("status", "--control-socket", control(server))
    assert table.returncode == 0
    assert table.stdout.startswith("supervised:app on threads, 2 workers")
    assert len(table.stdout.splitlines()) == 6
    assert table.stdout.splitlines()[1].startswith("balancer pid")
    assert Path(control(server)).stat().st_mode & 0o777 == 0o600
    stop = eitherway("stop", "--control-socket", control(server))
    assert (stop.returncode, stop.stdout) == (0, "stopped\n")
    assert server.wait() == 0
    gone = eitherway("status", "--control-socket", control(server))
    assert gone.returncode == 1
    assert gone.stderr.count("\n") == 1


def test_a_control_socket_is_not_taken_from_a_server_that_lives(supervised: StartSupervised) -> None:
    server = supervised("supervised:app", "sync", 1)
    second = eitherway("serve", "supervised:app", "--bind", "127.0.0.1:0", "--control-socket", control(server))
    assert (second.returncode, second.stderr.count("\n")) == (5, 1)
    assert f"another server has the control socket {control(server)}" in second.stderr
    assert status(server)["supervisor"]["pid"] == server.process.pid


def test_a_control_socket_that_was_left_behind_is_taken(supervised: StartSupervised) -> None:
    first = supervised("supervised:app", "sync", 1)
    with socket.socket(socket.AF_UNIX) as sock:
        stale = f"{control(first)}.stale"
        sock.bind(stale)
    server = supervised("supervised:app", "sync", 1, "--control-socket", stale, ready=False)
    server.control = stale  # type: ignore[attr-defined]
    wait_for_workers(server.wait_ready(), 1)


def test_the_counts_of_a_dead_worker_are_kept(supervised: StartSupervised) -> None:
    server = supervised("supervised:app", "sync", 2)
    for _ in range(10):
        get(server, "/")
    wait_until(lambda: status(server)["total"]["requests"] == 10)
    before = set(workers(server).values())
    for pid in before:
        kill(pid)
    wait_for_workers(server, 2, without=before)
    assert status(server)["total"]["requests"] == 10


# ---- recycling ----


def test_workers_are_recycled_by_requests(supervised: StartSupervised) -> None:
    server = supervised("supervised:app", "threads", 2, "--max-requests", "50", "--max-requests-jitter", "50")
    before = set(workers(server).values())
    with Load(server) as load:
        wait_for_workers(server, 2, without=before)
    assert load.failures == []
    assert set(load.statuses) == {200}
    wait_until(lambda: server.log.count("replacing it") >= 2)


def test_a_worker_that_leaks_is_recycled(supervised: StartSupervised) -> None:
    server = supervised("supervised:app", "sync", 1, "--max-memory", "200m")
    before = set(workers(server).values())
    with Load(server) as load:
        assert get(server, "/leak?300")[0] == 200
        wait_for_workers(server, 1, without=before)
    assert load.failures == []
    wait_until(lambda: "MiB: replacing it" in server.log)


# ---- preload ----


def test_workers_are_forked_from_what_was_imported_once(supervised: StartSupervised, tmp_path: Path) -> None:
    app = tmp_path / "preloaded.py"
    source = (Path(__file__).parent.parent / "apps" / "supervised.py").read_text()
    app.write_text(source + "\nprint('imported', flush=True)\n")
    server = supervised("preloaded:app", "threads", 2, "--chdir", str(tmp_path), "--preload")
    before = set(workers(server).values())
    with Load(server) as load:
        run = eitherway("reload", "--control-socket", control(server))
        assert run.returncode == 0
        load.wait_for(20)
        wait_for_workers(server, 2, without=before)
        assert server.out.count("imported") == 2  # once at the start, once for the reload
        app.write_text("import no_such_module\n")
        run = eitherway("reload", "--control-socket", control(server))
        assert run.returncode == 1
        assert "no_such_module" in run.stderr
        load.wait_for(20)
    assert load.failures == []
    app.write_text(source)
    victim = workers(server)
    kill(next(iter(victim.values())))
    wait_for_workers(server, 2, without={next(iter(victim.values()))})
    wait_until(lambda: "was killed by signal 9" in server.log)
    assert server.stop() == 0


ORPHANING = """
import os, time
def app(environ, start_response):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        if not os.fork():
            os.write(writer, b"%d" % os.getpid())
            time.sleep(60)
        os._exit(0)
    os.waitpid(child, 0)
    body = os.read(reader, 20)
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def test_an_orphan_of_an_application_is_no_zombie_at_its_end(supervised: StartSupervised, tmp_path: Path) -> None:
    """With a template we inherit it."""
    (tmp_path / "orphaning.py").write_text(ORPHANING)
    server = supervised("orphaning:app", "sync", 2, "--chdir", str(tmp_path), "--preload")
    orphan = int(get(server, "/")[1])
    wait_until(lambda: orphan in children(server.process.pid))
    kill(orphan)
    wait_until(lambda: not Path(f"/proc/{orphan}").exists())
    victim = workers(server)[1]
    kill(victim)
    wait_until(lambda: f"worker 1 (pid {victim}) was killed by signal 9" in server.log)
    assert server.stop() == 0


def test_preload_with_gevent_is_refused_with_the_reason() -> None:
    run = eitherway("serve", "supervised:app", "--engine", "gevent", "-w", "2", "--preload", "--bind", "127.0.0.1:0")
    assert run.returncode == 2
    assert "--engine gevent: it has to patch" in run.stderr


def test_a_preloaded_application_that_cannot_be_imported(supervised: StartSupervised) -> None:
    server = supervised("no_such_module:app", "sync", 2, "--preload", ready=False)
    assert server.wait() == 3
    assert server.log.count("no module named") == 1


# ---- stuck requests ----


def test_a_stuck_sync_worker_is_replaced_with_its_stack_in_the_log(supervised: StartSupervised) -> None:
    server = supervised("supervised:app", "sync", 2, "--timeout", "1s")
    with Load(server, clients=2):
        assert get(server, "/hang")[0] == 504
    wait_until(lambda: "stuck for" in server.log and "was killed" in server.log)
    line = next(line for line in server.log.splitlines() if "stuck for" in line)
    assert "supervised.py:" in line
    assert "hang (GET /hang)" in line
    wait_for_workers(server, 2)


@pytest.mark.parametrize(("app", "engine"), [*ENGINES[1:], ("supervised:asgi", "asyncio"), *OTHER_LOOPS])
def test_a_stuck_request_is_ended_and_its_worker_goes_on(supervised: StartSupervised, app: str, engine: str) -> None:
    server = supervised(app, engine, 1, "--timeout", "1s")
    before = workers(server)
    assert get(server, "/hang")[0] == 504
    wait_until(lambda: "(GET /hang)" in server.log)
    line = next(line for line in server.log.splitlines() if "stuck for" in line)
    assert "supervised.py:" in line
    assert get(server, "/") == (200, b"ok")
    assert workers(server) == before


@pytest.mark.parametrize(
    ("app", "engine", "path"), [("supervised:app", "threads", "/hang"), ("supervised:asgi", "uvloop", "/block")]
)
def test_a_worker_whose_threads_or_loop_are_held_is_replaced(
    supervised: StartSupervised, app: str, engine: str, path: str
) -> None:
    server = supervised(app, engine, 1, "--timeout", "1s", "--threads", "2")
    before = set(workers(server).values())
    for _ in range(2 if engine == "threads" else 1):
        assert get(server, path)[0] == (504 if engine == "threads" else 0)
    wait_for_workers(server, 1, without=before)
    assert get(server, "/") == (200, b"ok")
    assert f"(GET {path})" in server.log
