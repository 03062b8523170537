"""twisted.web: a `Site`, or a `Resource` to make one of, with Twisted's own server, on its reactor.

The reactor adopts each socket for the site; the site's request class, extended, tells when a request begins and ends.
"""

from __future__ import annotations

import re
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.web.server import Request, Site

from eitherway.config import Config
from eitherway.http.exchange import Address
from eitherway.http.h1 import FORWARDED as PROXIES
from eitherway.interfaces.base import Colour, Loop
from eitherway.interfaces.native import Fields, Guest, House, Line, Native, Visit, line_of

reactor: Any = installed

_HOST = re.compile(rb"(\[[^]]*\]|[^:]*)(?::([0-9]*))?")


class TwistedInterface(Native):
    """Runs a `Site`. Its factory is started and stopped with the reactor."""

    colour: Colour = "reactor"

    def __init__(self, application: Any, config: Config, house: House) -> None:
        super().__init__(application, config, house)
        site: Any = application if isinstance(application, Site) else Site(application)  # type: ignore[no-untyped-call]
        self.site = site
        site.requestFactory = _counting(site.requestFactory, self)
        self._guests: dict[object, Guest] = {}  # by transport
        reactor.callWhenRunning(site.doStart)
        reactor.addSystemEventTrigger("before", "shutdown", site.doStop)

    async def startup(self, loop: Loop) -> None:
        """Never called: the reactor says when it runs."""

    async def shutdown(self) -> None:
        """As startup."""

    def guest_of(self, request: Request) -> Guest:
        return self._guests[request.transport]

    def adopt(self, guest: Guest) -> None:
        sock = guest.socket
        reactor.adoptStreamConnection(sock.fileno(), sock.family, _Channels(self, guest))
        sock.close()  # the reactor has a descriptor of its own

    def carried_by(self, guest: Guest, transport: object) -> None:
        guest.handler = transport
        self._guests[transport] = guest

    def lost(self, guest: Guest) -> None:
        self._guests.pop(guest.handler, None)
        guest.closed()

    def leave(self, guest: Guest, *, answered: bool) -> None:
        guest.handler.loseConnection()

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
        make_connection, connection_lost = protocol.makeConnection, protocol.connectionLost

        def made(transport: Any) -> None:
            self._native.carried_by(self._guest, transport)
            make_connection(transport)

        def lost(*reason: Any) -> None:
            connection_lost(*reason)
            self._native.lost(self._guest)

        protocol.makeConnection, protocol.connectionLost = made, lost
        return protocol


def _counting(factory: Any, native: TwistedInterface) -> Any:
    """The site's class of requests, but one that tells when a request begins and ends."""

    class CountedRequest(factory):  # type: ignore[misc]
        _visit: Visit | None = None

        def process(self) -> None:
            if not native.house.has_room():
                self.setResponseCode(503)
                self.setHeader(b"retry-after", b"1")
                self.write(b"the server is busy; try again\n")
                self.finish()
                return
            self._visit = _begin(native, self)
            if not self._visit.keep_alive:
                self.setHeader(b"connection", b"close")
            super().process()

        def finish(self) -> None:
            super().finish()
            self._end()

        def connectionLost(self, reason: object) -> None:  # noqa: N802
            super().connectionLost(reason)
            self._end()

        def _end(self) -> None:
            visit = self._visit
            if visit is not None:
                visit.status = self.code
                visit.bytes_sent = self.sentLength
                visit.guest.end(visit)

    return CountedRequest


class _Visit(Visit):
    __slots__ = ()

    @property
    def line(self) -> Line:
        request = self.request
        method, uri = request.method.decode("latin-1"), request.uri.decode("latin-1")
        return line_of(method, uri, request.clientproto == b"HTTP/1.1")

    @property
    def fields(self) -> Fields:
        return Fields.of(_fields(self.request))


def _fields(request: Any) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, values in request.requestHeaders.getAllRawHeaders() for value in values]


def _begin(native: TwistedInterface, request: Any) -> Visit:
    guest = native.guest_of(request)
    visit = _Visit(guest, request)
    guest.begin(visit)
    if not any(map(request.requestHeaders.hasHeader, PROXIES)):
        return visit
    said = native.house.origin(guest.client, _fields(request))
    if said is None:
        return visit
    if said.client is not None:
        visit.client = said.client
        request.client = _address(said.client)
    if said.host is not None or said.scheme is not None:
        is_secure = said.scheme == "https"
        match = _HOST.fullmatch(said.host or request.getRequestHostname())
        host, port = match.groups() if match else (b"", b"")
        request.setHost(host, int(port or (443 if is_secure else 80)), is_secure)
    return visit


def _address(client: Address) -> Any:
    from twisted.internet.address import IPv4Address, IPv6Address

    host, port = client
    return IPv6Address("TCP", host, port) if ":" in host else IPv4Address("TCP", host, port)
