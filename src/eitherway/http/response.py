"""The head of a response: composed of what an application gives, and remembered: applications repeat themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from eitherway.errors import ResponseError
from eitherway.http import fields as f
from eitherway.http.memory import Memory

# Looks in vain until it is taken that responses differ, and responses after which it is tried again.
_IN_VAIN = 256
_BLIND = 4096

Status = TypeVar("Status")

# A head, checked and encoded, without what the server adds (its own fields, and the framing): the status, its line, the
# fields' lines, the length that Content-Length says, and how it is special.
ResponseHead = tuple[int, bytes, bytes, int | None, int]

# How: the application wants the connection closed; it says DATE, SERVER itself; it says what is not to be kept.
CLOSES, DATED, NAMED, SECRET = 1, 2, 4, 8
_SPECIAL = {f.DATE: DATED, f.SERVER: NAMED, f.SECRET: SECRET}


def compose(status: int, fields: Iterable[f.ResponseField], reason: bytes = b"") -> ResponseHead:
    """The head of a response with these fields. Raises ResponseError.

    The framing is the server's: a Transfer-Encoding of the application's is dropped, `Connection` is read only for
    `close`.
    """
    if status < 200:
        raise ResponseError(f"{status} is an interim status; a response starts with a final one")
    lines: list[bytes] = []
    length: int | None = None
    special = 0
    for role, line, value in fields:
        if role:
            if role == f.LENGTH:
                known, length = length, f.parse_length(value, length)
                if known is not None or status == 204:
                    continue
            elif role == f.CODING:
                continue
            elif role == f.CONNECTION:
                if b"close" in value.lower():
                    special |= CLOSES
                continue
            else:
                special |= _SPECIAL[role]
        lines.append(line)
    return status, f.status_line(status, reason), b"".join(lines), length, special


class Heads(Generic[Status]):
    """Composes heads, or finds them: one that comes again and again is checked and encoded once."""

    def __init__(self, make: Callable[[Status, tuple[Any, ...]], ResponseHead]) -> None:
        self._make = make
        self._memory = Memory(entries=512, largest=2048)
        self._in_vain = 0  # looks, less those that found something

    def get(self, status: Status, headers: Iterable[Any]) -> ResponseHead:
        """The head of what an application gives. Raises ResponseError."""
        given = tuple(headers)
        in_vain = self._in_vain
        if in_vain >= _IN_VAIN:  # a look costs as much as it saves
            self._in_vain = in_vain + 1 if in_vain < _IN_VAIN + _BLIND else 0
            return self._make(status, given)
        key = (status, given)
        try:
            head: ResponseHead | None = self._memory.get(key)
        except TypeError:  # pairs that are lists cannot be looked up
            return self._make(status, given)
        if head is not None:
            if in_vain:
                self._in_vain = in_vain - 1
            return head
        self._in_vain = in_vain + 1
        head = self._make(status, given)
        if not head[4] & SECRET:
            self._memory.remember(key, len(head[2]), head)
        return head
