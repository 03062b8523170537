"""The virtual environment in which all servers run, ours and the peers, on one Python."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
DIRECTORY = HERE / ".venv"
PROGRAMS = DIRECTORY / "bin"
REQUIREMENTS = HERE / "requirements.txt"
STAMP = DIRECTORY / "benchmarks.json"
UNINSTALLED = ("meinheld",)  # built without its dependencies; its rows are skipped where that fails
EXTRAS = ("uvloop", "gevent", "eventlet", "trio", "twisted", "websocket")
KEPT_VARIABLES = ("PATH", "HOME", "LANG", "TMPDIR")


@dataclass(frozen=True)
class Installed:
    """What is in the environment, and why something is not."""

    versions: dict[str, str]
    reasons: dict[str, str]

    def missing(self, distributions: tuple[str, ...]) -> str:
        """Why a server that needs `distributions` cannot run; empty when it can."""
        for name in distributions:
            if name not in self.versions:
                return self.reasons.get(name, f"{name} is not installed")
        return ""


def prepare(anew: bool) -> Installed:
    """Make the environment if it is missing, outdated, or wanted anew; tell what is in it."""
    wanted = fingerprint()
    stamp = json.loads(STAMP.read_text()) if STAMP.exists() else {}
    if anew or stamp.get("fingerprint") != wanted:
        say(f"making {DIRECTORY} ...")
        shutil.rmtree(DIRECTORY, ignore_errors=True)
        venv.create(DIRECTORY, with_pip=True)
        failure = pip_install("--upgrade", "pip", "setuptools", "wheel", *our_requirements())
        failure = failure or pip_install("--requirement", str(REQUIREMENTS))
        if failure:
            raise SystemExit(f"the peers cannot be installed: {failure}")
        stamp = {"fingerprint": wanted, "reasons": {name: build(name) for name in UNINSTALLED}}
        STAMP.write_text(json.dumps(stamp))
    return Installed(versions(), {name: why for name, why in stamp["reasons"].items() if why})


def fingerprint() -> str:
    """Changes when the environment would be another one."""
    parts = [sys.version, REQUIREMENTS.read_text(), *our_requirements(), *UNINSTALLED]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def our_requirements() -> list[str]:
    """What eitherway needs; it runs from this checkout itself, so that what is measured is what is here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    return [*project["dependencies"], *(line for extra in EXTRAS for line in optional[extra])]


def build(name: str) -> str:
    """Compile and install one distribution without its dependencies; return why that failed, if it did."""
    say(f"building {name} ...")
    failure = pip_install("--no-deps", name)
    if failure:
        say(f"{name} does not build: {failure}")
        return f"it does not build here: {failure}"
    done = python("-c", f"import {name}.server")
    return f"it does not load here: {done.stderr.strip().splitlines()[-1]}" if done.returncode else ""


def pip_install(*arguments: str) -> str:
    """Run pip; return the line that says why it failed, if it did."""
    done = python("-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments)
    if done.returncode == 0:
        return ""
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    told = [line for line in lines if "error:" in line.lower() and "subprocess-exited" not in line]
    return (told or lines or ["pip gave no reason"])[0]


def python(*arguments: str, ours: bool = False) -> subprocess.CompletedProcess[str]:
    """Run the environment's Python, with this checkout or as it is."""
    command = [str(PROGRAMS / "python"), *arguments]
    env = variables(ours=True) if ours else None
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


def versions() -> dict[str, str]:
    """The versions of everything that is installed, and of this checkout."""
    code = (
        "import json, importlib.metadata as m;print(json.dumps({d.name.lower(): d.version for d in m.distributions()}))"
    )
    found: dict[str, str] = json.loads(python("-c", code).stdout)
    return {**found, "eitherway": our_version()}


def our_version() -> str:
    """The checkout's version with the commit it stands on, and whether it was changed since."""
    asked = python("-c", "import eitherway; print(eitherway.__version__)", ours=True)
    version = asked.stdout.strip() or "(does not import)"
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    if commit.returncode:
        return version
    changes = subprocess.run([*git, "status", "--porcelain", "--", "src"], capture_output=True, text=True, check=False)
    return f"{version} at {commit.stdout.strip()}{' with changes' if changes.stdout.strip() else ''}"


def variables(ours: bool) -> dict[str, str]:
    """A clean environment: nobody's own settings of a server may change what is measured."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    paths = [str(HERE), *([str(ROOT / "src")] if ours else [])]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths)}


def say(text: str) -> None:
    """Progress goes to stderr; the tables alone to stdout."""
    print(text, file=sys.stderr, flush=True)
