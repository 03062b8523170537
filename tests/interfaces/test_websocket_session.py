"""A client that is gone just as its WebSocket is accepted: the connection is given back, and nothing is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from eitherway.config import Config
from eitherway.errors import ClientGone
from eitherway.http.body import NO_BODY
from eitherway.http.exchange import Exchange
from eitherway.http.h1 import parse_head
from eitherway.http.sessions import Sessions
from eitherway.http.websocket import Handshake
from eitherway.interfaces.websocket import open_session
from eitherway.interfaces.wsgi_websocket import run
from in_process import FakeChannel

HEAD = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def handshake() -> tuple[Exchange, FakeChannel, Sessions]:
    line, fields = parse_head(HEAD, 8190, 100, 65536)
    channel = FakeChannel()
    return Exchange(line, fields, NO_BODY, b"", channel, True), channel, Sessions(Config(), lambda callback: None)


def test_a_reset_before_the_answer_gives_the_connection_back() -> None:
    exchange, channel, sessions = handshake()
    channel.broken = True
    with pytest.raises(ClientGone):
        open_session(exchange, Handshake(exchange.fields), None, [], sessions)
    assert channel.aborted
    assert exchange.complete


@pytest.mark.parametrize("where", ["broken", "hung_up"])
def test_a_wsgi_application_may_take_it_well(where: str) -> None:
    exchange, channel, sessions = handshake()
    setattr(channel, where, True)
    closed = []

    class Result:
        def __iter__(self) -> Iterator[bytes]:
            return iter(())

        def close(self) -> None:
            closed.append(True)

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Result:
        with pytest.raises(ConnectionError):
            environ["eitherway.websocket"].receive()
        return Result()

    def suspend(*_: object) -> None:
        raise AssertionError("there is nothing to wait for")

    try:
        run(application, {}, lambda *_: None, exchange, suspend, sessions)
    except ClientGone:
        pass  # which the interface ends as it does everybody's who has left
    else:
        assert exchange.complete
    assert closed == [True]
