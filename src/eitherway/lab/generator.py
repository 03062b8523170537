"""A process of the load generator, started and ordered about by load.py.

It reads its orders from stdin (a line of JSON), says "ready", reads when to begin (a line: monotonic seconds), and says
at the end what it has counted (JSON). When its stdin is closed it ends at once. One thread, one epoll set; a client is
a connection with at most one request on it.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import resource
import select
import socket as socket_module
import sys
from collections import Counter, deque
from socket import socket as Socket  # noqa: N812
from time import monotonic, process_time
from typing import Any

from eitherway.lab.framing import HEADS, Answer, EndlessError, Head, MalformedError
from eitherway.lab.histogram import Histogram

_RECEIVE = 16384
_LOOK = 0.05  # seconds between two looks at the clock's business: time-outs, clients that come back, the end
_REST = 0.02  # seconds until a client that was refused tries again
_CROSSING = 0.02  # seconds: a connection that is closed so soon after the sending was closed before the server knew
_BEGUN = frozenset({0, errno.EINPROGRESS})
_REASONS = {errno.ECONNREFUSED: "refused", errno.ENOENT: "refused", errno.ECONNRESET: "reset"}  # others: "unreachable"
_IN, _OUT = select.EPOLLIN, select.EPOLLOUT


class Client:
    """A connection, and the request on it. `due` is what its latency counts from."""

    __slots__ = (
        "answer",
        "busy",
        "due",
        "request",
        "resting",
        "retried",
        "sent_at",
        "socket",
        "to_head",
        "turn",
        "unsent",
        "used",
    )

    def __init__(self, turn: int) -> None:
        self.turn = turn  # which request is next
        self.socket: Socket | None = None
        self.used = False  # an answer has come on this connection already
        self.busy = False
        self.request = b""
        self.to_head = False
        self.due = self.sent_at = 0.0
        self.retried = False
        self.resting = False
        self.unsent: bytes | None = None  # of the request; also while connecting
        self.answer: Answer | None = None  # one that did not come in one piece


class Generator:
    def __init__(self, order: dict[str, Any]) -> None:
        self._requests = [(text.encode("latin-1"), method == "HEAD") for method, text in order["requests"]]
        self._family, address = order["address"]
        self._address = tuple(address) if isinstance(address, list) else address
        self._timeout = order["timeout"]
        self._warm_up, self._duration = order["warm_up"], order["duration"]
        self._interval = 1 / order["rate"] if order["rate"] else 0.0
        self._phase = order["phase"]
        self._epoll = select.epoll()
        self._epoll.register(0, _IN)
        self._clients = [Client(number) for number in range(order["clients"])]
        self._by_fd: dict[int, Client] = {}
        self._resting: deque[tuple[float, Client]] = deque()  # until when
        self._idle: list[Client] = []  # open loop: without a request
        self._waiting: deque[float] = deque()  # open loop: requests that are due, and no client is free
        self._histogram = Histogram()
        self._statuses: Counter[int] = Counter()
        self._errors: Counter[str] = Counter()
        self._bytes = 0

    # -- time -----------------------------------------------------------------------------------------------

    def run(self, begin: float) -> dict[str, Any]:
        """Put the load on; what was counted."""
        self._from = begin + self._warm_up
        self._until = self._from + self._duration
        self._next_due = begin + self._phase * self._interval
        began = ended = None  # the measured time: when, and this process's CPU time then
        look_at = 0.0
        _sleep_until(begin)
        if self._interval:
            self._idle = self._clients[::-1]
        else:
            for client in self._clients:
                self._begin(client, monotonic())
        while True:
            events = self._wait(look_at)
            now = monotonic()
            if now >= self._until:
                ended = ended or (now, process_time())
                if self._is_over(now):
                    return self._counted(_share(began or ended, ended))
            if began is None and now >= self._from:
                began = now, process_time()
                self._bytes = 0
            for fd, bits in events:
                self._on_event(fd, bits, now)
            if self._interval:
                self._keep_schedule(now)
            if now >= look_at:
                look_at = now + _LOOK
                self._look(now)

    def _wait(self, look_at: float) -> list[tuple[int, int]]:
        now = monotonic()
        until = min(look_at, self._until) if now < self._until else look_at
        if not self._interval:
            return self._epoll.poll(max(0.0, until - now))
        if self._next_due < self._until:
            until = min(until, self._next_due)
        # An epoll set waits whole milliseconds only, which would be in the latencies.
        select.select([self._epoll.fileno()], [], [], max(0.0, until - now))
        return self._epoll.poll(0)

    def _keep_schedule(self, now: float) -> None:
        """Begin what is due, in its order, as far as clients are free."""
        while self._next_due <= now and self._next_due < self._until:
            self._waiting.append(self._next_due)
            self._next_due += self._interval
        while self._waiting and self._idle:
            self._begin(self._idle.pop(), self._waiting.popleft())

    def _look(self, now: float) -> None:
        while self._resting and self._resting[0][0] <= now:
            client = self._resting.popleft()[1]
            client.resting = False
            if client.busy:
                self._send(client)
            else:
                self._go_on(client)
        latest = now - self._timeout
        for client in self._clients:
            if client.busy and client.sent_at < latest:
                self._fail(client, "timeout", now)

    def _is_over(self, now: float) -> bool:
        """A closed loop ends with its time; an open one when all that is due is answered, or given up."""
        if not self._interval:
            return True
        if self._next_due < self._until:
            return False
        busy = [client for client in self._clients if client.busy]
        if (busy or self._waiting) and now < self._until + self._timeout:
            return False
        given_up = sum(due >= self._from for due in [*self._waiting, *(client.due for client in busy)])
        if given_up:
            self._errors["timeout"] += given_up
        return True

    # -- requests -------------------------------------------------------------------------------------------

    def _begin(self, client: Client, due: float) -> None:
        requests = self._requests
        client.request, client.to_head = requests[client.turn % len(requests)]
        client.turn += 1
        client.busy = True
        client.retried = False
        client.due = due
        client.sent_at = monotonic() if self._interval else due
        self._send(client)

    def _send(self, client: Client) -> None:
        sock = client.socket
        if sock is None:
            self._connect(client)
            return
        request = client.request
        try:
            sent = sock.send(request)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # closed; what there is to read tells how
        if sent < len(request):
            client.unsent = request[sent:]
            self._epoll.modify(sock.fileno(), _IN | _OUT)

    def _connect(self, client: Client) -> None:
        sock = Socket(self._family, socket_module.SOCK_STREAM)
        sock.setblocking(False)
        if self._family != socket_module.AF_UNIX:
            sock.setsockopt(socket_module.IPPROTO_TCP, socket_module.TCP_NODELAY, 1)
        begun = sock.connect_ex(self._address)
        client.socket = sock
        client.used = False
        client.unsent = client.request
        self._by_fd[sock.fileno()] = client
        self._epoll.register(sock.fileno(), _IN | _OUT)
        if begun == errno.EAGAIN:  # the queue of a Unix socket is full: TCP's kernel would try again by itself
            self._close(client)
            self._rest(client, monotonic())
        elif begun not in _BEGUN:
            self._fail(client, _REASONS.get(begun, "unreachable"), monotonic())

    def _go_on_sending(self, client: Client, now: float) -> None:
        sock, unsent = client.socket, client.unsent
        assert sock is not None and unsent is not None
        try:
            unsent = unsent[sock.send(unsent) :]
        except BlockingIOError:
            return
        except OSError as error:
            if not client.used and len(unsent) == len(client.request):  # it was not even connected
                self._fail(client, _REASONS.get(error.errno or 0, "unreachable"), now)
                return
            unsent = b""  # closed
        client.unsent = unsent or None
        if not unsent:
            self._epoll.modify(sock.fileno(), _IN)

    # -- answers --------------------------------------------------------------------------------------------

    def _on_event(self, fd: int, bits: int, now: float) -> None:
        client = self._by_fd.get(fd)
        if client is None:
            if not fd and not os.read(0, 1):
                sys.exit(1)  # nobody is left to be told
            return
        if client.unsent is not None:
            self._go_on_sending(client, now)
            if not bits & ~_OUT or client.socket is None:
                return
        assert client.socket is not None
        try:
            data = client.socket.recv(_RECEIVE)
        except BlockingIOError:
            return
        except OSError:
            self._on_end(client, "reset", now)
            return
        if not data:
            self._on_end(client, "closed", now)
            return
        self._bytes += len(data)
        if client.answer is None and not client.to_head and client.busy:
            end = data.find(b"\r\n\r\n") + 4
            head = HEADS.get(data[:end])
            if head is not None and head.length == len(data) - end and head.status >= 200:
                self._finish(client, head, now)
                return
        self._read(client, data, now)

    def _read(self, client: Client, data: bytes, now: float) -> None:
        """An answer that comes in pieces, or is seen the first time."""
        if not client.busy:  # a server may say 408 to an idle connection before it closes it
            self._close(client)
            return
        answer = client.answer
        if answer is None:
            answer = client.answer = Answer(client.to_head)
        try:
            answer.feed(data)
        except MalformedError:
            self._fail(client, "malformed", now)
        except EndlessError:
            self._fail(client, "endless", now)
        else:
            if answer.complete:
                assert answer.head is not None
                self._finish(client, answer.head, now)

    def _finish(self, client: Client, head: Head, now: float) -> None:
        status = head.status
        if (client.due if self._interval else now) >= self._from:
            self._statuses[status] += 1
            if status < 400:
                self._histogram.record(now - client.due)
        client.busy = False
        client.used = True
        client.answer = None
        if not head.keep_alive or client.unsent is not None:
            self._close(client)
        self._go_on(client)

    def _go_on(self, client: Client) -> None:
        if self._interval:
            self._idle.append(client)
        else:
            self._begin(client, monotonic())

    # -- ends -----------------------------------------------------------------------------------------------

    def _on_end(self, client: Client, how: str, now: float) -> None:
        """The server has closed the connection."""
        answer = client.answer
        if not client.busy:
            self._close(client)
        elif answer is not None and how == "closed" and answer.closed():
            assert answer.head is not None
            self._finish(client, answer.head, now)
        elif answer is None and client.used and not client.retried and now - client.sent_at < _CROSSING:
            # Between two requests it may do that; that it was too late to see it is no error.
            client.retried = True
            self._close(client)
            self._send(client)
        else:
            self._fail(client, how, now)

    def _fail(self, client: Client, how: str, now: float) -> None:
        if client.busy and (client.due if self._interval else now) >= self._from:
            self._errors[how] += 1
        client.busy = False
        self._close(client)
        self._rest(client, now)

    def _rest(self, client: Client, now: float) -> None:
        if not client.resting:
            client.resting = True
            self._resting.append((now + _REST, client))

    def _close(self, client: Client) -> None:
        sock, client.socket = client.socket, None
        client.answer = client.unsent = None
        if sock is not None:
            del self._by_fd[sock.fileno()]
            sock.close()

    def _counted(self, cpu: float) -> dict[str, Any]:
        return {
            "histogram": self._histogram.pack(),
            "statuses": self._statuses,
            "errors": self._errors,
            "bytes": self._bytes,
            "cpu": cpu,
        }


def _share(began: tuple[float, float], ended: tuple[float, float]) -> float:
    """Of a CPU, from (time, CPU time) to another."""
    return min(1.0, (ended[1] - began[1]) / max(ended[0] - began[0], 1e-9))


def _sleep_until(begin: float) -> None:
    select.select([], [], [], max(0.0, begin - monotonic()))


def main() -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if order := sys.stdin.readline():
        generator = Generator(json.loads(order))
        print("ready", flush=True)
        if begin := sys.stdin.readline():
            gc.disable()  # nothing here is in a cycle
            print(json.dumps(generator.run(json.loads(begin))))
