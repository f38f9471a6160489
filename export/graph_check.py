"""What a graph has to keep: shapes, order, dtypes, ranges, and TFLite's rules for integer ops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import InputError
from .graph import CLAMPING, KINDS, SAME_QUANT, WEIGHTED, Graph, Op


def check(graph: Graph) -> None:
    """Raise `InputError` naming the first tensor or op of `graph` that breaks a rule."""
    _check_tensors(graph)
    written = {graph.input} | {tensor.name for tensor in graph.tensors if tensor.data is not None}
    for op in graph.ops:
        unknown = [name for name in op.inputs if name not in written]
        if op.kind not in KINDS or unknown or op.output in written or op.output not in graph.tensor:
            raise InputError(f"graph {graph.name}: op {op.name} ({op.kind}) is unknown or out of order: {unknown}")
        shape = output_shape(op, [graph.tensor[name].shape for name in op.inputs])
        if shape != graph.tensor[op.output].shape:
            raise InputError(f"graph {graph.name}: {op.name} gives {shape}, recorded {graph.tensor[op.output].shape}")
        if (op.relu and op.kind not in CLAMPING) or (op.ceiling is not None and not (op.relu and op.ceiling > 0)):
            raise InputError(f"graph {graph.name}: {op.name} ({op.kind}) cannot clamp its result at {op.ceiling}")
        _check_constants(graph, op)
        if graph.is_int8:
            _check_quants(graph, op)
        written.add(op.output)
    if graph.output not in written or len(written) != len(graph.tensors):
        raise InputError(f"graph {graph.name}: tensors {sorted(set(graph.tensor) - written)} are never written")


def output_shape(op: Op, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    """Shape that `op` gives for input `shapes` (NHWC); raises `InputError` when they do not fit the op."""
    first = shapes[0]
    if op.kind in ("ADD", "MUL"):
        try:
            return tuple(np.broadcast_shapes(*shapes))
        except ValueError:
            raise InputError(f"{op.name}: {op.kind} cannot join shapes {shapes}") from None
    if op.kind in ("RSQRT", "QUANTIZE", "SOFTMAX"):
        return first
    if op.kind == "RESHAPE":
        if math.prod(op.shape) != math.prod(first):
            raise InputError(f"{op.name}: RESHAPE cannot make {op.shape} of {first}")
        return op.shape
    if op.kind == "FULLY_CONNECTED":
        if op.weight is None or op.weight.ndim != 2 or op.weight.shape[1] != np.prod(first[1:]):
            raise InputError(f"{op.name}: weight does not fit input {first}")
        return (first[0], op.weight.shape[0])
    if len(first) != 4:
        raise InputError(f"{op.name}: {op.kind} needs a 4-D input, got {first}")
    if op.kind == "MEAN":
        if op.keep_dims:
            return tuple(1 if axis in op.axes else size for axis, size in enumerate(first))
        return tuple(size for axis, size in enumerate(first) if axis not in op.axes)
    return _window_shape(op, first)


def _window_shape(op: Op, first: tuple[int, ...]) -> tuple[int, ...]:
    n, height, width, channels = first
    if op.kind == "PAD":
        return (n, height + sum(op.pads[0]), width + sum(op.pads[1]), channels)
    kernel = op.window
    if op.weight is not None:
        shape, kernel = op.weight.shape, op.weight.shape[1:3]
        if op.kind == "CONV_2D":
            fits = len(shape) == 4 and shape[3] == channels
        else:
            fits = len(shape) == 4 and shape[0] == 1 and shape[3] % channels == 0
        if not fits:
            raise InputError(f"{op.name}: weight {shape} does not fit {channels} input channels")
        channels = shape[0] if op.kind == "CONV_2D" else shape[3]
    if min(*kernel, *op.stride) < 1 or op.padding not in ("SAME", "VALID"):
        raise InputError(f"{op.name}: window {kernel}, stride {op.stride} and padding {op.padding} are impossible")
    same = op.padding == "SAME"
    sides = [
        -(-size // step) if same else (size - k) // step + 1
        for size, k, step in zip((height, width), kernel, op.stride, strict=True)
    ]
    if min(sides) < 1:
        raise InputError(f"{op.name}: window {kernel} is larger than its input {first}")
    return (n, sides[0], sides[1], channels)


def _check_tensors(graph: Graph) -> None:
    if len(graph.tensor) != len(graph.tensors) or not {graph.input, graph.output} <= set(graph.tensor):
        raise InputError(f"graph {graph.name}: tensor names repeat, or the input or output is missing")
    for tensor in graph.tensors:
        if not tensor.shape or min(tensor.shape) < 1:
            raise InputError(f"graph {graph.name}: tensor {tensor.name} has shape {tensor.shape}")
        if (tensor.quant is not None) != graph.is_int8:
            raise InputError(f"graph {graph.name}: tensor {tensor.name} mixes float and int8")
        dtype = np.dtype(np.float32)
        if tensor.quant is not None:
            scale, dtype = tensor.quant.scale, tensor.quant.dtype
            exact = np.isfinite(scale) and scale > 0 and float(np.float32(scale)) == scale
            low, high = tensor.quant.limits if tensor.quant.bits == 8 else (0, 0)
            if tensor.quant.bits not in (8, 16) or not exact or not low <= tensor.quant.zero_point <= high:
                raise InputError(f"graph {graph.name}: tensor {tensor.name} has impossible quantisation {tensor.quant}")
        if tensor.data is not None:
            _check_array(graph, tensor.name, tensor.data, dtype, tensor.shape)


def _check_quants(graph: Graph, op: Op) -> None:
    """TFLite's rules on how an op's input and output are quantised."""
    quants = [graph.tensor[name].quant for name in (*op.inputs, op.output)]
    source, result = quants[0], quants[-1]
    assert source is not None
    assert result is not None
    if op.kind in SAME_QUANT and source != result:
        raise InputError(f"graph {graph.name}: {op.name} ({op.kind}) must keep its input's quantisation {source}")
    if op.kind != "QUANTIZE" and len({quant.bits for quant in quants if quant is not None}) > 1:
        raise InputError(f"graph {graph.name}: {op.name} ({op.kind}) joins int8 and int16: put a QUANTIZE between")
    if op.kind == "RSQRT" and source.bits == 8 and source.zero_point != -128:
        raise InputError(f"graph {graph.name}: {op.name}: RSQRT reads values below zero (zero point must be -128)")


def _check_constants(graph: Graph, op: Op) -> None:
    if op.kind not in WEIGHTED:
        return
    if op.weight is None or op.bias is None:
        raise InputError(f"graph {graph.name}: {op.name} lacks its weight or bias")
    channels = graph.tensor[op.output].shape[-1]
    quant = graph.tensor[op.inputs[0]].quant
    _check_array(graph, op.name, op.weight, np.float32 if quant is None else np.int8, op.weight.shape)
    wide = quant is not None and quant.bits == 16
    bias_dtype = np.float32 if quant is None else np.int64 if wide else np.int32
    _check_array(graph, op.name, op.bias, bias_dtype, (channels,))
    if quant is not None:
        if op.weight_scales is None or op.weight.min() < -127:
            raise InputError(f"graph {graph.name}: {op.name}: int8 weights need scales and must lie in -127..127")
        _check_array(graph, op.name, op.weight_scales, np.float32, (channels,))
        if op.weight_scales.min() <= 0:
            raise InputError(f"graph {graph.name}: {op.name} has a weight scale that is not positive")


def _check_array(graph: Graph, name: str, array: NDArray[Any], dtype: Any, shape: tuple[int, ...]) -> None:
    if array.dtype != dtype or array.shape != shape or not np.isfinite(array).all():
        raise InputError(
            f"graph {graph.name}: constant of {name} is {array.dtype} {array.shape} (or not finite), "
            f"expected {np.dtype(dtype)} {shape}"
        )
