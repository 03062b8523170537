"""The page in a browser: Chromium without a window, driven through playwright."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from comparisons import SAMPLES

from eitherway.lab.report import render

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium-headless-shell"),
    pytest.mark.xdist_group("chromium"),
]

WIDE, PHONE, PAPER = 1280, 390, 688  # the last: A4 without its margins


@dataclass
class Opened:
    """A page, and what it did that it should not."""

    page: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def charts(self) -> list[Any]:
        return [each for each in self.page.locator("figure .chart svg[data-at]").all() if each.is_visible()]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


Open = Callable[..., Opened]


@pytest.fixture
def opened(chromium: Any, tmp_path: Path) -> Iterator[Open]:
    """`opened(sample, width, **context)`: the page of a sample."""
    contexts = []

    def open_page(name: str, width: int = WIDE, **more: Any) -> Opened:
        path = tmp_path / f"{name}.html"
        path.write_text(render(SAMPLES[name]()))
        context = chromium.new_context(viewport={"width": width, "height": 900}, **more)
        contexts.append(context)
        found = Opened(context.new_page())
        found.page.on("request", lambda request: found.requests.append(request.url))
        found.page.on("console", lambda message: found.complaints.append(message.text))
        found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
        found.page.on("dialog", lambda dialog: (found.complaints.append(dialog.message), dialog.dismiss()))
        found.page.goto(path.as_uri())
        assert found.requests == [path.as_uri()]
        return found

    yield open_page
    for context in contexts:
        context.close()


# Texts of one drawing that lie on one another, or outside of the page.
COLLISIONS = """() => {
  const found = [];
  for (const svg of document.querySelectorAll(".chart svg")) {
    if (!svg.getBoundingClientRect().width) continue;
    const boxes = [...svg.querySelectorAll("text")].map((text) => [text.textContent, text.getBoundingClientRect()]);
    boxes.forEach(([one, a], index) => {
      if (a.left < -1 || a.right > innerWidth + 1) found.push(`outside: ${one}`);
      for (const [other, b] of boxes.slice(index + 1))
        if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 4 && b.top < a.bottom - 4)
          found.push(`${one} on ${other}`);
    });
  }
  return found;
}"""

# HTML texts whose contrast to what is behind them is too small.
FAINT = """() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, index) => sum + c * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = (each) => {
    for (let at = each; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const each of document.querySelectorAll("body *")) {
    const own = [...each.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !each.getBoundingClientRect().width || each.closest("defs, script")) continue;
    const style = getComputedStyle(each), drawn = each.closest("svg");
    if (drawn && each.classList.contains("in")) continue;
    const colour = parse(drawn ? style.fill : style.color);
    if (colour[3] === 0) continue;
    const [low, high] = [light(colour), light(behind(each))].sort((a, b) => a - b);
    if ((high + 0.05) / (low + 0.05) < 4.5) found.push(`${each.tagName} ${each.className}: ${each.textContent}`);
  }
  return found;
}"""


@pytest.mark.parametrize("width", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("name", SAMPLES)
def test_everything_is_visible_and_nothing_goes_wrong(opened: Open, name: str, width: int) -> None:
    found = opened(name, width)
    assert found.page.evaluate("document.documentElement.scrollWidth") <= width
    figures = found.page.locator("figure").count()
    boxes = [chart.bounding_box() for chart in found.charts()]
    assert len(boxes) == figures and (figures == 0) == (name == "empty")
    assert all(box["width"] > 300 and box["height"] > 30 for box in boxes)
    assert found.page.evaluate(COLLISIONS) == []
    assert found.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["every_engine", "failures", "incomplete"])
def test_every_text_can_be_read(opened: Open, name: str, scheme: str) -> None:
    found = opened(name, color_scheme=scheme)
    paper = found.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, paper.removeprefix("rgb(").removesuffix(")").split(", "))) < 380) is (scheme == "dark")
    assert found.page.evaluate(FAINT) == []


@pytest.mark.parametrize("name", ["every_engine", "many", "nasty"])
def test_print_shows_all_of_it_and_no_buttons(opened: Open, name: str) -> None:
    found = opened(name, PAPER, color_scheme="dark")
    found.page.emulate_media(media="print", color_scheme="dark")
    assert found.page.evaluate("document.documentElement.scrollWidth") <= PAPER
    assert len(found.charts()) == found.page.locator("figure").count()
    assert not any(
        each.is_visible()
        for each in found.page.locator("button.copy, .tip, .choice > input:not(:checked) + label").all()
    )
    assert found.page.evaluate(COLLISIONS) == []
    assert found.page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 29, 34)"  # never white on white
    assert found.page.pdf()[:4] == b"%PDF"


def test_without_script_all_is_there_and_views_can_be_chosen(opened: Open) -> None:
    found = opened("engines", java_script_enabled=False)
    assert len(found.charts()) == 7
    latency = found.page.locator("#latency")
    assert latency.locator(".chart svg[data-at]:visible .title").first.text_content() == "p50; p99 dotted"
    latency.get_by_text("p99.9", exact=True).click()
    assert latency.locator(".panel:visible").count() == 1
    assert (
        latency.locator(".chart svg[data-at]:visible .title").first.text_content()
        == "999 of 1,000 requests were faster (p99.9)"
    )


# ---- with script ----


def point_at(chart: Any, across: float, down: float = 0.5) -> None:
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    chart.page.mouse.move(box["x"] + box["width"] * across, box["y"] + box["height"] * down)


@pytest.mark.parametrize("width", [WIDE, PHONE], ids=["wide", "phone"])
def test_hovering_tells_all_values_at_that_load(opened: Open, width: int) -> None:
    found = opened("engines", width)
    chart = found.page.locator("#throughput .chart svg[data-at]:visible")
    tip = found.page.locator(".tip")
    assert tip.count() == 0
    point_at(chart, 0.15)
    assert tip.locator("strong").inner_text() == "1 client"
    point_at(chart, 0.8)
    assert tip.locator("strong").inner_text() == "1,000 clients"
    assert tip.locator("tr").first.inner_text().split("\t") == ["gevent", "2,439", "2,366 to 2,512"]
    assert tip.locator("tr").count() == 5
    assert chart.locator(".cross.on").count() == 1
    box = tip.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= width
    found.page.mouse.move(1, 1)
    assert tip.count() == chart.locator(".cross.on").count() == 0


@pytest.mark.parametrize(
    ("figure", "expected"),
    [("latency", "sync"), ("distribution", "answered within"), ("time", "in line"), ("cores", "requests a second"),
     ("room", "at 1,000 clients"), ("memory", "processes 2")],
)  # fmt: skip
def test_every_chart_tells_something(opened: Open, figure: str, expected: str) -> None:
    found = opened("engines")
    point_at(found.page.locator(f"#{figure} .chart svg[data-at]:visible"), 0.7)
    assert expected in found.page.locator(".tip").inner_text()


def test_charts_can_be_read_with_the_keyboard(opened: Open) -> None:
    found = opened("engines")
    found.page.locator("#throughput .chart svg[data-at]:visible").focus()
    head = found.page.locator(".tip strong")
    seen = [head.inner_text()]
    for key in ("ArrowLeft", "ArrowLeft", "ArrowRight", "ArrowRight", "ArrowRight"):
        found.page.keyboard.press(key)
        seen.append(head.inner_text())
    assert seen == [f"{load} clients" for load in ("1,000", "100", "10", "100", "1,000", "1,000")]
    found.page.keyboard.press("Escape")
    assert head.count() == 0


def test_a_configuration_can_be_switched_off_in_every_chart(opened: Open) -> None:
    found = opened("engines")
    button = found.page.get_by_role("button", name="threads")
    line = found.page.locator("#throughput .chart svg[data-at]:visible .series[data-n='1']").first
    row = found.page.locator("#cores .chart svg[data-at]:visible .row[data-n='1']")
    assert line.is_visible()
    button.focus()
    found.page.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "false"
    assert not line.is_visible() and row.evaluate("each => Number(getComputedStyle(each).opacity)") < 0.2
    point_at(found.page.locator("#throughput .chart svg[data-at]:visible"), 0.8)
    assert "threads" not in found.page.locator(".tip").inner_text()
    button.click()
    assert button.get_attribute("aria-pressed") == "true" and line.is_visible()


def test_a_load_can_be_chosen(opened: Open) -> None:
    found = opened("engines")
    figure = found.page.locator("#distribution")
    assert "At 1,000 clients" in figure.locator("figcaption:visible").inner_text().replace("\N{NO-BREAK SPACE}", " ")
    figure.get_by_text("10 clients", exact=True).click()
    assert "At 10 clients" in figure.locator("figcaption:visible").inner_text().replace("\N{NO-BREAK SPACE}", " ")


def test_the_command_can_be_copied(opened: Open) -> None:
    found = opened("engines", permissions=["clipboard-read", "clipboard-write"])
    button = found.page.locator(".hero .copy")
    button.click()
    found.page.wait_for_function("document.querySelector('.hero .copy').textContent !== 'Copy'")
    assert button.inner_text() == "Copied"
    assert (
        found.page.evaluate("navigator.clipboard.readText()") == "eitherway serve shop:app --engine gevent --workers 2"
    )
