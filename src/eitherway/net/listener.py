"""Listening sockets: opening them, and accepting connections from them."""

from __future__ import annotations

import errno
import socket as socket_module
import stat
from collections.abc import Callable
from pathlib import Path

# Bound now: an engine that monkey-patches replaces the names in the module later.
from socket import socket as Socket  # noqa: N812

from eitherway.config import Address as Bind
from eitherway.errors import BindError
from eitherway.http.exchange import Address
from eitherway.net.connection import Connection
from eitherway.net.service import Member, Service

Connect = Callable[[Service, Socket, Address | None, Address | None], Member]

_ACCEPTS = 64  # connections taken in one turn, so that those open already are not kept waiting
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class ListeningSocket(Socket):
    """`owns_file`: a Unix socket's file goes with it. Not where somebody else has opened it, and may go on with it."""

    owns_file = False


def open_socket(bind: Bind, backlog: int) -> ListeningSocket:
    """A listening, non-blocking socket. Raises BindError."""
    sock: ListeningSocket | None = None
    try:
        if bind.path:
            _clear_stale(bind.path)
            sock = ListeningSocket(socket_module.AF_UNIX, socket_module.SOCK_STREAM)
            sock.bind(bind.path)
            sock.owns_file = True
        else:
            family = socket_module.AF_INET6 if ":" in bind.host else socket_module.AF_INET
            family, kind, protocol, _, address = socket_module.getaddrinfo(
                bind.host or None,
                bind.port,
                family,
                socket_module.SOCK_STREAM,
                flags=socket_module.AI_PASSIVE,
            )[0]
            sock = ListeningSocket(family, kind, protocol)
            sock.setsockopt(socket_module.SOL_SOCKET, socket_module.SO_REUSEADDR, 1)
            sock.setsockopt(socket_module.IPPROTO_TCP, socket_module.TCP_NODELAY, 1)  # accepted sockets inherit it
            sock.bind(address)
        sock.listen(backlog)
        sock.setblocking(False)
        return sock
    except OSError as error:
        if sock is not None:
            sock.close()
        raise BindError(_explain(bind, error)) from None


def close_socket(sock: ListeningSocket) -> None:
    """Close a listening socket; a Unix socket's file goes with it, if it is ours."""
    if sock.fileno() < 0:
        return
    path = sock.getsockname() if sock.owns_file else ""
    sock.close()
    if path:
        Path(path).unlink(missing_ok=True)


def _clear_stale(path: str) -> None:
    """Remove a socket file that nobody listens on any more; never anything else."""
    try:
        if not stat.S_ISSOCK(Path(path).stat().st_mode):
            raise OSError(errno.EEXIST, "the file exists and is not a socket")
    except FileNotFoundError:
        return
    probe = Socket(socket_module.AF_UNIX, socket_module.SOCK_STREAM)
    probe.setblocking(False)
    try:
        probe.connect(path)
    except ConnectionRefusedError:
        Path(path).unlink()
    except BlockingIOError:  # so many wait there already
        raise OSError(errno.EADDRINUSE, "another server listens there") from None
    else:
        raise OSError(errno.EADDRINUSE, "another server listens there")
    finally:
        probe.close()


def _explain(bind: Bind, error: OSError) -> str:
    advice = {
        errno.EADDRINUSE: "another process listens there; stop it, or choose another --bind",
        errno.EACCES: "not permitted; ports below 1024 and other users' directories need rights",
        errno.EADDRNOTAVAIL: "no network interface of this machine has that address",
        errno.ENOENT: "the directory does not exist",
    }.get(error.errno or 0, error.strerror or str(error))
    if error.errno == errno.EADDRINUSE and bind.host == "::":
        advice = "another socket has that port; [::] takes IPv4 too, so leave out a --bind for that, or stop the other"
    return f"cannot listen on {bind}: {advice}"


def display(sock: Socket) -> str:
    """The address as a user types it: http://127.0.0.1:8000, unix:/run/shop.sock."""
    name = sock.getsockname()
    if sock.family == socket_module.AF_UNIX:
        return f"unix:{name}"
    host, port = name[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Listener:
    """Accepts from one listening socket. `connect` makes a connection of what was accepted.

    `shared`: other processes accept from it too, and a Unix socket's file is not ours.
    """

    def __init__(
        self, service: Service, sock: ListeningSocket, *, shared: bool = False, connect: Connect | None = None
    ) -> None:
        self._service = service
        self._connect = connect or Connection
        self._socket = sock
        self._unix = sock.family == socket_module.AF_UNIX
        self._server: Address | None = None if self._unix else sock.getsockname()[:2]
        self._shared = shared
        self._paused = False

    def start(self) -> None:
        self._service.poller.watch(self._socket.fileno(), self._on_ready)

    def drain(self) -> None:
        """Accept whoever has connected by now, then nobody any more."""
        accepted = -1
        while accepted < len(self._service.connections):
            accepted = len(self._service.connections)
            self._on_ready(0)
        self.leave()

    def leave(self) -> None:
        """Accept nobody any more; who has connected is left to those who share the socket."""
        self._service.poller.remove(self._socket.fileno())
        self.stop()

    def stop(self) -> None:
        """Close the socket: from now on the kernel refuses clients."""
        if self._shared:
            self._socket.close()
        else:
            close_socket(self._socket)

    def _on_ready(self, bits: int) -> None:
        sock = self._socket
        service = self._service
        for _ in range(_ACCEPTS):
            if service.siblings is not None and service.siblings.leaves_to_others(service.poller.now):
                return
            try:
                # The public accept() would look its class up in the module, where gevent has put its own.
                fd, address = sock._accept()  # type: ignore[attr-defined]
            except BlockingIOError:
                return
            except OSError as error:
                self._on_error(error)
                return
            accepted = Socket(sock.family, sock.type, sock.proto, fileno=fd)
            accepted.setblocking(False)
            connection = self._connect(service, accepted, None if self._unix else address[:2], self._server)
            if not service.make_room():
                connection.turn_away()

    def _on_error(self, error: OSError) -> None:
        if error.errno not in _EXHAUSTED:
            return  # the client gave up before it was accepted
        self._service.warn(
            "accept",
            "cannot accept connections: %s (%d open); raise the limit of open files, or lower --limit-connections",
            error.strerror,
            len(self._service.connections),
        )
        if not self._paused:
            self._paused = True
            self._service.poller.pause(self._socket.fileno())
            self._service.on_next_sweep(self._resume)

    def _resume(self) -> None:
        self._paused = False
        if not self._service.draining:
            self._service.poller.resume(self._socket.fileno())
