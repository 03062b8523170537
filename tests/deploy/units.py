"""The units of docs/deploy/ as they are, read for the tests: their settings and their command lines."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import eitherway

DEPLOY = Path(__file__).parents[2] / "docs" / "deploy"
SOURCE = Path(eitherway.__file__).parents[1]
PROGRAM = "/srv/shop/venv/bin/eitherway"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SOURCE)}

SHOP = """
import os, time
def app(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        time.sleep(0.3)
    body = f"release {RELEASE} from {os.getpid()}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""


def setting(unit: str, name: str) -> str:
    """The value of a setting that stands once in a unit."""
    lines = (DEPLOY / unit).read_text().replace("\\\n", " ").splitlines()
    (value,) = (line.partition("=")[2] for line in lines if line.startswith(f"{name}="))
    return value


def command_line(unit: str, name: str, places: dict[str, str], instance: str = "") -> list[str]:
    """The command of a unit's setting, with this interpreter in the place of the installed program, and `places` for
    the directories of a real machine."""
    line = setting(unit, name).replace("%i", instance)
    for there, here in places.items():
        line = line.replace(there, here)
    program, *arguments = shlex.split(line)
    assert program == PROGRAM
    return [sys.executable, "-m", "eitherway", *arguments]


def write_release(directory: Path, number: int, code: str = SHOP) -> Path:
    """A release of the shop in a directory of its own."""
    release = directory / "releases" / str(number)
    release.mkdir(parents=True, exist_ok=True)
    (release / "shop.py").write_text(f"RELEASE = {number}\n{code}")
    return release


def make_current(directory: Path, number: int) -> None:
    """Point the link `current` at a release, in one step."""
    fresh = directory / "current.new"
    fresh.symlink_to(Path("releases") / str(number))
    fresh.replace(directory / "current")
