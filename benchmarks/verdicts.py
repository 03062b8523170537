"""Which targets are met: a ratio for each, taken turn by turn, so that a slow second strikes both sides."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from evenness import EvenRow
from measure import Row
from memory import MemoryRow
from scenarios import EVENNESS, MEMORY, Target, targets
from servers import Server


@dataclass(frozen=True)
class Verdict:
    """A target with what was measured; without a ratio where a side is missing."""

    target: Target
    ratio: float | None
    low: float | None
    high: float | None
    note: str

    @property
    def is_met(self) -> bool | None:
        return None if self.ratio is None else self.target.is_met_by(self.ratio) and not self.note

    @property
    def word(self) -> str:
        return {True: "met", False: "missed", None: "-"}[self.is_met]


@dataclass(frozen=True)
class Measured:
    """The rows of all tables that have targets."""

    rows: list[Row]
    memory: list[MemoryRow]
    evenness: list[EvenRow]


def judge(measured: Measured) -> list[Verdict]:
    """Judge every target of which both sides were to be measured."""
    present = {(row.load.name, row.server.name) for row in measured.rows}
    present |= {(MEMORY, row.server.name) for row in measured.memory}
    present |= {(EVENNESS, row.server.name) for row in measured.evenness}
    return [
        judge_one(target, measured)
        for target in targets()
        if all(
            (target.subject, side.name) in present for side in (target.ours, target.beside) if isinstance(side, Server)
        )
    ]


def judge_one(target: Target, measured: Measured) -> Verdict:
    """The ratios of all rounds, and their median. Errors on our side lose the target."""
    above = figures(target, target.ours, measured)
    beside = target.beside
    if isinstance(beside, Server):
        below = figures(target, beside, measured)
        name = beside.name
    else:
        below, name = [beside] * len(above), ""
    ratios = [a / b for a, b in zip(above, below, strict=False) if b]
    if not ratios:
        silent = target.ours.name if not above else name
        return Verdict(target, None, None, None, f"no figures of {silent}")
    failed = [
        row for row in measured.rows if row.load.name == target.subject and row.server == target.ours and row.errors
    ]
    note = "our answers had errors" if failed else ""
    return Verdict(target, statistics.median(ratios), min(ratios), max(ratios), note)


def figures(target: Target, server: Server, measured: Measured) -> list[float]:
    """The target's figure of one server in all rounds."""
    if target.subject == MEMORY:
        readings = [reading for row in measured.memory if row.server == server for reading in row.readings]
        return [float(getattr(reading, target.figure)) for reading in readings]
    if target.subject == EVENNESS:
        return [spread.ratio for row in measured.evenness if row.server == server for spread in row.spreads]
    for row in measured.rows:
        if row.load.name == target.subject and row.server == server:
            return row.figures(target.figure)
    return []
