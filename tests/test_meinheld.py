"""docs/meinheld.md: its programs are run by the command lines that stand beside them, and do what the page says."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from websockets.sync.client import connect

from serving import PATIENCE, Server, Start, request_bytes

PAGE = (Path(__file__).parent.parent / "docs" / "meinheld.md").read_text()
PROGRAMS = dict(re.findall(r"^```python\n# (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
COMMANDS = re.findall(r"^    eitherway serve (.*)$", PAGE, re.MULTILINE)

pytest.importorskip("gevent")


def hello(server: Server) -> None:
    assert server.ask("/").body == b"Hello world!"


def background(server: Server) -> None:
    assert server.ask("/").text.startswith("['spawned', 'scheduled'] in greenlet ")


def updates(server: Server) -> None:
    with server.connect() as first, server.connect() as second:
        for client in (first, second):
            client.send(request_bytes("/updates"))

        def told() -> bool:
            return server.ask("/updates", "POST", "Content-Type: text/plain", body=b"news").body == b"told 2"

        # Who is told before the other waits has its answer, and asks again.
        while not told():
            for client in (first, second):
                if not client.is_quiet():
                    assert client.response().body == b"news"
                    client.send(request_bytes("/updates"))
        assert [client.response().body for client in (first, second)] == [b"news", b"news"]


def chat(server: Server) -> None:
    assert server.ask("/chat").status == 400  # Werkzeug's answer to who wants no WebSocket
    url = f"ws://127.0.0.1:{server.port}/chat"
    with connect(url, open_timeout=PATIENCE) as one:
        one.send("first")
        assert one.recv(timeout=PATIENCE) == "first"
        with connect(url, open_timeout=PATIENCE) as other:
            other.send("second")
            assert [client.recv(timeout=PATIENCE) for client in (one, other)] == ["second", "second"]


DRIVE: dict[str, Callable[[Server], None]] = {
    "hello": hello,
    "background": background,
    "updates": updates,
    "chat": chat,
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page(command: str, tmp_path: Path, own_server: Start) -> None:
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(text)
    app, _, engine, *options = shlex.split(command)
    module = app.partition(":")[0]
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    if "--bind" in options:  # the port is another one here
        at = options.index("--bind")
        del options[at : at + 2]
    server = own_server(app, engine, *options, "--graceful-timeout", "5", env={"PYTHONPATH": path})
    DRIVE[module](server)
    assert server.stop() == 0
    assert "Traceback" not in server.log


def test_the_reading_finds_programs_and_commands() -> None:
    assert {name.removesuffix(".py") for name in PROGRAMS} == set(DRIVE)
    assert {command.partition(":")[0] for command in COMMANDS} == set(DRIVE)
