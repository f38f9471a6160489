"""A `tinyscene.report/1` as one HTML page: no script, no font, no picture from anywhere else.

Everything from the report is escaped, and the page's own policy lets it load nothing, so that a report from a stranger
is as harmless as one's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from markupsafe import Markup

from ...runtime.errors import InputError, require
from .accuracy import confusion_views, mistakes, waterfall_view
from .cost import BUDGET_NOTE, budget_view, files_view, frontend_view, kib, memory_view, origin_view, sizes_view
from .layers import explanation_view, layers_view
from .proof import checks_view, targets_view
from .summary import BAD, GOOD, PLAIN, budget_rows, limits, percent, points, step_of, summarise

SECTIONS = (
    ("accuracy", "Accuracy"),
    ("confusions", "Confusions"),
    ("cost", "Budget and sizes"),
    ("layers", "Layers"),
    ("targets", "Targets"),
    ("verification", "Verification"),
    ("origin", "Origin"),
)


def render(report: Mapping[str, Any]) -> str:
    """The page; raises `InputError` when a section of the report is not of the form that this program writes."""
    template, style = _template()
    try:
        views = _views(report)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise InputError(
            f"the report of {report['bundle']['name']} is damaged ({type(error).__name__}: {error}): "
            "measure anew with `tinyscene report BUNDLE --data DIR`"
        ) from error
    return str(template.render(style=style, **views))


@cache
def _template() -> tuple[Any, Markup]:
    jinja2 = require("jinja2", "export")
    folder = files(__package__)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string((folder / "page.html").read_text()), Markup((folder / "page.css").read_text())


def _views(report: Mapping[str, Any]) -> dict[str, Any]:
    bundle, waterfall = report["bundle"], report["waterfall"]
    spec, matrices = bundle["frontend"], confusion_views(waterfall)
    seconds = spec["clip_samples"] / spec["sample_rate_hz"]
    return {
        "title": bundle["name"],
        "lead": f"An int8 acoustic-scene classifier: {seconds:g} s of sound in, one of {len(bundle['labels'])} scenes "
        f"out, in {kib(report['sizes']['tflite_bytes'])}.",
        "sections": [entry for entry in SECTIONS if matrices or entry[0] != "confusions"],
        "measure": "tinyscene report BUNDLE --data DIR",
        "tiles": _tiles(report),
        "findings": summarise(report),
        "waterfall": waterfall_view(waterfall),
        "matrices": matrices,
        "mistakes": mistakes(waterfall),
        "budget": budget_view(report),
        "budget_note": BUDGET_NOTE,
        "sizes": sizes_view(report),
        "memory": memory_view(report),
        "explanation": explanation_view(report["explanation"]),
        "layers": layers_view(report),
        "targets": targets_view(report["lint"]),
        "checks": checks_view(report["verification"]),
        "origin": origin_view(report),
        "frontend": frontend_view(report),
        "files": files_view(report),
        "footer": "Written by tinyscene report; the same figures as JSON: tinyscene report BUNDLE --json.",
    }


def _tiles(report: Mapping[str, Any]) -> list[dict[str, str]]:
    sizes, waterfall, checks = report["sizes"], report["waterfall"], report["verification"]
    tiles = []
    int8 = None if waterfall is None else step_of(waterfall, waterfall["int8"])
    if waterfall is not None and int8 is not None:
        if int8["accuracy"] is not None:
            tiles.append(_tile("int8 accuracy", percent(int8["accuracy"]), f"95 %: {limits(int8['interval'])}"))
        if waterfall["loss"] is not None:
            tiles.append(_tile("against float", f"{points(-waterfall['loss'])} pt", "percentage points"))
        if int8["agreement"] is not None:
            tiles.append(
                _tile("same answer as float", percent(int8["agreement"]), f"{waterfall['snippets']:,} snippets")
            )
    for row in budget_rows(report):
        counted = max(row["trained"] or 0, row["deployed"] or 0)
        short = f"{counted / 1e6:.1f} M" if counted >= 1e6 else f"{counted / 1e3:.1f} k"
        tone = PLAIN if row["limit"] is None else GOOD if counted <= row["limit"] else BAD
        note = "no limit asked for" if row["limit"] is None else f"{percent(counted / row['limit'], 0)} of the limit"
        tiles.append(_tile({"multiply-accumulates": "MACs"}.get(row["name"], row["name"]), short, note, tone))
    tiles.append(_tile("model.tflite", kib(sizes["tflite_bytes"]), f"{sizes['ops']} ops"))
    tiles.append(_tile("activations", kib(sizes["peak_activation_bytes"]), "at most, layer by layer"))
    if checks:
        failed = sum(check["passed"] is False for check in checks)
        passed = sum(check["passed"] is True for check in checks)
        note = f"{len(checks) - passed - failed} not installed" if len(checks) > passed + failed else "none failed"
        figure = f"{failed} failed" if failed else f"{passed} passed"
        tiles.append(_tile("checks on engines", figure, note, BAD if failed else GOOD))
    return tiles


def _tile(name: str, figure: str, note: str, tone: str = PLAIN) -> dict[str, str]:
    return {"name": name, "figure": figure, "note": note, "tone": tone}
