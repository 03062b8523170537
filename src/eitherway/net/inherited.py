"""Listening sockets that somebody else opened: systemd (sd_listen_fds(3)), `--bind fd://3`, a former supervisor."""

from __future__ import annotations

import os
import socket as socket_module

from eitherway.errors import BindError
from eitherway.net.listener import ListeningSocket

FIRST = 3  # the first descriptor that is passed on
PREDECESSOR = "_EITHERWAY_PREDECESSOR"  # a variable: by whom, where it is a former supervisor (supervisor.upgrade)


def passed_sockets() -> list[ListeningSocket]:
    """The sockets that the variables LISTEN_FDS and LISTEN_PID speak of; none where they mean another process.

    The variables are removed, so that no child takes them for its own. Raises BindError.
    """
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    return [adopt(fd) for fd in range(FIRST, FIRST + int(count))]


def adopt(fd: int) -> ListeningSocket:
    """The listening socket that an inherited descriptor is. Raises BindError."""
    try:
        os.set_inheritable(fd, False)
        sock = ListeningSocket(fileno=fd)
    except OSError as error:
        raise BindError(f"fd://{fd}: no socket was passed under that number ({error.strerror})") from None
    if sock.type != socket_module.SOCK_STREAM or not sock.getsockopt(
        socket_module.SOL_SOCKET, socket_module.SO_ACCEPTCONN
    ):
        sock.detach()
        raise BindError(f"fd://{fd}: that is no listening stream socket")
    sock.setblocking(False)
    if sock.family != socket_module.AF_UNIX:
        sock.setsockopt(socket_module.IPPROTO_TCP, socket_module.TCP_NODELAY, 1)  # accepted sockets inherit it
    return sock
