"""Settings that were given and change nothing where they are: said at the start, so that nobody tunes them in vain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from eitherway.config.models import MODELS, runs_in_threads
from eitherway.config.settings import Config
from eitherway.config.sources import option_name

_OF_THE_BALANCER = ("queue", "queue_timeout", "response_buffer", "worker_concurrency")


def unused(config: Config, engine: str, colour: str, balanced: bool) -> Iterator[str]:
    """A line for each: what changes nothing, why, and what to do.

    `engine` is the one that runs, `colour` that of the interface, `balanced` whether our balancer is in front.
    """
    for name, why in _reasons(config, engine, colour, balanced):
        if getattr(config, name) != _DEFAULTS[name]:
            yield f"{option_name(name)} changes nothing {why}"


def _reasons(config: Config, engine: str, colour: str, balanced: bool) -> Iterator[tuple[str, str]]:
    here = f"on the engine {engine} ({MODELS[engine].describe})"
    in_threads = runs_in_threads(engine, colour)
    if not in_threads:
        yield "threads", f"{here}; leave it out, or use --engine threads"
    if not balanced:
        for name in _OF_THE_BALANCER:
            yield name, "without the balancer; leave it out, or use --balance request"
    elif in_threads or engine == "sync":
        yield "worker_concurrency", f"{here}; leave it out"
    if engine != "twisted":
        yield "reactor", f"{here}; leave it out, or use --engine twisted"
    if not config.max_requests:
        yield "max_requests_jitter", "without --max-requests; set that too"
    if not config.access_log:
        yield "access_format", "without --access-log; set that too"
    if not config.ws_ping_interval:
        yield "ws_ping_timeout", "without pings; leave out --ws-ping-interval 0"


_DEFAULTS = {each.name: each.default for each in fields(Config)}
