"""Where a supervisor puts its files, and what it says where it cannot."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from eitherway.config import Config
from eitherway.errors import BindError
from eitherway.supervisor.control import ControlServer, default_directory
from eitherway.supervisor.events import Events
from eitherway.supervisor.supervisor import Supervisor

OURS = f"eitherway-{os.getuid()}"


def test_the_runtime_directory_is_taken_where_it_is_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/temporary")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert default_directory() == tmp_path / OURS
    for other in ("", str(tmp_path / "missing")):
        monkeypatch.setenv("XDG_RUNTIME_DIR", other)
        assert default_directory() == Path("/temporary") / OURS
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    own = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: own + 1)
    assert default_directory() == Path("/temporary") / f"eitherway-{own + 1}"


def test_without_any_temporary_directory_there_is_a_name_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError

    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(tempfile, "gettempdir", none)
    assert default_directory() == Path("/tmp") / OURS


def test_a_control_socket_that_cannot_be_is_one_line_with_a_way_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    (tmp_path / "file").touch()
    (tmp_path / ("d" * 100)).mkdir()
    for base in ("file", "d" * 100):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / base))
        with pytest.raises(BindError, match="name a --control-socket elsewhere"):
            ControlServer("", lambda command, answer: None, Events())


def test_workers_sockets_that_cannot_be_are_one_line_with_a_way_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    long = tmp_path / ("d" * 100)
    long.mkdir()
    for directory, why in ((tmp_path / "missing", "set TMPDIR to another"), (long, "set TMPDIR to a shorter one")):
        monkeypatch.setattr(tempfile, "tempdir", str(directory))
        with pytest.raises(BindError, match=why):
            Supervisor(Config(), [], None, 2, "request")
    assert list(long.iterdir()) == []
