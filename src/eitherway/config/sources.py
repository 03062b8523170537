"""Find the settings in force: file < environment < command line < Python keyword; the later one wins.

Every source yields its values, each with the name of the place where it stands; `_read` reads and checks
them all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from eitherway.config.declare import Setting
from eitherway.config.settings import SETTINGS, Config
from eitherway.config.values import did_you_mean
from eitherway.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

ENVIRONMENT_PREFIX = "EITHERWAY_"
FILE_VARIABLE = "EITHERWAY_CONFIG"  # names the file, as --config does
OWN_FILE = "eitherway.toml"
PROJECT_FILE = "pyproject.toml"
LONGEST_VALUE_SHOWN = 80  # characters of a bad value in the line that refuses it
LIST_THEM = "; `eitherway config` lists the settings"

Table = dict[str, Any]
NOTHING: Mapping[str, object] = {}


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings in force and, by name, where each came from: "default", "eitherway.toml", "--engine"."""

    config: Config
    origins: Mapping[str, str]


class Given(NamedTuple):
    """A value as a source gave it, not yet read. `is_text` where the source knows only text."""

    name: str
    value: Any
    origin: str
    is_text: bool


def load(
    *,
    options: Mapping[str, object] = NOTHING,
    keywords: Mapping[str, object] = NOTHING,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
    file: str = "",
) -> Settings:
    """Gather the settings from all sources and check them.

    options: by setting name, as the command line gave them; None and () mean not given.
    keywords: by setting name, Python values. environ: os.environ unless given.
    directory: where eitherway.toml and pyproject.toml are looked for, the working directory unless given.
    file: read this one instead. Raises ConfigError, one line, for what is unknown or not allowed.
    """
    environ = os.environ if environ is None else environ
    file = file or environ.get(FILE_VARIABLE, "")
    values: dict[str, Any] = {}
    origins = dict.fromkeys(SETTINGS, "default")
    for given in chain(_in_file(file, directory), _in_environ(environ), _in_options(options), _in_keywords(keywords)):
        values[given.name] = _read(given)
        origins[given.name] = given.origin
    return Settings(replace(Config(), **values), origins)


def _read(given: Given) -> object:
    """Turn what was given into the setting's value, or raise the line that refuses it."""
    declared = SETTINGS[given.name]
    kind = declared.kind
    read = kind.parse if given.is_text and isinstance(given.value, str) else kind.accept
    try:
        value = read(given.value)
    except ValueError:
        raise _refusal(given, given.value) from None
    for item in _items(declared, value):
        if not declared.passes(item):
            raise _refusal(given, item if kind.separator else given.value)
    return value


def _items(declared: Setting, value: Any) -> tuple[object, ...]:
    """Return what the checks have to see, one by one."""
    if not declared.kind.separator:
        return (value,)
    # A list that may not be empty is judged by an empty item, which its check does not let pass.
    return value or ("",) * declared.required


def _refusal(given: Given, value: object) -> ConfigError:
    declared = SETTINGS[given.name]
    shown = repr(value)
    if len(shown) > LONGEST_VALUE_SHOWN:
        shown = shown[:LONGEST_VALUE_SHOWN] + "..."
    hint = did_you_mean(value, declared.choices) if isinstance(value, str) else ""
    return ConfigError(f"{given.name} ({given.origin}): {shown} is not {declared.allowed}{hint}")


def _in_environ(environ: Mapping[str, str]) -> Iterator[Given]:
    """Find EITHERWAY_* variables. One that is no setting is refused: it is a slip that would go unseen."""
    for variable in sorted(environ):
        name = variable.removeprefix(ENVIRONMENT_PREFIX)
        if name == variable or variable == FILE_VARIABLE:
            continue
        if name != name.upper() or name.lower() not in SETTINGS:
            known = [ENVIRONMENT_PREFIX + each.upper() for each in SETTINGS]
            raise ConfigError(f"unknown setting {variable!r} (environment){did_you_mean(variable, known, LIST_THEM)}")
        yield Given(name.lower(), environ[variable], variable, True)


def _in_options(options: Mapping[str, object]) -> Iterator[Given]:
    for name, value in options.items():
        declared = _known(name, "command line")
        if value is None or value == ():
            continue
        text = declared.kind.separator.join(value) if isinstance(value, tuple) else value
        yield Given(name, text, option_name(name, value), True)


def _in_keywords(keywords: Mapping[str, object]) -> Iterator[Given]:
    for name, value in keywords.items():
        _known(name, "keyword")
        yield Given(name, value, "keyword", False)


def _known(name: str, origin: str) -> Setting:
    if name not in SETTINGS:
        raise ConfigError(f"unknown setting {name!r} ({origin}){did_you_mean(name, SETTINGS, LIST_THEM)}")
    return SETTINGS[name]


def option_name(name: str, value: object = None) -> str:
    """Return how a setting is spelled on the command line; a flag that is off as --no-..."""
    if name == "app":
        return "APP"
    return f"--{'no-' if value is False else ''}{name.replace('_', '-')}"


# ---- the file ----


def _in_file(file: str, directory: Path | None) -> Iterator[Given]:
    """Find the settings in the file that the user named, or else in one of the usual two."""
    label, table = _named_file(file) if file else _usual_file(os.fspath(directory or "."))
    spelled: dict[str, str] = {}
    if isinstance(table.get("tool"), dict):
        raise ConfigError(f"{label}: the settings stand at the top of this file; leave [tool.eitherway] out")
    for key, value in table.items():
        name = key.replace("-", "_")
        _known(name if name in SETTINGS else key, label)
        if name in spelled:
            raise ConfigError(f"{name} ({label}): given twice, as {spelled[name]!r} and as {key!r}")
        spelled[name] = key
        yield Given(name, value, label, False)


def _named_file(path: str) -> tuple[str, Table]:
    """Read the file at the path; it must exist, and a pyproject.toml must have our table."""
    content = _content(path)
    if content is None:
        raise ConfigError(f"config file {path!r}: there is no such file")
    table = _parse_toml(content, path)
    if path.endswith(PROJECT_FILE):
        table = _own_table(table, path)
        if not table:
            raise ConfigError(f"config file {path!r}: it has no table [tool.eitherway]")
    return path, table


def _usual_file(directory: str) -> tuple[str, Table]:
    """Read the first of the two usual files that the directory has; to have none is fine."""
    content = _content(f"{directory}/{OWN_FILE}")
    if content is not None:
        return OWN_FILE, _parse_toml(content, OWN_FILE)
    content = _content(f"{directory}/{PROJECT_FILE}")
    # Most projects' files say nothing of us: spare the server the TOML parser, and the user its complaints.
    if content is None or b"eitherway" not in content:
        return PROJECT_FILE, {}
    return PROJECT_FILE, _own_table(_parse_toml(content, PROJECT_FILE), PROJECT_FILE)


def _content(path: str) -> bytes | None:
    """Return what the file holds, or None when there is no file."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"config file {path!r}: {error.strerror}") from None


def _parse_toml(content: bytes, path: str) -> Table:
    import tomllib

    try:
        return tomllib.loads(content.decode())
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"config file {path!r}: this is not TOML: {reason}") from None


def _own_table(project: Table, path: str) -> Table:
    """Return [tool.eitherway] of a pyproject.toml, empty where it has none."""
    tool = project.get("tool", {})
    table = tool.get("eitherway", {}) if isinstance(tool, dict) else {}
    if not isinstance(table, dict):
        raise ConfigError(f"config file {path!r}: tool.eitherway is not a table")
    return table
