"""The lifespan of an ASGI application (ASGI lifespan specification 2.0): startup, shutdown, and the state between."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable
from typing import Any

from eitherway.errors import LifespanError

logger = logging.getLogger("eitherway.app")


class Lifespan:
    """One run of the application with a lifespan scope. An application that raises at once has none."""

    def __init__(self, application: Callable[..., Any]) -> None:
        self.state: dict[str, Any] = {}
        self._application = application
        self._task: asyncio.Task[None] | None = None
        self._events: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._supported = False

    async def startup(self) -> None:
        """Run up to `lifespan.startup.complete`. Raises LifespanError."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="lifespan")
        self._events.put_nowait({"type": "lifespan.startup"})
        answer = await self._answer()
        if answer is None:
            self._judge_exception()
        elif answer["type"] == "lifespan.startup.failed":
            raise _refused(str(answer.get("message") or "no reason given").strip())
        else:
            self._supported = True

    async def shutdown(self) -> None:
        """Run from `lifespan.shutdown` to the end; what goes wrong is logged."""
        if not self._supported or self._task is None:
            return
        self._events.put_nowait({"type": "lifespan.shutdown"})
        answer = await self._answer()
        if answer is not None and answer["type"] == "lifespan.shutdown.failed":
            logger.error("the application's shutdown failed: %s", answer.get("message", ""))
        if answer is not None:
            await asyncio.wait([self._task])
        if not self._task.cancelled() and (error := self._task.exception()) is not None:
            logger.error("the application's lifespan raised", exc_info=error)

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        await self._application(scope, self._events.get, self._send)

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] not in _ANSWERS:
            raise RuntimeError(f"ASGI: {message['type']!r} is not a message of the lifespan")
        self._answers.put_nowait(message)

    async def _answer(self) -> dict[str, Any] | None:
        """The application's next message; None when it ended without one."""
        assert self._task is not None
        getter = asyncio.ensure_future(self._answers.get())
        await asyncio.wait([getter, self._task], return_when=asyncio.FIRST_COMPLETED)
        if not getter.done() and not self._answers.empty():
            await asyncio.wait([getter])
        if getter.done():
            return getter.result()
        getter.cancel()
        return None

    def _judge_exception(self) -> None:
        """The lifespan ended before it answered: the specification says to go on without one."""
        assert self._task is not None
        error = self._task.exception()
        if error is not None:
            line = traceback.format_exception_only(error)[-1].strip()
            logger.info("the application has no lifespan (%s)", line)


def _refused(message: str) -> LifespanError:
    """Frameworks send a whole traceback as the reason: its last line is the line for the user."""
    reason = message.splitlines()[-1]
    return LifespanError(f"the application refused to start: {reason}", message if "\n" in message else "")


_ANSWERS = frozenset(
    {
        "lifespan.startup.complete",
        "lifespan.startup.failed",
        "lifespan.shutdown.complete",
        "lifespan.shutdown.failed",
    }
)
