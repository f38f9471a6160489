"""Weights rounded so that each layer's output, not each weight, stays closest to the float network's.

Rounding every weight to the nearest step leaves errors that add up, because a layer's inputs are correlated. Here the
inputs decide that calibration clips give, as the int8 network itself computes them: columns are rounded one after
another and each one's error is made good by those still to come (Frantar et al., "GPTQ", arXiv 2210.17323); the bias
takes up what is left of each channel's mean error. It is done once, layer by layer, and costs the device nothing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..graph import Graph, Op, to_nchw
from .fake_quant import fake_quantize, oihw, real_bias, run_op, same_pads
from .quantize import bias_dtype, dequantize, dequantize_weights

#: Part of the mean input variance added to the diagonal: keeps silent inputs from taking unbounded corrections.
DAMPING = 0.01

#: More clips than this change hardly a weight and only cost memory: all activations of one layer are held at once.
MAX_CLIPS = 96

_CHUNK = 16

#: Of int32, or of the 47 bits that TFLite's kernels requantise a 16-bit layer's sums from.
_LARGEST_BIAS = {8: 2**31 - 1, 16: 2**46}


def round_weights(float_graph: Graph, int8_graph: Graph, log_mels: NDArray[np.float32]) -> Graph:
    """`int8_graph` with weights and biases chosen on `log_mels` (clips, n_mels, n_frames); scales stay as they are.

    `float_graph` is the network it was quantised from. Both run side by side, so that each layer is rounded for the
    inputs that the layers before it, already rounded, really give.
    """
    picked = np.unique(np.linspace(0, len(log_mels) - 1, min(len(log_mels), MAX_CLIPS)).astype(int))
    batch = torch.from_numpy(np.ascontiguousarray(log_mels[picked], np.float32))[:, None]
    source, target = int8_graph.tensor, float_graph.tensor
    found = {int8_graph.input: fake_quantize(batch, int8_graph.input_quant)}
    exact = {float_graph.input: batch}
    for name, tensor in target.items():
        if tensor.data is not None:
            exact[name] = torch.from_numpy(to_nchw(tensor.data))
            found[name] = torch.from_numpy(to_nchw(dequantize(source[name])))
    last = {name: op.name for op in float_graph.ops for name in op.inputs}
    ops = []
    with torch.inference_mode():
        for plain, op in zip(float_graph.ops, int8_graph.ops, strict=True):
            weight = bias = None
            if plain.weight is not None:
                weight, bias = torch.from_numpy(oihw(plain.weight, plain)), torch.from_numpy(plain.bias)
            reference = run_op(replace(plain, relu=False), [exact[name] for name in plain.inputs], weight, bias)
            if plain.weight is not None:
                op = _round_op(int8_graph, plain, op, found[op.inputs[0]], reference)
                weight = torch.from_numpy(oihw(dequantize_weights(op), op))
                bias = torch.from_numpy(real_bias(int8_graph, op))
            quant = source[op.output].quant
            assert quant is not None
            result = run_op(op, [found[name] for name in op.inputs], weight, bias)
            found[op.output] = fake_quantize(result, quant)
            exact[op.output] = F.relu(reference) if op.relu else reference
            ops.append(op)
            for name in op.inputs:
                if last[name] == op.name:
                    found.pop(name, None)
                    exact.pop(name, None)
    return Graph(int8_graph.name, int8_graph.tensors, tuple(ops), int8_graph.input, int8_graph.output).validate()


def _round_op(graph: Graph, plain: Op, op: Op, x: Tensor, reference: Tensor) -> Op:
    """`op` with its weights rounded for inputs `x` and its bias set so that `reference` (no ReLU) is met on average."""
    assert plain.weight is not None
    assert op.weight_scales is not None
    mean, covariance = _moments(plain, x)
    weight = oihw(plain.weight, plain).reshape(len(op.weight_scales), -1).astype(np.float64)
    steps = _compensated(weight, op.weight_scales.astype(np.float64), covariance)
    rounded = steps * op.weight_scales[:, None].astype(np.float64)
    offset = reference.double().mean((0, 2, 3)).numpy() - (rounded * mean).sum(axis=1)
    quant = graph.tensor[op.inputs[0]].quant
    assert quant is not None
    unit = (np.float32(quant.scale) * op.weight_scales).astype(np.float64)
    dtype = bias_dtype(quant)
    bias = np.clip(np.rint(offset / unit), -_LARGEST_BIAS[quant.bits], _LARGEST_BIAS[quant.bits]).astype(dtype)
    kernel = steps.reshape(oihw(plain.weight, plain).shape).astype(np.int8)
    axes = (1, 2, 3, 0) if op.kind == "DEPTHWISE_CONV_2D" else (0, 2, 3, 1)
    return replace(op, weight=np.ascontiguousarray(kernel.transpose(axes)), bias=bias)


def _moments(op: Op, x: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and covariance of the inputs of each output: (groups, k) and (groups, k, k), groups = 1 for CONV_2D."""
    assert op.weight is not None
    kernel = op.weight.shape[1:3]
    groups = x.shape[1] if op.kind == "DEPTHWISE_CONV_2D" else 1
    taps = x.shape[1] // groups * kernel[0] * kernel[1]
    count, total, square = 0, torch.zeros(groups, taps).double(), torch.zeros(groups, taps, taps).double()
    for chunk in x.split(_CHUNK):
        padded = F.pad(chunk, same_pads(op, chunk, kernel)) if op.padding == "SAME" else chunk
        columns = F.unfold(padded, kernel, stride=op.stride).view(len(chunk), groups, taps, -1)
        columns = columns.permute(1, 2, 0, 3).reshape(groups, taps, -1)
        count += columns.shape[2]
        total += columns.sum(dim=2).double()
        square += torch.bmm(columns, columns.transpose(1, 2)).double()
    mean = (total / count).numpy()
    return mean, square.numpy() / count - mean[:, :, None] * mean[:, None, :]


def _compensated(
    weight: NDArray[np.float64], scales: NDArray[np.float64], covariance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Round `weight` (out, k) to whole steps of `scales` (out,), least squares under `covariance` (groups, k, k)."""
    taps = weight.shape[1]
    variance = np.einsum("gkk->gk", covariance)
    # Inputs that hardly vary around a large mean leave eigenvalues that rounding has made negative.
    lowest = np.linalg.eigvalsh(covariance)[:, :1]
    damping = DAMPING * np.abs(variance).mean(axis=1, keepdims=True) + np.maximum(-2.0 * lowest, 0.0) + 1e-12
    hessian = covariance + np.eye(taps) * damping[:, None]
    # Loudest inputs first, so that their error has the most columns left to make it good.
    order = np.argsort(-variance, axis=1, kind="stable")
    shuffled = np.take_along_axis(np.take_along_axis(hessian, order[:, :, None], 1), order[:, None, :], 2)
    upper = np.linalg.cholesky(np.linalg.inv(shuffled)).transpose(0, 2, 1)  # (groups, k, k)
    order, upper = np.broadcast_to(order, weight.shape), np.broadcast_to(upper, (len(weight), taps, taps))
    rest = np.take_along_axis(weight, order, axis=1)
    steps = np.empty_like(rest)
    for k in range(taps):
        steps[:, k] = np.clip(np.rint(rest[:, k] / scales), -127, 127)
        error = (rest[:, k] - steps[:, k] * scales) / upper[:, k, k]
        rest[:, k + 1 :] -= error[:, None] * upper[:, k, k + 1 :]
    result = np.empty_like(steps)
    np.put_along_axis(result, order, steps, axis=1)
    return result
