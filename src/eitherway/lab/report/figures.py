"""What all figures share: who appears in them under which label and colour, and of what a figure consists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from eitherway.lab import findings
from eitherway.lab.report.markup import Markup
from eitherway.lab.results import Comparison, Configuration, Point

WIDE, HALF, NARROW = 1040.0, 500.0, 358.0

_WIDE_LABEL, _NARROW_LABEL = 26, 8  # letters that have room at a line's end
_MOST_LOADS = 5
_SLOTS = {
    "sync": 0,
    "threads": 1,
    "gevent": 2,
    "asyncio": 3,
    "uvloop": 4,
    "eventlet": 5,
    "trio": 6,
    "curio": 7,
    "twisted": 8,
}

Said = list[tuple[int, str, str]]  # a configuration's number (-1: none's), its value, more about it


@dataclass(frozen=True, slots=True)
class Member:
    """A configuration as the charts show it."""

    number: int  # among those shown
    slot: int  # of colour and marker
    configuration: Configuration
    letter: str  # stands for the name where that is too long for a line's end; else empty
    short: str  # the label on a wide page
    shortest: str  # and on a narrow one

    @property
    def name(self) -> str:
        return self.configuration.name

    def title(self, wide: bool) -> str:
        """The name, after its letter where that is used."""
        label = self.short if wide else self.shortest
        return f"{label}  {self.name}" if self.letter == label else self.name

    @property
    def points(self) -> list[Point]:
        """By rising load."""
        return sorted(self.configuration.points, key=lambda p: p.concurrency)


@dataclass(frozen=True, slots=True)
class Panel:
    """One view of a figure, drawn for a wide and for a narrow page. `heads` and `rows` are what hovering tells."""

    choice: str
    wide: Markup
    narrow: Markup
    finding: str
    heads: list[str]
    rows: list[Said]


@dataclass(frozen=True, slots=True)
class Figure:
    """A title, what the chart means, and its views, of which one is seen at a time."""

    name: str
    title: str
    about: str
    panels: tuple[Panel, ...]
    first: int = 0  # the panel that is seen first
    keys: tuple[tuple[str, str], ...] = ()  # (kind of line, what it means)
    half: bool = False


def cast(comparison: Comparison) -> tuple[Member, ...]:
    """Those shown, with colours: an engine keeps its own wherever it can."""
    chosen = findings.shown(comparison)
    names = [c.name for c in chosen]
    engines = [c.engine for c in chosen]
    unique = len(set(engines)) == len(engines)

    def label(index: int, room: int) -> str:
        if all(len(name) <= room for name in names):
            return names[index]
        return engines[index] if unique and all(len(e) <= room for e in engines) else chr(ord("A") + index)

    free = [slot for slot in range(findings.SHOWN) if slot not in {_SLOTS.get(engine) for engine in engines}]
    slots: list[int] = []
    for engine in engines:
        own = _SLOTS.get(engine)
        slots.append(own if own is not None and own not in slots else free.pop(0))
    found = []
    for index, configuration in enumerate(chosen):
        short, shortest = label(index, _WIDE_LABEL), label(index, _NARROW_LABEL)
        letter = shortest if shortest not in (names[index], engines[index]) else ""
        found.append(Member(index, slots[index], configuration, letter, short, shortest))
    return tuple(found)


def choice_of_loads(points: Iterable[Point]) -> list[int]:
    """The lowest, the highest, and others evenly between."""
    found = sorted({p.concurrency for p in points})
    if len(found) <= _MOST_LOADS:
        return found
    return [found[round(index * (len(found) - 1) / (_MOST_LOADS - 1))] for index in range(_MOST_LOADS)]


def first_load(comparison: Comparison, loads: Sequence[int]) -> int:
    """The index of the highest that is not above the common load."""
    common = findings.common_load(comparison) or 0
    return max((index for index, load in enumerate(loads) if load <= common), default=len(loads) - 1)
