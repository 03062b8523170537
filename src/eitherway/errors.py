"""Every exception that eitherway raises, in one tree. A leaf: imports no room.

EitherwayError
├── StartError            the server cannot start; knows its exit code
│   ├── ConfigError       a setting is unknown or has a bad value (2)
│   ├── AppLoadError      the application cannot be found or imported (3)
│   ├── EngineError       the engine is missing or cannot run this interface (4)
│   ├── BindError         an address cannot be listened on (5)
│   ├── LifespanError     the application refused to start (6)
│   ├── ControlError      a running server cannot be spoken to, or did not do what it was told (1)
│   └── LabError          the lab cannot measure what it was asked to (1)
├── RequestRefused        the client's request is answered by the server itself; knows its HTTP status
├── ResponseError         the application broke the rules of its response
├── BackendError          a backend of the balancer broke the rules of HTTP
└── ClientGone            the client has left; also an OSError, as the ASGI specification asks of `send`
"""

from __future__ import annotations


class EitherwayError(Exception):
    """The base of all. Its text is one line for the user: what, where, what to do."""


class StartError(EitherwayError):
    """`traceback` is the application's own, printed before the line, or empty."""

    exit_code = 1

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class ConfigError(StartError):
    exit_code = 2


class AppLoadError(StartError):
    exit_code = 3


class EngineError(StartError):
    exit_code = 4


class BindError(StartError):
    exit_code = 5


class LifespanError(StartError):
    exit_code = 6


class ControlError(StartError):
    exit_code = 1


class LabError(StartError):
    exit_code = 1


class RequestRefused(EitherwayError):  # noqa: N818 - an answer, not a fault of ours
    """The request cannot be run: answer `status` and, where the framing is in doubt, close."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class ResponseError(EitherwayError):
    """The application's response is not one that may be sent."""


class BackendError(EitherwayError):
    """What a backend sent is not an HTTP/1.1 response."""


class ClientGone(EitherwayError, ConnectionError):  # noqa: N818 - the field's word for it
    """The client has closed the connection, or took too long to take its answer."""
