"""Comparisons made by hand, for the tests of what is said about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eitherway.lab.results import Comparison, Configuration, Cost, Interval, Point

MIB = 2**20


def around(value: float, part: float = 0.02) -> Interval:
    return Interval(value * (1 - part), value, value * (1 + part))


def cost(cpu: float = 0.0005, memory: int = 40 * MIB, cores: float = 0.2, **more: Any) -> Cost:
    return Cost(cpu * 0.8, cpu * 0.2, memory, memory, 1.0, 0.1, 3, 2, cores, **more)


def point(
    clients: int,
    rate: float,
    latency: float | None = None,
    *,
    spread: float = 0.02,
    limited: bool = False,
    spent: Cost | None = None,
) -> Point:
    """By default with the latency that Little's law asks for."""
    seconds = clients / rate if latency is None else latency
    return Point(
        concurrency=clients,
        throughput=around(rate, spread),
        latency={name: around(seconds, spread) for name in ("p50", "p90", "p99", "p99.9", "max")},
        mean_latency=seconds,
        histogram=((seconds, int(rate)),),
        requests=int(rate * 3),
        statuses={200: int(rate * 3)},
        errors={},
        client_limited=limited,
        cost=spent or cost(),
    )


def configuration(name: str, rates: Mapping[int, float], *, engine: str = "", **more: Any) -> Configuration:
    """`rates`: clients -> answers a second."""
    given: dict[str, Any] = {
        "application": "shop:app",
        "workers": 1,
        "threads": 0,
        "command": f"eitherway serve shop:app --engine {engine or name}",
        "points": tuple(point(clients, rate) for clients, rate in rates.items()),
        "interface": "wsgi",
        **more,
    }
    return Configuration(name=name, engine=engine or name, **given)


def comparison(*configurations: Configuration, **more: Any) -> Comparison:
    given: dict[str, Any] = {
        "title": "shop:app",
        "command": "eitherway compare shop:app",
        "requests": ("GET /",),
        "started": "2026-01-02T03:04:05+00:00",
        "seconds": 60.0,
        "rounds": 3,
        "complete": True,
        "machine": {"cores": "2"},
        "versions": {},
        **more,
    }
    return Comparison(configurations=configurations, **given)
