"""The lifespan of ASGI applications (ASGI lifespan specification 2.0): startup, shutdown, and the state between."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any

from eitherway.errors import LifespanError
from eitherway.interfaces.base import Loop

logger = logging.getLogger("eitherway.app")


class Lifespan:
    """One run of the application with a lifespan scope. An application that raises at once has none."""

    def __init__(self, application: Callable[..., Any]) -> None:
        self.state: dict[str, Any] = {}
        self._application = application
        self._loop: Loop
        self._told = ""  # the event that the application received last
        self._answers: dict[str, dict[str, Any]] = {}  # event -> what the application said to it
        self._ended = False
        self._error: BaseException | None = None

    async def startup(self, loop: Loop) -> None:
        """Run up to `lifespan.startup.complete`, in a task of its own. Raises LifespanError."""
        self._loop = loop
        self._started, self._stopping, self._stopped, self._over = (loop.event() for _ in range(4))
        loop.start(self._run, "lifespan")
        await self._started.wait()
        answer = self._answers.get("startup")
        if answer is None:
            self._judge_exception()
        elif answer["type"] == "lifespan.startup.failed":
            raise refused(str(answer.get("message") or "no reason given").strip())

    async def shutdown(self) -> None:
        """Run from `lifespan.shutdown` to the end; what goes wrong is logged."""
        if "startup" not in self._answers:
            return
        self._stopping.set()
        await self._stopped.wait()
        answer = self._answers.get("shutdown")
        if answer is not None:
            if answer["type"] == "lifespan.shutdown.failed":
                logger.error("the application's shutdown failed: %s", answer.get("message", ""))
            await self._over.wait()
        if self._error is not None:
            logger.error("the application's lifespan raised", exc_info=self._error)

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self._application(scope, self._receive, self._send)
        except self._loop.cancelled:
            raise
        except BaseException as error:  # SystemExit too: it is for the log
            self._error = error
        finally:
            for event in (self._started, self._stopped, self._over):
                event.set()

    async def _receive(self) -> dict[str, str]:
        if not self._told:
            self._told = "startup"
        elif self._told == "startup":
            await self._stopping.wait()
            self._told = "shutdown"
        else:
            await self._loop.event().wait()  # nothing more will come
        return {"type": f"lifespan.{self._told}"}

    async def _send(self, message: dict[str, Any]) -> None:
        event = _ANSWERS.get(message["type"])
        if event is None:
            raise RuntimeError(f"ASGI: {message['type']!r} is not a message of the lifespan")
        self._answers.setdefault(event, message)
        (self._started if event == "startup" else self._stopped).set()

    def _judge_exception(self) -> None:
        """The lifespan ended before it answered: the specification says to go on without one."""
        if self._error is not None:
            line = traceback.format_exception_only(self._error)[-1].strip()
            logger.info("the application has no lifespan (%s)", line)


def refused(message: str) -> LifespanError:
    """The error for a reason. Frameworks send a whole traceback: its last line is the line for the user."""
    reason = message.splitlines()[-1]
    return LifespanError(f"the application refused to start: {reason}", message if "\n" in message else "")


_ANSWERS = {
    "lifespan.startup.complete": "startup",
    "lifespan.startup.failed": "startup",
    "lifespan.shutdown.complete": "shutdown",
    "lifespan.shutdown.failed": "shutdown",
}
