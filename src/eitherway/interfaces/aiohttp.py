"""aiohttp: a `web.Application` with the server that it brings, on asyncio's loop or another of its kind.

A runner of aiohttp's starts and ends the application, a protocol of its `web.RequestHandler` serves each connection.
The server's handler tells when a request begins, and its access log when it has been answered.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from socket import socketpair
from typing import Any

from aiohttp import HttpVersion10, web
from multidict import istr

from eitherway.config import Config
from eitherway.errors import EngineError
from eitherway.interfaces.base import Colour, Loop
from eitherway.interfaces.lifespan import refused
from eitherway.interfaces.native import SWITCHED, Fields, Guest, House, Line, Native, Visit, line_of

logger = logging.getLogger("eitherway.app")

_LAST_MOMENTS = 0.2  # seconds that aiohttp waits for handlers before it cancels them, and as long behind that

# As multidict finds them quickest: it need not fold their case each time.
_FORWARDED, _FOR, _PROTO, _HOST = (
    istr(name.title()) for name in ("forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host")
)

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class AiohttpInterface(Native):
    """Runs a `web.Application`, or what a coroutine gives when it is awaited: aiohttp's usual factory."""

    colour: Colour = "asyncio"

    def __init__(self, application: Any, config: Config, house: House) -> None:
        super().__init__(application, config, house)
        self._tasks: set[asyncio.Task[Any]] = set()

    async def startup(self, loop: Loop) -> None:
        self._loop = asyncio.get_running_loop()
        config = self.config
        if config.loop:
            await self._try_loop()
        try:
            application = await self.application if inspect.isawaitable(self.application) else self.application
            self._runner = web.AppRunner(
                application,
                shutdown_timeout=_LAST_MOMENTS,
                access_log=None,  # ours is written
                keepalive_timeout=config.keep_alive_timeout,
                max_line_size=config.limit_request_line,
                max_field_size=config.limit_request_head,
                max_headers=config.limit_request_fields,
            )
            await self._runner.setup()
            assert self._runner.server is not None
            self._server = self._runner.server
            self._options: dict[str, Any] = self._server._kwargs  # the application's handler_args among them
            _Protocol(self._server, loop=self._loop, **self._options)  # are they right?
        except Exception as error:
            raise refused("".join(traceback.format_exception(error))) from None
        self._handle: Handler = self._server.request_handler
        self._server.request_handler = self._begin

    async def _try_loop(self) -> None:
        """Some of those that users bring cannot do what is done for every connection here. Raises EngineError."""
        ours, theirs = socketpair()
        with theirs:
            try:
                transport, _ = await self._loop.connect_accepted_socket(asyncio.Protocol, ours)
            except NotImplementedError:
                ours.close()
                raise EngineError(
                    f"the loop {self.config.loop} cannot take over an accepted socket (connect_accepted_socket), "
                    "which aiohttp's server needs; leave --loop out"
                ) from None
            transport.close()

    async def shutdown(self) -> None:
        """All requests are answered, or have had their time."""
        patience = max(1.0, self.config.graceful_timeout)
        try:
            await asyncio.wait_for(self._runner.cleanup(), patience + 2 * _LAST_MOMENTS)
        except TimeoutError:
            logger.error("the application's shutdown did not end within %g s", patience)
        except Exception as error:
            logger.error("the application's shutdown failed", exc_info=error)

    # -- requests -------------------------------------------------------------------------------------------

    def _begin(self, request: Any) -> Awaitable[web.StreamResponse]:
        """Called in the place of the application's own handler, for every request."""
        guest: Guest = request._protocol.guest
        house = self.house
        if not house.has_room():
            return _busy()
        visit = _Visit(guest, request)
        headers = request._headers
        if _FORWARDED in headers or _FOR in headers or _PROTO in headers or _HOST in headers:
            _believe(house, visit)
        guest.begin(visit)
        return self._handle(request)

    # -- connections ----------------------------------------------------------------------------------------

    def adopt(self, guest: Guest) -> None:
        handler = guest.handler = _Protocol(self._server, loop=self._loop, **self._options)
        handler.guest, handler.carrier = guest, None
        self._start(self._connect(guest))

    async def _connect(self, guest: Guest) -> None:
        if guest.is_closed:  # turned away meanwhile
            guest.socket.close()
            return
        try:
            await self._loop.connect_accepted_socket(lambda: guest.handler, guest.socket)
        except OSError:  # the client has left already
            guest.socket.close()
            guest.closed()

    def _start(self, call: Coroutine[Any, Any, Any]) -> None:
        task = self._loop.create_task(call)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def leave(self, guest: Guest, *, answered: bool) -> None:
        if answered:
            guest.handler.close()  # when it has read what is left of the request
        else:
            guest.handler.force_close()

    def later(self, seconds: float, call: Callable[[], object]) -> object:
        return self._loop.call_later(seconds, call)

    def has_unsent(self, guest: Guest) -> bool:
        return guest.handler.carrier is not None and guest.handler.carrier.get_write_buffer_size() > 0

    def cut(self, guest: Guest) -> None:
        carrier = guest.handler.carrier
        guest.handler.force_close()
        if carrier is not None:
            carrier.abort()  # to be closed it would wait for a client that takes nothing


class _Protocol(web.RequestHandler):
    """Serves one connection."""

    __slots__ = ("carrier", "guest")
    guest: Guest
    carrier: Any  # the transport; aiohttp forgets its own where bytes may still have to be sent

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.carrier = transport
        super().connection_made(transport)

    def log_access(self, request: web.BaseRequest, response: web.StreamResponse, time: float | None) -> None:
        """An answer has been sent, as far as its client took it."""
        guest = self.guest
        visit: Any = guest.visit
        if visit is not None:
            visit.status = response.status
            guest.end(visit)
        else:  # it was not begun: there are too many, or what came is no HTTP
            visit = _Visit(guest, request)
            visit.status = response.status
            guest.refuse(visit)

    def set_parser(self, *parser: Any, **options: Any) -> None:
        """The connection speaks WebSocket from now on."""
        super().set_parser(*parser, **options)
        visit: Any = self.guest.visit
        if visit is not None:
            visit.status = SWITCHED
            self.guest.switch(self._part)

    def _part(self, code: int) -> None:
        """Close it: by a frame of ours between two of aiohttp's, which hears of it from the client's answer."""
        if self.transport is not None:
            self.transport.write(b"\x88\x02" + code.to_bytes(2, "big"))

    def connection_lost(self, exc: BaseException | None) -> None:
        guest = self.guest
        visit = guest.visit
        task = visit.task if visit is not None else None
        super().connection_lost(exc)
        guest.closed(runs_on=task is not None)
        if visit is not None and task is not None:  # a handler that is cancelled does not tell of its end
            task.add_done_callback(lambda _: guest.end(visit))


class _Visit(Visit):
    __slots__ = ("status",)
    status: int

    def __init__(self, guest: Guest, request: Any) -> None:
        super().__init__(guest, request)
        self.status = 0

    @property
    def line(self) -> Line:
        request = self.request
        return line_of(request.method, request.raw_path, request.version != HttpVersion10)

    @property
    def fields(self) -> Fields:
        return Fields.of(self.request.raw_headers)

    @property
    def bytes_sent(self) -> int:
        sent: int = self.request.writer.output_size
        return sent

    @property
    def read_waiter(self) -> Any:
        return getattr(self.request.content, "_waiter", None)

    @property
    def write_waiter(self) -> Any:
        return getattr(self.guest.handler, "_drain_waiter", None)

    @property
    def task(self) -> Any:
        return self.request.task

    def say_last(self) -> None:
        """aiohttp looks at it when it writes a head."""
        request = self.request
        request._message = request._message._replace(should_close=True)


def _believe(house: House, visit: _Visit) -> None:
    """Make it the request that the client sent to the proxy; a clone would not be what aiohttp goes on with."""
    request = visit.request
    said = house.origin(visit.client, request.raw_headers)
    if said is None:
        return
    known: dict[str, Any] = request._cache
    known["scheme"] = said.scheme or request.scheme
    if said.client is not None:
        visit.client = said.client
        known["remote"] = said.client[0]
    if said.host is not None:
        known["host"] = said.host.decode("latin-1")
    known.pop("url", None)  # made anew of these


async def _busy() -> web.StreamResponse:
    return web.Response(status=503, text="the server is busy; try again\n", headers={"Retry-After": "1"})
