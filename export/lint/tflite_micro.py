"""TFLite-Micro: which operators its kernels take, and in which element types.

The lists are what the interpreter of the package tflite-micro (2026) registers and prepares; a test holds them to the
installed one. A firmware registers the operators that its model needs, from the same kernels.
"""

from __future__ import annotations

from collections.abc import Mapping

from .fixes import QUANTISE, STATIC, instead_of
from .operators import ModelView, Operator
from .verdict import REFUSED, RUNS, TargetLint, Verdict, judged

KEY = "tflite-micro"
TITLE = "TFLite-Micro's reference kernels"

_REGISTERED = (
    "ABS ADD ADD_N ARG_MAX ARG_MIN ASSIGN_VARIABLE AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND "
    "BROADCAST_ARGS BROADCAST_TO CALL_ONCE CAST CEIL CONCATENATION CONV_2D COS CUMSUM DEPTHWISE_CONV_2D "
    "DEPTH_TO_SPACE DEQUANTIZE DIV DYNAMIC_UPDATE_SLICE ELU EMBEDDING_LOOKUP EQUAL EXP EXPAND_DIMS FILL "
    "FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GATHER_ND GREATER GREATER_EQUAL HARD_SWISH IF "
    "L2_NORMALIZATION L2_POOL_2D LEAKY_RELU LESS LESS_EQUAL LOG LOGICAL_AND LOGICAL_NOT LOGICAL_OR "
    "LOGISTIC LOG_SOFTMAX MAXIMUM MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL PACK PAD PADV2 "
    "PRELU QUANTIZE READ_VARIABLE REDUCE_ALL REDUCE_MAX REDUCE_MIN RELU RELU6 RESHAPE RESIZE_BILINEAR "
    "RESIZE_NEAREST_NEIGHBOR REVERSE_V2 ROUND RSQRT SELECT_V2 SHAPE SIN SLICE SOFTMAX SPACE_TO_BATCH_ND "
    "SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM SVDF TANH "
    "TRANSPOSE TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK VAR_HANDLE WHILE ZEROS_LIKE "
)
REGISTERED = frozenset(_REGISTERED.split())

#: Element types of the first input, where a kernel takes fewer than int8, int16 and float32.
DTYPES: Mapping[str, tuple[str, ...]] = {
    "DIV": ("int8", "float32", "int32"),
    "SQRT": ("float32",),
    "SIN": ("float32",),
    "COS": ("float32",),
    "SQUARE": ("float32",),
    "FLOOR": ("float32",),
    "CEIL": ("float32",),
    "ROUND": ("float32",),
    "ELU": ("int8", "float32"),
    "HARD_SWISH": ("int8", "float32"),
    "REDUCE_MAX": ("int8", "float32"),
    "DEQUANTIZE": ("int8", "uint8", "int16"),
}

#: Weighted operators, which take no float activations on int8 weights.
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")

_ANY_INTEGER = ("int8", "int16", "float32", "int32", "uint8", "bool", "int64")


def lint(view: ModelView) -> TargetLint:
    """What TFLite-Micro runs of `view`; one operator that it lacks and it refuses the model."""
    ops = tuple(judged(operator, _verdict(operator)) for operator in view.operators)
    notes = list(view.notes)
    floats = sum(operator.dtype == "float32" for operator in view.operators)
    if floats:
        notes.append(
            f"{floats} of {len(ops)} operators run in float32: slow without a unit for it, four times the memory"
        )
    return TargetLint(KEY, TITLE, ops, tuple(notes))


def _verdict(operator: Operator) -> Verdict:
    if operator.trouble is not None:
        return Verdict(REFUSED, *operator.trouble)
    if operator.kind not in REGISTERED:
        return Verdict(REFUSED, f"no kernel for {operator.kind}", instead_of(operator.kind))
    for operand in (*operator.inputs, *operator.outputs):
        if operand.dynamic:
            return Verdict(REFUSED, "a tensor has no fixed shape", STATIC)
    if operator.is_hybrid and operator.kind in WEIGHTED:
        return Verdict(REFUSED, "float32 activations with int8 weights (hybrid) have no kernel", QUANTISE)
    taken = DTYPES.get(operator.kind, _ANY_INTEGER)
    if operator.dtype not in taken:
        fix = instead_of(operator.kind) or QUANTISE
        return Verdict(REFUSED, f"its kernel takes {', '.join(taken)}, not {operator.dtype}", fix)
    return Verdict(RUNS)
