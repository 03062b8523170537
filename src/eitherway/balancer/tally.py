"""What the balancer counts, beside what every server of connections does. Kept in its slot of the scoreboard."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from eitherway.metrics.counters import EXTRA, EXTRA_NAMES


@dataclass(slots=True)
class Tally:
    """The fields are the scoreboard's `EXTRA_NAMES`, in their order."""

    dispatched: int = 0  # requests given to a worker, runs again included
    waited: int = 0  # of those, how many waited in the queue
    queue_full: int = 0  # 503
    expired: int = 0  # 503: waited too long
    dropped: int = 0  # the client left the queue
    retried: int = 0
    bad_gateways: int = 0  # 502, or broken off in the middle
    timed_out: int = 0  # 504

    @classmethod
    def load(cls, words: memoryview) -> Tally:
        """Go on where a balancer that died has left off."""
        return cls(*words[EXTRA : EXTRA + len(EXTRA_NAMES)])

    def store(self, words: memoryview) -> None:
        for offset, count in enumerate(astuple(self)):
            words[EXTRA + offset] = count
