"""aiohttp: a `web.Application` with the server that it brings, on asyncio's loop or another of its kind.

Only documented names of aiohttp are used: a runner starts and ends the application, a protocol of `web.RequestHandler`
serves each connection, a middleware and an access logger tell when a request begins and ends.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from eitherway.config import Config
from eitherway.http.forwarded import Origin
from eitherway.interfaces.base import Colour, Loop
from eitherway.interfaces.lifespan import refused
from eitherway.interfaces.native import Guest, House, Line, Native, Visit

logger = logging.getLogger("eitherway.app")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class AiohttpInterface(Native):
    """Runs a `web.Application`, or what a coroutine gives when it is awaited: aiohttp's usual factory."""

    colour: Colour = "asyncio"

    def __init__(self, application: Any, config: Config, house: House) -> None:
        super().__init__(application, config, house)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._options: dict[str, Any] = {
            "access_log_class": _End,
            "access_log": logger,
            "keepalive_timeout": config.keep_alive_timeout,
            "max_line_size": config.limit_request_line,
            "max_field_size": config.limit_request_head,
            "max_headers": config.limit_request_fields,
        }

    async def startup(self, loop: Loop) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            application = await self.application if inspect.isawaitable(self.application) else self.application
            application.middlewares.insert(0, web.middleware(_Begin(self)))
            application.on_response_prepare.append(self._note_status)
            self._runner = web.AppRunner(application, shutdown_timeout=self.patience)
            await self._runner.setup()
        except Exception as error:
            raise refused("".join(traceback.format_exception(error))) from None

    async def shutdown(self) -> None:
        try:
            await self._runner.cleanup()
        except Exception as error:
            logger.error("the application's shutdown failed", exc_info=error)

    async def _note_status(self, request: web.Request, response: web.StreamResponse) -> None:
        """The head is about to be sent."""
        guest: Guest = request.protocol.guest  # type: ignore[attr-defined]
        visit = guest.visit
        if visit is None:
            return
        visit.status = response.status
        if isinstance(response, web.WebSocketResponse):
            guest.switch(visit, lambda code: self._start(response.close(code=code)))
        elif not visit.keep_alive:
            response.force_close()

    # -- connections ----------------------------------------------------------------------------------------

    def adopt(self, guest: Guest) -> None:
        server = self._runner.server
        assert server is not None
        guest.handler = _Protocol(server, loop=self._loop, **self._options)
        guest.handler.guest = guest
        self._start(self._connect(guest))

    async def _connect(self, guest: Guest) -> None:
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

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self.guest.closed()


class _Begin:
    """The outermost middleware: a request begins."""

    def __init__(self, native: Native) -> None:
        self._house = native.house

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        guest: Guest = request.protocol.guest  # type: ignore[attr-defined]
        if not self._house.has_room():
            return web.Response(status=503, text="the server is busy; try again\n", headers={"Retry-After": "1"})
        exchange = _visit(guest, request)
        said = self._house.origin(guest.client, request.raw_headers)
        if said is not None:
            exchange.client = said.client or exchange.client
            request = _as_said(request, said)
        return await handler(request)


def _as_said(request: web.Request, said: Origin) -> web.Request:
    """The request as the client sent it to the proxy."""
    changes: dict[str, Any] = {"scheme": said.scheme}
    if said.client is not None:
        changes["remote"] = said.client[0]
    if said.host is not None:
        changes["host"] = said.host.decode("latin-1")
    return request.clone(**{name: value for name, value in changes.items() if value is not None})


class _End(AbstractAccessLogger):
    """What aiohttp tells when an answer is complete."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        guest: Guest = request.protocol.guest  # type: ignore[attr-defined]
        visit = guest.visit or _visit(guest, request)  # none was begun for what is not HTTP
        visit.status = response.status
        visit.bytes_sent = response.body_length
        guest.end(visit)


def _visit(guest: Guest, request: web.BaseRequest) -> Visit:
    line = Line(request.method, request.path_qs, request.version >= (1, 1))
    return guest.begin(line, lambda: request.raw_headers, request.task)
