"""A Raspberry Pi, or any computer with LiteRT: nearly everything runs, and the interpreter says what does not."""

from __future__ import annotations

from .operators import ModelView, Operator
from .verdict import REFUSED, RUNS, TargetLint, Verdict, judged

KEY = "pi"
TITLE = "LiteRT on a Raspberry Pi"


def lint(view: ModelView) -> TargetLint:
    """What LiteRT runs of `view`, before it is asked."""
    ops = tuple(judged(operator, _verdict(operator)) for operator in view.operators)
    notes = list(view.notes)
    floats = sum(operator.dtype == "float32" for operator in view.operators)
    if floats:
        notes.append(f"{floats} of {len(ops)} operators run in float32: an int8 model is a quarter of the size")
    wide = sum(operator.dtype == "int16" for operator in view.operators)
    if wide:
        notes.append(f"{wide} of {len(ops)} operators have 16-bit activations: XNNPACK leaves those to slower kernels")
    return TargetLint(KEY, TITLE, ops, tuple(notes))


def _verdict(operator: Operator) -> Verdict:
    if operator.trouble is not None:
        return Verdict(REFUSED, *operator.trouble)
    if operator.kind.startswith("CUSTOM"):
        rule = f"{operator.kind.removeprefix('CUSTOM ')} is an operator of another library"
        return Verdict(REFUSED, rule, "convert it again with builtin operators only")
    if operator.kind.startswith("STABLEHLO"):
        return Verdict(
            REFUSED, "StableHLO operators have no kernel for deployment", "convert it again with TFLite's own"
        )
    return Verdict(RUNS)
