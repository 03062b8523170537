r"""Reading `tests/corpus/*.http`: a message as bytes, and what must come of it.

A file begins with comment lines, then come the bytes:

    # Content-Length together with Transfer-Encoding (CVE-2019-16786)
    # expect: 400
    # then: closed
    POST / HTTP/1.1\r\n
    Host: x\r\n

In the bytes the ends of the file's own lines mean nothing; every CR, LF and other special byte is an escape: `\r`,
`\n`, `\t`, `\\`, `\xHH`, and `\(text*COUNT)` for text, itself with escapes, repeated. All else is ASCII.

The comment lines:

* `expect: STATUS [METHOD TARGET [key=value ...]]`, one for each answer in order, not counting interim ones. `400|501`
  allows either. With a method and a target, the application has run, and has received just that. Targets and values
  may hold escapes. Keys: `body`, `path` and `query` as decoded, `host`, `client`, `scheme`, `field:NAME` (fields of
  the same name are joined by a comma); `absent:NAME` says that the application must not see a field; `length` stands
  in for a long body. Where `body` and `length` are missing, the body is empty.
* `then: open` (the connection goes on: the next request is answered), `then: closed` (the server closes it behind the
  last answer, whatever else was sent), or `then: waiting` (the server wants more bytes, and drops what there is when
  the client closes instead).
* any other text tells the reader what the file is for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).parent / "corpus"

_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|\(((?:[^()\\]|\\.)*)\*([0-9]+)\)|(.))")
_SIMPLE = {"r": b"\r", "n": b"\n", "t": b"\t", "\\": b"\\"}


@dataclass(frozen=True)
class Expected:
    """One answer; `method` is empty where the server answers itself."""

    statuses: tuple[int, ...]
    method: str = ""
    target: str = ""
    items: dict[str, bytes] = field(default_factory=dict)

    @property
    def targets(self) -> tuple[str, str]:
        """The target as it was sent, and in origin form without an empty query, which is what ASGI can tell of it."""
        path, _, query = re.sub("^(?i:https?)://[^/?]*", "", self.target).partition("?")
        return self.target, (path or "/") + (query and f"?{query}")


@dataclass(frozen=True)
class Case:
    name: str
    data: bytes
    expected: tuple[Expected, ...]
    then: str

    def __str__(self) -> str:
        return self.name


def unescape(text: str) -> bytes:
    """The bytes that `text` stands for."""
    out, position = b"", 0
    for match in _ESCAPE.finditer(text):
        code, repeated, count, simple = match.groups()
        out += text[position : match.start()].encode("ascii")
        if code:
            out += bytes([int(code, 16)])
        elif count:
            out += unescape(repeated) * int(count)
        else:
            out += _SIMPLE[simple]
        position = match.end()
    return out + text[position:].encode("ascii")


def parse_case(name: str, text: str) -> Case:
    expected: list[Expected] = []
    then = ""
    lines = text.split("\n")
    while lines and lines[0].startswith("#"):
        comment = lines.pop(0)[1:].strip()
        key, _, value = comment.partition(":")
        if key == "expect":
            expected.append(_parse_expected(value.split()))
        elif key == "then":
            then = value.strip()
    assert then in {"open", "closed", "waiting"}, f"{name}: no `then`"
    assert expected or then != "open", f"{name}: nothing is expected"
    return Case(name, b"".join(map(unescape, lines)), tuple(expected), then)


def _parse_expected(words: list[str]) -> Expected:
    statuses = tuple(int(status) for status in words[0].split("|"))
    if len(words) == 1:
        return Expected(statuses)
    items = {}
    for word in words[3:]:
        key, equals, value = word.partition("=")
        assert equals or key.startswith("absent:"), word
        items[key] = unescape(value)
    return Expected(statuses, words[1], unescape(words[2]).decode(), items)


def load() -> list[Case]:
    return [parse_case(path.stem, path.read_text("ascii")) for path in sorted(CORPUS.glob("*.http"))]


def check_request(request: dict[str, Any], expected: Expected) -> None:
    """Assert that the application received what was expected; `request` is what tests/apps/echo.py answers."""
    assert request["method"] == expected.method
    assert request["target"] in expected.targets
    items = {key: value.decode("latin-1") for key, value in expected.items.items()}
    if "length" not in items:
        assert request["body"] == items.pop("body", "")
    for key, value in items.items():
        kind, _, name = key.partition(":")
        if kind == "field":
            assert request["fields"][name] == value
        elif kind == "absent":
            assert name not in request["fields"]
        elif kind == "host":
            assert request["fields"]["host"] == value
        elif kind == "client" and value == "127.0.0.1":
            assert request["client"] in ("", value)
        else:
            assert str(request[kind]) == value
