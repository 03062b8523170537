"""Figures as people read them: three digits that count, and a unit. For page, terminal and sentences alike."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import floor, isfinite, log10

_DURATIONS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_SIZES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))
_UNKNOWN = "–"
_BEFORE_UNIT = re.compile(r"(?<=\d) (?=(?:[mµn]?s|[kMG]?B|%|clients?|times)\b|%)")
_WORDS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def number(value: float) -> str:
    """1943.2 is "1,943", 19.84 is "19.8", 0.05213 is "0.0521"."""
    if not isfinite(value):
        return _UNKNOWN
    if value == 0:
        return "0"
    digits = max(0, 2 - floor(log10(abs(value))))
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if digits else text


def duration(seconds: float) -> str:
    return _scaled(seconds, _DURATIONS)


def size(count: float) -> str:
    """Bytes, in steps of a thousand."""
    return _scaled(count, _SIZES)


def percent(share: float) -> str:
    """0.0421 is "4.2 %", 0.42 is "42 %"."""
    if not isfinite(share):
        return _UNKNOWN
    value = share * 100
    if 0 < abs(value) < 9.95:
        return f"{value:.1f}".removesuffix(".0") + " %" if value >= 0.05 else "0 %"
    return f"{value:.0f} %"


def times(ratio: float) -> str:
    """How many times as many: "1.4 times", "twice", "97 times"."""
    if 1.95 <= ratio < 2.05:
        return "twice"
    return f"{ratio:.1f} times".replace(".0 ", " ") if ratio < 9.95 else f"{number(float(round(ratio)))} times"


def clients(count: int) -> str:
    return "1 client" if count == 1 else f"{count:,} clients"


def unbroken(text: str) -> str:
    """Where a line ends, a figure stays with its unit."""
    return _BEFORE_UNIT.sub("\N{NO-BREAK SPACE}", text)


def several(count: int) -> str:
    """Small numbers in words."""
    return _WORDS[count] if count < len(_WORDS) else f"{count:,}"


def listing(names: Sequence[str], most: int = 5) -> str:
    """Names as in a sentence: "a", "a and b", "a, b and c"; beyond `most` the rest is counted.

    Names with commas are kept apart by semicolons.
    """
    if len(names) > most:
        left = len(names) - most + 1
        names = [*names[: most - 1], f"{several(left)} others"]
    if len(names) < 2:
        return "".join(names)
    between = "; " if any("," in name for name in names) else ", "
    return f"{between.join(names[:-1])} and {names[-1]}"


def _scaled(value: float, steps: Sequence[tuple[float, str]]) -> str:
    if not isfinite(value):
        return _UNKNOWN
    if value == 0:
        return f"0 {steps[-1][1]}" if steps is _SIZES else "0 s"
    for step, unit in steps:
        if abs(value) >= step * 0.9995:
            return f"{number(value / step)} {unit}"
    step, unit = steps[-1]
    return f"{number(value / step)} {unit}"
