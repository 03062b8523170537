"""The page: one file that needs nothing else, for screen, phone and print, light and dark, with or without script."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib.resources import files

from eitherway.lab import findings
from eitherway.lab.report import curves, rows, tables
from eitherway.lab.report.charts import symbols
from eitherway.lab.report.figures import Figure, Member, Panel, cast
from eitherway.lab.report.markup import Markup, joined, tag
from eitherway.lab.results import Comparison
from eitherway.lab.units import clients, duration, listing, several, unbroken

_INTRO = (
    "A web server that has many clients at once has to decide what happens while one request waits, for a database or "
    "for another service. It can let everybody else wait too, give each request a process or a thread, or let one "
    "process take up the next request and come back. Each way is called a concurrency model. None makes Python itself "
    "faster; they differ in how many requests can wait at the same time, and in what that costs."
)
_METHOD = (
    "was started under each model that can run it, and asked by more and more clients, each sending its next request "
    "when the last was answered."
)


def render(comparison: Comparison) -> str:
    """The whole page. Nothing in it is loaded from anywhere else."""
    members = cast(comparison)
    drawn = _figures(comparison, members) if members else []
    page = tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="color-scheme", content="light dark"),
            tag("title", f"{comparison.title}: which engine?"),
            tag("style", _asset("page.css")),
        ),
        tag(
            "body", symbols(), _header(comparison), tag("main", _main(comparison, members, drawn)), _footer(comparison)
        ),
        lang="en",
    )
    return f"<!doctype html>\n{page}\n"


def _main(comparison: Comparison, members: Sequence[Member], drawn: Sequence[Figure]) -> Markup:
    return joined(
        (
            _hero(comparison),
            _section("What was compared", _intro(comparison, members), tables.contenders(comparison, members)),
            _charts(members, drawn) if drawn else None,
            _numbers(comparison) if comparison.ladder else None,
            _circumstances(comparison),
            _data(members, drawn),
        )
    )


def _header(comparison: Comparison) -> Markup:
    rounds = "one round" if comparison.rounds == 1 else f"{several(comparison.rounds)} rounds"
    when = comparison.started.replace("T", ", ")[:17]
    parts = [when, f"measured for {_span(comparison.seconds)} in {rounds}", listing(comparison.requests)]
    return tag(
        "header",
        tag("p", "eitherway compare", class_="brand"),
        tag("h1", comparison.title),
        tag("p", joined([tag("span", part) for part in parts if part]), class_="meta"),
        None if comparison.complete else tag("p", _incomplete(comparison), class_="warning", role="note"),
    )


def _incomplete(comparison: Comparison) -> str:
    missing = [c.name for c in comparison.configurations if not c.failure and len(c.points) < len(comparison.ladder)]
    said = "Incomplete: the run was stopped before its end. The page shows what was measured until then"
    return f"{said}; loads are missing from {listing(missing)}." if missing else f"{said}."


def _hero(comparison: Comparison) -> Markup:
    verdict = comparison.verdict
    if verdict is None:
        why = (
            "The run ended before there was enough to judge by."
            if not comparison.complete
            else "No verdict was reached."
        )
        return tag("section", tag("p", why, class_="answer"), class_="hero", aria_label="Verdict")
    first, *rest = findings.verdict_sentences(verdict) or ("No verdict was reached.",)
    sure = verdict.confidence
    return tag(
        "section",
        tag("h2", "The verdict", class_="kicker"),
        tag("p", _prose(first), class_="answer"),
        tag("ul", [tag("li", _prose(sentence)) for sentence in rest], class_="reasons") if rest else None,
        _command(verdict.command) if verdict.command else None,
        tag("p", tag("span", "How sure", class_="label"), sure, class_=f"sure {sure}") if sure else None,
        class_="hero",
    )  # fmt: skip


def _command(command: str) -> Markup:
    button = tag("button", "Copy", type="button", class_="copy", hidden=True)
    return tag("div", tag("pre", _code(command)), button, class_="command")


def _code(command: str) -> Markup:
    """In which a line may end between words, but not within an option."""
    words = command.split(" ")
    return tag("code", [joined((" " if index else None, tag("span", word))) for index, word in enumerate(words)])


def _prose(said: str, members: Sequence[Member] = ()) -> Markup:
    """A sentence: figures stay with their units, code in backticks is code, and configurations wear their colour."""
    slots = {member.name: member.slot for member in members}
    names = "|".join(re.escape(name) for name in sorted(slots, key=len, reverse=True))
    found = []
    for part in re.split(rf"(`[^`]+`|(?<!\w)(?:{names})(?!\w))" if names else "(`[^`]+`)", said):
        if part in slots:
            found.append(tag("b", part, class_=f"s{slots[part]}"))
        elif len(part) > 2 and part[0] == part[-1] == "`":
            found.append(_code(part[1:-1]))
        else:
            found.append(joined([unbroken(part)]))
    return joined(found)


def _intro(comparison: Comparison, members: Sequence[Member]) -> Markup:
    ranked = len(findings.ranked(comparison))
    more = None
    if ranked > len(members):
        more = f"{ranked} were measured. The charts draw the {len(members)} that matter most; the tables have more."
    several_applications = len({each.application for each in comparison.configurations}) > 1
    who = "each application" if several_applications else "the same application"
    method = f"Here {who} {_METHOD}"
    return tag("div", tag("p", _INTRO), tag("p", method), tag("p", more) if more else None, class_="prose")


def _section(title: str, *content: object, class_: str | None = None) -> Markup:
    return tag("section", tag("h2", title), *content, class_=class_)


# ---- charts ----


def _figures(comparison: Comparison, members: Sequence[Member]) -> list[Figure]:
    return [
        curves.throughput(comparison, members),
        *curves.latency(comparison, members),
        *rows.distribution(comparison, members),
        *rows.time(comparison, members),
        *rows.yields(comparison, members),
        *curves.memory(comparison, members),
    ]


def _charts(members: Sequence[Member], drawn: Sequence[Figure]) -> Markup:
    return _section(
        "How they did", _legend(members), joined(_figure(figure, members) for figure in drawn), class_="charts"
    )


def _legend(members: Sequence[Member]) -> Markup:
    """Also the switches: with script, a press hides a configuration in every chart."""
    buttons = [
        tag(
            "button",
            tables.swatch(m),
            tag("span", tables.title(m)),
            type="button",
            aria_pressed="true",
            data_switch=m.number,
            class_=f"s{m.slot}",
        )
        for m in members
    ]
    hint = tag("span", "press one to hide it in all charts", class_="hint") if len(members) > 1 else None
    return tag("div", buttons, hint, class_="legend", role="group", aria_label="Configurations; press to hide or show")


def _figure(figure: Figure, members: Sequence[Member]) -> Markup:
    several_panels = len(figure.panels) > 1
    name = f"choice-{figure.name}"
    choices = [
        (
            tag("input", type="radio", name=name, id=f"{name}-{index}", checked=index == figure.first),
            tag("label", panel.choice, for_=f"{name}-{index}"),
        )
        for index, panel in enumerate(figure.panels)
    ]
    panels = [_panel(f"{figure.name}-{index}", panel, members) for index, panel in enumerate(figure.panels)]
    return tag(
        "figure",
        tag("h3", figure.title),
        tag("p", figure.about, class_="about"),
        tag(
            "div",
            choices if several_panels else None,
            tag("div", panels, class_="panels"),
            class_="choice",
            role="group" if several_panels else None,
            aria_label=f"{figure.title} Choose what is shown" if several_panels else None,
        ),
        _keys(figure) if figure.keys else None,
        id=figure.name,
        class_="half" if figure.half else None,
    )


def _panel(name: str, panel: Panel, members: Sequence[Member]) -> Markup:
    charts = (tag("div", panel.wide, class_="wide"), tag("div", panel.narrow, class_="narrow"))
    return tag(
        "div",
        tag("div", charts, class_="chart", data_figure=name),
        tag("figcaption", _prose(panel.finding, members)),
        class_="panel",
    )


def _keys(figure: Figure) -> Markup:
    return tag("ul", [tag("li", _glyph(kind), meaning) for kind, meaning in figure.keys], class_="keys")


def _glyph(kind: str) -> Markup:
    if kind in ("queue", "cpu", "waiting"):
        shapes: list[Markup] = [tag("rect", x=1, y=3, width=24, height=10, class_=f"part {kind}")]
        if kind == "queue":
            shapes.append(tag("rect", x=1, y=3, width=24, height=10, class_="hatch"))
    elif kind == "band":
        shapes = [tag("rect", x=1, y=2, width=24, height=12, class_="band"), tag("path", d="M1 8h24", class_="line")]
    elif kind == "ring":
        shapes = [tag("circle", cx=13, cy=8, r=6.5, class_="ring"), tag("circle", cx=13, cy=8, r=3, class_="dot")]
    elif kind == "hollow":
        shapes = [tag("circle", cx=13, cy=8, r=4, class_="hollow")]
    elif kind in ("mark", "late"):
        shapes = [tag("path", d="M13 1v14", class_=f"mark {kind}")]
    else:
        shapes = [tag("path", d="M1 8h24", class_=kind)]
    return tag("svg", shapes, viewBox="0 0 26 16", aria_hidden="true")


def _data(members: Sequence[Member], drawn: Sequence[Figure]) -> Markup:
    """What hovering tells, and the script that tells it."""
    told = {
        "names": [m.name for m in members],
        "slots": [m.slot for m in members],
        "charts": {
            f"{figure.name}-{index}": {"heads": panel.heads, "rows": panel.rows}
            for figure in drawn
            for index, panel in enumerate(figure.panels)
        },
    }
    safe = json.dumps(told, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    data = tag("script", Markup(safe), type="application/json", id="told")
    return joined((data, tag("script", _asset("page.js"))))


# ---- figures and circumstances ----


def _numbers(comparison: Comparison) -> Markup:
    every = (
        tables.all_figures(comparison, tables.SPEED, "How fast: medians of the rounds, with 95 % intervals"),
        tables.all_figures(comparison, tables.COST, "What it cost the machine"),
    )
    return _section(
        "All figures",
        tag("details", tag("summary", "Tables"), *every, tables.theory(comparison), open=True),
        class_="numbers",
    )


def _circumstances(comparison: Comparison) -> Markup:
    notes = [*comparison.notes, *_notes_of_points(comparison)]
    commands = [(c.name, c.command) for c in comparison.configurations if c.command]
    started = [tag("li", tag("b", name), tag("code", command)) for name, command in commands]
    return _section(
        "Circumstances",
        tag("h3", "Repeat it"),
        _command(comparison.command),
        tag("h3", "Notes") if notes else None,
        tag("ul", [tag("li", _prose(note)) for note in notes], class_="notes") if notes else None,
        tag("div",
            tag("div", tag("h3", "Machine"), tables.facts(comparison.machine)),
            tag("div", tag("h3", "Versions"), tables.facts(comparison.versions)), class_="pair"),
        tag("h3", "How each was started"),
        tag("ul", started, class_="commands"),
        class_="circumstances",
    )  # fmt: skip


def _notes_of_points(comparison: Comparison) -> list[str]:
    """One for each note, with where it holds."""
    where: dict[str, dict[str, list[str]]] = {}
    for configuration in comparison.configurations:
        for point in configuration.points:
            if point.note:
                where.setdefault(point.note, {}).setdefault(configuration.name, []).append(f"{point.concurrency:,}")
    return [
        f"{note} ({'; '.join(f'{name} at {listing(loads)}' for name, loads in found.items())})"
        for note, found in where.items()
    ]


def _footer(comparison: Comparison) -> Markup:
    ladder = comparison.ladder
    loads = f"From {clients(ladder[0])} to {ladder[-1]:,}. " if len(ladder) > 1 else ""
    return tag(
        "footer",
        tag("p", f"{loads}Made by eitherway on the machine that it describes; another machine gives other figures."),
    )


def _span(seconds: float) -> str:
    if seconds < 90:
        return duration(round(seconds))
    return f"{seconds / 60:.0f} minutes"


def _asset(name: str) -> Markup:
    return Markup((files("eitherway.lab.report") / name).read_text(encoding="utf-8"))
