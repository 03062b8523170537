"""Workers on the loops of other libraries: what a supervisor asks of an engine, in one go."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from supervising import StartSupervised, kill, status, wait_for_workers, workers

from load import Load
from serving import OTHER_LOOPS

PAIRS = [("supervised:app", "twisted"), *(("supervised:asgi", engine) for engine in ("twisted", *OTHER_LOOPS))]


@pytest.mark.parametrize(("app", "engine"), PAIRS)
def test_loops_of_other_libraries_in_workers(
    supervised: StartSupervised, app: str, engine: str, tmp_path: Path
) -> None:
    """Preloaded, balanced, reloaded, replaced and ended: what a supervisor asks of an engine, in one go."""
    log = tmp_path / "access.log"
    options = ["--preload", "--access-log", str(log)]
    if app == "supervised:asgi":
        options += ["--balance", "request"]
    if engine == "twisted":
        (tmp_path / "reactor_first.py").write_text(
            "from twisted.internet import reactor\nreactor.callWhenRunning(print, 'the reactor runs', flush=True)\n"
            "from supervised import app, asgi\n"
        )
        app = app.replace("supervised", "reactor_first")
        options += ["--pythonpath", str(tmp_path)]
    server = supervised(app, engine, 2, *options)
    assert status(server)["supervisor"]["engine"] == engine
    with Load(server) as load:
        before = set(workers(server).values())
        server.process.send_signal(signal.SIGHUP)
        after = wait_for_workers(server, 2, without=before)
        load.wait_for(20)
        kill(after[max(after)])
        wait_for_workers(server, 2, without={after[max(after)]})
        load.wait_for(20)
    assert load.statuses[200] == load.answered
    assert len(load.bodies) >= 4  # workers that answered
    if engine == "twisted":
        assert server.out.count("the reactor runs") == 5
    assert server.stop() == 0
    assert "Traceback" not in server.log
    assert "GET" in log.read_text()
