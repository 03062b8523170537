"""The command line: options from the settings, one line for every mistake, and the exit codes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import eitherway
from eitherway.cli import main
from eitherway.config import SETTINGS, Config, Settings
from eitherway.errors import AppLoadError, BindError, ConfigError, EngineError, StartError


@dataclass
class FakeServer:
    """Stands for eitherway.serve: keeps what it was called with, returns or raises what it was told to."""

    outcome: int | BaseException = 0
    calls: list[tuple[Settings, object]] = field(default_factory=list)

    def serve(self, settings: Settings, application: object = None) -> int:
        self.calls.append((settings, application))
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    fake = FakeServer()
    module = ModuleType("eitherway.serve")
    module.serve = fake.serve  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "eitherway.serve", module)
    return fake


@pytest.fixture(autouse=True)
def _empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    for variable in [each for each in os.environ if each.startswith("EITHERWAY_")]:
        monkeypatch.delenv(variable)


Failing = Callable[..., str]


@pytest.fixture
def failing(capsys: pytest.CaptureFixture[str]) -> Failing:
    """Run a command that must fail with this code and without output; return the one line on stderr."""

    def run(*arguments: str, code: int = 2) -> str:
        assert main(arguments) == code
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("eitherway: ")
        assert err.count("\n") == 1
        return err.removeprefix("eitherway: ").rstrip("\n")

    return run


# ---- serve ----


def test_serve_hands_over_the_settings_and_returns_the_exit_code(server: FakeServer) -> None:
    server.outcome = 7
    assert main(["serve", "shop:app", "--engine", "threads", "-b", ":1", "--bind", ":2,:3", "--no-server-header"]) == 7
    [(settings, application)] = server.calls
    assert application is None
    assert settings.config.app == "shop:app"
    assert settings.config.engine == "threads"
    assert settings.config.bind == (":1", ":2", ":3")
    assert settings.config.server_header is False
    assert settings.origins["engine"] == "--engine"
    assert settings.origins["threads"] == "default"


def test_every_setting_is_an_option(server: FakeServer) -> None:
    given = {"chdir": "shop", "pythonpath": "lib:vendor", "access_log": "-", "root_path": "/shop"}
    given |= {"control_socket": "control.sock", "pid_file": "pid"}
    arguments = ["shop:app", "--server-header"]
    for each in fields(Config):
        if isinstance(each.default, bool) and each.name != "server_header":
            arguments.append(f"--no-{each.name.replace('_', '-')}")
        elif each.name not in ("app", "server_header"):
            text = given.get(each.name) or SETTINGS[each.name].kind.show(each.default)
            arguments.append(f"--{each.name.replace('_', '-')}={text}")
    assert main(["serve", *arguments]) == 0
    [(settings, _)] = server.calls
    assert "default" not in settings.origins.values()
    assert settings.config.pythonpath == ("lib", "vendor")
    assert settings.config.server_header is True


def test_serve_reads_the_named_file(server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "production.toml").write_text('app = "shop:app"\n')
    assert main(["serve", "--config", "production.toml"]) == 0
    [(settings, _)] = server.calls
    assert (settings.config.app, settings.origins["app"]) == ("shop:app", "production.toml")


@pytest.mark.parametrize("error", [StartError, ConfigError, EngineError, BindError, AppLoadError])
def test_what_cannot_start_is_one_line_and_its_exit_code(
    server: FakeServer, failing: Failing, error: type[StartError]
) -> None:
    server.outcome = error("no, because")
    assert failing("serve", "shop:app", code=error.exit_code) == "no, because"


def test_the_traceback_of_the_application_stands_before_the_line(
    server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.outcome = AppLoadError("importing shop raised KeyError", "Traceback ...\nKeyError: 'x'\n")
    assert main(["serve", "shop"]) == 3
    assert capsys.readouterr().err == "Traceback ...\nKeyError: 'x'\neitherway: importing shop raised KeyError\n"


def test_an_interrupt_has_the_exit_code_of_one(server: FakeServer) -> None:
    server.outcome = KeyboardInterrupt()
    assert main(["serve", "shop:app"]) == 130


# ---- mistakes ----


def test_bad_values(server: FakeServer, failing: Failing) -> None:
    assert failing("serve", "shop:app", "--engine", "gevnt").endswith("; did you mean 'gevent'?")
    assert failing("serve", "--threads", "x") == "threads (--threads): 'x' is not a whole number from 1 to 1024"
    assert failing("serve", "--config", "gone.toml") == "config file 'gone.toml': there is no such file"
    assert not server.calls


def test_bad_options(server: FakeServer, failing: Failing) -> None:
    assert failing("serve", "--enigne", "sync") == "there is no option --enigne; did you mean '--engine'?"
    assert failing("serve", "--no-server-heade") == (
        "there is no option --no-server-heade; did you mean '--no-server-header'?"
    )
    assert failing("serve", "--port", "80") == "there is no option --port; here it is --bind HOST:PORT"
    assert failing("serve", "-k", "gevent") == "there is no option -k; here it is --engine"
    assert "'--engine' requires an argument" in failing("serve", "--engine")
    assert "does not take a value" in failing("serve", "--server-header=3")
    assert "unexpected extra argument" in failing("serve", "shop:app", "other:app")
    assert not server.calls


def test_bad_commands(failing: Failing) -> None:
    assert failing("srve") == "there is no command 'srve'; did you mean 'serve'?"
    assert failing("shop:app") == "there is no command 'shop:app'; did you mean `eitherway serve shop:app`?"
    assert failing("--loud") == "there is no option --loud"


# ---- what is shown ----


def test_config_shows_value_unit_and_origin(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "eitherway.toml").write_text("head-timeout = '500ms'\n")
    monkeypatch.setenv("EITHERWAY_LIMIT_BODY", "1g")
    assert main(["config", "shop:app", "--bind", ":1,:2", "--no-server-header"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert list(rows) == list(SETTINGS)
    assert rows["app"] == ["shop:app", "APP"]
    assert rows["bind"] == [":1,:2", "--bind"]
    assert rows["chdir"] == ['""', "default"]
    assert rows["head_timeout"] == ["0.5", "s", "eitherway.toml"]
    assert rows["limit_body"] == ["1073741824", "bytes", "EITHERWAY_LIMIT_BODY"]
    assert rows["server_header"] == ["off", "--no-server-header"]
    assert len({line.rindex("  ") for line in lines}) == 1, "the columns are aligned"


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_of_serve(capsys: pytest.CaptureFixture[str], option: str) -> None:
    assert main(["serve", option]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 100
    assert out.isascii()
    sections = [line for line in out.splitlines() if line.endswith(":") and not line.startswith(" ")]
    groups = list(dict.fromkeys(f"{declared.group}:" for declared in SETTINGS.values()))
    assert sections == [*groups, "Other:"]
    for name in SETTINGS:
        assert name == "app" or f"{name.replace('_', '-')} " in out
    words = set(re.findall(r"[a-z]+", out))
    assert all(set(declared.choices) <= words for declared in SETTINGS.values())  # unbroken where lines end
    assert "[default: 127.0.0.1:8000]" in out
    assert "[auto, wsgi, asgi, aiohttp, tornado, twisted; default: auto]" in " ".join(out.split())


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_of_the_group(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(arguments) == 0
    out = capsys.readouterr().out
    commands = {line.split()[0]: " ".join(line.split()[1:]) for line in out.splitlines() if line.startswith("  ")}
    assert commands["serve"].startswith("Serve an application")
    assert commands["config"].startswith("Show the settings in force")
    assert commands["compare"].startswith("Measure your application on every engine")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith(f"eitherway {eitherway.__version__} (Python ")


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the package under test, wherever the working directory is."""
    environ = {**os.environ, "PYTHONPATH": str(Path(eitherway.__file__).parents[1])}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environ, check=False)


def test_as_a_module() -> None:
    run = python("-m", "eitherway", "serve", "--engine", "x")
    assert run.returncode == 2
    assert run.stderr.startswith("eitherway: engine (--engine): 'x' is not one of auto, ")


# ---- from Python ----


def test_run_with_a_name(server: FakeServer) -> None:
    eitherway.run("shop:app", engine="gevent", bind=[":1"])
    [(settings, application)] = server.calls
    assert application is None
    assert (settings.config.app, settings.config.engine) == ("shop:app", "gevent")
    assert settings.origins["engine"] == "keyword"


def test_run_with_an_application(server: FakeServer) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        return []

    eitherway.run(app, threads=3)
    [(settings, application)] = server.calls
    assert application is app
    assert settings.config.threads == 3


def test_run_raises_what_cannot_start(server: FakeServer) -> None:
    with pytest.raises(ConfigError, match="did you mean 'threads'"):
        eitherway.run("shop:app", thread=3)
    server.outcome = BindError("taken")
    with pytest.raises(BindError, match="taken"):
        eitherway.run("shop:app")


def test_run_needs_the_main_thread() -> None:
    code = """import eitherway, threading
def run():
    try:
        eitherway.run("shop:app", bind=["127.0.0.1:0"])
    except Exception as error:
        print(error)
threading.Thread(target=run).start()
"""
    assert "main thread only" in python("-c", code).stdout


def test_importing_the_package_imports_none_of_its_modules() -> None:
    code = "import sys, eitherway; print([m for m in sys.modules if m.startswith('eitherway.') or m == 'click'])"
    assert python("-c", code).stdout.strip() == "[]"
