"""How a value is read from text, accepted from Python or TOML, and shown. Knows no setting by name.

Every reader raises ValueError when the value is not one of its kind; the caller, who knows the setting
and where its value came from, writes the line that the user sees.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

SIZE_SUFFIXES = {"": 1, "k": KIB, "m": MIB, "g": GIB}  # bytes
DURATION_SUFFIXES = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}  # seconds
YES = ("true", "yes", "on", "1")
NO = ("false", "no", "off", "0")

# At most 18 digits: more is a mistake, and int() of thousands of digits is refused by Python itself.
COUNT_FORM = re.compile(r"[0-9]{1,18}")
SIZE_FORM = re.compile(r"([0-9]{1,18})\s*([kmg]?)(?:i?b)?", re.IGNORECASE)
DURATION_FORM = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)\s*(ms|s|m|h|)", re.IGNORECASE)
HOST_NAME_FORM = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")


# ---- text -> value ----


def parse_count(text: str) -> int:
    """Read a whole number, 0 or more, in decimal digits."""
    if not COUNT_FORM.fullmatch(text.strip()):
        raise ValueError(text)
    return int(text)


def parse_workers(text: str) -> int:
    """Read a number of processes, or "auto", which is 0."""
    return 0 if text.strip().lower() == "auto" else parse_count(text)


def parse_size(text: str) -> int:
    """Read bytes from "65536", "64k", "100m", "1g"; suffixes count in 1024, "kb" and "KiB" say the same."""
    match = SIZE_FORM.fullmatch(text.strip())
    if not match:
        raise ValueError(text)
    return int(match[1]) * SIZE_SUFFIXES[match[2].lower()]


def parse_duration(text: str) -> float:
    """Read seconds from "500ms", "10s", "2m", "1h" or a plain number of seconds such as "0.5"."""
    match = DURATION_FORM.fullmatch(text.strip())
    if not match:
        raise ValueError(text)
    return float(match[1]) * DURATION_SUFFIXES[match[2].lower()]


def parse_flag(text: str) -> bool:
    """Read yes or no from the words people write for them, in any case."""
    word = text.strip().lower()
    if word not in YES + NO:
        raise ValueError(text)
    return word in YES


def parse_list(text: str, separator: str = ",") -> tuple[str, ...]:
    """Read the items between separators; the spaces around them, and empty items, are dropped."""
    return tuple(item for part in text.split(separator) if (item := part.strip()))


# ---- Python or TOML -> value ----


def accept_text(value: object) -> str:
    """Take text without a NUL, which no path or address may hold."""
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(value)
    return value


def accept_count(value: object) -> int:
    """Take an int; a bool is an int to Python but never to a user."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(value)
    return value


def accept_workers(value: object) -> int:
    """Take a number of processes, or text as in `parse_workers`."""
    return parse_workers(value) if isinstance(value, str) else accept_count(value)


def accept_size(value: object) -> int:
    """Take bytes as an int, or text as in `parse_size`."""
    return parse_size(value) if isinstance(value, str) else accept_count(value)


def accept_duration(value: object) -> float:
    """Take seconds as a finite number, or text as in `parse_duration`."""
    if isinstance(value, str):
        return parse_duration(value)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(value)
    return float(value)


def accept_flag(value: object) -> bool:
    """Take a bool and nothing that merely could be one."""
    if not isinstance(value, bool):
        raise ValueError(value)
    return value


def accept_list(value: object, separator: str = ",") -> tuple[str, ...]:
    """Take a list or tuple of texts as they stand, or one text as in `parse_list`."""
    if isinstance(value, str):
        return parse_list(accept_text(value), separator)
    if not isinstance(value, (list, tuple)):
        raise ValueError(value)
    return tuple(accept_text(item) for item in value)


# ---- value -> text ----


def show_workers(value: int) -> str:
    """Write a number of processes, or "auto"."""
    return str(value) if value else "auto"


def show_size(value: int) -> str:
    """Write bytes with the largest suffix that loses nothing: 65536 is "64k", 8190 is "8190"."""
    for suffix, factor in reversed(SIZE_SUFFIXES.items()):
        if value and value % factor == 0:
            return f"{value // factor}{suffix}"
    return "0"


def show_duration(value: float) -> str:
    """Write seconds with the largest suffix that loses nothing: 120.0 is "2m", 0.5 is "500ms"."""
    milliseconds = round(value * 1000)
    if not math.isclose(milliseconds, value * 1000):
        return f"{value:.9f}s"
    for suffix, factor in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        if milliseconds and milliseconds % factor == 0:
            return f"{milliseconds // factor}{suffix}"
    return "0s"


def show_flag(value: bool) -> str:
    """Write "on" or "off"."""
    return "on" if value else "off"


# ---- the table of kinds ----


@dataclass(frozen=True, slots=True)
class Kind:
    """How the values of one kind go in and out.

    `expects` completes the sentence "... is not ..."; `parse` reads text (environment, command line),
    `accept` takes a typed value (TOML, Python), `show` writes one as `parse` would read it.
    `separator` stands between the items of a list, and is empty where a value is one item.
    """

    expects: str
    parse: Callable[[str], Any]
    accept: Callable[[object], Any]
    show: Callable[[Any], str]
    separator: str = ""


KINDS = {
    "text": Kind("text", accept_text, accept_text, str),
    "count": Kind("a whole number", parse_count, accept_count, str),
    "workers": Kind("auto, or a whole number", parse_workers, accept_workers, show_workers),
    "size": Kind("a size in bytes (such as 8190, 64k, 100m, 1g)", parse_size, accept_size, show_size),
    "duration": Kind("a time (such as 500ms, 10s, 2m, or seconds)", parse_duration, accept_duration, show_duration),
    "flag": Kind("true or false", parse_flag, accept_flag, show_flag),
    "list": Kind("a list of text", parse_list, accept_list, ",".join, ","),
    "paths": Kind(
        "a list of directories",
        lambda text: parse_list(text, os.pathsep),
        lambda value: accept_list(value, os.pathsep),
        os.pathsep.join,
        os.pathsep,
    ),
}


# ---- addresses ----


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: `host` and `port` (0: any free one), or `path` where the family is "unix".

    The family "fd" is a socket that was opened by somebody else, and inherited. The family "name" is
    a host name, still to be resolved.
    """

    family: Literal["inet", "inet6", "name", "unix", "fd"]
    host: str = ""
    port: int = 0
    path: str = ""
    fd: int = -1

    def __str__(self) -> str:
        if self.family == "fd":
            return f"fd://{self.fd}"
        if self.family == "unix":
            return f"unix:{self.path}"
        host = f"[{self.host}]" if self.family == "inet6" else self.host
        return f"{host}:{self.port}"


def parse_bind(text: str) -> Address:
    """Read "host:port", "[::1]:port", ":port" (every IPv4 interface), "unix:/path" or "fd://3"; else ValueError."""
    if text.startswith("fd://"):
        return Address("fd", fd=parse_count(text.removeprefix("fd://")))
    if text.startswith("unix:"):
        return _unix_address(text.removeprefix("unix:"))
    host, colon, port_text = text.rpartition(":")
    if not colon or not (port_text.isascii() and port_text.isdigit()) or len(port_text) > 5:
        raise ValueError(text)
    port = int(port_text)
    if port > 65535:
        raise ValueError(text)
    if host.startswith("[") and host.endswith("]"):
        return _inet6_address(host[1:-1], port)
    return _inet_address(host or "0.0.0.0", port)


def _unix_address(path: str) -> Address:
    if not path or "\0" in path:
        raise ValueError(path)
    return Address("unix", path=path)


def _inet6_address(host: str, port: int) -> Address:
    from ipaddress import IPv6Address

    return Address("inet6", str(IPv6Address(host)), port)


def _inet_address(host: str, port: int) -> Address:
    if not HOST_NAME_FORM.fullmatch(host):
        raise ValueError(host)
    # A name whose last label is a number is an IPv4 address or a slip of the keyboard, never a name.
    if not host.rpartition(".")[2].isdigit():
        return Address("name", host, port)
    octets = host.split(".")
    if len(octets) != 4 or any(not octet.isdigit() or str(int(octet)) != octet or int(octet) > 255 for octet in octets):
        raise ValueError(host)
    return Address("inet", host, port)


def parse_network(text: str) -> IPv4Network | IPv6Network:
    """Read an address or a network; bits beyond the network's prefix are cleared. ValueError otherwise."""
    # Imported here: a server whose user changes no network needs none of it.
    from ipaddress import ip_network

    return ip_network(text, strict=False)


# ---- words ----


def did_you_mean(word: str, names: Iterable[str], otherwise: str = "") -> str:
    """Return "; did you mean 'name'?" for the nearest of the names, or `otherwise` when none is near."""
    from difflib import get_close_matches

    spelled = {name.lower(): name for name in names}
    near = get_close_matches(word.lower(), spelled, n=1, cutoff=0.6)
    return f"; did you mean {spelled[near[0]]!r}?" if near else otherwise
