"""Is an answer right? Asked twice for the same thing, a server shows what varies in it; the rest must not differ
from one engine to the next. Also: which answers cannot be compared at all, and the word for each.
"""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING

from eitherway.errors import LabError

if TYPE_CHECKING:
    from eitherway.lab.load import Request

PATIENCE = 10.0  # seconds for one answer, whole
LARGEST = 64 * 2**20  # bytes of an answer
_COMPARED = 2**20  # bytes at an answer's beginning that are looked at closely
_PIECES = 20_000
_ALIGNED = 2000  # tokens; to find what two longer stretches have in common would take too long
_SHOWN = 60  # characters of an answer that a reason quotes

# What differs by itself from one moment, or one process, to the next.
_VOLATILE = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?"  # a time, ISO 8601
    r"|(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT"
    r"|\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"  # a UUID
    r"|\b[0-9A-Za-z_-]{32,}\b"  # a token
    r"|\b1[6-9]\d{8}(?:\.\d+)?\b"  # a Unix time
)
_WORD = re.compile(r"[^\s<>\"'=&;,/(){}\[\]]+|\s+|\S")
_ANY = ""  # stands for any run of tokens

Pattern = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    location: str = ""
    seconds: float = 0.0


class NotComparable(LabError):  # noqa: N818 - a word about the request
    """The request itself is at fault, not the engine: every engine would answer so."""


# ---- asking ----


def ask(host: str, port: int, request: Request, patience: float = PATIENCE) -> Answer:
    """Send one request and read the whole answer.

    Raises LabError when there is none, NotComparable when it does not end.
    """
    name = title(request)
    connection = http.client.HTTPConnection(host, port, timeout=patience)
    began = monotonic()
    try:
        given = {field.lower() for field, _ in request.headers}
        connection.putrequest(request.method, request.target, skip_host="host" in given, skip_accept_encoding=True)
        for field, value in request.headers:
            connection.putheader(field, value)
        if request.body and "content-length" not in given:
            connection.putheader("Content-Length", str(len(request.body)))
        connection.endheaders(request.body or None)
        response = connection.getresponse()
        body = _whole(response, name, began + patience, patience)
        return Answer(response.status, body, response.getheader("Location", ""), monotonic() - began)
    except TimeoutError:
        raise LabError(f"{name}: no answer within {patience:g} s") from None
    except (OSError, http.client.HTTPException) as error:
        raise LabError(f"{name}: no answer: {_why(error)}") from None
    finally:
        connection.close()


def _whole(response: http.client.HTTPResponse, name: str, deadline: float, patience: float) -> bytes:
    parts, size = [], 0
    while part := response.read1(65536):
        parts.append(part)
        size += len(part)
        if monotonic() > deadline or size > LARGEST:
            raise NotComparable(
                f"{name} streams: after {patience:g} s and {size} bytes the answer has not ended; "
                "compare measures answers that end, so name another target"
            )
    return b"".join(parts)


def _why(error: Exception) -> str:
    if isinstance(error, http.client.RemoteDisconnected):
        return "the connection was closed"
    if isinstance(error, http.client.IncompleteRead):
        return "it was cut off"
    return str(error) or type(error).__name__


def title(request: Request) -> str:
    """How a request is called in what a user reads: "GET /products"."""
    return f"{request.method} {request.target}"


# ---- may it be measured? ----


def judge(request: Request, answer: Answer, raised: Callable[[], str] = str) -> None:
    """Let an answer pass that says yes. Raises NotComparable for a no, LabError for a fault of the application:
    `raised` tells which.
    """
    name, status = title(request), answer.status
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        where = f" to {answer.location}" if answer.location else ""
        raise NotComparable(f"{name} redirects{where} ({status}); {_instead(answer.location)}")
    if status in (401, 403):
        raise NotComparable(
            f"{name} needs a login ({status}); give what it asks for, such as -H 'Authorization: Bearer ...' or "
            "-H 'Cookie: ...'"
        )
    if status < 500:
        raise NotComparable(f"{name} is refused with {status}{_quote(answer.body)}; name a target that answers 200")
    fault = raised()
    raise LabError(f"{name} answers {status}{f': {fault}' if fault else _quote(answer.body)}")


def _instead(location: str) -> str:
    """What to do about a redirection, as far as its address tells what it is for."""
    if location.startswith("https:"):
        return "if that is for the https alone, give -H 'X-Forwarded-Proto: https'"
    if re.search(r"log[-_]?in|sign[-_]?in|auth", location, re.IGNORECASE):
        return "if that is for a login, give -H 'Cookie: ...' or -H 'Authorization: ...'"
    return "name the target that it leads to"


def _quote(body: bytes) -> str:
    text = " ".join(body[:400].decode("utf-8", "replace").split())
    if not text or text.startswith("<"):
        return ""
    return f" ({text[:_SHOWN]}{'...' if len(text) > _SHOWN else ''})"


# ---- is it the same? ----


def pattern_of(one: bytes, two: bytes) -> Pattern:
    """What two answers to the same request have in common: its pieces, and `_ANY` where they differ."""
    return common(_tokens(one), _tokens(two))


def common(first: Sequence[str], second: Sequence[str]) -> Pattern:
    """What two patterns have in common."""
    start = _common(first, second)
    first, head, second = first[start:], first[:start], second[start:]
    end = _common(first[::-1], second[::-1])
    tail = first[len(first) - end :]
    return (*head, *_common_parts(first[: len(first) - end], second[: len(second) - end]), *tail)


def _common(one: Sequence[str], two: Sequence[str]) -> int:
    """How many tokens at the beginning are the same."""
    return next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))


def _common_parts(one: Sequence[str], two: Sequence[str]) -> list[str]:
    if not one and not two:
        return []
    if max(len(one), len(two)) > _ALIGNED:
        return [_ANY]
    found: list[str] = []
    for kind, low, high, _, _ in SequenceMatcher(None, one, two, autojunk=False).get_opcodes():
        if kind == "equal":
            found += one[low:high]
        elif not found or found[-1] != _ANY:
            found.append(_ANY)
    return found


def agree(one: Pattern, two: Pattern) -> bool:
    """Whether two servers say the same, apart from what varies in either."""
    return one == two or _matches(one, two) or _matches(two, one)


def difference(one: Pattern, two: Pattern) -> tuple[str, str]:
    """The first place where they part, as each has it; for people."""
    at = _common(one, two)
    return _excerpt(one, at), _excerpt(two, at)


def _excerpt(pattern: Pattern, at: int) -> str:
    words = [each or "*" for each in pattern[max(0, at - 6) : at + 12]]
    return "".join(words)[:_SHOWN] or "nothing"


def _tokens(body: bytes) -> list[str]:
    """An answer in the pieces that may vary: the values of JSON, the words of anything else."""
    text = body[:_COMPARED].decode("utf-8", "replace")
    pieces: Iterable[str] | None = None
    if len(body) <= _COMPARED and text.lstrip()[:1] in ("{", "["):
        try:
            pieces = _json_pieces(json.loads(text))
        except (ValueError, RecursionError):
            pass  # no JSON, then
    found = list(islice(pieces if pieces is not None else _text_pieces(text), _PIECES + 1))
    return found if len(found) <= _PIECES and len(body) <= _COMPARED else [*found[:_PIECES], _ANY]


def _json_pieces(value: object) -> Iterator[str]:
    """Each value whole, and the order of keys forgotten: the same may be written in different ways."""
    if isinstance(value, dict):
        yield "{"
        for key in sorted(value):
            yield f"{key}:"
            yield from _json_pieces(value[key])
        yield "}"
    elif isinstance(value, list):
        yield "["
        for each in value:
            yield from _json_pieces(each)
        yield "]"
    else:
        text = json.dumps(value, ensure_ascii=False)
        yield _ANY if _VOLATILE.search(text) else text


def _text_pieces(text: str) -> Iterator[str]:
    for number, plain in enumerate(_VOLATILE.split(text)):
        if number:
            yield _ANY
        yield from _WORD.findall(plain)


def _matches(pattern: Sequence[str], text: Sequence[str]) -> bool:
    """Whether `text` is `pattern` with something, or nothing, in the place of each `_ANY`."""
    at = here = text_star = 0
    star = -1  # the last _ANY that was passed; from there another try is made
    while here < len(text):
        if at < len(pattern) and pattern[at] == _ANY:
            star, text_star = at, here
            at += 1
        elif at < len(pattern) and pattern[at] == text[here]:
            at += 1
            here += 1
        elif star >= 0:
            text_star += 1
            at, here = star + 1, text_star
        else:
            return False
    return all(each == _ANY for each in pattern[at:])
