"""What is eventlet's alone; all that it has in common with gevent is in test_greenlets.py."""

from __future__ import annotations

import subprocess
import sys

from serving import Start

APP = "engines_wsgi:app"


def test_eventlet_says_nothing_of_its_own_in_the_log(own_server: Start) -> None:
    """It warns whoever imports it that it is deprecated, and of locks that were made before it patched."""
    server = own_server(APP, "eventlet", "--timeout", "5")
    assert server.ask("/hello").body == b"hello"
    assert server.stop() == 0
    told = [line for line in server.log.splitlines() if not line.startswith("note ")]
    assert all("INFO" in line for line in told), server.log


FAILING = """
from eitherway.config import Config
from eitherway.engines.eventlet import EventletEngine
from eitherway.net.poller import Poller

def fail():
    raise RuntimeError("within the poller")

def tick():
    told.append(None)
    if len(told) > 1:  # after the failure
        engine.stop()
    return 0.01

told = []
poller = Poller()
engine = EventletEngine(Config(), poller)
engine.run(None, lambda: poller.post(fail), tick)
print("stopped")
"""


def test_an_error_does_not_make_the_hub_forget_the_poller() -> None:
    run = subprocess.run([sys.executable, "-c", FAILING], capture_output=True, text=True, timeout=60)
    assert "RuntimeError: within the poller" in run.stderr
    assert run.stdout == "stopped\n"
