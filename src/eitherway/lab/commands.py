"""The lab's commands: what the user wrote becomes a task; what came out is shown and written. Imported when used."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eitherway.config import MODELS, SETTINGS, load
from eitherway.config.values import parse_duration, parse_list
from eitherway.errors import LabError
from eitherway.lab.plan import ENGINES, LADDER, ROUNDS, USUAL, Application, Wishes

if TYPE_CHECKING:
    from rich.console import Console

    from eitherway.lab.load import Request
    from eitherway.lab.results import Comparison
    from eitherway.lab.runner import Task

INTERRUPTED = 130  # exit code
REPORT = "eitherway-report.html"
ALL = "all"  # engines that are installed
_SECRET = ("authorization", "cookie", "x-api-key", "proxy-authorization")


# ---- kinds of values ----


class Numbers(click.ParamType[tuple[int, ...]]):
    """ "1,10,100": whole numbers, at least 1, each once, rising."""

    name = "numbers"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "N,N,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            numbers = sorted({int(word) for word in parse_list(value)})
        except ValueError:
            numbers = []
        if not numbers or numbers[0] < 1:
            self.fail(f"{value!r} is not a list of whole numbers such as 1,10,100", param, ctx)
        return tuple(numbers)


class Engines(click.ParamType[tuple[str, ...]]):
    """ "threads,gevent", or "all"."""

    name = "engines"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "NAME,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        names = parse_list(value)
        if list(names) == [ALL]:
            return (ALL,)
        unknown = [name for name in names if name not in ENGINES]
        if unknown or not names:
            self.fail(
                f"there is no engine {', '.join(unknown)!r}; name some of {','.join(ENGINES)}, or {ALL}", param, ctx
            )
        return tuple(name for name in ENGINES if name in names)


class Duration(click.ParamType[float]):
    """Seconds, or "500ms"."""

    name = "time"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            seconds = parse_duration(str(value))
        except ValueError:
            seconds = 0.0
        if not 0.05 <= seconds <= 3600:
            self.fail(f"{value!r} is not a time between 50ms and 1h, such as 5 or 500ms", param, ctx)
        return seconds


# ---- compare ----


@click.command("compare", short_help="Measure your application on every engine, and say which to take.")
@click.argument("words", nargs=-1, metavar="[APP] [TARGET]...")
@click.option("--against", multiple=True, metavar="APP", help="Compare with this application too. Repeatable.")
@click.option("--workload", metavar="WORK", help="A built-in pair: io:50ms, cpu:5ms, mixed, db or upstream.")
@click.option("--engines", type=Engines(), default=(), help=f"Only these, or {ALL}. [default: {','.join(USUAL)}]")
@click.option("--threads", type=Numbers(), default=(), help="Threads to try. [default: 8,64; ASGI: 8]")
@click.option("--workers", type=Numbers(), default=(1,), help="Numbers of worker processes to try. [default: 1]")
@click.option("--concurrency", type=Numbers(), default=LADDER, help="Clients at once. [default: 1,10,100]")
@click.option("--duration", type=Duration(), default=None, help="Time for a point in a round. [default: what fits]")
@click.option("--rounds", type=click.IntRange(1, 100), default=ROUNDS, help=f"Rounds. [default: {ROUNDS}]")
@click.option("--post", nargs=2, multiple=True, metavar="TARGET DATA", help="A POST; @FILE is what the file holds.")
@click.option("-H", "--header", multiple=True, metavar="FIELD", help="'Name: value' with every request. Repeatable.")
@click.option("--interface", type=click.Choice(SETTINGS["interface"].choices), help=SETTINGS["interface"].help)
@click.option("--chdir", metavar="DIR", help=SETTINGS["chdir"].help)
@click.option("--pythonpath", multiple=True, metavar="DIR", help=SETTINGS["pythonpath"].help)
@click.option("--dsn", default="", metavar="DSN", help="The PostgreSQL of workload db. [default: one for the run]")
@click.option("--pool", type=Numbers(), default=(), help="Sizes of the pool of workload db. [default: 5,20]")
@click.option("-o", "--output", default=REPORT, metavar="FILE", help=f"The report. [default: {REPORT}]")
@click.option("--json", "json_file", metavar="FILE", help="Write all figures into this file, too.")
def compare_command(words: tuple[str, ...], output: str, json_file: str | None, **given: Any) -> int:
    """Start an application on one engine after the other, put a rising load on each, and say which one to take.

    APP is what `eitherway serve` takes, and TARGETS are what is asked of it, such as /products or '/search?q=tea'
    (without any: /). Nothing is sent anywhere but to 127.0.0.1.

    \b
    eitherway compare shop:app
    eitherway compare shop:app /products --post /orders @order.json -H 'Authorization: Bearer ...'
    eitherway compare shop:app --against shop_async:app
    eitherway compare --workload io:50ms
    """
    for place in filter(None, (output, json_file)):
        must_be_writable(Path(place))
    from eitherway.lab.progress import progress
    from eitherway.lab.runner import Runner

    with interruptible(), ExitStack() as stack:
        task = _task(words, given, stack)
        shown = stack.enter_context(progress())
        comparison = Runner(task, shown).run()
    _keep(comparison, output, json_file)
    if not comparison.complete:
        return INTERRUPTED
    return 0 if any(each.points and not each.failure for each in comparison.configurations) else 1


def _task(words: tuple[str, ...], given: dict[str, Any], stack: ExitStack) -> Task:
    """What is to be compared; what a workload needs lives until `stack` ends."""
    from eitherway.lab import workloads
    from eitherway.lab.runner import Task

    engines, left_out = engines_of(given["engines"])
    wishes = Wishes(
        engines, given["threads"], given["workers"], given["concurrency"], given["rounds"],
        given["duration"] or 0.0,
    )  # fmt: skip
    if given["workload"]:
        if words or given["against"] or given["post"]:
            raise LabError("--workload brings its own applications and targets; give it no others")
        workload = stack.enter_context(workloads.opened(given["workload"], given["dsn"], given["pool"]))
        notes = (*workload.notes, *left_out)
        return Task(workload.title, command_line(), workload.applications, workload.requests, wishes, notes)
    if given["dsn"] or given["pool"]:
        raise LabError("--dsn and --pool belong to --workload db")
    app, targets = _application(words, given)
    options = _serve_options(given)
    applications = tuple(Application(each, options=options) for each in (app, *given["against"]))
    requests = requests_of(targets, given["post"], given["header"])
    title = " and ".join(each.target for each in applications)
    return Task(title, command_line(), applications, requests, wishes, left_out)


def engines_of(asked: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those to be measured, and a note of those that nobody named and that are not installed."""
    if asked and asked != (ALL,):
        return asked, ()
    wanted = ENGINES if asked else USUAL
    missing = [name for name in wanted if MODELS[name].library and find_spec(MODELS[name].library) is None]
    cure = f'pip install "eitherway[{",".join(MODELS[name].library for name in missing)}]"'
    note = f"not installed, so left out: {', '.join(missing)}; {cure} adds them"
    return tuple(name for name in wanted if name not in missing), (note,) if missing else ()


def _application(words: tuple[str, ...], given: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The application and the targets: the first word is the application, unless the settings name it."""
    if words and not words[0].startswith("/"):
        return words[0], words[1:]
    app = load(options={"chdir": given["chdir"]} if given["chdir"] else {}).config.app
    if not app:
        raise LabError("compare what? name an application, such as shop:app, or a --workload, such as io:50ms")
    return app, words


def _serve_options(given: dict[str, Any]) -> tuple[str, ...]:
    options = []
    for name in ("interface", "chdir"):
        if given[name]:
            options += [f"--{name}", given[name]]
    for directory in given["pythonpath"]:
        options += ["--pythonpath", directory]
    return tuple(options)


def requests_of(targets: tuple[str, ...], posts: tuple[tuple[str, str], ...], fields: tuple[str, ...]) -> tuple[
    Request, ...
]:  # fmt: skip
    """The requests that the user named, sent one after the other by every client. Raises LabError."""
    from eitherway.lab.load import Request

    headers = tuple(_field(each) for each in fields)
    for target in (*targets, *(target for target, _ in posts)):
        if not target.startswith("/") or any(ord(c) <= 32 or ord(c) > 126 for c in target):
            raise LabError(f"{target!r} is no target: it begins with / and has no spaces, such as '/search?q=tea'")
    found = [Request("GET", target, headers) for target in targets]
    has_type = any(name.lower() == "content-type" for name, _ in headers)
    for target, data in posts:
        body = _body(data)
        kind = () if has_type else (("Content-Type", _content_type(body)),)
        found.append(Request("POST", target, (*headers, *kind), body))
    return tuple(found or [Request("GET", "/", headers)])


def _field(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or "\n" in text or "\r" in text or max(text) > "\xff":
        raise LabError(f"-H: {text!r} is no header field; write 'Name: value', in Latin-1")
    return name.strip(), value.strip()


def _body(data: str) -> bytes:
    if not data.startswith("@"):
        return data.encode()
    try:
        return Path(data[1:]).read_bytes()
    except OSError as error:
        raise LabError(f"--post: cannot read {data[1:]}: {error.strerror}") from None


def _content_type(body: bytes) -> str:
    try:
        json.loads(body)
    except ValueError:
        return "application/x-www-form-urlencoded"
    return "application/json"


def command_line() -> str:
    """What the user typed, to repeat it; without what is secret in it."""
    words = ["eitherway"]
    for word in sys.argv[1:]:
        name, colon, _ = word.partition(":")
        words.append(f"{name}: ..." if colon and name.strip().lower().lstrip("-h") in _SECRET else word)
    return shlex.join(words)


@contextmanager
def interruptible() -> Iterator[None]:
    """Within the block TERM and HUP end the run as Ctrl-C does: with servers ended and results kept."""
    signals = (signal.SIGTERM, signal.SIGHUP)
    former = [signal.signal(number, signal.default_int_handler) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, former, strict=True):
            signal.signal(number, handler)


def _keep(comparison: Comparison, output: str, json_file: str | None) -> None:
    """Show what was found, and write the files."""
    from eitherway.lab.report import render
    from eitherway.lab.results import as_json
    from eitherway.lab.terminal import print_comparison

    print_comparison(comparison, _console())
    for note in comparison.notes:
        click.echo(f"\nNote: {note}.")
    if json_file:
        _write(json_file, json.dumps(as_json(comparison), indent=1))
    if any(each.points for each in comparison.configurations):
        _write(output, render(comparison))
        click.echo(f"\nThe report: {output}")


def _console() -> Console | None:
    """Where there are colours; None: plain lines."""
    if not sys.stdout.isatty() or find_spec("rich") is None:
        return None
    from rich.console import Console

    return Console()


def must_be_writable(file: Path) -> None:
    """What would be wrong after the measuring is wrong before it."""
    if not file.absolute().parent.is_dir():
        raise LabError(f"cannot write {file}: there is no such directory")
    if file.is_dir():
        raise LabError(f"cannot write {file}: it is a directory")
    if not os.access(file if file.exists() else file.absolute().parent, os.W_OK):
        raise LabError(f"cannot write {file}: permission denied")


def _write(file: str, text: str) -> None:
    try:
        Path(file).write_text(text, "utf-8")
    except OSError as error:
        raise LabError(f"cannot write {file}: {error.strerror}") from None
