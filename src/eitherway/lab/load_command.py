"""`eitherway load`: the load generator by itself."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from eitherway.errors import LabError
from eitherway.lab.commands import Duration, requests_of
from eitherway.lab.units import duration, number, percent, size

if TYPE_CHECKING:
    from eitherway.lab.load import Load, LoadResult

_CHECKS = ("wrk", "h2load", "autocannon")
_LIMITED = "The load generator was the limit, not the server: give it more --processes."
_SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}


@click.command("load", short_help="Put a load on a server, and count what comes back.")
@click.argument("url")
@click.option("-c", "--clients", type=click.IntRange(1, 20_000), default=10, help="Clients at once. [default: 10]")
@click.option("--rate", type=click.FloatRange(0.1, 1e6), help="An open loop: so many requests a second, come what may.")
@click.option("--duration", type=Duration(), default=5.0, help="Time that is counted. [default: 5s]")
@click.option("--warm-up", type=Duration(), default=0.5, help="Time before it that is not. [default: 500ms]")
@click.option("--timeout", type=Duration(), default=30.0, help="Longest time for one answer. [default: 30s]")
@click.option("--processes", type=click.IntRange(1, 64), default=1, help="Processes that send. [default: 1]")
@click.option("--post", "data", metavar="DATA", help="POST this instead of GET; @FILE is what the file holds.")
@click.option("-H", "--header", multiple=True, metavar="FIELD", help="'Name: value' with every request. Repeatable.")
@click.option("--check", type=click.Choice(_CHECKS), help="Measure with this one too, in turns, and compare.")
@click.option("--rounds", type=click.IntRange(1, 100), default=3, help="Rounds of --check. [default: 3]")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def load_command(url: str, check: str | None, rounds: int, as_json: bool, **given: Any) -> int:
    """Put a load on URL, such as http://127.0.0.1:8000/products or http+unix:/run/shop.sock:/products.

    Without --rate so many clients ask, each again as soon as it is answered (a closed loop). With --rate requests begin
    on a schedule, whatever the server does, and latencies count from when each should have begun (an open loop).
    Ask only servers that are yours.
    """
    load = _load(url, given)
    if check:
        return _check(check, load, rounds, as_json)
    from eitherway.lab.load import run_load

    result = run_load(load)
    click.echo(json.dumps(_figures(result), indent=1) if as_json else _shown(load, result))
    return 0 if result.good else 1


def _load(url: str, given: dict[str, Any]) -> Load:
    from eitherway.lab.load import Load

    host, port, target = _parts(url)
    targets, posts = ((), ((target, given["data"]),)) if given["data"] is not None else ((target,), ())
    return Load(
        host,
        port,
        requests_of(targets, posts, given["header"]),
        clients=given["clients"],
        rate=given["rate"],
        duration=given["duration"],
        warm_up=given["warm_up"],
        timeout=given["timeout"],
        processes=given["processes"],
    )


def _parts(url: str) -> tuple[str, int, str]:
    """Host, port and target. Raises LabError."""
    if url.startswith("http+unix:"):
        path, _, target = url.removeprefix("http+unix:").partition(":")
        return f"unix:{path}", 0, target or "/"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        host, port = None, 0
    if host is None or parts.scheme != "http":
        raise LabError(f"{url!r} is no address to load; write http://127.0.0.1:8000/ or http+unix:/path:/target")
    return host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _figures(result: LoadResult) -> dict[str, Any]:
    histogram = result.histogram
    return {
        "seconds": result.seconds,
        "throughput": result.throughput,
        "good": result.good,
        "statuses": dict(result.statuses),
        "errors": dict(result.errors),
        "bytes": result.bytes,
        "latency": {"mean": histogram.mean, **{name: histogram.quantile(share) for name, share in _SHARES.items()}},
        "cpu": result.cpu,
        "client_limited": result.client_limited,
    }


def _shown(load: Load, result: LoadResult) -> str:
    histogram = result.histogram
    loop = f"{number(load.rate)} requests a second" if load.rate else "one request each at a time"
    latencies = "  ".join(f"{name} {duration(histogram.quantile(share))}" for name, share in _SHARES.items())
    statuses = "  ".join(f"{status}: {count:,}" for status, count in result.statuses.items()) or "none"
    errors = "  ".join(f"{kind}: {count:,}" for kind, count in result.errors.items()) or "none"
    lines = [
        f"{load.clients} clients, {loop}, for {duration(result.seconds)}",
        f"  throughput   {number(result.throughput)} good answers a second, {size(result.bytes / result.seconds)}/s",
        f"  latency      {latencies}",
        f"  answers      {statuses}",
        f"  errors       {errors}",
        f"  generator    {percent(result.cpu)} of a CPU",
    ]
    if result.client_limited:
        lines.append(_LIMITED)
    if not result.statuses and not result.errors:
        lines.append(
            f"No answer came in {duration(result.seconds)}: the server hangs, or a longer --duration is needed."
        )
    return "\n".join(lines)


def _check(name: str, load: Load, rounds: int, as_json: bool) -> int:
    from eitherway.lab.check import compare_with

    found = compare_with(name, load, rounds)
    if as_json:
        click.echo(json.dumps({"check": name, "ratio": found.ratio, **asdict(found)}, indent=1))
        return 0
    for ours, theirs in zip(found.ours, found.theirs, strict=True):
        click.echo(f"  ours {number(ours):>10}   {name} {number(theirs):>10}   requests per second")
    click.echo(f"ours is {found.ratio:.3f} of {name} (median of {rounds} rounds)")
    if found.client_limited:
        click.echo(_LIMITED)
    return 0
