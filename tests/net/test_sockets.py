"""net/listener.py, net/poller.py and whom net/service.py trusts."""

from __future__ import annotations

import logging
import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from eitherway.config.values import parse_bind
from eitherway.errors import BindError
from eitherway.net.inherited import adopt
from eitherway.net.listener import display, open_socket
from eitherway.net.poller import IN, Poller
from eitherway.net.service import _trusted


def test_a_tcp_socket() -> None:
    with open_socket(parse_bind("127.0.0.1:0"), 10) as sock:
        host, port = sock.getsockname()
        assert (host, sock.getblocking()) == ("127.0.0.1", False)
        assert display(sock) == f"http://127.0.0.1:{port}"
        with pytest.raises(BindError, match="another process listens there"):
            open_socket(parse_bind(f"127.0.0.1:{port}"), 10)


def test_an_inherited_socket_answers_without_delay() -> None:
    """Else the second part of an answer waits for the client's acknowledgement of the first."""
    listening = socket.create_server(("127.0.0.1", 0))
    with adopt(listening.detach()) as sock, socket.create_connection(sock.getsockname()):
        sock.setblocking(True)
        accepted, _ = sock.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_an_ipv6_socket() -> None:
    try:
        sock = open_socket(parse_bind("[::1]:0"), 10)
    except BindError:
        pytest.skip("no IPv6 loopback here")
    with sock:
        assert display(sock) == f"http://[::1]:{sock.getsockname()[1]}"


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with open_socket(parse_bind(f"unix:{path}"), 10) as sock:
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert display(sock) == f"unix:{path}"
        with pytest.raises(BindError, match="another process listens there"):
            open_socket(parse_bind(f"unix:{path}"), 10)
    with open_socket(parse_bind(f"unix:{path}"), 10):  # the file was left behind by a server that died
        assert path.exists()


def test_a_unix_socket_of_a_server_that_is_too_busy_to_accept_is_not_stale(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with open_socket(parse_bind(f"unix:{path}"), 0), socket.socket(socket.AF_UNIX) as waiting:
        waiting.connect(str(path))  # the only one that the backlog takes
        with pytest.raises(BindError, match="another process listens there"):
            open_socket(parse_bind(f"unix:{path}"), 10)
    assert path.exists()


def test_every_interface_of_ipv6_is_every_one_of_ipv4_too() -> None:
    with open_socket(parse_bind(":0"), 10) as sock:
        with pytest.raises(BindError, match="takes IPv4 too") as info:
            open_socket(parse_bind(f"[::]:{sock.getsockname()[1]}"), 10).close()
        assert "leave out" in str(info.value)


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(BindError):
        open_socket(parse_bind(f"unix:{path}"), 10)
    assert path.read_text() == "data"


def test_a_directory_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(BindError, match="directory does not exist"):
        open_socket(parse_bind(f"unix:{tmp_path}/no/a.sock"), 10)


def test_an_error_with_one_socket_takes_no_event_from_the_others(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it come out: loops as gevent's and Twisted's would forget the poller."""
    poller = Poller()
    seen: list[object] = []

    def fail(bits: int = 0) -> None:
        seen.append("failed")
        raise RuntimeError("within the poller")

    pairs = [socket.socketpair() for _ in range(3)]
    for number, (ours, theirs) in enumerate(pairs):
        poller.add(ours.fileno(), fail if number == 1 else seen.append)
        theirs.send(b"x")
    poller.post(fail)
    poller.post(lambda: seen.append("posted"))
    monkeypatch.setattr(logging.getLogger("eitherway"), "propagate", True)
    poller.turn(0)
    assert sorted(map(type, seen), key=str) == [int, int, str, str, str]
    assert seen[-2:] == ["failed", "posted"]
    assert [record.exc_info is not None for record in caplog.records] == [True], "one a second is enough"
    for sock in (each for pair in pairs for each in pair):
        sock.close()
    poller.close()


def test_the_poller_says_once_what_became_true() -> None:
    poller = Poller()
    ours, theirs = socket.socketpair()
    seen: list[int] = []
    with ours, theirs:
        ours.setblocking(False)
        poller.add(ours.fileno(), seen.append)
        poller.turn(0)
        seen.clear()
        theirs.send(b"a")
        poller.turn(0)
        assert len(seen) == 1
        assert seen[0] & IN
        poller.turn(0)
        assert len(seen) == 1, "edge-triggered"
        theirs.send(b"b")
        poller.remove(ours.fileno())
        poller.turn(0)
        assert len(seen) == 1
    poller.close()


def test_the_poller_runs_what_is_posted_from_another_thread() -> None:
    poller = Poller()
    ran_in: list[int] = []
    thread = threading.Thread(target=poller.post, args=(lambda: ran_in.append(threading.get_ident()),))
    thread.start()
    while not ran_in:
        poller.turn(20)
    thread.join()
    assert ran_in == [threading.get_ident()]
    poller.close()


def test_what_is_posted_by_what_was_posted_waits_for_the_next_turn() -> None:
    poller = Poller()
    order: list[int] = []
    poller.post(lambda: (order.append(1), poller.post(lambda: order.append(2))))  # type: ignore[arg-type,return-value]
    poller.turn(0)
    assert order == [1]
    poller.turn(None)
    assert order == [1, 2]
    poller.close()


def test_a_descriptor_removed_in_a_batch_is_not_called_in_it() -> None:
    poller = Poller()
    pairs = [socket.socketpair() for _ in range(2)]
    called: list[int] = []

    def watch(mine: int, other: int) -> None:
        poller.add(mine, lambda bits: (called.append(mine), poller.remove(other)))  # type: ignore[func-returns-value,arg-type]

    first, second = (pair[0].fileno() for pair in pairs)
    watch(first, second)
    watch(second, first)
    poller.turn(0)
    assert len(called) == 1
    poller.close()
    for pair in pairs:
        for each in pair:
            each.close()


def test_watching_goes_on_for_as_long_as_there_is_something() -> None:
    poller = Poller()
    end, start = os.pipe()
    calls: list[int] = []
    poller.watch(end, calls.append)
    os.write(start, b"a")
    poller.turn(0)
    poller.turn(0)
    assert len(calls) == 2
    poller.pause(end)
    poller.turn(0)
    assert len(calls) == 2
    poller.resume(end)
    poller.turn(0)
    assert len(calls) == 3
    poller.close()
    os.close(end)
    os.close(start)


@pytest.mark.parametrize(
    ("allowed", "peer", "trusted"),
    [
        (("127.0.0.0/8",), ("127.0.0.1", 1), True),
        (("127.0.0.0/8",), ("127.9.9.9", 1), True),
        (("127.0.0.0/8",), ("128.0.0.1", 1), False),
        (("127.0.0.0/8",), ("::ffff:127.0.0.1", 1), True),
        (("::1",), ("::1", 1), True),
        (("::1",), ("::2", 1), False),
        (("10.0.0.1",), ("10.0.0.1", 1), True),
        (("10.0.0.1",), ("10.0.0.10", 1), False),
        (("10.0.0.5/8",), ("10.200.0.1", 1), True),
        (("unix",), None, True),
        (("10.0.0.1",), None, False),
        (("unix",), ("127.0.0.1", 1), False),
        (("*",), None, True),
        (("*",), ("6.6.6.6", 1), True),
        ((), ("127.0.0.1", 1), False),
        (("127.0.0.0/8",), ("no address", 1), False),
        (("127.0.0.0/8",), ("", 1), False),
    ],
)
def test_whom_to_trust(allowed: tuple[str, ...], peer: tuple[str, int] | None, trusted: bool) -> None:
    trusts = _trusted(allowed)
    assert trusts(peer) is trusted
    assert trusts(peer) is trusted, "remembered"
