"""What both twins do in the same way."""

from __future__ import annotations

MOST_SECONDS = 60.0
LOOKUP = "SELECT name, price FROM eitherway_products WHERE id = %s"
SLOW = "SELECT pg_sleep(%s)"
POOL_PATIENCE = 60.0  # seconds that a request waits for a connection


def compute(rounds: int) -> int:
    """Keep the processor busy; the time it takes is proportional to `rounds`."""
    total = 0
    for number in range(rounds):
        total += number * number % 7
    return total


def seconds_of(ms: float) -> float:
    return min(max(ms, 0.0) / 1000, MOST_SECONDS)
