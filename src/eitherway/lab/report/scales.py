"""From values to places along an axis: linear and logarithmic scales with round ticks, and room for labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10
from typing import Protocol

_ROUND = (1.0, 2.0, 5.0)
_FEW_DECADES = 3.0  # up to these a logarithmic axis also has its twos and fives; a longer one has whole decades
_ROUNDING = 1e-9


class Scale(Protocol):
    """Where a value stands: 0 at the axis' beginning, 1 at its end."""

    def share(self, value: float) -> float: ...

    def ticks(self) -> tuple[float, ...]: ...


@dataclass(frozen=True, slots=True)
class Linear:
    """From nothing to `high`."""

    high: float
    step: float

    @classmethod
    def over(cls, values: Iterable[float], ticks: int = 5) -> Linear:
        highest = max((v for v in values if isfinite(v)), default=0.0)
        if highest <= 0:
            return cls(1.0, 0.5)
        step = _round_up(highest / ticks)
        return cls(ceil(highest / step - _ROUNDING) * step, step)

    def share(self, value: float) -> float:
        return value / self.high

    def ticks(self) -> tuple[float, ...]:
        return tuple(index * self.step for index in range(round(self.high / self.step) + 1))


@dataclass(frozen=True, slots=True)
class Logarithmic:
    """Equal steps multiply. A range of one value stands in the middle."""

    low: float
    high: float
    marks: tuple[float, ...] = ()

    @classmethod
    def over(cls, values: Iterable[float]) -> Logarithmic:
        """Begins and ends at round numbers."""
        good = [v for v in values if v > 0 and isfinite(v)]
        if not good:
            return cls(1.0, 10.0, (1.0, 10.0))
        low, high = _round_down(min(good)), _round_up(max(good))
        if low == high:
            low, high = low / 10, high * 10
        if log10(high / low) > _FEW_DECADES:
            low, high = 10.0 ** floor(log10(low) + _ROUNDING), 10.0 ** ceil(log10(high) - _ROUNDING)
        return cls(low, high, _log_ticks(low, high))

    @classmethod
    def at(cls, values: Sequence[float]) -> Logarithmic:
        """Begins, ends, and has its ticks at the very values."""
        return cls(min(values, default=1.0), max(values, default=1.0), tuple(values))

    def share(self, value: float) -> float:
        if self.low == self.high:
            return 0.5
        value = max(value, self.low * 1e-3)
        return log10(value / self.low) / log10(self.high / self.low)

    def ticks(self) -> tuple[float, ...]:
        return self.marks


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places for labels, in the order given: as near to those wanted as a distance of `gap` allows, within bounds."""
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    clusters: list[list[float]] = []  # [sum of wanted first places, members]
    for rank, index in enumerate(order):
        clusters.append([wanted[index] - rank * gap, 1])
        while len(clusters) > 1 and clusters[-2][0] / clusters[-2][1] > clusters[-1][0] / clusters[-1][1]:
            total, members = clusters.pop()
            clusters[-1][0] += total
            clusters[-1][1] += members
    first = [total / members for total, members in clusters for _ in range(int(members))]
    last = high - gap * (len(wanted) - 1)
    places = [0.0] * len(wanted)
    for rank, index in enumerate(order):
        places[index] = max(low, min(first[rank], last)) + rank * gap
    return places


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20 ..."""
    power = 10.0 ** floor(log10(value))
    return next((r * power for r in _ROUND if r * power >= value * (1 - _ROUNDING)), 10 * power)


def _round_down(value: float) -> float:
    power = 10.0 ** floor(log10(value))
    return next((r * power for r in reversed(_ROUND) if r * power <= value * (1 + _ROUNDING)), power)


def _log_ticks(low: float, high: float) -> tuple[float, ...]:
    few = log10(high / low) <= _FEW_DECADES + _ROUNDING
    powers = (10.0**exponent for exponent in range(floor(log10(low) + _ROUNDING), ceil(log10(high) - _ROUNDING) + 1))
    rounds = _ROUND if few else _ROUND[:1]
    return tuple(r * p for p in powers for r in rounds if low * (1 - _ROUNDING) <= r * p <= high * (1 + _ROUNDING))
