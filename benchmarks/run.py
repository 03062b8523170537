"""Measure eitherway beside its peers in one run: `python benchmarks/run.py --help`."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

import environment
import machine
from bench import Bench
from environment import say
from evenness import measure_evenness
from measure import measure
from memory import measure_idle, measure_memory
from report import Findings, about, as_json, tables
from scenarios import IDLE_CONNECTIONS
from table import as_markdown, as_text

MANUAL = """
The first run makes benchmarks/.venv with the peers in it. Needs Linux, wrk, and two cores that nothing
else uses. A full run takes about 25 minutes; --quick only checks that everything works, it is too short
for figures.
"""
INTERRUPTED = 130
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
QUICK_CONNECTIONS = 1000


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/run.py", description=__doc__, epilog=MANUAL)
    parser.add_argument("--setup", action="store_true", help="make the environment anew, then end")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="only groups (sync, threads, gevent, eventlet, asgi, trio, twisted, native, waits, websocket, processes,"
        " memory, idle) and servers with a word that begins with NAME; may be given several times",
    )
    parser.add_argument("--rounds", type=positive, default=3, help="each with servers started anew (3)")
    parser.add_argument(
        "--duration", type=positive, default=5, metavar="SECONDS", help="of a server and load in a round (5)"
    )
    parser.add_argument("--quick", action="store_true", help="one round of 1 s, 1,000 idle connections")
    parser.add_argument("--server-core", type=int, metavar="N", help="the core for the servers (first)")
    parser.add_argument("--client-core", type=int, metavar="N", help="the core for the load (second)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables as Markdown")
    parser.add_argument("--check", action="store_true", help="exit with code 1 when a target is missed")
    return parser.parse_args()


def positive(text: str) -> int:
    """A whole number from 1 on."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def main() -> int:
    options = parse_arguments()
    for number in ENDING_SIGNALS:
        signal.signal(number, interrupt)
    if missing := machine.missing_tools():
        raise SystemExit(f"cannot measure here without: {', '.join(missing)}")
    installed = environment.prepare(options.setup)
    if options.setup:
        return 0
    one, many = machine.choose_cores(options.server_core, options.client_core)
    machine.raise_file_limit()
    os.sched_setaffinity(0, one.client)  # what we do ourselves must not disturb the server
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        bench = Bench(
            installed=installed,
            directory=Path(directory),
            one=one,
            many=many,
            rounds=1 if options.quick else options.rounds,
            seconds=1 if options.quick else options.duration,
            idle_connections=QUICK_CONNECTIONS if options.quick else IDLE_CONNECTIONS,
            wanted=options.only,
        )
        findings = Findings(bench, machine.describe(), datetime.datetime.now().astimezone().isoformat(" ", "minutes"))
        code = run(findings)
    show(findings, options)
    if options.check and any(verdict.is_met is False for verdict in findings.verdicts):
        return code or 1
    return code


def interrupt(number: int, frame: FrameType | None) -> None:
    """Stop measuring and end the servers, which a second signal must not prevent."""
    for each in ENDING_SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def run(findings: Findings) -> int:
    """Measure everything; on Ctrl-C keep what there is."""
    try:
        measure(findings.bench, findings.rows)
        measure_evenness(findings.bench, findings.evenness)
        measure_memory(findings.bench, findings.memory)
        measure_idle(findings.bench, findings.idle)
    except KeyboardInterrupt:
        say("\ninterrupted; this is what was measured until then")
        return INTERRUPTED
    finally:
        findings.bench.progress("")
    return 0


def show(findings: Findings, options: argparse.Namespace) -> None:
    """Print the tables, and write the files that were asked for."""
    found = list(tables(findings))
    print("\n".join([*about(findings), "", *map(as_text, found)]))
    if options.json:
        options.json.write_text(json.dumps(as_json(findings), indent=2) + "\n")
    if options.markdown:
        lines = [f"- {sentence}" for sentence in about(findings)]
        options.markdown.write_text("\n".join([*lines, "", *map(as_markdown, found)]))


if __name__ == "__main__":
    sys.exit(main())
