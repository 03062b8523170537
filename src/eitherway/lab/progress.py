"""What a user sees while a comparison runs: a bar on a terminal, plain lines elsewhere. All of it goes to stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from eitherway.lab import units
from eitherway.lab.plan import Variant, Visit
from eitherway.lab.units import number

if TYPE_CHECKING:
    from eitherway.lab.runner import Progress


@contextmanager
def progress() -> Iterator[Progress]:
    """The one that suits stderr."""
    if sys.stderr.isatty() and find_spec("rich"):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as RichProgress

        columns = (BarColumn(bar_width=20), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
        # Without a thread of its own to draw: the load generator starts processes.
        with RichProgress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True) as rich:
            yield Bar(rich)
    else:
        yield Lines()


class Lines:
    """A line for every visit."""

    _met = False

    def introducing(self, variant: Variant) -> None:
        if not self._met:
            self._met = True
            self._say("each is started once, and must answer right")

    def planned(self, visits: int, seconds: float) -> None:
        if visits:
            self._say(f"{visits} servers to measure, about {time_text(seconds)}")

    def visiting(self, visit: Visit, left: float) -> None:
        self._say(f"round {visit.round}: {visit.variant.name} (about {time_text(left)} left)")

    def measured(self, variant: Variant, clients: int, rate: float) -> None:
        pass  # the table will have it

    def visited(self) -> None:
        pass

    def failed(self, name: str, reason: str) -> None:
        self._say(f"not ranked: {name}: {reason}")

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


class Bar:
    """A bar with what runs now and the time left."""

    def __init__(self, rich: Any) -> None:
        self._rich = rich
        self._task = rich.add_task("starting every engine once", total=None)
        self._words = ""

    def introducing(self, variant: Variant) -> None:
        self._show(description=f"meeting {variant.name}")

    def planned(self, visits: int, seconds: float) -> None:
        self._show(total=visits, completed=0)

    def visiting(self, visit: Visit, left: float) -> None:
        self._words = f"round {visit.round}, about {time_text(left)} left: {visit.variant.name}"
        self._show(description=self._words)

    def measured(self, variant: Variant, clients: int, rate: float) -> None:
        self._show(description=f"{self._words}: {number(rate)} a second with {units.clients(clients)}")

    def visited(self) -> None:
        self._rich.advance(self._task)
        self._rich.refresh()

    def failed(self, name: str, reason: str) -> None:
        self._rich.console.print(f"not ranked: {name}: {reason}", markup=False, highlight=False)

    def _show(self, **change: Any) -> None:
        self._rich.update(self._task, **change)
        self._rich.refresh()


def time_text(seconds: float) -> str:
    """ "45 s", "2 min 30 s"."""
    minutes, rest = divmod(max(1, round(seconds)), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
