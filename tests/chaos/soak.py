"""`make soak`: the table of faults for as long as you like, and a report. Exit code 1 when a promise was broken.

make soak                                    # ten minutes of each scenario
make soak SECONDS=30 ONLY=reload,upgrade     # half a minute of those whose names begin so
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path
from time import monotonic

from scenarios import Outcome, Scenario, scenarios

COLUMNS = ("fault", "times", "requests", "failed", "worst gap", "memory before", "after", "verdict")


def main() -> int:
    arguments = parse()
    random.seed(arguments.seed)
    known = list(scenarios())
    chosen = [each for each in known if each.name.startswith(tuple(arguments.only.split(",")))]
    if not chosen:
        print(f"no scenario begins with {arguments.only!r}; there are: {', '.join(each.name for each in known)}")
        return 2
    random.shuffle(chosen)
    print(f"{len(chosen)} scenarios of {arguments.seconds:g} s in random order, seed {arguments.seed}", flush=True)
    rows, broken = [], False
    for scenario in chosen:
        began = monotonic()
        outcome = scenario.run(arguments.seconds)
        rows.append(row(scenario, outcome))
        print(f"{scenario.name}: {rows[-1][-1]} after {monotonic() - began:.0f} s", flush=True)
        if outcome.broken:
            broken = True
            print(evidence(scenario, outcome), flush=True)
    print()
    print(table([COLUMNS, *sorted(rows)]))
    return int(broken)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Faults under load, for a long time, in random order.")
    parser.add_argument("--seconds", type=float, default=600.0, help="of each scenario")
    parser.add_argument("--only", default="", help="beginnings of names, separated by commas")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30), help="repeats an order of events")
    return parser.parse_args()


def row(scenario: Scenario, outcome: Outcome) -> tuple[str, ...]:
    loads = outcome.loads
    gap = f"{max((load.worst_gap for load in loads[:1]), default=0.0):.2f} s"
    failed = sum(load.answered - load.good() + load.unanswered for load in loads)
    return (
        scenario.name,
        str(outcome.times.total()),
        str(sum(load.answered + load.unanswered for load in loads)),
        str(failed),
        gap if loads else "-",
        memory(outcome.before),
        memory(outcome.after),
        "broken" if outcome.broken else "kept",
    )


def memory(sizes: dict[str, tuple[int, int]]) -> str:
    """Of all processes that stay, in MiB, and their descriptors."""
    if not sizes:
        return "-"
    total, files = (sum(each[index] for each in sizes.values()) for index in (0, 1))
    return f"{total / 2**20:.1f} MiB, {files} fds"


def evidence(scenario: Scenario, outcome: Outcome) -> str:
    """What was broken, what clients saw, and where the log is."""
    path = Path(tempfile.gettempdir()) / f"eitherway-soak-{scenario.name}.log"
    path.write_text(outcome.log)
    said = [f"  broken: {promise}" for promise in outcome.broken]
    said += [f"  clients ({load.method}): {load}" for load in outcome.loads]
    return "\n".join([*said, f"  faults: {dict(outcome.times)}", f"  log: {path}"])


def table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(each[column]) for each in rows) for column in range(len(COLUMNS))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(each, widths, strict=True)) for each in rows)


if __name__ == "__main__":
    sys.exit(main())
