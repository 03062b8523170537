"""What the documentation says of the settings, the command line and other files is true."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click
import pytest

from eitherway.cli import commands
from eitherway.config import SETTINGS, Config, load, option_name

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
SETTINGS_PAGE = ROOT / "docs" / "settings.md"
DEFAULTS = {each.name: each.default for each in fields(Config)}


LINK = re.compile(r"!?\[[^\]]*\]\(([^()\s]+)\)")
FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"(?:\$ )?(?:[A-Z_]+=\S+ )*(?:python3? -m )?eitherway (serve|config)\b[^`\n]*")


def page_name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def sections(text: str) -> dict[str, str]:
    """The text below each heading that is a setting's name."""
    found = re.split(r"^#{2,3} (.*)$", text, flags=re.MULTILINE)
    return dict(zip([heading.strip("`") for heading in found[1::2]], found[2::2], strict=True))


# ---- settings ----


def test_the_settings_page_has_every_setting_and_no_other() -> None:
    named = re.findall(r"^### `(.*)`$", SETTINGS_PAGE.read_text(), re.MULTILINE)
    assert named == list(SETTINGS)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_settings_page_says_what_is_declared(name: str) -> None:
    declared = SETTINGS[name]
    section = sections(SETTINGS_PAGE.read_text())[name]
    assert section.strip().split("\n\n")[0] == declared.help
    row = re.search(r"^\| (.*`.*) \| (.*) \| (.*) \|$", section, re.MULTILINE)
    assert row, section
    option, variable, default = row.groups()
    assert re.search(rf"`{re.escape(option_name(name))}[` ]", option)
    assert not declared.short or f"`{declared.short}`" in option
    assert not isinstance(DEFAULTS[name], bool) or f"`{option_name(name, False)}`" in option
    assert variable == f"`EITHERWAY_{name.upper()}`"
    shown = declared.kind.show(DEFAULTS[name])
    assert default == (f"`{shown}`" if shown else "empty")
    assert all(f"`{choice}`" in section for choice in declared.choices)


# ---- links ----


def anchors(path: Path) -> set[str]:
    """The fragments of a page's headings, as GitHub makes them."""
    text = FENCED.sub("", path.read_text())
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(path: Path) -> list[str]:
    targets = LINK.findall(FENCED.sub("", path.read_text()))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_relative_links_lead_somewhere(path: Path) -> None:
    for target in links(path):
        file, _, fragment = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), f"{page_name(path)}: broken link {target}"
        if fragment:
            assert fragment in anchors(there), f"{page_name(path)}: no heading for {target}"


# ---- command lines ----


def command_lines() -> Iterator[tuple[str, str]]:
    """Every `eitherway serve ...` and `eitherway config ...` of the pages, with the page it stands on."""
    for path in PAGES:
        for match in COMMAND.finditer(path.read_text()):
            line = match[0].partition("  #")[0].partition(" # ")[0].strip()
            if "..." not in line and "--help" not in line:
                yield page_name(path), line


@pytest.mark.parametrize(("page", "line"), sorted(set(command_lines())))
def test_command_lines_are_understood(page: str, line: str) -> None:
    words = shlex.split(line)
    environ = {}
    while "=" in words[0]:
        variable, _, value = words.pop(0).partition("=")
        environ[variable] = value
    _, *arguments = words[words.index("eitherway") :]
    command = commands.commands[arguments[0]]
    context: click.Context = command.make_context(arguments[0], arguments[1:], **commands.context_settings)
    options = {name: value for name, value in context.params.items() if name != "file"}
    settings = load(options=options, environ=environ, directory=Path(__file__).parent)
    assert arguments[0] != "serve" or settings.config.app, f"{page}: no application is named"


def test_the_reading_finds_the_command_lines() -> None:
    """Without this a mistake in the reading would make all the others pass."""
    assert len(set(command_lines())) > 10
    assert ("README.md", "eitherway serve shop:app --engine gevent") in set(command_lines())
    assert "docs/architecture.md" in links(ROOT / "README.md")
