"""What a target does with each operator of a model, and the whole of it for one target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ...runtime.output import format_table
from .operators import Operator

RUNS = "runs"
FALLS_BACK = "falls back"  # to the processor beside the accelerator
REFUSED = "refused"  # by the target's compiler or interpreter, or it has no integer form

SCHEMA = "tinyscene.lint/1"


@dataclass(frozen=True)
class Verdict:
    """One rule's answer for one operator: why it does not run as asked, and the cheapest way out."""

    status: str
    rule: str = ""
    fix: str = ""
    behind: bool = False  # it would run, but for an operator before it


@dataclass(frozen=True)
class OpLint:
    """What a target does with one operator; `macs` are its multiply-accumulates."""

    index: int
    name: str
    kind: str
    status: str
    rule: str
    fix: str
    macs: int
    behind: bool = False  # it would run, but for an operator before it


@dataclass(frozen=True)
class Tool:
    """A compiler or an interpreter of the target that was asked, or why not.

    `state` is "run", "failed" or "not installed"; `whole` is what it says of the model, None when it says nothing.
    """

    name: str
    state: str
    detail: str = ""
    whole: bool | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)
    install: str = ""  # how to get it

    def line(self) -> str:
        """Name and outcome in a few words."""
        return f"{self.name}: {self.detail or self.state}"


@dataclass(frozen=True)
class TargetLint:
    """One model on one target, operator by operator."""

    target: str
    title: str
    ops: tuple[OpLint, ...]
    notes: tuple[str, ...] = ()
    tool: Tool | None = None

    @property
    def whole(self) -> bool:
        """Whether the target itself runs every operator, by the rules and by its own tool where that was asked."""
        return all(op.status == RUNS for op in self.ops) and not (self.tool and self.tool.whole is False)

    @property
    def problems(self) -> tuple[OpLint, ...]:
        """The operators that do not run by themselves; without those that only stand behind one of them."""
        return tuple(op for op in self.ops if op.status != RUNS and not op.behind)

    @property
    def mac_share(self) -> float | None:
        """Share of the multiply-accumulates that the target runs itself; None for a model without any."""
        total = sum(op.macs for op in self.ops)
        if not total:
            return None
        if any(op.status == REFUSED for op in self.ops):
            return 0.0  # the whole file is refused
        return sum(op.macs for op in self.ops if op.status == RUNS) / total

    @property
    def counts(self) -> dict[str, int]:
        """Operators by status."""
        counted = Counter(op.status for op in self.ops)
        return {status: counted[status] for status in (RUNS, FALLS_BACK, REFUSED)}

    def grouped(self) -> list[list[OpLint]]:
        """The `problems`, those of one kind that break one rule together."""
        groups: dict[tuple[str, ...], list[OpLint]] = {}
        for op in self.problems:
            groups.setdefault((op.kind, op.status, op.rule, op.fix), []).append(op)
        return list(groups.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain values under the schema tinyscene.lint/1."""
        return {
            "schema": SCHEMA,
            "target": self.target,
            "title": self.title,
            "whole": self.whole,
            "counts": self.counts,
            "mac_share": self.mac_share,
            "ops": [asdict(op) for op in self.ops],
            "notes": list(self.notes),
            "tool": None if self.tool is None else {**asdict(self.tool), "figures": dict(self.tool.figures)},
        }

    def table(self, every: bool = True) -> str:
        """The operators as a Markdown table, or with `every=False` the `problems`, a row for each rule broken."""
        if every:
            rows = [(op.name, op.kind, op.status, op.rule or None, op.fix or None) for op in self.ops]
        else:
            rows = [
                (_names(ops), ops[0].kind, ops[0].status, ops[0].rule or None, ops[0].fix or None)
                for ops in self.grouped()
            ]
        return format_table(["op", "kind", "status", "rule", "what to do"], rows)


def judged(operator: Operator, verdict: Verdict) -> OpLint:
    """A verdict on an operator as an entry of the lint."""
    return OpLint(
        index=operator.index,
        name=operator.name,
        kind=operator.kind,
        status=verdict.status,
        rule=verdict.rule,
        fix=verdict.fix,
        macs=operator.macs,
        behind=verdict.behind,
    )


def _names(ops: Sequence[OpLint]) -> str:
    return ops[0].name + (f" and {len(ops) - 1} more" if len(ops) > 1 else "")


def overview(lints: Sequence[TargetLint]) -> str:
    """Targets one below the other as a Markdown table."""
    rows = [
        (
            lint.target,
            lint.whole,
            *lint.counts.values(),
            None if lint.mac_share is None else f"{100 * lint.mac_share:.1f} %",
            None if lint.tool is None else lint.tool.line(),
        )
        for lint in lints
    ]
    return format_table(["target", "whole", RUNS, FALLS_BACK, REFUSED, "MACs on it", "asked"], rows)
