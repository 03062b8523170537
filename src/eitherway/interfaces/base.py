"""The contract between interfaces and engines.

An interface turns an exchange into a call of the user's application. It has a colour: `sync`, a plain call that
may block its thread or greenlet, or `async`, a coroutine. An application that brings a server of its own (native.py)
needs a certain loop instead, `asyncio` or Twisted's `reactor`. An engine runs one colour or both (by the bridge) and
gives the interface its verb `suspend`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine
from functools import cache
from importlib import import_module
from typing import Any, Literal, Protocol

from eitherway.errors import ClientGone, RequestRefused
from eitherway.http.channel import Parkable
from eitherway.http.exchange import Exchange

Colour = Literal["sync", "async", "asyncio", "reactor"]
COLOURS: dict[str, Colour] = {
    "wsgi": "sync",
    "asgi": "async",
    "aiohttp": "asyncio",
    "tornado": "asyncio",
    "twisted": "reactor",
}

Suspend = Callable[[Parkable, int], None]
AsyncSuspend = Callable[[Parkable, int], Awaitable[None]]

logger = logging.getLogger("eitherway.app")


class Event(Protocol):
    """Something that happens once. Both in the loop's thread."""

    def set(self) -> None: ...
    async def wait(self) -> object: ...


class Loop(Protocol):
    """What an async interface needs of the loop that it runs on, beside `suspend`."""

    cancelled: type[BaseException]  # what a task raises that is cancelled

    def is_cancelled(self) -> bool:
        """Whether it is the task that asks which is cancelled, and not another that it waited for."""

    def start(self, call: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        """Run a coroutine function in a task beside the one that asks for it."""

    def event(self) -> Event: ...

    async def within(self, seconds: float, call: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Await a call, and cancel it when it takes longer; whether it ended."""


class Interface(Protocol):
    """One application, callable with an exchange: `None` for sync, an awaitable for async.

    The call never raises what the application raised; when it returns, the exchange is answered or broken off.
    `suspend` is the engine's, set before the first call.
    """

    colour: Colour
    suspend: Any

    def __call__(self, exchange: Exchange) -> Any: ...
    async def startup(self, loop: Loop) -> None: ...
    async def shutdown(self) -> None: ...


@cache
def _websocket_speakable() -> bool:
    try:
        import_module("eitherway.http.websocket")
    except ImportError:
        logger.warning(
            'a client asks for a WebSocket, for which websockets is needed: pip install "eitherway[websocket]"'
        )
        return False
    return True


def opens_websocket(exchange: Exchange) -> bool:
    """Whether a request is to become a WebSocket. What it says of that may still be wrong."""
    asks = exchange.fields.websocket and exchange.line.method == "GET" and exchange.line.http_11
    return asks and not exchange.fields.has_body and _websocket_speakable()


def describe(exchange: Exchange) -> str:
    """The request as it stands in the log: method and target."""
    return f"{exchange.line.method} {exchange.line.uri}"


def report(exchange: Exchange, error: BaseException) -> None:
    """Log what the application raised and answer 500, or break the response off where it has begun."""
    if _comes_from_client(error):
        logger.debug("%s: broken off by the client: %s", describe(exchange), error)
    else:
        logger.error("%s: %s in the application", describe(exchange), type(error).__name__, exc_info=error)
    break_off(exchange)


def _comes_from_client(error: BaseException | None) -> bool:
    """Whether the client left or sent what cannot be taken; frameworks raise errors of their own from ours."""
    while error is not None:
        if isinstance(error, (ClientGone, RequestRefused)):
            return True
        error = error.__cause__ or error.__context__
    return False


def break_off(exchange: Exchange) -> None:
    """End an exchange that cannot be completed."""
    if exchange.switched:
        return  # whoever speaks the other protocol ends it in its way
    try:
        if exchange.refusal is not None:
            exchange.fail(exchange.refusal.status, str(exchange.refusal))
        else:
            exchange.fail(500, "the application failed")
    except ClientGone:
        pass  # nobody is left to be told


def outlive_exits(run: Callable[[], object], is_over: Callable[[], bool] = lambda: False) -> None:
    """Run a loop on when a task that a request has left behind calls sys.exit(), which loops let through."""
    while True:
        try:
            run()
            return
        except SystemExit as error:
            if is_over():
                raise
            logger.error("SystemExit in a task of the application; the server goes on", exc_info=error)


def split_root(path: str, root: str) -> str:
    """`path` without the root path that a proxy may have left on it."""
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        return path[len(root) :]
    return path
