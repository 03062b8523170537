"""Where a loop is held up: a server with a short `--timeout` names the line itself, in its log."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from eitherway.config import MODELS
from eitherway.errors import LabError
from eitherway.lab.load import Load, Request, run_load
from eitherway.lab.server import Server

_OURS = Path(__file__).parents[1]
_SECONDS = 1.0  # of load
_CLIENTS = 10  # so that the loop turns seldom, and its worker is seen to be held up
_SHORTEST = 0.005  # seconds of the time-out
_REPORT = re.compile(r" stuck for \S+ s in (\S+:\d+ \S+) \([^)]*\)\n((?:  .*\n)*)")
# At the bottom of a thread's stack. A stack without it is that of a task that waits, and holds nobody up.
_BOTTOM = "_run_module_as_main"


def find_blocking_line(options: Sequence[str], requests: Sequence[Request], service_time: float) -> str:
    """The line that holds the loop most often, as "shop/views.py:88 get_report"; empty: none was seen.

    `options` are those of `eitherway serve`; one request takes `service_time` seconds when nobody else asks.
    """
    timeout = max(_SHORTEST, service_time / 2)  # so that a request is overdue while it runs
    try:
        with Server([*options, "--timeout", f"{timeout:.3f}"]) as server:
            run_load(Load(server.host, server.port, tuple(requests), clients=_CLIENTS, duration=_SECONDS + timeout))
            return line_in(server.log, is_greenlet=MODELS[server.engine].patches)
    except LabError:
        return ""  # it is an explanation that is missing, not a figure


def line_in(log: str, is_greenlet: bool = False) -> str:
    """The place that a server's log names most often, apart from the server's own."""
    found = [place for place, stack in _REPORT.findall(log) if is_greenlet or _BOTTOM in stack]
    places = Counter(place for place in found if not _is_ours(place))
    return places.most_common(1)[0][0] if places else ""


def _is_ours(place: str) -> bool:
    """The built-in workloads are applications like any other."""
    file = Path(place).absolute()
    return file.is_relative_to(_OURS) and not file.is_relative_to(_OURS / "lab" / "apps")
