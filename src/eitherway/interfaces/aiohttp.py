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
from typing import Any

from aiohttp import HttpVersion10, web

from eitherway.config import Config
from eitherway.http.forwarded import Origin
from eitherway.interfaces.base import Colour, Loop
from eitherway.interfaces.lifespan import refused
from eitherway.interfaces.native import Fields, Guest, House, Line, Native, Visit, line_of

logger = logging.getLogger("eitherway.app")

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class AiohttpInterface(Native):
    """Runs a `web.Application`, or what a coroutine gives when it is awaited: aiohttp's usual factory."""

    colour: Colour = "asyncio"

    def __init__(self, application: Any, config: Config, house: House) -> None:
        super().__init__(application, config, house)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._options: dict[str, Any] = {
            "access_log": None,  # ours is written
            "keepalive_timeout": config.keep_alive_timeout,
            "max_line_size": config.limit_request_line,
            "max_field_size": config.limit_request_head,
            "max_headers": config.limit_request_fields,
        }

    async def startup(self, loop: Loop) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            application = await self.application if inspect.isawaitable(self.application) else self.application
            self._runner = web.AppRunner(application, shutdown_timeout=self.patience)
            await self._runner.setup()
        except Exception as error:
            raise refused("".join(traceback.format_exception(error))) from None
        assert self._runner.server is not None
        self._server = self._runner.server
        self._handle: Handler = self._server.request_handler
        self._server.request_handler = self._begin

    async def shutdown(self) -> None:
        try:
            await self._runner.cleanup()
        except Exception as error:
            logger.error("the application's shutdown failed", exc_info=error)

    # -- requests -------------------------------------------------------------------------------------------

    def _begin(self, request: Any) -> Awaitable[web.StreamResponse]:
        """Called in the place of the application's own handler, for every request."""
        guest: Guest = request.protocol.guest
        house = self.house
        if not house.has_room():
            return _busy()
        visit = _Visit(guest, request)
        guest.begin(visit)
        said = house.origin(guest.client, request.raw_headers)
        if said is not None:
            visit.client = said.client or visit.client
            request = _as_said(request, said)
        return self._last(request) if house.draining else self._handle(request)

    async def _last(self, request: Any) -> web.StreamResponse:
        response = await self._handle(request)
        if not response.prepared:
            response.force_close()
        return response

    # -- connections ----------------------------------------------------------------------------------------

    def adopt(self, guest: Guest) -> None:
        guest.handler = _Protocol(self._server, loop=self._loop, **self._options)
        guest.handler.guest = guest
        self._start(self._connect(guest))

    async def _connect(self, guest: Guest) -> None:
        if guest.is_closed:  # turned away meanwhile
            guest.socket.close()
            return
        try:
            await self._loop.connect_accepted_socket(lambda: guest.handler, guest.socket)
        except OSError:
            guest.closed()  # the client has left already

    def _start(self, call: Coroutine[Any, Any, Any]) -> None:
        task = self._loop.create_task(call)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def leave(self, guest: Guest, *, answered: bool) -> None:
        if answered:
            guest.handler.close()  # when it has read what is left of the request
        else:
            guest.handler.force_close()

    def cut(self, guest: Guest) -> None:
        guest.handler.force_close()


class _Protocol(web.RequestHandler):
    """Serves one connection."""

    __slots__ = ("guest",)
    guest: Guest

    def log_access(self, request: web.BaseRequest, response: web.StreamResponse, time: float | None) -> None:
        """An answer has been sent, as far as its client took it."""
        guest = self.guest
        visit = guest.visit
        if visit is None:  # what came is no HTTP: none was begun
            visit = _Visit(guest, request)
            guest.begin(visit)
        visit.status = response.status
        visit.bytes_sent = response.body_length
        guest.end(visit)

    def set_parser(self, *parser: Any, **options: Any) -> None:
        """The connection speaks WebSocket from now on."""
        super().set_parser(*parser, **options)
        if self.guest.visit is not None:
            self.guest.switch(self.guest.visit, self._part)

    def _part(self, code: int) -> None:
        """Close it: by a frame of ours between two of aiohttp's, which hears of it from the client's answer."""
        if self.transport is not None:
            self.transport.write(b"\x88\x02" + code.to_bytes(2, "big"))

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self.guest.closed()


class _Visit(Visit):
    __slots__ = ()

    @property
    def line(self) -> Line:
        request = self.request
        return line_of(request.method, request.raw_path, request.version != HttpVersion10)

    @property
    def fields(self) -> Fields:
        return Fields.of(self.request.raw_headers)

    @property
    def task(self) -> Any:
        return self.request.task


def _as_said(request: Any, said: Origin) -> Any:
    """The request as the client sent it to the proxy."""
    changes: dict[str, Any] = {"scheme": said.scheme}
    if said.client is not None:
        changes["remote"] = said.client[0]
    if said.host is not None:
        changes["host"] = said.host.decode("latin-1")
    return request.clone(**{name: value for name, value in changes.items() if value is not None})


async def _busy() -> web.StreamResponse:
    return web.Response(status=503, text="the server is busy; try again\n", headers={"Retry-After": "1"})
