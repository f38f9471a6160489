"""The Coral Edge TPU: which operators its compiler maps, and where it cuts the graph.

The list and its limits are Coral's ("TensorFlow models on the Edge TPU", supported operations, for runtime 14, the last
one) and what its issue tracker adds. Every tensor is int8 or uint8, of fixed shape, with at most three dimensions
larger than 1, the innermost. One part of the graph is mapped: what depends on an operator that is not runs on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from .fixes import QUANTISE, STATIC, for_float, instead_of
from .operators import ModelView, Operand, Operator
from .verdict import FALLS_BACK, REFUSED, RUNS, OpLint, TargetLint, Verdict, judged

KEY = "edgetpu"
TITLE = "Coral Edge TPU"

#: Softmax of longer vectors is not mapped.
MAX_SOFTMAX = 16_000

#: The compiler's last version (16.0, 2021) refuses whole files with builtin operators from here on: GELU and later.
#: google-coral/edgetpu#667, #818.
FIRST_UNKNOWN_CODE = 150

Rule = Callable[[Operator], Verdict | None]


def lint(view: ModelView) -> TargetLint:
    """What the Edge TPU maps of `view`."""
    alone = [_alone(operator) for operator in view.operators]
    mapped = _first_part(view, [verdict.status == RUNS for verdict in alone])
    ops: list[OpLint] = []
    last = ""
    for operator, verdict, on_tpu in zip(view.operators, alone, mapped, strict=True):
        if verdict.status == RUNS and not on_tpu:
            fix = f"mend {last}" if last else ""
            verdict = Verdict(FALLS_BACK, "behind the cut: only one part of the graph is mapped", fix, behind=True)
        elif verdict.status != RUNS:
            last = operator.name
        ops.append(judged(operator, verdict))
    lint = TargetLint(KEY, TITLE, tuple(ops), view.notes)
    return TargetLint(KEY, TITLE, tuple(ops), (*view.notes, *_summary(lint)))


def _summary(lint: TargetLint) -> list[str]:
    if not lint.problems:
        return []
    if any(op.status == REFUSED for op in lint.ops):
        return ["the compiler refuses a file with a refused operator: nothing of it runs on the TPU"]
    mapped, share = lint.counts[RUNS], lint.mac_share
    if not mapped:
        return ["nothing of this model runs on the TPU"]
    # What stands before the first mapped operator (a QUANTIZE of float input, say) cuts nothing off.
    first = next(place for place, op in enumerate(lint.ops) if op.status == RUNS)
    cut = next((op for op in lint.ops[first:] if op.status != RUNS), None)
    start = "the graph begins on the CPU" if cut is None else f"the graph is cut at {cut.name} ({cut.kind})"
    return [
        f"{start}: {mapped} of {len(lint.ops)} operators"
        + ("" if share is None else f" and {100 * share:.1f} % of the multiply-accumulates")
        + " run on the TPU, the rest on the CPU"
    ]


def _alone(operator: Operator) -> Verdict:
    """Whether the compiler would map the operator wherever it stands."""
    if operator.trouble is not None:
        return Verdict(REFUSED, *operator.trouble)
    if operator.code >= FIRST_UNKNOWN_CODE:
        return Verdict(REFUSED, f"{operator.kind} is newer than the compiler", instead_of(operator.kind))
    for operand in (*operator.inputs, *operator.outputs):
        if operand.dynamic:
            return Verdict(REFUSED, "a tensor has no fixed shape", STATIC)
    if operator.kind not in RULES:
        old = ", and its int8 form newer than some compilers" if operator.kind == "RSQRT" else ""
        return Verdict(FALLS_BACK, f"{operator.kind} is not on the compiler's list{old}", instead_of(operator.kind))
    return _tensors(operator) or RULES[operator.kind](operator) or Verdict(RUNS)


def _tensors(operator: Operator) -> Verdict | None:
    if operator.is_hybrid:
        return Verdict(FALLS_BACK, "float32 activations with int8 weights (hybrid): only int8 and uint8 map", QUANTISE)
    for operand in operator.activations:
        if operand.dtype not in ("int8", "uint8"):
            fix = for_float(operator.kind) if operand.dtype == "float32" else "leave --int16 out for this target"
            return Verdict(FALLS_BACK, f"{operand.dtype} activations: only int8 and uint8 map", fix)
        if any(size > 1 for size in operand.shape[:-3]):
            rule = f"a tensor of shape {list(operand.shape)}: only the three innermost sizes may exceed 1"
            return Verdict(FALLS_BACK, rule, "convert it with batch 1")
    return None


def _first_part(view: ModelView, supported: list[bool]) -> list[bool]:
    """Which operators lie in the first part that a delegate would take.

    Parts are taken in turn, of supported and of other operators, each as large as what it reads allows (TFLite's
    partitioning for delegates); only the first supported one is mapped.
    """
    writer = {operand.number: place for place, op in enumerate(view.operators) for operand in op.outputs}
    needs = [{writer[operand.number] for operand in op.inputs if operand.number in writer} for op in view.operators]
    done: set[int] = set()
    mapped = [False] * len(view.operators)
    kind = supported[0] if supported else True
    for _ in range(2):
        grown = True
        taken = []
        while grown:
            grown = False
            for index, reads in enumerate(needs):
                if index not in done and supported[index] == kind and reads <= done:
                    done.add(index)
                    taken.append(index)
                    grown = True
        if kind:
            for index in taken:
                mapped[index] = True
            break
        kind = True
    return mapped


def _any(operator: Operator) -> Verdict | None:
    return None


def _dilation(operator: Operator) -> Verdict | None:
    if operator.options.get("dilationHFactor", 1) != operator.options.get("dilationWFactor", 1):
        return Verdict(FALLS_BACK, "dilation differs between the two axes", "dilate both axes alike, or not at all")
    if len(operator.inputs) > 1 and not operator.inputs[1].constant:
        return Verdict(FALLS_BACK, "weights are no constants", "store the weights in the file")
    inputs = operator.inputs
    if operator.kind == "CONV_2D" and inputs[1].shape[-1] != inputs[0].shape[-1]:
        return Verdict(FALLS_BACK, "grouped convolutions are not on the compiler's list", "groups=1, or depthwise")
    return None


def _no_fused_activation(operator: Operator) -> Verdict | None:
    if operator.options.get("fusedActivationFunction", 0):
        return Verdict(FALLS_BACK, "a fused activation is not allowed here", "put the activation behind it")
    return None


def _concatenation(operator: Operator) -> Verdict | None:
    constants = [operand for operand in operator.inputs if operand.constant]
    if constants and len(operator.inputs) != 2:
        return Verdict(FALLS_BACK, "a constant among more than two inputs", "join the constants first")
    return _no_fused_activation(operator)


def _fully_connected(operator: Operator) -> Verdict | None:
    if operator.options.get("weightsFormat", 0):
        return Verdict(FALLS_BACK, "weights are shuffled: only the default format maps", "convert it again without")
    if _wide(operator.outputs[0]) > 1:
        return Verdict(FALLS_BACK, "the output has more than one dimension larger than 1", "give it one vector a time")
    if len(operator.inputs) > 1 and not operator.inputs[1].constant:
        return Verdict(FALLS_BACK, "weights are no constants", "store the weights in the file")
    return None


def _reduction(operator: Operator) -> Verdict | None:
    shape = operator.inputs[0].shape
    axes = operator.inputs[1].values if len(operator.inputs) > 1 else None
    if axes is None:
        return Verdict(FALLS_BACK, "the axes are no constants", "reduce over fixed axes")
    axes = tuple(axis % max(len(shape), 1) for axis in axes)
    if len(shape) > 3 and any(axis < len(shape) - 3 for axis in axes):
        return Verdict(FALLS_BACK, "reduces over the batch", "reduce over frequency and time only")
    if operator.kind == "MEAN" and len(shape) - 1 in axes and shape[-1] % 4:
        rule = f"a mean over {shape[-1]} channels: their number has to be a multiple of 4"
        return Verdict(FALLS_BACK, rule, "make the number of channels a multiple of 4")
    return None


def _padding(operator: Operator) -> Verdict | None:
    values = operator.inputs[1].values if len(operator.inputs) > 1 else None
    if values is None:
        return Verdict(FALLS_BACK, "the paddings are no constants", "pad by fixed amounts")
    if len(operator.inputs[0].shape) > 3 and any(values[:2]):
        return Verdict(FALLS_BACK, "pads the batch", "pad frequency and time only")
    return None


def _batch_axis(operator: Operator) -> Verdict | None:
    if operator.options.get("axis", -1) == 0 and len(operator.inputs[0].shape) > 3:
        return Verdict(FALLS_BACK, f"{operator.kind} along the batch", "use another axis")
    return None


def _prelu(operator: Operator) -> Verdict | None:
    if len(operator.inputs) > 1 and _wide(operator.inputs[1]) > 1:
        return Verdict(FALLS_BACK, "alpha differs along more than the channels", "one alpha a channel")
    return None


def _softmax(operator: Operator) -> Verdict | None:
    operand = operator.inputs[0]
    if _wide(operand) > 1 or int(np.prod(operand.shape)) > MAX_SOFTMAX:
        rule = f"softmax of {list(operand.shape)}: one vector of at most {MAX_SOFTMAX:,} maps"
        return Verdict(FALLS_BACK, rule, instead_of("SOFTMAX"))
    return None


def _strides(operator: Operator) -> Verdict | None:
    strides = operator.inputs[3].values if len(operator.inputs) > 3 else None
    masks = operator.options.get("ellipsisMask", 0) or operator.options.get("newAxisMask", 0)
    if masks or strides is None or any(stride != 1 for stride in strides):
        return Verdict(FALLS_BACK, "strides other than 1, an ellipsis or a new axis", "a plain slice")
    return None


def _wide(operand: Operand) -> int:
    return sum(size > 1 for size in operand.shape)


#: Operators on Coral's list, and what more each has to keep.
RULES: Mapping[str, Rule] = {
    **dict.fromkeys(
        (
            "ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM", "LOGISTIC", "TANH", "RELU", "RELU6", "RELU_N1_TO_1", "QUANTIZE",
            "L2_NORMALIZATION", "EXPAND_DIMS", "RESHAPE", "SQUEEZE", "SLICE", "SPACE_TO_DEPTH", "TRANSPOSE",
            "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "TRANSPOSE_CONV", "UNIDIRECTIONAL_SEQUENCE_LSTM", "LSTM",
            "SQUARED_DIFFERENCE",
        ),
        _any,
    ),
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D"), _dilation),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D"), _no_fused_activation),
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"), _reduction),
    **dict.fromkeys(("SPLIT", "PACK"), _batch_axis),
    "CONCATENATION": _concatenation,
    "FULLY_CONNECTED": _fully_connected,
    "PAD": _padding,
    "PRELU": _prelu,
    "SOFTMAX": _softmax,
    "STRIDED_SLICE": _strides,
}  # fmt: skip
