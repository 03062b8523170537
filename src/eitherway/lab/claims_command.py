"""`eitherway claims`: what is commonly said of sync and async, tested here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eitherway.errors import LabError
from eitherway.lab.commands import INTERRUPTED, Duration, interruptible, must_be_writable
from eitherway.lab.machine import machine, versions
from eitherway.lab.theory import CROWDED
from eitherway.lab.units import percent

if TYPE_CHECKING:
    from eitherway.lab.claims import Claim, Finding

Tested = Sequence[tuple["Claim", "Finding"]]


@click.command("claims", short_help="Test what is commonly said of sync and async, on this machine.")
@click.argument("numbers", nargs=-1, type=int, metavar="[NUMBER]...")
@click.option("--duration", type=Duration(), default=2.0, help="Time for a figure in a round. [default: 2s]")
@click.option("--rounds", type=click.IntRange(1, 100), default=3, help="Rounds. [default: 3]")
@click.option("-o", "--output", metavar="FILE", help="Write them as a page of Markdown, too.")
def claims_command(numbers: tuple[int, ...], duration: float, rounds: int, output: str | None) -> int:
    """Test claims by experiment: figures with intervals, whether each holds, and what would turn it.

    Without NUMBERs all of them, which takes about a quarter of an hour.
    """
    from eitherway.lab.bench import Bench
    from eitherway.lab.claims import CLAIMS, examine

    chosen = [claim for claim in CLAIMS if not numbers or claim.number in numbers]
    if unknown := set(numbers) - {claim.number for claim in CLAIMS}:
        raise LabError(f"there is no claim {min(unknown)}; they are numbered 1 to {len(CLAIMS)}")
    if output:
        must_be_writable(Path(output))
    bench = Bench(duration, rounds, len(os.sched_getaffinity(0)), lambda text: click.echo(f"  {text}", err=True))
    tested: list[tuple[Claim, Finding]] = []
    complete = True
    try:
        with interruptible():
            for claim in chosen:
                tested.append((claim, examine(claim, bench)))
                click.echo("\n".join(_lines(*tested[-1])))
    except KeyboardInterrupt:
        complete = False
    notes = [] if complete else ["The run was interrupted: claims are missing."]
    if bench.lost >= CROWDED:
        notes.append(
            f"Other programs had the CPU for up to {percent(bench.lost)} of the time: a quiet machine tells more."
        )
    for note in notes:
        click.echo(note)
    if output:
        Path(output).write_text(page(tested, duration, rounds, notes), "utf-8")
        click.echo(f"The page: {output}")
    return 0 if complete else INTERRUPTED


def _lines(claim: Claim, finding: Finding) -> Iterator[str]:
    yield f"{claim.number}. {claim.title}"
    yield f"   {finding.verdict.upper()}. {finding.said}"
    widths = [max(map(len, column)) for column in zip(*finding.table, strict=True)]
    for row in finding.table:
        yield "     " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    yield f"   What would turn it: {finding.turn}"
    yield ""


def page(tested: Tested, duration: float, rounds: int, notes: Sequence[str] = ()) -> str:
    """The findings as Markdown."""
    return "\n".join(_page(tested, duration, rounds, notes)) + "\n"


def _page(tested: Tested, duration: float, rounds: int, notes: Sequence[str]) -> Iterator[str]:
    here = machine()
    yield "# What is said of sync and async, tested"
    yield ""
    yield "Written by `eitherway claims -o docs/claims.md`; run it to see what holds on your machine."
    yield f"Every figure is the median of {rounds} rounds of {duration:g} s; in brackets its bootstrap interval (95 %),"
    yield "and what it may be where no other program takes the CPU. Of one or two rounds an eighth is added to either"
    yield "side."
    yield f"Here: {here['cpu']}, {here['cores']} CPUs, {here['memory']}, {here['system']}, {here['python']};"
    yield ", ".join(f"{name} {version}" for name, version in versions().items()) + "."
    for note in notes:
        yield ""
        yield f"**{note}**"
    yield ""
    yield "| | claim | verdict |"
    yield "|---|---|---|"
    for claim, finding in tested:
        yield f"| {claim.number} | {claim.title} | {finding.verdict} |"
    for claim, finding in tested:
        yield ""
        yield f"## {claim.number}. {claim.title}"
        yield ""
        yield f"{claim.experiment} **It {finding.verdict}.** {finding.said}".replace("It cannot", "This cannot")
        yield ""
        for place, row in enumerate(finding.table):
            yield f"| {' | '.join(row)} |"
            if not place:
                yield "|" + "---|" * len(row)
        if finding.table:
            yield ""
        yield f"What would turn it: {finding.turn}"
