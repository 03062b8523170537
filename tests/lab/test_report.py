"""The page as text, and the table in the terminal. tests/lab/test_page.py opens the page in a browser."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from itertools import combinations
from math import dist

import comparisons
import pytest
from comparisons import NASTY, SAMPLES

from eitherway.config import MODELS
from eitherway.lab.findings import SENTENCES, SHOWN, model
from eitherway.lab.report import render
from eitherway.lab.report.charts import MARKERS
from eitherway.lab.report.figures import cast
from eitherway.lab.results import Verdict
from eitherway.lab.terminal import plain, print_comparison

MOST_BYTES = 500_000
STYLES = (files("eitherway.lab.report") / "page.css").read_text()


class Outline(HTMLParser):
    """The elements of a page, and whether they are closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "input", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.text.append(data)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_page_is_small_well_formed_and_needs_nothing_else(name: str) -> None:
    page = render(SAMPLES[name]())
    assert len(page.encode()) < MOST_BYTES
    outline = Outline(page)
    for element, attributes in outline.elements:
        assert element not in ("link", "img", "iframe", "object", "embed", "base")
        assert not {"src", "srcset", "onerror", "onclick"} & set(attributes)
        assert (attributes.get("href") or "#").startswith("#")
    assert "@import" not in page and not re.search(r"url\((?!#)", page)
    identities = [attributes["id"] for _, attributes in outline.elements if attributes.get("id")]
    assert len(identities) == len(set(identities))


def test_nothing_of_a_user_becomes_markup() -> None:
    page = render(comparisons.nasty())
    assert "<img" not in page and page.count("<script") == page.count("</script") == 2
    outline = Outline(page)
    assert comparisons.NASTY in outline.text  # and it is still readable


def test_the_page_says_what_failed_and_what_is_missing() -> None:
    text = " ".join(Outline(render(comparisons.failures())).text)
    assert "answers differ: GET /products gave 200, here 500" in text
    assert "crashed at 100 clients: exit code -11" in text
    assert "the measuring client was the limit" in text and "12 × 503" in text and "4 reset, 1 timeout" in text
    text = " ".join(Outline(render(comparisons.incomplete())).text)
    assert "Incomplete: the run was stopped before its end" in text
    assert "loads are missing from threads, gevent, asyncio and uvloop" in text


def test_the_page_has_the_whole_story() -> None:
    made = comparisons.engines()
    text = "".join(Outline(render(made)).text).replace("\N{NO-BREAK SPACE}", " ")
    assert made.verdict and all(sentence in text for sentence in made.verdict.sentences)
    for expected in (made.verdict.command, made.command, *made.machine.values(), *made.notes, *made.versions.values()):
        assert expected in text
    for configuration in made.configurations:
        assert configuration.command in text
        assert configuration.prediction and configuration.prediction.model in text


def test_notes_of_points_are_told_once_with_where_they_hold() -> None:
    made = comparisons.engines()
    first, second, *others = made.configurations
    noted = tuple(comparisons.replace(p, note="the queue did not settle") for p in first.points[2:])
    first = comparisons.replace(first, points=(*first.points[:2], *noted))
    second = comparisons.replace(second, points=(*second.points[:3], noted[-1]))
    text = "".join(Outline(render(comparisons.replace(made, configurations=(first, second, *others)))).text)
    assert "the queue did not settle (sync at 100 and 1,000; threads at 1,000)" in text


def test_the_verdict_s_command_is_told_once_and_apart() -> None:
    command = "eitherway serve shop:app --engine gevent"
    said = (f"Take gevent: it answers most; start it with `{command}`.", "With `--workers 2` there may be more.")
    made = comparisons.replace(comparisons.engines(), verdict=Verdict(said, "gevent", command, "clear"))
    page = render(made)
    hero = page[page.index('class="hero"') : page.index("What was compared")]
    assert re.sub("<.*?>", "", hero).count(command) == 1 and "Take gevent: it answers most." in hero
    assert "With <code><span>--workers</span> <span>2</span></code> there may be more." in hero
    assert "Take gevent: it answers most.\n" in plain(made) and plain(made).endswith(f"\n    {command}")


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_colours_can_be_read(theme: int) -> None:
    colours = dict(
        re.findall(r"--(\w+): (#\w{6})", STYLES.split("@media screen and (prefers-color-scheme: dark)")[theme])
    )
    paper = luminance(colours["paper"])
    for name in ("ink", "soft", "accent", "good", "fair", *(f"c{slot}" for slot in range(SHOWN))):
        low, high = sorted((paper, luminance(colours[name])))
        assert (high + 0.05) / (low + 0.05) >= 4.5, name


def test_every_engine_has_its_colour_marker_and_sentence() -> None:
    found = cast(comparisons.every_engine())
    assert [each.configuration.engine for each in found] == list(MODELS)
    assert sorted(each.slot for each in found) == list(range(len(MODELS))) and len(MODELS) < SHOWN
    assert len(set(MARKERS)) == len(MARKERS) == SHOWN
    assert set(SENTENCES) == set(MODELS)
    assert all(f".s{slot} " in STYLES for slot in range(SHOWN))


def test_two_applications_are_not_called_the_same() -> None:
    one = comparisons.every_engine()
    other = replace(one.configurations[0], application="other:app", name="other")
    assert "Here the same application was started" in render(one)
    assert "Here each application was started" in render(replace(one, configurations=(*one.configurations, other)))


def test_plain_code_on_a_loop_is_said_to_run_in_threads() -> None:
    one = next(each for each in comparisons.every_engine().configurations if each.engine == "uvloop")
    assert "thread of a pool" in model(replace(one, interface="wsgi"))
    assert model(replace(one, interface="asgi")) == SENTENCES["uvloop"]


# What is left of red, green and blue light to eyes without the cones for long or medium waves (Machado et al., 2009).
EYES = {
    "all cones": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "no long": ((0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052)),
    "no medium": ((0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969)),
}


def lab(colour: str, eyes: str) -> tuple[float, float, float]:
    """CIELAB, in which equal distances look about equal."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    light = [((c + 0.055) / 1.055) ** 2.4 if c > 0.04045 else c / 12.92 for c in channels]
    seen = [min(1.0, max(0.0, sum(a * b for a, b in zip(row, light, strict=True)))) for row in EYES[eyes]]
    white = ((0.4339, 0.3762, 0.1899), (0.2127, 0.7152, 0.0722), (0.0178, 0.1095, 0.8729))
    x, y, z = (sum(a * b for a, b in zip(row, seen, strict=True)) for row in white)
    x, y, z = (c ** (1 / 3) if c > 0.008856 else 7.787 * c + 16 / 116 for c in (x, y, z))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("eyes", "least"), [("all cones", 33), ("no long", 12), ("no medium", 12)])
def test_colours_can_be_told_apart(theme: int, eyes: str, least: float) -> None:
    styles = STYLES.split("@media screen and (prefers-color-scheme: dark)")[theme]
    colours = dict(re.findall(r"--(c\d): (#\w{6})", styles))
    assert len(colours) == SHOWN
    for one, other in combinations(colours, 2):
        assert dist(lab(colours[one], eyes), lab(colours[other], eyes)) >= least, (one, other)


# ---- the terminal ----


def test_the_table_without_a_terminal() -> None:
    said = plain(comparisons.engines())
    rows = [line.split() for line in said.splitlines()]
    assert ["gevent", "2,439", "±3", "%"] in [row[:4] for row in rows]
    assert [row[0] for row in rows if row and row[0] in ("sync", "threads", "gevent", "asyncio", "uvloop")] == [
        "gevent", "uvloop", "asyncio", "threads", "sync"
    ]  # fmt: skip
    assert said.rstrip().endswith("eitherway serve shop:app --engine gevent --workers 2")


@pytest.mark.parametrize("name", SAMPLES)
def test_every_shape_can_be_printed(name: str) -> None:
    made, out = SAMPLES[name](), io.StringIO()
    print_comparison(made, out=out)
    for configuration in made.configurations:
        assert configuration.name.strip() in out.getvalue()
        assert configuration.failure.strip() in out.getvalue()
    assert ("Incomplete" in out.getvalue()) is not made.complete
    assert ("No verdict" in out.getvalue()) is (made.verdict is None)


def test_a_reason_that_many_share_is_told_once() -> None:
    made = comparisons.engines()
    failed = [comparisons.replace(c, points=(), failure="no attribute 'app' in shop") for c in made.configurations[:3]]
    said = plain(comparisons.replace(made, configurations=(*failed, *made.configurations[3:])))
    assert "sync, threads and gevent: no attribute 'app' in shop\n" in said


def test_the_table_in_a_terminal_of_80_columns() -> None:
    console = pytest.importorskip("rich.console", reason="rich is not installed")
    out = io.StringIO()
    print_comparison(comparisons.engines(), console.Console(file=out, width=80, force_terminal=True, color_system=None))
    lines = out.getvalue().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert any(line.split()[:3] == ["gevent", "2,439", "±3"] and "43 MB" in line for line in lines)


def test_text_of_a_user_is_no_markup_in_the_terminal() -> None:
    console = pytest.importorskip("rich.console", reason="rich is not installed")
    made, out = comparisons.engines(), io.StringIO()
    first = comparisons.replace(made.configurations[0], name="[red]sync[/nonsense]", failure="why: [bold]" + NASTY)
    made = comparisons.replace(made, configurations=(first, *made.configurations[1:]), title="[blink]title")
    print_comparison(made, console.Console(file=out, width=200, force_terminal=True, color_system=None))
    assert "[red]sync[/nonsense]: why: [bold]</script>" in out.getvalue() and "[blink]title" in out.getvalue()


def test_a_console_that_is_no_terminal_gets_plain_text() -> None:
    console = pytest.importorskip("rich.console", reason="rich is not installed")
    out = io.StringIO()
    print_comparison(comparisons.alone(), console.Console(file=out))
    assert out.getvalue() == plain(comparisons.alone()) + "\n"
