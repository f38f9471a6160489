"""SVG elements as text, escaped, for plots that stand in the page itself."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup, escape

_ATTRIBUTES = {"viewBox": "viewBox", "class_": "class"}


def tag(name: str, *children: str | Markup, **attributes: object) -> Markup:
    """One element; `class_` gives `class`, other underscores become hyphens, and None leaves an attribute out.

    Children that are plain text are escaped.
    """
    written = "".join(
        f' {_ATTRIBUTES.get(key) or key.replace("_", "-")}="{escape(_value(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def join(children: Iterable[str | Markup]) -> Markup:
    """Elements and texts one after another."""
    return Markup("".join(str(escape(child)) for child in children))


def _value(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def at(share: float) -> str:
    """A place along an element's width, from a share of it; clamped to the element."""
    return f"{100 * min(max(share, 0.0), 1.0):.2f}%"
