"""HTML and SVG that cannot be broken by what stands in them: text is escaped unless it is markup already."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

_ALONE = frozenset({"br", "col", "input", "meta"})  # HTML's elements without an end
_SHAPES = frozenset({"circle", "line", "path", "rect", "use"})


_TENTH = 0.1


class Markup(str):
    """Text that is markup, and goes into the page as it is."""

    __slots__ = ()


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """An element. Children that are None are left out; lists of children are taken apart.

    Of attributes: `class_` is class, `data_at` is data-at; True stands alone; None and False are left out.
    """
    head = name + "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _ALONE:
        return Markup(f"<{head}>")
    content = joined(children)
    if not content and name in _SHAPES:
        return Markup(f"<{head}/>")
    return Markup(f"<{head}>{content}</{name}>")


def joined(children: Iterable[object]) -> Markup:
    return Markup("".join(_text(child) for child in children))


def plain(value: float) -> str:
    """A length or place in a drawing: to a tenth, and no longer than it must be."""
    return (
        f"{value:.1f}".removesuffix(".0").replace("-0", "0") if abs(value) < 0.05 else f"{value:.1f}".removesuffix(".0")
    )


def _text(child: object) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, str):
        return escape(child, quote=False)
    if isinstance(child, Iterable):
        return joined(child)
    return escape(str(child), quote=False)


def _attribute(key: str, value: object) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-") if key != "viewBox" else key
    if value is True:
        return f" {name}"
    return f' {name}="{escape(plain(value) if isinstance(value, float) else str(value))}"'
