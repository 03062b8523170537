"""The access log: a line for every request, in Combined format or as JSON, through the standard library's logging."""

from __future__ import annotations

import json
import logging
import sys
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from time import localtime, monotonic, strftime, time
from typing import Any

from eitherway.metrics.pipes import PipeHandler, open_log

logger = logging.getLogger("eitherway.server")

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


_SILENCE = 60.0  # seconds between two complaints that it cannot be written


class AccessLog:
    """Writes to the logger `eitherway.access`. `target` is a file's path, or "-" for stdout.

    Where it cannot be written, now or later, lines are lost, and the server's log has a word about it now and then.
    """

    def __init__(self, target: str, style: str) -> None:
        self._line = _json if style == "json" else _combined
        self._logger = logging.getLogger("eitherway.access")
        self._logger.propagate = False
        self._logger.setLevel(logging.INFO)
        for handler in list(self._logger.handlers):
            self._logger.removeHandler(handler)
        handler = _Stdout(sys.stdout) if target == "-" else _File(target, delay=True)
        handler.setFormatter(logging.Formatter("%(message)s"))
        self._logger.addHandler(handler)

    def write(self, exchange: Any, seconds: float) -> None:
        """Write an answered exchange down; `seconds` from spawn until its last bytes were handed over."""
        line = exchange.line
        fields = dict(exchange.fields.raw)
        self._logger.info(
            self._line(
                client=exchange.client[0] if exchange.client else "unix",
                method=line.method,
                target=line.uri,
                version="HTTP/1.1" if line.http_11 else "HTTP/1.0",
                status=exchange.status or 499,  # the client left before there was an answer
                size=exchange.bytes_sent,
                referer=fields.get(b"referer", b"").decode("latin-1"),
                agent=fields.get(b"user-agent", b"").decode("latin-1"),
                seconds=seconds,
            )
        )

    def write_refusal(self, client: tuple[str, int] | None, status: int) -> None:
        """Write down a request that was answered before it could be parsed."""
        self._logger.info(
            self._line(
                client=client[0] if client else "unix",
                method="-",
                target="-",
                version="-",
                status=status,
                size=0,
                referer="",
                agent="",
                seconds=0.0,
            )
        )


class _Forgiving(logging.Handler):
    """No request fails for its line in the log, nor is anything written about each."""

    _complain_at = 0.0
    _lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:  # opening the file anew
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        self._lost += 1
        now = monotonic()
        if now >= self._complain_at:
            self._complain_at = now + _SILENCE
            logger.error("cannot write the access log: %s (%d lines lost)", sys.exc_info()[1], self._lost)


class _File(_Forgiving, WatchedFileHandler):
    def _open(self) -> TextIOWrapper:
        return open_log(self.baseFilename)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        # Opened anew for the next line: what could not be written must not keep us from leaving a file for another.
        super().handleError(record)
        stream, self.stream = self.stream, None
        if stream is not None:
            try:
                stream.close()
            except OSError:
                pass  # the same again


class _Stdout(_Forgiving, PipeHandler):
    pass


def _combined(*, method: str, target: str, version: str, client: str, seconds: float, **f: Any) -> str:
    """Apache's Combined Log Format, with the request time in seconds behind it."""
    request = "-" if method == "-" else f"{method} {target} {version}"
    now = localtime()
    stamp = f"{now.tm_mday:02}/{_MONTHS[now.tm_mon - 1]}/{now.tm_year}:{strftime('%H:%M:%S %z', now)}"
    return (
        f'{client} - - [{stamp}] "{_escape(request)}" {f["status"]} {f["size"] or "-"} '
        f'"{_escape(f["referer"]) or "-"}" "{_escape(f["agent"]) or "-"}" {seconds:.6f}'
    )


def _json(*, seconds: float, **f: Any) -> str:
    now = time()
    stamp = (
        strftime("%Y-%m-%dT%H:%M:%S", localtime(now)) + f".{int(now * 1000) % 1000:03}" + strftime("%z", localtime(now))
    )
    return json.dumps({"time": stamp, **f, "seconds": round(seconds, 6)}, ensure_ascii=True)


def _escape(text: str) -> str:
    """Keep a client's text from forging lines or fields of the log."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return "".join(c if c.isprintable() and c not in '"\\' else f"\\x{ord(c):02x}" for c in text)
