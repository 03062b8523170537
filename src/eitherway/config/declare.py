"""The means of declaring a setting: its kind, its check, its help, in one call. Knows no setting by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from eitherway.config.values import KINDS, Kind

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Check:
    """A rule beyond the kind: `passes` sees a value, or an item of a list; `allowed` says it to the user.

    `allowed` follows the description of the kind ("a whole number" + "from 1 to 8"), or replaces it where
    `whole` is true.
    """

    allowed: str
    passes: Callable[[Any], bool]
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Setting:
    """One declaration: all there is to know about a setting except its name and its default."""

    kind: Kind
    group: str
    help: str
    unit: str = ""
    metavar: str = ""
    short: str = ""  # a one-letter option beside the long one
    choices: tuple[str, ...] = ()
    check: Check | None = None
    required: bool = False  # of a list: at least one item

    @property
    def allowed(self) -> str:
        """Complete the sentence "... is not ..."."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.check is None:
            return self.kind.expects
        return self.check.allowed if self.check.whole else f"{self.kind.expects} {self.check.allowed}"

    def passes(self, item: object) -> bool:
        """Tell whether one value, or one item of a list, obeys the choices and the check."""
        if self.choices and item not in self.choices:
            return False
        return self.check is None or self.check.passes(item)


def setting(
    default: T,
    group: str,
    help: str,
    *,
    kind: str = "",
    unit: str = "",
    metavar: str = "",
    short: str = "",
    choices: tuple[str, ...] = (),
    check: Check | None = None,
    required: bool = False,
) -> T:
    """Declare a field of Config. The kind follows from the default and the unit unless it is named."""
    declared = Setting(
        KINDS[kind or _kind_of(default, unit)], group, help, unit, metavar, short, choices, check, required
    )
    return field(default=default, metadata={"setting": declared})


def _kind_of(default: object, unit: str) -> str:
    by_unit = {"bytes": "size", "s": "duration"}
    by_type = {bool: "flag", int: "count", str: "text", tuple: "list"}
    return by_unit.get(unit) or by_type[type(default)]


def between(low: float, high: float, show: Callable[[Any], str] = str) -> Check:
    """Make the check that a number lies between two others, both allowed."""
    return Check(f"from {show(low)} to {show(high)}", lambda value: low <= value <= high)


def size_between(low: int, high: int) -> Check:
    """Make the check that a size in bytes lies between two others, both allowed."""
    return between(low, high, KINDS["size"].show)


def time_between(low: float, high: float) -> Check:
    """Make the check that a time in seconds lies between two others, both allowed."""
    return between(low, high, KINDS["duration"].show)


def readable(read: Callable[[str], object]) -> Callable[[str], bool]:
    """Make the test that a reader reads an item: it raises ValueError for what it does not."""

    def passes(text: str) -> bool:
        try:
            read(text)
        except ValueError:
            return False
        return True

    return passes
