"""What `eitherway status` is told."""

from __future__ import annotations

import os
from time import monotonic
from typing import TYPE_CHECKING, Any

from eitherway import __version__
from eitherway.metrics.snapshot import snapshot
from eitherway.supervisor.memory import resident

if TYPE_CHECKING:
    from eitherway.supervisor.supervisor import Supervisor


def describe(supervisor: Supervisor) -> dict[str, Any]:
    """The supervisor, every worker, and all of them together; times in seconds, sizes in bytes."""
    view = snapshot(supervisor.workers.board)
    balancer = view.balancer
    return {
        "supervisor": {
            "version": __version__,
            "pid": os.getpid(),
            "app": supervisor.config.app,
            "engine": supervisor.engine,
            "interface": supervisor.interface,
            "balance": supervisor.balance,
            "addresses": supervisor.addresses,
            "wanted": supervisor.policy.wanted,
            "reloading": supervisor.policy.reloading,
            "early_deaths": supervisor.policy.streak,
            "uptime": round(monotonic() - supervisor.started, 3),
        },
        "balancer": balancer
        and {
            **balancer.summary(),
            "memory": resident(balancer.pid),
            "histograms": balancer.counts.histograms(),
        },
        "workers": [{**each.summary(), "memory": resident(each.pid)} for each in view.workers],
        "total": {**view.total.summary(), "histograms": view.total.histograms()},
    }
