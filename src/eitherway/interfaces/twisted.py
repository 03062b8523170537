"""twisted.web: a `Site`, or a `Resource` to make one of, with Twisted's own server, on its reactor.

The reactor adopts each socket for the site; the site's request class, extended, tells when a request begins and ends.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.web.iweb import IRequest
from twisted.web.server import Request, Site
from zope.interface import implementer

from eitherway.config import Config
from eitherway.errors import EngineError
from eitherway.http.exchange import Address
from eitherway.http.h1 import FORWARDED
from eitherway.interfaces.base import Colour, Loop
from eitherway.interfaces.native import SWITCHED, Fields, Guest, House, Line, Native, Visit, line_of

reactor: Any = installed

_PROXIES = {name.title() for name in FORWARDED}  # as Twisted writes names
_HOST = re.compile(rb"(\[[^]]*\]|[^:]*)(?::([0-9]*))?")


class TwistedInterface(Native):
    """Runs a `Site`. Its factory is started and stopped with the reactor."""

    colour: Colour = "reactor"

    def __init__(self, application: Any, config: Config, house: House) -> None:
        super().__init__(application, config, house)
        site: Any = application if isinstance(application, Site) else Site(application)  # type: ignore[no-untyped-call]
        self.site = site
        self.guests: dict[object, Guest] = {}  # by transport
        site.requestFactory = _counting(site.requestFactory, self)
        reactor.callWhenRunning(site.doStart)
        reactor.addSystemEventTrigger("before", "shutdown", site.doStop)

    async def startup(self, loop: Loop) -> None:
        """Never called: the reactor says when it runs."""

    async def shutdown(self) -> None:
        """As startup."""

    def adopt(self, guest: Guest) -> None:
        sock = guest.socket
        reactor.adoptStreamConnection(sock.fileno(), sock.family, _Channels(self, guest))
        sock.close()  # the reactor has a descriptor of its own

    def carried_by(self, guest: Guest, transport: Any) -> None:
        """Called when the connection is made. What becomes of its protocol is the application's business."""
        lose = transport.connectionLost

        def lost(*reason: Any) -> None:
            lose(*reason)
            self.guests.pop(transport, None)
            guest.closed()

        transport.connectionLost = lost
        guest.handler = transport
        guest.socket = transport.getHandle()
        self.guests[transport] = guest

    def later(self, seconds: float, call: Callable[[], object]) -> object:
        return reactor.callLater(seconds, call)

    def has_unsent(self, guest: Guest) -> bool:
        return bool(guest.handler.disconnecting)  # it is closed as soon as all is sent

    def leave(self, guest: Guest, *, answered: bool) -> None:
        transport = guest.handler
        transport.unregisterProducer()  # the channel is one: paused, it would keep the connection open
        transport.loseConnection()

    def cut(self, guest: Guest) -> None:
        guest.handler.abortConnection()


class _Channels(Factory):
    """Has the site make a channel for one connection."""

    noisy = False

    def __init__(self, native: TwistedInterface, guest: Guest) -> None:
        self._native = native
        self._guest = guest

    def buildProtocol(self, addr: IAddress | None) -> Any:  # noqa: N802
        protocol = self._native.site.buildProtocol(addr)
        if protocol is None:  # the site does not want it
            self._guest.closed()
            return None
        make_connection = protocol.makeConnection

        def made(transport: Any) -> None:
            self._native.carried_by(self._guest, transport)
            make_connection(transport)

        protocol.makeConnection = made
        _tell_of_websockets(getattr(protocol, "_channel", protocol), self._guest)
        return protocol


def _tell_of_websockets(channel: Any, guest: Guest) -> None:
    """Have a channel tell when it turns into one of twisted.web's own WebSockets."""
    upgrade = getattr(channel, "_protocolUpgradeForWebsockets", None)
    if upgrade is None:
        return

    def upgraded(wire: Any) -> None:
        upgrade(wire)
        visit: Any = guest.visit
        visit.upgraded = True

        def part(code: int) -> None:
            try:
                wire.loseConnection(code)
            except Exception:  # of wsproto: it is closing already
                guest.handler.loseConnection()

        guest.switch(part)

    channel._protocolUpgradeForWebsockets = upgraded


def _counting(factory: Any, native: TwistedInterface) -> Any:
    """The site's class of requests, but one that tells when a request begins and ends. Raises EngineError."""
    if not isinstance(factory, type):
        raise EngineError(
            "the site's requestFactory is no class, so its requests cannot be counted; "
            "make it a subclass of twisted.web.server.Request"
        )
    guests = native.guests

    @implementer(IRequest)  # said of this class itself, it is found much quicker
    class CountedRequest(factory):  # type: ignore[misc]
        def process(self) -> None:
            visit = _Visit(guests[self.transport], self)
            if not native.house.has_room():
                self.setResponseCode(503)
                self.setHeader(b"retry-after", b"1")
                self.write(b"the server is busy; try again\n")
                self.finish()
                visit.guest.refuse(visit)
                return
            if not _PROXIES.isdisjoint(self.requestHeaders._rawHeaders):
                _believe(native, visit)
            visit.guest.begin(visit)
            factory.process(self)

        def finish(self) -> None:
            factory.finish(self)
            end(self)

        def connectionLost(self, reason: object) -> None:  # noqa: N802
            factory.connectionLost(self, reason)
            end(self)

    def end(request: Request) -> None:
        # The request does not know its visit, which knows it: a circle would be left to the garbage collector.
        guest = guests.get(request.transport)
        visit = guest.visit if guest is not None else None
        if guest is not None and visit is not None and visit.request is request:
            guest.end(visit)

    return CountedRequest


class _Visit(Visit):
    __slots__ = ("upgraded",)

    def __init__(self, guest: Guest, request: Any) -> None:
        super().__init__(guest, request)
        self.upgraded = False

    @property
    def line(self) -> Line:
        request = self.request
        method, uri = request.method.decode("latin-1"), request.uri.decode("latin-1")
        return line_of(method, uri, request.clientproto == b"HTTP/1.1")

    @property
    def fields(self) -> Fields:
        return Fields.of(_fields(self.request))

    @property
    def status(self) -> int:
        request = self.request
        if self.upgraded or getattr(request, "channel", request).transport is None:  # as Autobahn's resource leaves it
            return SWITCHED
        return request.code if request.startedWriting else 0

    @property
    def bytes_sent(self) -> int:
        sent: int = self.request.sentLength
        return sent

    def say_last(self) -> None:
        request = self.request
        if not request.startedWriting:
            request.setHeader(b"connection", b"close")
            request.channel.persistent = False


def _fields(request: Any) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, values in request.requestHeaders.getAllRawHeaders() for value in values]


def _believe(native: TwistedInterface, visit: _Visit) -> None:
    """Take client, scheme and host from what a trusted proxy says of them."""
    request = visit.request
    said = native.house.origin(visit.client, _fields(request))
    if said is None:
        return
    if said.client is not None:
        visit.client = said.client
        request.client = _address(said.client)
    if said.host is not None or said.scheme is not None:
        is_secure = said.scheme == "https"
        match = _HOST.fullmatch(said.host or request.getRequestHostname())
        host, port = match.groups() if match else (b"", b"")
        request.setHost(host, int(port or (443 if is_secure else 80)), is_secure)


def _address(client: Address) -> Any:
    from twisted.internet.address import IPv4Address, IPv6Address

    host, port = client
    return IPv6Address("TCP", host, port) if ":" in host else IPv4Address("TCP", host, port)
