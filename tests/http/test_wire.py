"""http/websocket.py: the plain frames that are taken apart here, beside the library that sees all the others."""

from __future__ import annotations

import tracemalloc
from zlib import Z_SYNC_FLUSH, compressobj

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side

from eitherway.errors import RequestRefused
from eitherway.http.h1 import RequestFields, parse_fields
from eitherway.http.websocket import Handshake, Message, Wire
from frames import ACCEPT, BINARY, CLOSE, CONT, HANDSHAKE, PING, TEXT, close, frame


def fields(*lines: str) -> RequestFields:
    return parse_fields("\r\n".join(["", "Host: x", *lines, "", ""]).encode())


def wire(largest: int = 0, *lines: str) -> Wire:
    return Handshake(fields(*HANDSHAKE, *lines)).accept(None, largest, bool(lines))[0]


def messages(wire: Wire) -> list[Message]:
    return list(iter(wire.next, None))


# ---- the handshake ----


def test_the_answer_of_rfc_6455() -> None:
    handshake = Handshake(fields(*HANDSHAKE, "Sec-WebSocket-Protocol: chat, superchat"))
    assert handshake.subprotocols == ["chat", "superchat"]
    _, answer = handshake.accept("chat", 0, False)
    assert answer == [
        (b"upgrade", b"websocket"),
        (b"sec-websocket-accept", ACCEPT.encode()),
        (b"sec-websocket-protocol", b"chat"),
    ]


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        ("permessage-deflate", b"permessage-deflate; server_max_window_bits=12"),
        ("x-other", None),
        ("permessage-deflate; server_max_window_bits=8", None),
        ("permessage-deflate; unknown", None),
        (
            "permessage-deflate; server_max_window_bits=9; client_max_window_bits",
            b"permessage-deflate; server_max_window_bits=9; client_max_window_bits=12",
        ),
        (
            "x-other, permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            b"permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12",
        ),
    ],
)
def test_offers_of_compression(offer: str, answer: bytes | None) -> None:
    handshake = Handshake(fields(*HANDSHAKE, f"Sec-WebSocket-Extensions: {offer}"))
    assert dict(handshake.accept(None, 0, True)[1]).get(b"sec-websocket-extensions") == answer
    assert b"sec-websocket-extensions" not in dict(handshake.accept(None, 0, False)[1])


def test_which_version_is_spoken_is_said() -> None:
    with pytest.raises(RequestRefused) as caught:
        Handshake(fields(*HANDSHAKE[:2], HANDSHAKE[3], "Sec-WebSocket-Version: 7"))
    assert caught.value.status == 426


# ---- messages ----

_message = st.one_of(st.text(max_size=200), st.binary(max_size=200), st.integers(0, 70_000).map(lambda n: "x" * n))


@given(st.lists(st.tuples(_message, st.integers(1, 4)), max_size=8), st.lists(st.integers(1, 5000), max_size=20))
def test_messages_come_out_however_they_are_fragmented_and_cut(
    sent: list[tuple[Message, int]], cuts: list[int]
) -> None:
    """The bytes arrive in pieces of any size, with a ping before every fragment."""
    data, pings = b"", 0
    for message, count in sent:
        payload = message.encode() if isinstance(message, str) else message
        size = -(-len(payload) // count) or 1
        for at in range(0, len(payload) or 1, size):
            opcode = CONT if at else TEXT if isinstance(message, str) else BINARY
            data += frame(PING, b"between") + frame(opcode, payload[at : at + size], 0x80 * (at + size >= len(payload)))
            pings += 1
    there = wire()
    got: list[Message] = []
    for cut in [*cuts, len(data)]:
        if data:
            there.receive(data[:cut])
            got += messages(there)
            data = data[cut:]
    assert got == [message for message, _ in sent]
    assert there.open
    assert there.outgoing() == b"\x8a\x07between" * pings


@given(_message, st.booleans())
def test_what_is_encoded_is_what_the_library_reads(message: Message, compressed: bool) -> None:
    there = wire(0, "Sec-WebSocket-Extensions: permessage-deflate") if compressed else wire()
    client = Protocol(Side.CLIENT, max_size=None)
    if compressed:
        client.extensions = [
            ClientPerMessageDeflateFactory().process_response_params([("server_max_window_bits", "12")], [])
        ]
    client.receive_data(there.encode(message) + there.encode(message))
    events = client.events_received()
    assert len(events) == 2
    for event in events:
        assert isinstance(event, Frame)
        assert event.opcode is (Opcode.TEXT if isinstance(message, str) else Opcode.BINARY)
        assert event.data == (message.encode() if isinstance(message, str) else message)


# ---- what is refused, and with which code ----

RSV1, RSV2, RSV3, FIN = 0x40, 0x20, 0x10, 0x80
UTF8 = "κόσμε\U0001f600".encode()
HELLO = frame(TEXT, b"hello")

REFUSED: dict[str, tuple[bytes, int]] = {
    **{f"opcode {number}": (frame(number, b"x"), 1002) for number in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    **{f"bits {bits:x}": (frame(TEXT, b"x", FIN | bits), 1002) for bits in (RSV1, RSV2, RSV3, RSV1 | RSV3)},
    "bits of a ping": (frame(PING, b"x", FIN | RSV2), 1002),
    "bits of a close": (frame(CLOSE, b"", FIN | RSV3), 1002),
    "not masked": (frame(TEXT, b"hello", mask=b""), 1002),
    "an empty one, not masked": (frame(BINARY, b"", mask=b""), 1002),
    "a ping of 126 bytes": (frame(PING, b"x" * 126), 1002),
    "a close of 126 bytes": (frame(CLOSE, b"\x03\xe8" + b"x" * 124), 1002),
    "a ping in fragments": (frame(PING, b"x", 0), 1002),
    "a pong in fragments": (frame(10, b"x", 0) + frame(CONT, b"x"), 1002),
    "a continuation of nothing": (frame(CONT, b"x"), 1002),
    "a continuation of nothing, unfinished": (frame(CONT, b"x", 0), 1002),
    "a text within a text": (frame(TEXT, b"x", 0) + HELLO, 1002),
    "a binary within a text": (frame(TEXT, b"x", 0) + frame(BINARY, b"x"), 1002),
    "bits of a continuation": (frame(TEXT, b"x", 0) + frame(CONT, b"x", FIN | RSV1), 1002),
    "a close of one byte": (frame(CLOSE, b"\x03"), 1002),
    **{
        f"close {code}": (close(code), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    },
    "a close whose reason is no text": (close(1000, b"\xce\xba\xff"), 1007),
    "no text": (frame(TEXT, b"\xce\xba\xe1\xbd\xb9\xff"), 1007),
    "a surrogate": (frame(TEXT, b"\xed\xa0\x80"), 1007),
    "too long a form": (frame(TEXT, b"\xc0\xaf"), 1007),
    "beyond the last character": (frame(TEXT, b"\xf4\x90\x80\x80"), 1007),
    "a character cut off at the end": (frame(TEXT, UTF8[:-1]), 1007),
    "a character cut off at the last fragment's end": (frame(TEXT, UTF8, 0) + frame(CONT, UTF8[:-1]), 1007),
    "no text in a fragment, at once": (frame(TEXT, b"a", 0) + frame(CONT, b"\xf4\x90\x80\x80", 0), 1007),
    "too large": (frame(BINARY, b"x" * 1001), 1009),
    "too large, by its head alone": (frame(BINARY, size=1001)[:-4], 1009),
    "the largest there can be": (frame(BINARY, size=(1 << 63) - 1)[:-4], 1009),
    "too large in sum": (frame(TEXT, b"x" * 600, 0) + frame(CONT, b"x" * 401), 1009),
}


@pytest.mark.parametrize(("data", "code"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(data: bytes, code: int) -> None:
    """In one piece and byte by byte; a message before it is delivered, and nothing behind it."""
    for pieces in ([HELLO + data + HELLO], [bytes((byte,)) for byte in HELLO + data + HELLO]):
        there, got, out = wire(1000), [], b""
        for piece in pieces:
            there.receive(piece)
            got += messages(there)
            out += there.outgoing()
        assert (got, there.ended, there.open) == (["hello"], True, False)
        assert (out[:1], out[2:4]) == (b"\x88", code.to_bytes(2))
        assert len(out) == 2 + out[1], "one close and nothing else"
        assert there.outcome[0] == code
        there.receive_eof()
        assert there.outgoing() == b""


@pytest.mark.parametrize("largest", [0, 1000])
def test_the_largest_message(largest: int) -> None:
    there = wire(largest)
    for parts in ([1000], [600, 400], [0, 999, 1, 0]):
        for number, size in enumerate(parts):
            there.receive(frame(CONT if number else TEXT, b"x" * size, FIN * (number == len(parts) - 1)))
        assert messages(there) == ["x" * 1000]
    assert there.open


def test_what_unpacks_to_too_much() -> None:
    there = wire(1000, "Sec-WebSocket-Extensions: permessage-deflate")
    pack = compressobj(wbits=-15)
    bomb = pack.compress(bytes(1_000_000)) + pack.flush(Z_SYNC_FLUSH)
    there.receive(frame(BINARY, bomb[:-4], FIN | RSV1))
    assert messages(there) == []
    there.outgoing()
    assert (there.outcome[0], there.ended) == (1009, True)


def test_what_does_not_unpack() -> None:
    there = wire(1000, "Sec-WebSocket-Extensions: permessage-deflate")
    there.receive(frame(BINARY, b"\xff\xff\xff", FIN | RSV1))
    assert messages(there) == []
    assert there.outcome[0] == 1002


# ---- closing ----


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999])
def test_a_clients_close_is_answered_with_the_same(code: int) -> None:
    there = wire()
    there.receive(close(code, b"why") + HELLO)
    assert messages(there) == []
    assert there.outgoing() == b"\x88\x05" + code.to_bytes(2) + b"why"
    assert (there.outcome, there.ended, there.open) == ((code, "why"), True, False)


def test_a_close_without_a_code() -> None:
    there = wire()
    there.receive(frame(CLOSE))
    assert messages(there) == []
    assert (there.outgoing(), there.outcome) == (b"\x88\x00", (1005, ""))


def test_a_close_between_fragments() -> None:
    there = wire()
    there.receive(frame(TEXT, b"half", 0) + close(1000) + frame(CONT, b"never"))
    assert messages(there) == []
    assert (there.outgoing(), there.outcome) == (b"\x88\x02\x03\xe8", (1000, ""))


def test_our_close_and_the_clients_answer() -> None:
    there = wire()
    there.close(4000, "bye")
    assert there.outgoing() == b"\x88\x05\x0f\xa0bye"
    assert (there.open, there.ended, there.outcome) == (False, False, (4000, "bye"))
    there.receive(HELLO + frame(PING, b"?") + close(4000, b"bye"))
    assert messages(there) == ["hello"], "it was on its way"
    assert there.outgoing() == b"\x8a\x01?"
    assert there.ended


@pytest.mark.parametrize(
    ("code", "reason"), [(999, ""), (1005, ""), (1006, ""), (1015, ""), (5000, ""), (1000, "é" * 62)]
)
def test_what_no_close_may_hold(code: int, reason: str) -> None:
    there = wire()
    with pytest.raises(ValueError, match="a close code is one of"):
        there.close(code, reason)
    assert there.open
    assert there.outgoing() == b""
    there.close(1000, reason[:61])
    assert not there.open


def test_a_connection_that_is_lost() -> None:
    there = wire()
    there.receive(frame(TEXT, b"hello")[:-1])
    assert messages(there) == []
    there.receive_eof()
    there.receive_eof()
    assert (there.outgoing(), there.ended, there.outcome) == (b"", True, (1006, ""))


def test_many_empty_fragments_take_no_memory() -> None:
    there = wire()
    there.receive(frame(TEXT, b"a", 0))
    assert messages(there) == []
    tracemalloc.start()
    for _ in range(10):
        there.receive(frame(CONT, b"", 0) * 1000)
        assert messages(there) == []
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert taken < 30_000
    there.receive(frame(CONT, b"z"))
    assert messages(there) == ["az"]
