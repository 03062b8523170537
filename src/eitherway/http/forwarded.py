"""What a proxy says of its client: Forwarded (RFC 7239) and the X-Forwarded fields.

Pure; whom to believe is passed in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

from eitherway.http.fields import HOST, Fields

_MOST_ENTRIES = 64  # of a list; what lies further left cannot be a proxy of ours
_PAIR = re.compile(r'\s*([!#$%&\'*+\-.^_`|~0-9A-Za-z]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s";,]+))\s*')
_NODE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9A-Fa-f:]+(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f:]+))(?::([0-9]{1,5}))?")
_OBSCURE_PORT = re.compile(r":_[0-9A-Za-z._-]+$")


class Origin(NamedTuple):
    """The client, scheme and host that a request had before its proxies; None where nothing is said."""

    client: tuple[str, int] | None
    scheme: str | None
    host: bytes | None


def origin(raw: Fields, trusts: Callable[[str], bool]) -> Origin:
    """Read the fields, right to left: each proxy adds its entry at the right end, and the first address that is not
    itself a trusted proxy's is the client's. `Forwarded` goes before the X-fields; malformed fields say nothing."""
    forwarded = [value for name, value in raw if name == b"forwarded"]
    if forwarded:
        return _from_forwarded(b",".join(forwarded).decode("latin-1"), trusts)
    client = None
    for node in _entries(raw, b"x-forwarded-for"):
        address = parse_node(node)
        if address is None:
            break
        client = address
        if not trusts(address[0]):
            break
    scheme = next(_entries(raw, b"x-forwarded-proto"), "").lower()
    host = next(_entries(raw, b"x-forwarded-host"), "").encode("latin-1")
    return Origin(
        client,
        scheme if scheme in {"http", "https"} else None,
        host if host and HOST.fullmatch(host) else None,
    )


def _entries(raw: Fields, name: bytes) -> Iterator[str]:
    """The entries of a list field, from the right."""
    joined = b",".join(value for key, value in raw if key == name).decode("latin-1")
    for entry in reversed(joined.rsplit(",", _MOST_ENTRIES)[-_MOST_ENTRIES:]):
        if entry.strip():
            yield entry.strip()


def _from_forwarded(value: str, trusts: Callable[[str], bool]) -> Origin:
    found = Origin(None, None, None)
    for element in reversed(value.rsplit(",", _MOST_ENTRIES)[-_MOST_ENTRIES:]):
        pairs = _pairs(element)
        if pairs is None:
            break
        if not pairs:
            continue
        # A proxy may hide its client ("unknown", "_hidden") and yet tell what it was asked, and how.
        address = parse_node(_OBSCURE_PORT.sub("", pairs.get("for", "")))
        host = pairs.get("host", "").encode("latin-1", "replace")
        scheme = pairs.get("proto", "").lower()
        found = Origin(
            address or found.client,
            scheme if scheme in {"http", "https"} else found.scheme,
            host if host and HOST.fullmatch(host) else found.host,
        )
        if address is None or not trusts(address[0]):
            break
    return found


def _pairs(element: str) -> dict[str, str] | None:
    """An element's pairs, empty ones passed over (RFC 7239 section 4); None where it is malformed."""
    pairs: dict[str, str] = {}
    for part in element.split(";"):
        if not part.strip():
            continue
        match = _PAIR.fullmatch(part)
        if match is None:
            return None
        pairs[match[1].lower()] = match[2] if match[2] is not None else match[3]
    return pairs


def parse_node(node: str) -> tuple[str, int] | None:
    """An address with or without a port, as (host, port); port 0 where there is none. None when it is neither."""
    match = _NODE.fullmatch(node.strip())
    if match is None:
        return None
    bracketed, plain, digits = match.groups()
    try:
        _ = IPv6Address(bracketed) if bracketed else ip_address(plain)
    except ValueError:
        return None
    port = int(digits or 0)
    return (bracketed or plain, port) if port <= 65535 else None
