"""Charts of lines over an axis, as SVG. Every configuration has its colour (a class, `s0` to `s9`) and its marker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite

from eitherway.lab.report.markup import Markup, joined, plain, tag
from eitherway.lab.report.scales import Scale, spread

# About the width of a letter, in the widest font that a system may have for ours (DejaVu Sans).
_LETTER = 8.3
_LABEL_LETTER = 9.1  # of a label, which is bold
_LINE = 15.0  # the distance between two labels
_RING = 9.0
_GAP = 8.0  # between two ticks' texts
_BELOW = 1e-9  # below the axis by no more than rounding

# One marker for each colour, drawn about the origin.
MARKERS = (
    "M-4.2 0a4.2 4.2 0 1 0 8.4 0a4.2 4.2 0 1 0-8.4 0z",  # circle
    "M-3.8-3.8h7.6v7.6h-7.6z",  # square
    "M0-5L4.9 3.6h-9.8z",  # triangle
    "M0-5.4L5.4 0 0 5.4-5.4 0z",  # diamond
    "M0 5L4.9-3.6h-9.8z",  # triangle, down
    "M-1.7-5h3.4v3.3h3.3v3.4h-3.3v3.3h-3.4v-3.3h-3.3v-3.4h3.3z",  # plus
    "M-2.4-4.6h4.8L4.8 0 2.4 4.6h-4.8L-4.8 0z",  # hexagon
    "M-5-2.2h10v4.4h-10z",  # bar
    "M-4.4-4.8h8.8L-4.4 4.8h8.8z",  # hourglass
    "M-4.7-2.7l2-2L0-2l2.7-2.7 2 2L2 0l2.7 2.7-2 2L0 2l-2.7 2.7-2-2L-2 0z",  # cross
)


@dataclass(frozen=True, slots=True)
class Frame:
    """The size of a drawing, and the margins around what is plotted."""

    width: float
    height: float
    left: float
    right: float
    top: float = 34.0
    bottom: float = 46.0
    inset: float = 0.0  # room beside the first and the last marker

    def x(self, share: float) -> float:
        return self.left + self.inset + share * (self.width - self.left - self.right - 2 * self.inset)

    def y(self, share: float) -> float:
        """Upwards."""
        return self.height - self.bottom - share * (self.height - self.top - self.bottom)


@dataclass(frozen=True, slots=True)
class Dot:
    """A measured value and its interval. Hollow: not to be relied on."""

    x: float
    y: float
    low: float
    high: float
    hollow: bool = False


@dataclass(frozen=True, slots=True)
class Curve:
    """What is drawn of one configuration."""

    dots: tuple[Dot, ...]
    dashed: tuple[tuple[float, float], ...] = ()  # what theory says
    dotted: tuple[tuple[float, float], ...] = ()  # a second measured line
    ring: float | None = None  # full from this x on


@dataclass(frozen=True, slots=True)
class Line:
    """A configuration's curve, and how it is told from the others."""

    number: int  # among those that the charts show: the script's name for it
    slot: int  # of colour and marker
    label: str
    curve: Curve


@dataclass(frozen=True, slots=True)
class Axis:
    scale: Scale
    title: str
    show: Callable[[float], str]


def drawing(frame: Frame, label: str, *content: object, **data: object) -> Markup:
    """An SVG that scales with the page, and can be walked with the keyboard where it has `data`."""
    box = f"0 0 {plain(frame.width)} {plain(frame.height)}"
    return tag("svg", *content, viewBox=box, role="img", aria_label=label, tabindex="0" if data else None, **data)


def line_chart(frame: Frame, label: str, lines: Sequence[Line], x: Axis, y: Axis) -> Markup:
    """Bands, lines and markers; labels at the ends of the lines, moved apart where they would collide."""
    at = sorted({dot.x for line in lines for dot in line.curve.dots})
    return drawing(
        frame,
        label,
        _grid(frame, x, y),
        [_series(frame, line, x.scale, y.scale) for line in lines],
        _end_labels(frame, lines, x.scale, y.scale),
        tag("line", class_="cross", y1=frame.y(1), y2=frame.y(0)),
        data_axis="x",
        data_at=",".join(plain(frame.x(x.scale.share(value))) for value in at),
    )


def fitted(frame: Frame, labels: Sequence[str]) -> Frame:
    """The same drawing with as much room at the right as the longest label takes."""
    longest = max((len(label) for label in labels), default=0)
    return replace(frame, right=min(frame.right, longest * _LABEL_LETTER + 20))


def marker(slot: int, x: float = 0.0, y: float = 0.0, hollow: bool = False) -> Markup:
    """One of the shapes that `symbols` defines."""
    return tag("use", href=f"#m{slot}", x=x or None, y=y or None, class_="hollow" if hollow else None)


def symbols() -> Markup:
    """What all charts refer to: the markers, and the stripes of time spent in line. Once in a page."""
    stripes = tag("path", d="M-1 7L7-1M-1 1L1-1M5 7L7 5")
    pattern = tag("pattern", stripes, id="stripes", width="6", height="6", patternUnits="userSpaceOnUse")
    shapes = [tag("path", d=shape, id=f"m{slot}") for slot, shape in enumerate(MARKERS)]
    return tag("svg", tag("defs", pattern, shapes), width="0", height="0", aria_hidden="true", class_="defs")


def text(x: float, y: float, content: str, class_: str | None = None) -> Markup:
    """Begins, ends or has its middle at x, as its class is styled."""
    return tag("text", content, x=x, y=y, class_=class_)


def shortened(content: str, room: float) -> str:
    """As much of a bold text as has room, in the drawing's units."""
    most = max(3, int(room / _LABEL_LETTER))
    return content if len(content) <= most else content[: most - 1].rstrip(" ,") + "…"


def x_axis(frame: Frame, axis: Axis, grid: bool = False) -> Markup:
    """Ticks below; those without room are left out, the last one before any other."""
    chosen: list[tuple[float, float, str]] = []  # tick's place, text's middle, text
    edge = frame.width + _GAP
    for tick in reversed(axis.scale.ticks()):
        at, shown = frame.x(axis.scale.share(tick)), axis.show(tick)
        half = len(shown) * _LETTER / 2
        middle = max(half, min(at, frame.width - half))  # never beyond the drawing's edge
        if middle + half + _GAP <= edge:
            chosen.append((at, middle, shown))
            edge = middle - half
    bottom = frame.y(0)
    return tag(
        "g",
        [tag("line", class_="grid", x1=at, x2=at, y1=frame.y(1), y2=bottom) for at, _, _ in chosen] if grid else None,
        tag("line", class_="base", x1=frame.left, x2=frame.width - frame.right, y1=bottom, y2=bottom),
        [text(middle, bottom + 18, shown) for _, middle, shown in chosen],
        text((frame.left + frame.width - frame.right) / 2, bottom + 37, axis.title, "title"),
        class_="axis across",
    )


def _grid(frame: Frame, x: Axis, y: Axis) -> Markup:
    right = frame.width - frame.right
    rows = [(frame.y(y.scale.share(tick)), y.show(tick)) for tick in y.scale.ticks()]
    return joined(
        (
            tag(
                "g",
                [tag("line", class_="grid", x1=frame.left, x2=right, y1=at, y2=at) for at, _ in rows],
                [text(frame.left - 8, at + 4, shown) for at, shown in rows],
                text(0, 13, y.title, class_="title"),
                class_="axis up",
            ),
            x_axis(frame, x),
        )
    )


def _series(frame: Frame, line: Line, x: Scale, y: Scale) -> Markup:
    def place(one: float, other: float) -> tuple[float, float]:
        return frame.x(x.share(one)), frame.y(max(-_BELOW, min(y.share(other), 1.0)))

    curve = line.curve
    dots = [dot for dot in curve.dots if isfinite(dot.y)]
    top = [place(dot.x, dot.high) for dot in dots]
    under = [place(dot.x, dot.low) for dot in dots]
    middle = [place(dot.x, dot.y) for dot in dots]
    rings = [place(dot.x, dot.y) for dot in dots if dot.x == curve.ring]
    return tag(
        "g",
        tag("path", d=_path([*top, *reversed(under)]) + "z", class_="band" if len(dots) > 1 else "whisker"),
        _stroke("dashed", [place(*point) for point in curve.dashed]),
        _stroke("dotted", [place(*point) for point in curve.dotted]),
        _stroke("line", middle),
        [tag("circle", cx=cx, cy=cy, r=_RING, class_="ring") for cx, cy in rings],
        [marker(line.slot, *at, hollow=dot.hollow) for at, dot in zip(middle, dots, strict=True)],
        class_=f"series s{line.slot}",
        data_n=line.number,
    )


def _end_labels(frame: Frame, lines: Sequence[Line], x: Scale, y: Scale) -> Markup:
    """Right of the plot, each beside its line's end; a fine line leads there where it had to move."""
    ends = [(line, line.curve.dots[-1]) for line in lines if line.curve.dots]
    wanted = [frame.y(max(0.0, min(y.share(dot.y), 1.0))) for _, dot in ends]
    places = spread(wanted, _LINE, frame.y(1), frame.y(0))
    edge = frame.width - frame.right
    found = []
    for (line, dot), at, place in zip(ends, wanted, places, strict=True):
        start = frame.x(x.share(dot.x)) + 7
        lead = (
            f"M{plain(start)} {plain(at)}L{plain(max(start, edge - 4))} {plain(at)}L{plain(edge + 10)} {plain(place)}"
        )
        far = abs(place - at) > 3 or edge - start > 24
        found.append(
            tag(
                "g",
                tag("path", d=lead, class_="lead") if far else None,
                text(edge + 13, place + 4, shortened(line.label, frame.right - 13), class_="name"),
                class_=f"series s{line.slot}",
                data_n=line.number,
            )
        )
    return joined(found)


def _stroke(kind: str, points: Sequence[tuple[float, float]]) -> Markup | None:
    return tag("path", d=_path(points), class_=kind) if len(points) > 1 else None


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{plain(x)} {plain(y)}" for x, y in points)
