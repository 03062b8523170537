"""A comparison in the terminal: a table and the verdict. With rich where it is installed, in plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from eitherway.lab import findings
from eitherway.lab.results import Comparison, Configuration, Interval, Point
from eitherway.lab.units import clients, duration, listing, number, percent, size

if TYPE_CHECKING:
    from rich.console import Console

_NONE = "–"
_GAP = "  "
_BEST = "bold green"


def print_comparison(comparison: Comparison, console: Console | None = None, out: TextIO | None = None) -> None:
    """To `console` where that is a terminal, else as plain text to `out` (standard output)."""
    if console is not None and console.is_terminal:
        _print_rich(comparison, console)
    else:
        print(plain(comparison), file=out or (console.file if console is not None else sys.stdout))


def plain(comparison: Comparison) -> str:
    """The table and the verdict as lines of text."""
    heads, rows = _cells(comparison)
    table = [*zip(*heads, strict=True), *(cells for cells, _ in rows)] if rows else []
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [comparison.title, ""]
    for first, *others in table:
        right = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append(_GAP.join([first.ljust(widths[0]), *right]).rstrip())
    lines += [f"{names}: {reason}" for names, reason in _unranked(comparison)]
    return "\n".join([*lines, "", *_verdict(comparison)])


def _print_rich(comparison: Comparison, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    heads, rows = _cells(comparison)
    table = Table(
        title=Text(comparison.title, style="bold"), title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    for index, lines in enumerate(heads):
        table.add_column(Text("\n".join(lines), style="dim"), justify="right" if index else "left", overflow="fold")
    winner = comparison.verdict.winner if comparison.verdict else ""
    for cells, name in rows:
        table.add_row(*(Text(cell) for cell in cells), style=_BEST if name == winner else "")
    console.print()
    console.print(table if rows else Text(comparison.title, style="bold"))
    for names, reason in _unranked(comparison):
        console.print(Text.assemble((f"{names}: ", "bold"), (reason, "yellow")))
    console.print()
    for line in _verdict(comparison):
        style = "bold cyan" if comparison.verdict and line.strip() == comparison.verdict.command else ""
        console.print(Text(line, style=style), soft_wrap=bool(style))


def _cells(comparison: Comparison) -> tuple[list[tuple[str, str]], list[tuple[list[str], str]]]:
    """The heads, of two lines each, and for each ranked configuration its cells and its name."""
    high = findings.common_load(comparison)
    low = comparison.ladder[0] if comparison.ladder else None
    loads = sorted({load for load in (low, high) if load is not None})
    heads = [("", ""), ("requests/s", f"at {high:,}" if high is not None else "")]
    heads += [("p50 / p99", f"at {clients(load)}") for load in loads]
    heads += [("CPU", "/request"), ("", "memory")]
    return heads, [(_row(c, high, loads), c.name) for c in findings.ranked(comparison)]


def _row(configuration: Configuration, high: int | None, loads: Sequence[int]) -> list[str]:
    point = configuration.at(high) if high is not None else None
    latencies = [_latencies(configuration.at(load)) for load in loads]
    if point is None:
        return [configuration.name, _NONE, *latencies, _NONE, _NONE]
    taken = findings.memory(point)
    rate = _rate(point.throughput) + (" *" if point.client_limited else "")
    return [configuration.name, rate, *latencies, duration(point.cost.cpu), size(taken) if taken else _NONE]


def _rate(rate: Interval) -> str:
    """The interval as a share of the middle: the farther of its two ends."""
    if not rate.middle or rate.low == rate.high:
        return number(rate.middle)
    return f"{number(rate.middle)} ±{percent(max(rate.high - rate.middle, rate.middle - rate.low) / rate.middle)}"


def _latencies(point: Point | None) -> str:
    if point is None:
        return _NONE
    return " / ".join(
        duration(point.latency[name].middle) if name in point.latency else _NONE for name in ("p50", "p99")
    )


def _unranked(comparison: Comparison) -> list[tuple[str, str]]:
    """Names, and the reason that they share."""
    found: dict[str, list[str]] = {}
    for each in comparison.configurations:
        if each.failure or not each.points:
            found.setdefault(each.failure or "not measured", []).append(each.name)
    return [(listing(names, len(names)), reason) for reason, names in found.items()]


def _verdict(comparison: Comparison) -> list[str]:
    lines = []
    if any(p.client_limited for c in comparison.configurations for p in c.points):
        lines.append("* The load generator was the limit at some loads; those are not used in the verdict.")
    if not comparison.complete:
        lines.append("Incomplete: the run was stopped before its end.")
    verdict = comparison.verdict
    if verdict is None:
        return [*lines, "No verdict."]
    lines += findings.verdict_sentences(verdict)
    if verdict.confidence:
        lines.append(f"How sure: {verdict.confidence}.")
    lines += ["", *findings.of_theory(comparison)]
    if verdict.command:
        lines += ["", f"    {verdict.command}"]
    return lines
