"""This project's C generator: every operator that the int8 graph has, of any converter, in int8.

The rules go by kind and element type; float or uint8 ends are taken off. With `ask` the reader that the generator uses
has the last word: it also knows what options the graph cannot express.
"""

from __future__ import annotations

from dataclasses import replace

from ...runtime.errors import InputError
from ..graph import KINDS
from .fixes import STATIC, for_float, instead_of
from .operators import ModelView, Operator
from .verdict import REFUSED, RUNS, TargetLint, Tool, Verdict, judged

KEY = "cortex-m"
TITLE = "this project's C generator"

#: Operators that become C; the last four have another name in the graph.
TAKEN = (*KINDS, "SQUEEZE", "EXPAND_DIMS", "RELU", "RELU6")

#: Where a network may go from float or uint8 to int8, and back.
_FRONT, _BACK = ("QUANTIZE",), ("DEQUANTIZE", "QUANTIZE")


def lint(view: ModelView) -> TargetLint:
    """What the C generator takes of `view`: all of it or nothing."""
    last = len(view.operators) - 1
    ops = tuple(
        judged(operator, Verdict(RUNS) if _is_end(operator, index, last) else _verdict(operator))
        for index, operator in enumerate(view.operators)
    )
    return TargetLint(KEY, TITLE, ops, view.notes)


def ask(lint: TargetLint, view: ModelView) -> TargetLint:
    """`lint` with what the reader says of the file, when there is one."""
    if view.data is None:
        return lint
    from ..formats.tflite_reader import read_network  # needs LiteRT's schema, which the rules do not

    try:
        graph = read_network(view.data, view.name).graph
    except InputError as error:
        return replace(lint, tool=Tool("reader of the int8 graph", "run", str(error), False))
    wide = sorted(graph.wide)
    if wide:
        detail = f"{wide[0]} is held in 16 bits: leave --int16 out for this target"
        return replace(lint, tool=Tool("reader of the int8 graph", "run", detail, False))
    return replace(lint, tool=Tool("reader of the int8 graph", "run", f"takes all {len(graph.ops)} ops", True))


def _is_end(operator: Operator, index: int, last: int) -> bool:
    """Whether the generator takes the operator off: the program that calls it gives int8, and gets it."""
    if operator.trouble is not None or len(operator.activations) != 2:
        return False
    source, target = (operand.dtype for operand in operator.activations)
    front = index == 0 and operator.kind in _FRONT and source in ("float32", "uint8") and target == "int8"
    back = index == last > 0 and operator.kind in _BACK and source == "int8" and target in ("float32", "uint8")
    return front or back


def _verdict(operator: Operator) -> Verdict:
    if operator.trouble is not None:
        return Verdict(REFUSED, *operator.trouble)
    if operator.kind not in TAKEN:
        return Verdict(REFUSED, f"{operator.kind} is not one of the int8 graph's operators", instead_of(operator.kind))
    for operand in (*operator.inputs, *operator.outputs):
        if operand.dynamic or (operand in operator.activations and any(size > 1 for size in operand.shape[:1])):
            return Verdict(REFUSED, "a tensor is not of fixed shape with batch 1", STATIC)
    wide = [operand for operand in operator.activations if operand.dtype != "int8"]
    if wide:
        fix = "leave --int16 out for this target" if wide[0].dtype == "int16" else for_float(operator.kind)
        return Verdict(REFUSED, f"{wide[0].dtype} activations: only int8 is taken", fix)
    return Verdict(RUNS)
