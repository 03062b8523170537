"""What a run found, as tables and as JSON."""

from __future__ import annotations

import statistics
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import wrk
from bench import WARM_UP_SECONDS, Bench
from evenness import EvenRow
from machine import Machine
from measure import Row
from memory import IdleRow, MemoryRow
from sample import DISTURBED_SHARE, ECHOES_SCRIPT, OPEN_LOOP_SCRIPT, command_line
from scenarios import CLIENTS, LOADS, MEMORY, Load
from servers import Server
from table import Table
from verdicts import Measured, Verdict, judge

MIB = 2**20
MEASURED = ("rate", "p50_ms", "p99_ms", "server_share", "client_share", "others_share", "core_speed")
SATURATED_CLIENT_SHARE = 0.95
BOUNDS = {"rate": "the ideal {:,.0f}/s", "p99_ms": "{:g} ms", "ratio": "{:g}"}
FIGURES = {"rate": "requests/s", "p99_ms": "p99", "resident": "resident memory", "ratio": "most / fewest"}
REMARK_LENGTH = 80
SHORT_NAMES = {
    wrk.BROWSER_SCRIPT: "browser.lua",
    OPEN_LOOP_SCRIPT: "open_loop.py",
    ECHOES_SCRIPT: "echoes.py",
    sys.executable: "python",
}
VERSIONS_SHOWN = (
    "eitherway",
    "eventlet",
    "gevent",
    "granian",
    "greenlet",
    "gunicorn",
    "httptools",
    "meinheld",
    "uvicorn",
    "uvloop",
    "websockets",
)


@dataclass
class Findings:
    """Everything a run has measured so far."""

    bench: Bench
    machine: Machine
    started: str
    rows: list[Row] = field(default_factory=list)
    evenness: list[EvenRow] = field(default_factory=list)
    memory: list[MemoryRow] = field(default_factory=list)
    idle: list[IdleRow] = field(default_factory=list)

    @property
    def verdicts(self) -> list[Verdict]:
        return judge(Measured(self.rows, self.memory, self.evenness))


def tables(findings: Findings) -> Iterator[Table]:
    """Every table for which there is something to show."""
    for load in LOADS:
        rows = [row for row in findings.rows if row.load == load]
        if rows:
            yield (paced_table if load.rate else load_table)(load, rows, findings.bench)
    if findings.evenness:
        yield evenness_table(findings.evenness, findings.bench)
    if findings.memory:
        yield memory_table(findings.memory, findings.bench)
    if findings.idle:
        yield idle_table(findings.idle, findings.bench)
    if verdicts := findings.verdicts:
        yield target_table(verdicts)


def load_table(load: Load, rows: list[Row], bench: Bench) -> Table:
    """Requests a second and latencies under one load."""
    columns = ("server", "requests/s", "lowest to highest", "p50", "p99", "core", "wrk", "remarks")
    return Table(
        f"{load.title}, {load.clients:,} clients",
        columns,
        [load_row(row, bench) for row in rows],
        notes=("core, wrk: how much of its core the server and the load generator used.",),
    )


def load_row(row: Row, bench: Bench) -> list[str]:
    """One line of a load's table."""
    if not row.samples:
        return [row.server.name, *[""] * 6, why_not(row.server, bench)]
    rates = row.figures("rate")
    return [
        row.server.name,
        f"{row.median('rate'):,.0f}",
        f"{min(rates):,.0f} to {max(rates):,.0f}",
        milliseconds(row.median("p50_ms")),
        milliseconds(row.median("p99_ms")),
        f"{row.median('server_share'):.0%}",
        f"{row.median('client_share'):.0%}",
        remarks(row, bench),
    ]


def remarks(row: Row, bench: Bench) -> str:
    """What must be known of a row with figures."""
    said = [f"ERRORS: {counts(row.errors)}"] if row.errors else []
    if row.server.name in bench.reasons:
        said.append(textwrap.shorten(bench.reasons[row.server.name], REMARK_LENGTH))
    if row.median("client_share") > SATURATED_CLIENT_SHARE > row.median("server_share"):
        said.append("wrk was the limit")
    if row.disturbed:
        said.append(f"disturbed in {row.disturbed} of {len(row.samples)} samples")
    return "; ".join(said)


def paced_table(load: Load, rows: list[Row], bench: Bench) -> Table:
    """Latencies under a load of a given rate."""
    return Table(
        f"{load.title}: {load.rate:,.0f} requests/s",
        ("server", "answers/s", "p50", "p99", "p99 of the short", "core", "generator late", "remarks"),
        [paced_row(row, bench) for row in rows],
        notes=(
            "Latencies begin when a request was to be sent. Generator late: the p99 of its own delay, part of them.",
        ),
    )


def paced_row(row: Row, bench: Bench) -> list[str]:
    """One line of such a table."""
    if not row.samples:
        return [row.server.name, *[""] * 6, why_not(row.server, bench)]
    times = [milliseconds(row.median(name)) for name in ("p50_ms", "p99_ms", "short_p99_ms")]
    late = milliseconds(row.median("late_p99_ms"))
    shares = [f"{row.median('server_share'):.0%}", late]
    return [row.server.name, f"{row.median('rate'):,.0f}", *times, *shares, remarks(row, bench)]


def evenness_table(rows: list[EvenRow], bench: Bench) -> Table:
    """How requests spread over workers."""
    return Table(
        f"Requests by worker, {CLIENTS} keep-alive clients",
        ("server", "most / fewest", "lowest to highest", "requests by worker", "connections", "remarks"),
        [evenness_row(row, bench) for row in rows],
        notes=("Requests and connections are those of the last round.",),
    )


def evenness_row(row: EvenRow, bench: Bench) -> list[str]:
    """One line of that table."""
    if not row.spreads:
        return [row.server.name, *[""] * 4, why_not(row.server, bench)]
    ratios = [spread.ratio for spread in row.spreads]
    last = row.spreads[-1]
    return [
        row.server.name,
        f"{statistics.median(ratios):.2f}",
        f"{min(ratios):.2f} to {max(ratios):.2f}",
        " / ".join(f"{count:,}" for count in last.answers),
        " / ".join(map(str, last.connections)),
        f"{last.lost} connections closed by the server" if last.lost else "",
    ]


def memory_table(rows: list[MemoryRow], bench: Bench) -> Table:
    """Memory of a hello-world server."""
    lines = []
    for row in rows:
        if row.readings:
            size = [f"{row.resident / MIB:.1f} MiB", f"{row.proportional / MIB:.1f} MiB"]
            lines.append([row.server.name, *size, str(row.readings[-1].processes), ""])
        else:
            lines.append([row.server.name, "", "", "", why_not(row.server, bench)])
    return Table(
        "Memory of a hello-world server that has answered some requests",
        ("server", "resident", "proportional", "processes", "remarks"),
        lines,
        notes=("Summed over the server's processes; proportional counts a shared page once.",),
    )


def idle_table(rows: list[IdleRow], bench: Bench) -> Table:
    """Memory of idle connections."""
    lines = []
    for row in rows:
        remarks = row.problem if row.opened else why_not(row.server, bench)
        size = [f"{row.before / MIB:.1f} MiB", f"{row.after / MIB:.1f} MiB"] if row.opened else ["", ""]
        each = f"{row.bytes_each:,.0f} B" if row.opened else ""
        lines.append([row.server.name, each, *size, f"{row.opened:,}", remarks])
    return Table(
        "Memory of an idle keep-alive connection",
        ("server", "each", "before", "with them", "connections", "remarks"),
        lines,
        notes=("Resident memory of the server; what the kernel keeps for a socket is not in it.",),
    )


def target_table(verdicts: list[Verdict]) -> Table:
    """The targets and whether they are met."""
    lines = []
    for verdict in verdicts:
        target = verdict.target
        sign = "≥" if target.is_minimum else "≤"
        found = "" if verdict.ratio is None else f"{verdict.ratio:.2f}"
        spread = "" if verdict.low is None else f"{verdict.low:.2f} to {verdict.high:.2f}"
        ask = f"{sign} {target.bound:g}"
        lines.append([*names(verdict), found, spread, ask, verdict.word.upper() if found else "-", verdict.note])
    judged = [verdict for verdict in verdicts if verdict.is_met is not None]
    met = sum(bool(verdict.is_met) for verdict in judged)
    columns = (
        "load",
        "figure",
        "ours",
        "beside",
        "ratio",
        "lowest to highest",
        "target",
        "result",
        "remarks",
    )
    return Table("Targets", columns, lines, notes=(f"{met} of {len(judged)} met.",))


def names(verdict: Verdict) -> list[str]:
    """The words of a target: load, figure, ours, beside."""
    target = verdict.target
    figure = FIGURES[target.figure]
    beside = target.beside
    beside_text = beside.name if isinstance(beside, Server) else BOUNDS[target.figure].format(beside)
    subject = "hello" if target.subject == MEMORY else target.subject
    return [subject, figure, target.ours.name, beside_text]


def why_not(server: Server, bench: Bench) -> str:
    """Why a server has no figures."""
    reason = bench.reasons.get(server.name)
    return textwrap.shorten(reason, REMARK_LENGTH) if reason else "not measured yet"


def counts(errors: dict[str, int]) -> str:
    """`{"read": 3}` as words."""
    return ", ".join(f"{count} {kind}" for kind, count in errors.items())


def milliseconds(value: float) -> str:
    return f"{value:.2f} ms" if value < 10 else f"{value:.1f} ms"


def about(findings: Findings) -> list[str]:
    """How the figures were taken, in sentences."""
    bench, versions = findings.bench, findings.bench.installed.versions
    shown = [f"{name} {versions[name]}" for name in VERSIONS_SHOWN if name in versions]
    speeds = [speed for row in findings.rows for speed in row.figures("core_speed")] or [1.0]
    return [
        f"Machine: {findings.machine}.",
        f"Date: {findings.started}; load average before: {findings.machine.load_average:.2f}.",
        f"Versions: {', '.join(shown)}; {wrk.version()}.",
        f"One worker: {bench.one}. Several: {bench.many}. wrk has one thread; loopback; no access logs.",
        f"{bench.rounds} round(s), in each {bench.seconds} s for every server and load, in turns of 1 s"
        f" (waits, mixed: in one), after {WARM_UP_SECONDS} s of warm-up; every round starts its servers anew."
        " Figures are medians; a ratio is the median of the ratios of neighbouring turns.",
        f"Between turns the server's core ran plain Python at {min(speeds) / max(speeds):.0%} to 100% of its"
        f" best speed. Disturbed is a sample while other programs used over {DISTURBED_SHARE:.0%} of a core;"
        f" {bench.retaken} turns were taken again for that.",
    ]


def as_json(findings: Findings) -> dict[str, Any]:
    """Everything, with all samples, for other programs."""
    bench = findings.bench
    return {
        "date": findings.started,
        "machine": asdict(findings.machine),
        "versions": {**bench.installed.versions, "wrk": wrk.version()},
        "settings": {
            "cores": {"one worker": asdict(bench.one), "several": asdict(bench.many)},
            "rounds": bench.rounds,
            "seconds": bench.seconds,
            "warm_up_seconds": WARM_UP_SECONDS,
            "turns_retaken": bench.retaken,
        },
        "not_measured": bench.reasons,
        "loads": [load_json(row) for row in findings.rows],
        "evenness": [
            {"server": row.server.name, "rounds": [asdict(each) for each in row.spreads]} for row in findings.evenness
        ],
        "memory": [
            {"server": row.server.name, "bytes": [asdict(reading) for reading in row.readings]}
            for row in findings.memory
        ],
        "idle": [{**asdict(row), "server": row.server.name, "bytes_each": row.bytes_each} for row in findings.idle],
        "targets": [verdict_json(verdict) for verdict in findings.verdicts],
    }


def load_json(row: Row) -> dict[str, Any]:
    """A row with its command and all samples."""
    return {
        "load": row.load.name,
        "group": row.group,
        "server": row.server.name,
        "command": row.server.command,
        "generator": " ".join(SHORT_NAMES.get(word, word) for word in command_line(row.load, "URL", 1)),
        "median": {name: row.median(name) for name in MEASURED} if row.samples else None,
        "samples": [asdict(sample) for sample in row.samples],
    }


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """A target and what became of it."""
    load, figure, ours, beside = names(verdict)
    kind = "at least" if verdict.target.is_minimum else "at most"
    return {
        "load": load,
        "figure": figure,
        "ours": ours,
        "beside": beside,
        "ratio": verdict.ratio,
        "lowest": verdict.low,
        "highest": verdict.high,
        "target": verdict.target.bound,
        "kind": kind,
        "met": verdict.is_met,
        "note": verdict.note,
    }
