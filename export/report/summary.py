"""A report in a few sentences: what the page opens with, what the model card says, what the terminal prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: How a sentence is meant: a gate kept, something to look at, a gate broken, or only information.
GOOD, LOOK, BAD, PLAIN = "good", "look", "bad", "plain"


@dataclass(frozen=True)
class Sentence:
    """One finding; `tone` is one of the four above."""

    tone: str
    text: str


def summarise(report: Mapping[str, Any]) -> list[Sentence]:
    """The findings of a `tinyscene.report/1`, the most important first."""
    sentences = [*_accuracy(report["waterfall"]), *_budget(report), *_verification(report["verification"])]
    return [*sentences, *_lint(report["lint"])]


def budget_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Quantities that a budget may limit: name, the value counted as trained and as deployed, and the limit or None."""
    sizes, budget = report["sizes"], report["budget"]
    return [
        {
            "name": name,
            "trained": sizes.get(key),
            "deployed": sizes.get(f"artefact_{key}"),
            "limit": budget.get(f"max_{key}"),
        }
        for name, key in (("parameters", "parameters"), ("multiply-accumulates", "macs"))
    ]


def step_of(waterfall: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """The row of a waterfall that is called `name`."""
    return next((row for row in waterfall["rows"] if row["name"] == name), None)


def scores(waterfall: Mapping[str, Any] | None) -> dict[str, Any]:
    """The scores that a bundle's manifest carries: int8 against float in a few numbers; empty without a waterfall."""
    int8 = None if waterfall is None else step_of(waterfall, waterfall["int8"])
    if waterfall is None or int8 is None:
        return {}
    reference = step_of(waterfall, waterfall["reference"])
    counted = {key: waterfall[key] for key in ("data", "fold", "snippets", "scored", "recordings")}
    return {
        **counted,
        "accuracy": int8["accuracy"],
        "interval": int8["interval"],
        "macro": int8["macro"],
        "clip_accuracy": int8["clip_accuracy"],
        "agreement": int8["agreement"],
        "float_accuracy": None if reference is None else reference["accuracy"],
        "loss": waterfall["loss"],
        "loss_interval": waterfall["loss_interval"],
    }


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a percentage, a dash where there is none."""
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def points(value: float, digits: int = 1) -> str:
    """A difference of shares in percentage points, with its sign."""
    rounded = round(100 * value, digits)
    return f"{rounded:+.{digits}f}".replace("-", "−") if rounded else f"{0:.{digits}f}"


def limits(values: Sequence[float] | None, digits: int = 1, signed: bool = False) -> str:
    """An interval of shares in percent, or signed in points."""
    if values is None:
        return "–"
    low, high = (points(value, digits) if signed else f"{100 * value:.{digits}f}" for value in values)
    return f"{low} … {high}"


def _accuracy(waterfall: Mapping[str, Any] | None) -> list[Sentence]:
    if waterfall is None:
        return []
    int8 = step_of(waterfall, waterfall["int8"])
    if int8 is None:
        return []
    where = f"{waterfall['snippets']:,} evaluation snippets of {waterfall['data']}"
    agrees = int8["agreement"]
    sentences = []
    if waterfall["loss"] is not None:
        loss, interval = waterfall["loss"], waterfall["loss_interval"]
        verdict = "within chance" if interval is not None and interval[0] <= 0 <= interval[1] else "more than chance"
        tone = GOOD if verdict == "within chance" or loss <= 0 else LOOK
        sentences.append(
            Sentence(
                tone,
                f"int8 answers {percent(int8['accuracy'])} right (95 % interval {limits(int8['interval'])}); against "
                f"the float network that is {points(-loss)} points ({limits(_negated(interval), signed=True)}), "
                f"{verdict}",
            )
        )
    if agrees is not None:
        sentences.append(
            Sentence(PLAIN, f"int8 gives the float network's answer on {percent(agrees)} of {where}"),
        )
    worst = None if waterfall["largest"] is None else step_of(waterfall, waterfall["largest"])
    if worst is not None and worst["drop"] is not None:
        between = worst["drop_interval"]
        chance = ", within chance" if between is not None and between[0] <= 0 <= between[1] else ""
        where = f"from {worst['before']} to {worst['name']}"
        text = f"the largest drop of all steps is {points(-worst['drop'], 2)} points, {where}{chance}"
        sentences.append(Sentence(PLAIN, text))
    return sentences


def _negated(interval: Sequence[float] | None) -> tuple[float, float] | None:
    return None if interval is None else (-interval[1], -interval[0])


def _budget(report: Mapping[str, Any]) -> list[Sentence]:
    if report["budget"].get("preset") is None:
        return [Sentence(PLAIN, "no budget was asked for")]
    parts = []
    kept = True
    for row in budget_rows(report):
        counted = max(row["trained"] or 0, row["deployed"] or 0)
        if row["limit"] is not None:
            kept &= counted <= row["limit"]
            parts.append(f"{counted:,} of {row['limit']:,} {row['name']}")
    word = "keeps" if kept else "breaks"
    text = f"{word} the {report['budget']['preset']} budget: {', '.join(parts)}"
    return [Sentence(GOOD if kept else BAD, text)]


def _verification(checks: Sequence[Mapping[str, Any]] | None) -> list[Sentence]:
    if checks is None:
        return []
    failed = [check["name"] for check in checks if check["passed"] is False]
    passed = sum(check["passed"] is True for check in checks)
    absent = sum(check["passed"] is None for check in checks)
    aside = f"; {absent} not checked, their engines are not installed" if absent else ""
    if failed:
        return [Sentence(BAD, f"{len(failed)} of {passed + len(failed)} checks failed: {', '.join(failed)}{aside}")]
    return [Sentence(GOOD, f"all {passed} checks against the golden vectors passed{aside}")]


def _lint(targets: Sequence[Mapping[str, Any]] | None) -> list[Sentence]:
    if not targets:
        return []
    whole = [target for target in targets if target["whole"]]
    parts = [target for target in targets if not target["whole"]]
    asked = [target["title"] for target in whole if (target["tool"] or {}).get("state") == "run"]
    ruled = [target["title"] for target in whole if target["title"] not in asked]
    sentences = []
    if asked:
        sentences.append(Sentence(GOOD, f"runs whole on {', '.join(asked)}, whose own tools were asked"))
    if ruled:
        sentences.append(Sentence(PLAIN, f"by the rules alone every op runs on {', '.join(ruled)}"))
    for target in parts:
        problems = [op for op in target["ops"] if op["status"] != "runs"]
        first = f", first {problems[0]['name']} ({problems[0]['kind']})" if problems else ""
        share = f"{percent(target['mac_share'])} of the MACs run there"
        text = f"{target['title']}: {share}, {len(problems)} of {len(target['ops'])} ops do not{first}"
        sentences.append(Sentence(LOOK, text))
    return sentences
