"""The page's views of what was proved: the lint of each target, and the verification on each engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .plots import bar
from .summary import BAD, GOOD, LOOK, PLAIN, percent

#: Ops of one target that are listed; the rest is counted.
MAX_OPS = 12

_CHECKS = {True: (GOOD, "passed"), False: (BAD, "failed"), None: (PLAIN, "not checked")}


def targets_view(lint: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    """One row a target, with the ops that do not run, notes and the figures of its own tool."""
    return [_target(entry) for entry in lint or ()]


def checks_view(checks: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    """One row a check."""
    rows = []
    for check in checks or ():
        tone, text = _CHECKS[check["passed"]]
        rows.append({"name": check["name"], "status": {"tone": tone, "text": text}, "detail": check["detail"]})
    return rows


def _target(entry: Mapping[str, Any]) -> dict[str, Any]:
    ops, tool = entry["ops"], entry["tool"]
    problems = [op for op in ops if op["status"] != "runs"]
    refused = any(op["status"] == "refused" for op in ops)
    tone, text = _whole(tool) if entry["whole"] else (BAD, "refused") if refused else (LOOK, "in part")
    share = entry["mac_share"]
    notes = list(entry["notes"])
    if tool is not None:
        asked = f"{tool['name']}: {tool['detail'] or tool['state']}"
        notes.append(f"{asked} ({tool['install']})" if tool["install"] else asked)
    figures = [] if tool is None else [(str(key), _figure(value)) for key, value in tool["figures"].items()]
    return {
        "title": entry["title"],
        "status": {"tone": tone, "text": text},
        "strip": bar(share, "bar" if entry["whole"] else "weak", percent(share)),
        "share": percent(share),
        "ops": f"{entry['counts']['runs']} of {len(ops)}",
        "problems": problems[:MAX_OPS],
        "more": len(problems) - MAX_OPS if len(problems) > MAX_OPS else 0,
        "notes": notes,
        "figures": figures,
    }


def _whole(tool: Mapping[str, Any] | None) -> tuple[str, str]:
    asked = tool is not None and tool["state"] == "run"
    return (GOOD, "runs all of it") if asked else (PLAIN, "all, by the rules")


def _figure(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
