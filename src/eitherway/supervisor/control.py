"""The control socket: `eitherway status`, `reload` and `stop` speak to a running supervisor.

A Unix socket of mode 0600; a JSON object a line each way: {"command": "status"} and its answer.
"""

from __future__ import annotations

import json
import os
import socket as socket_module
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from socket import socket as Socket  # noqa: N812
from typing import Any

from eitherway.errors import BindError, ControlError
from eitherway.supervisor.events import Events
from eitherway.supervisor.handle import Line

_PATIENCE = 5.0  # seconds for a command to be taken
_CLIENTS = 16

Answer = Callable[[dict[str, Any]], object]


def default_directory() -> Path:
    """Where supervisors of this user have their sockets, when they are not told where."""
    name = f"eitherway-{os.getuid()}"
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    try:
        if runtime and Path(runtime).stat().st_uid == os.getuid():  # else left over from whoever called su or sudo
            return Path(runtime) / name
    except OSError:
        pass  # a container, or a session that has ended
    try:
        return Path(tempfile.gettempdir()) / name
    except OSError:
        return Path("/tmp") / name  # who wants to write there is told why that cannot be


# ---- the supervisor's side ----


class ControlServer:
    """Listens; a line that has come is given to `on_command`, with the means to answer it now or later.

    Nobody finds it before it is told to `appear`: then it takes the place of a former one.
    """

    def __init__(self, path: str, on_command: Callable[[str, Answer], None], events: Events) -> None:
        self.path = Path(path) if path else _private_directory() / f"{os.getpid()}.sock"
        # Bound beside its place and moved there, so that it is never open to others.
        self.fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        self._on_command = on_command
        self._events = events
        self._clients: list[Line] = []
        self.socket = Socket(socket_module.AF_UNIX, socket_module.SOCK_STREAM)
        try:
            self.fresh.unlink(missing_ok=True)
            self.socket.bind(str(self.fresh))
            self.fresh.chmod(0o600)
            self.socket.listen(_CLIENTS)
        except OSError as error:
            self.socket.close()
            raise self._error(error) from None
        self.inode = self.fresh.stat().st_ino
        self.socket.setblocking(False)
        events.watch(self.socket, self._accept)

    def appear(self, *, replaces: bool = False) -> None:
        """`replaces`: the server that has the place now is ours. Raises BindError."""
        if not replaces and _is_answered(self.path):
            raise BindError(f"another server has the control socket {self.path}; stop it, or name another place")
        try:
            self.fresh.replace(self.path)
        except OSError as error:
            raise self._error(error) from None

    def _error(self, error: OSError) -> BindError:
        why = error.strerror or error
        return BindError(f"cannot open the control socket {self.path}: {why}; name a --control-socket elsewhere")

    def _accept(self) -> None:
        try:
            client, _ = self.socket.accept()
        except OSError:
            return  # it has gone again
        if len(self._clients) >= _CLIENTS:
            client.close()
            return
        line = Line(client)
        self._clients.append(line)
        self._events.watch(line, lambda: self._hear(line))

    def _hear(self, line: Line) -> None:
        for message in line.receive():
            self._on_command(str(message.get("command")), line.send)
        if line.closed:
            self._events.unwatch(line)
            self._clients.remove(line)
            line.close()

    def forget(self) -> None:
        """In a child: close what is the supervisor's."""
        self.socket.close()
        for line in self._clients:
            line.close()

    def disappear(self) -> None:
        """Be found by nobody any more; those who have come may still be answered."""
        self._events.unwatch(self.socket)
        for path in (self.fresh, self.path):
            try:
                if path.stat().st_ino == self.inode:  # another may have put its own there
                    path.unlink()
            except OSError:
                pass  # it is not there

    def close(self) -> None:
        self.forget()
        self.disappear()


def _is_answered(path: Path) -> bool:
    with Socket(socket_module.AF_UNIX, socket_module.SOCK_STREAM) as sock:
        try:
            sock.connect(str(path))
        except OSError:
            return False  # there is nobody, or not any more
    return True


def _private_directory() -> Path:
    directory = default_directory()
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        found = directory.lstat()
    except OSError as error:
        raise BindError(
            f"cannot make {directory} for the control socket: {error.strerror}; name a --control-socket elsewhere"
        ) from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise BindError(f"{directory} is not a directory of this user alone; name a --control-socket elsewhere")
    return directory


# ---- the command line's side ----


def ask(path: str, command: str, patience: float | None = _PATIENCE) -> dict[str, Any]:
    """Send a command to the supervisor at `path` (empty: the only one of this user). Raises ControlError."""
    sock = _connect(path)
    sock.settimeout(patience)
    with sock, sock.makefile("rwb") as stream:
        try:
            stream.write(json.dumps({"command": command}).encode() + b"\n")
            stream.flush()
            line = stream.readline()
            if command == "stop" and line:
                sock.settimeout(None)
                stream.readline()  # until it has ended
        except OSError as error:
            raise ControlError(f"the server at {path or 'its socket'} does not answer: {error}") from None
    if not line:
        raise ControlError("the server closed the connection without an answer")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise ControlError(answer["error"])
    return answer


def _connect(path: str) -> Socket:
    directory = default_directory()
    places = [Path(path)] if path else sorted(directory.glob("*.sock")) if directory.is_dir() else []
    alive: list[tuple[Path, Socket]] = []
    for place in places:
        sock = Socket(socket_module.AF_UNIX, socket_module.SOCK_STREAM)
        try:
            sock.connect(str(place))
        except OSError as error:
            sock.close()
            if path:
                raise ControlError(f"no server answers at {path}: {error.strerror or error}") from None
            continue  # its supervisor was killed
        alive.append((place, sock))
    if len(alive) == 1:
        return alive[0][1]
    for _, sock in alive:
        sock.close()
    if alive:
        names = ", ".join(str(place) for place, _ in alive)
        raise ControlError(f"several servers are running; name one with --control-socket: {names}")
    raise ControlError(
        "no server with a control socket is running; one with several workers has it, or with --control-socket"
    )


# ---- what status prints ----


def table(status: dict[str, Any]) -> str:
    """The status as lines of columns."""
    head = status["supervisor"]
    first = (
        f"{head['app']} on {head['engine']}, {head['wanted']} worker{'s' * (head['wanted'] > 1)} "
        f"({head['balance']} balancing), "
        f"pid {head['pid']}, up {_time(head['uptime'])}, at {', '.join(head['addresses'])}"
    )
    rows: list[tuple[str, ...]] = [
        ("worker", "pid", "state", "up", "conns", "running", "requests", "5xx", "p50", "p99", "lag p99", "memory")
    ]
    for each in status["workers"]:
        rows.append(
            (
                str(each["worker"]), str(each["pid"]), each["state"], _time(each["uptime"]), str(each["connections"]),
                str(each["running"]), *_counts(each), f"{each['memory'] / 2**20:.0f} MiB",
            )
        )  # fmt: skip
    rows.append(("all", "", "", "", "", "", *_counts(status["total"]), ""))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [first, *("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)]
    if status["balancer"]:
        lines.insert(1, _balancer_line(status["balancer"]))
    for each in status["workers"]:
        if each["longest_age"] >= 1:
            lines.append(f"worker {each['worker']} has been running {each['longest']} for {_time(each['longest_age'])}")
    return "\n".join(lines)


def _balancer_line(each: dict[str, Any]) -> str:
    wait = each["queue_wait"]
    return (
        f"balancer pid {each['pid']}, up {_time(each['uptime'])}, {each['memory'] / 2**20:.0f} MiB: "
        f"{each['connections']} connections, {each['queued']} queued (wait p50 {_short(wait['p50'])}, "
        f"p99 {_short(wait['p99'])}), 503: {each['queue_full'] + each['expired']}, dropped: {each['dropped']}, "
        f"run again: {each['retried']}, 502: {each['bad_gateways']}, 504: {each['timed_out']}"
    )


def _counts(each: dict[str, Any]) -> tuple[str, ...]:
    times = each["request_time"]
    lag = each["loop_lag"]["p99"]
    return str(each["requests"]), str(each["errors"]), _short(times["p50"]), _short(times["p99"]), _short(lag)


def _short(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _time(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
