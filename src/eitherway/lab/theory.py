"""Theory beside measurement: what one client's request says of all other loads, and what limits where it is wrong."""

from __future__ import annotations

from dataclasses import replace

from eitherway.config import MODELS
from eitherway.lab.results import Configuration, Interval, Point, Prediction
from eitherway.lab.stats import predict
from eitherway.lab.units import duration, number, percent

DEVIATES = 0.25  # beyond that something else than the model's own limit is at work
CROWDED = 0.1  # of the time: where other programs had the CPU for so long, it has to be said
_BUSY = 0.85  # of a CPU
_NEAR = 0.25  # how far a rate may be from a limit that explains it
_WORTH_A_WORD = 0.001  # seconds that a lone request waits: for less the network and other programs may be the cause
_ALONE = 1.6  # times the rate of a single client: below that requests do not run beside each other


def predicted(configuration: Configuration, cpus: int, blocked_at: str = "") -> Prediction | None:
    """The prediction from the point of one client, and, where it is wrong by more than a quarter, what limits."""
    one = configuration.at(1)
    if configuration.failure or one is None or not one.mean_latency:
        return None
    prediction = predict(
        slots=slots(configuration),
        processes=configuration.workers,
        cpus=cpus,
        service=one.mean_latency,
        cpu=one.cost.cpu,
        ladder=[point.concurrency for point in configuration.points],
        measured={p.concurrency: p.throughput.middle for p in configuration.points if not p.client_limited},
    )
    return with_limit(configuration, prediction, cpus, blocked_at)


def slots(configuration: Configuration) -> int | None:
    """How many requests run at once in all its processes together; None: as many as come."""
    if configuration.engine == "sync":
        return configuration.workers
    return configuration.workers * configuration.threads or None


def reach(configuration: Configuration, point: Point) -> Interval:
    """A throughput, and up to what it may be where no other program takes the CPU.

    That is never more than the requests that run at once can be, each taking what a single client's does.
    """
    rate, one = point.throughput, configuration.at(1)
    most = rate.high / (1 - point.cost.lost)
    if one is not None and one.mean_latency:
        running = min(point.concurrency, slots(configuration) or point.concurrency)
        most = min(most, running / (one.mean_latency * (1 - one.cost.lost)))
    return Interval(rate.low, rate.middle, max(rate.high, most))


def limit(configuration: Configuration, prediction: Prediction, cpus: int, blocked_at: str = "") -> str:
    """What limits a configuration that does not do what was predicted, as far as the figures show it."""
    one, full = configuration.at(1), _fullest(configuration)
    if any(point.client_limited for point in configuration.points):
        return "the load generator, which had no CPU left"
    if one is None or full is None:
        return ""
    if not _is_less(full, prediction):
        return (
            f"nothing: a request costs less when there are many ({duration(full.cost.cpu)} of CPU instead of "
            f"{duration(one.cost.cpu)} for a single client)"
        )
    if pool_is_queue(configuration):
        held = f"each held {duration(one.mean_latency)}"
        return f"the pool of {configuration.pool} database connections, {held}: there the requests wait"
    if is_one_at_a_time(configuration):
        where = f": {blocked_at}" if blocked_at else ", as the loop's lag shows" if _lags(full) else ""
        return f"a blocking call that stops the loop, so that requests are answered one after the other{where}"
    if full.cost.lost >= CROWDED:
        return f"other programs, which had the CPU for {percent(full.cost.lost)} of the time"
    if full.cost.cores >= _BUSY * min(configuration.workers, cpus):
        if configuration.workers == 1 and configuration.threads > 1:
            return "the GIL: one process computes on one CPU at a time, and threads that fight for it cost more"
        return f"the CPU, of which {number(round(full.cost.cores, 1))} is in use"
    if full.cost.cores >= _BUSY * cpus / 2:
        return f"the machine: server and load generator share its {cpus} CPUs"
    return (
        f"something that few requests can use at a time, such as a lock, a database or a service: CPUs are idle "
        f"({number(round(full.cost.cores, 1))} in use)"
    )


def is_less_than_predicted(configuration: Configuration) -> bool:
    """Whether it falls short of its prediction; else it surpasses it, where it deviates at all."""
    full, prediction = _fullest(configuration), configuration.prediction
    return full is None or prediction is None or _is_less(full, prediction)


def _is_less(full: Point, prediction: Prediction) -> bool:
    most = (1 + DEVIATES) * prediction.throughput.get(full.concurrency, prediction.capacity)
    return full.throughput.middle <= most


def pool_is_queue(configuration: Configuration) -> bool:
    """Whether the throughput is what the pool's connections can do, and more requests than these were waiting."""
    one, full = configuration.at(1), _fullest(configuration)
    if not configuration.pool or configuration.engine == "sync" or one is None or full is None:
        return False
    connections = configuration.pool * configuration.workers
    if configuration.engine == "threads" and configuration.threads <= configuration.pool:
        return False
    most = connections / one.mean_latency if one.mean_latency else 0.0
    return full.concurrency > connections and abs(full.throughput.middle - most) <= _NEAR * most


def is_one_at_a_time(configuration: Configuration) -> bool:
    """Whether a loop answers requests one after the other at every load, though it computes little.

    What other programs took counts for the loop: one that gets no CPU looks the same.
    """
    one, full = configuration.at(1), _fullest(configuration)
    model = MODELS[configuration.engine]
    is_loop = configuration.engine not in {"sync", "threads"} and configuration.interface in model.native
    if not is_loop or one is None or full is None or full.concurrency == 1 or not one.mean_latency:
        return False
    if one.mean_latency - one.cost.cpu < _WORTH_A_WORD:
        return False
    good = [point for point in configuration.points if not point.client_limited]
    most = max(point.throughput.middle / max(0.01, 1 - point.cost.lost) for point in good)
    few = most <= _ALONE * configuration.workers / one.mean_latency
    return few and full.cost.cores < _BUSY * configuration.workers


def _fullest(configuration: Configuration) -> Point | None:
    """The point of the highest load, of those that the client did not limit."""
    good = [point for point in configuration.points if not point.client_limited]
    return max(good, key=lambda point: point.concurrency, default=None)


def _lags(point: Point) -> bool:
    return point.cost.loop_lag.get("p90", 0.0) > 0.01


def with_limit(configuration: Configuration, prediction: Prediction, cpus: int, blocked_at: str = "") -> Prediction:
    """The prediction, with what limits instead where it is wrong by more than a quarter."""
    if prediction.deviation <= DEVIATES:
        return prediction
    return replace(prediction, limit=limit(configuration, prediction, cpus, blocked_at))
