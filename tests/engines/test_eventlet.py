"""What is eventlet's alone; all that it has in common with gevent is in test_greenlets.py."""

from __future__ import annotations

from serving import Start

APP = "engines_wsgi:app"


def test_eventlet_says_nothing_of_its_own_in_the_log(own_server: Start) -> None:
    """It warns whoever imports it that it is deprecated, and of locks that were made before it patched."""
    server = own_server(APP, "eventlet", "--timeout", "5")
    assert server.ask("/hello").body == b"hello"
    assert server.stop() == 0
    told = [line for line in server.log.splitlines() if not line.startswith("note ")]
    assert all("INFO" in line for line in told), server.log
