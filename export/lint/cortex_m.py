"""This project's C generator: the int8 graph's own operators, and no others."""

from __future__ import annotations

from ..graph import KINDS
from .fixes import STATIC, for_float, instead_of
from .operators import ModelView, Operator
from .verdict import REFUSED, RUNS, TargetLint, Verdict, judged

KEY = "cortex-m"
TITLE = "this project's C generator"

#: Operators of the graph that only other converters write.
FOREIGN = ("MAX_POOL_2D", "FULLY_CONNECTED", "RESHAPE", "SOFTMAX")

TAKEN = tuple(kind for kind in KINDS if kind not in FOREIGN)


def lint(view: ModelView) -> TargetLint:
    """What the C generator will take of `view`: all of it or nothing."""
    ops = tuple(judged(operator, _verdict(operator)) for operator in view.operators)
    note = "the C generator is not part of this version: this is the set of operators that it is being made for"
    return TargetLint(KEY, TITLE, ops, (*view.notes, note))


def _verdict(operator: Operator) -> Verdict:
    if operator.trouble is not None:
        return Verdict(REFUSED, *operator.trouble)
    if operator.kind not in TAKEN:
        return Verdict(
            REFUSED, f"{operator.kind} is not one of the int8 graph's own operators", instead_of(operator.kind)
        )
    for operand in (*operator.inputs, *operator.outputs):
        if operand.dynamic or (operand in operator.activations and any(size > 1 for size in operand.shape[:1])):
            return Verdict(REFUSED, "a tensor is not of fixed shape with batch 1", STATIC)
    wide = [operand for operand in operator.activations if operand.dtype != "int8"]
    if wide:
        fix = "leave --int16 out for this target" if wide[0].dtype == "int16" else for_float(operator.kind)
        return Verdict(REFUSED, f"{wide[0].dtype} activations: only int8 is taken", fix)
    return Verdict(RUNS)
