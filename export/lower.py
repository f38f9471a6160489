"""A trained student as a float graph: batch norm folded, paddings explicit, block norms in integer ops.

`frozen` normalisation disappears. With a = 1 + gamma * n > 0 a block gives relu(a*s + beta) = a * relu(s + beta/a), so
its output is stored without the factor a, which is carried along the residual path (channel by channel, as `scale`
below) and multiplied into the next weights. `grn` becomes ops that integer kernels have, see `_global_response`.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..runtime.errors import InputError
from ..training.models.cp_mobile import Block, ConvBn, CPMobile
from ..training.models.norm import GRN, FrozenGRN
from ..training.models.padding import SameAvgPool2d, SameConv2d
from .graph import Graph
from .graph_builder import GraphBuilder

Array = NDArray[np.float64]

#: A smaller gain of a channel is not folded: dividing by it would blow up that channel's weights.
SMALLEST_GAIN = 1e-3

INPUT = "log_mel"
OUTPUT = "logits"


def lower(model: nn.Module, n_mels: int, n_frames: int, name: str = "cp_mobile") -> Graph:
    """The float graph of `model` in evaluation mode, input [1, n_mels, n_frames, 1], output "logits" [1, n_classes].

    Equals the torch network up to float rounding. Raises `InputError` when `model` is not a CP-Mobile.
    """
    if not isinstance(model, CPMobile):
        raise InputError(f"cannot lower {type(model).__name__}: only CP-Mobile (arch cpm) becomes an int8 graph")
    builder = GraphBuilder(name, INPUT, (1, n_mels, n_frames, 1))
    x, scale = INPUT, np.ones(1)
    for index, layer in enumerate(model.stem):
        assert isinstance(layer, ConvBn)
        x = _convolution(builder, f"stem.{index}", x, layer, *_folded(layer), relu=True)
        scale = np.ones(layer.conv.out_channels)
    for index, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        x, scale = _block(builder, f"blocks.{index}", x, scale, block)
    weight, bias = _folded(model.head)
    x = _convolution(builder, "head", x, model.head, weight * scale[None, :, None, None], bias)
    builder.add("MEAN", OUTPUT, x, axes=(1, 2), keep_dims=False)
    return builder.build()


def _block(builder: GraphBuilder, name: str, x: str, scale: Array, block: Block) -> tuple[str, Array]:
    """Append a block whose stored input times `scale` is the true one; gives the output and its scale."""
    weight, bias = _folded(block.expand)
    hidden = _convolution(
        builder, f"{name}.expand", x, block.expand, weight * scale[None, :, None, None], bias, relu=True
    )
    hidden = _convolution(builder, f"{name}.depthwise", hidden, block.depthwise, *_folded(block.depthwise), relu=True)
    weight, bias = _folded(block.project)
    gain, offset = _affine(block)
    # What cannot fold takes the plain sum first, then ops of its own.
    folding = gain if gain is not None and bool((gain > SMALLEST_GAIN).all()) else None
    folds = folding is not None
    if block.residual:
        weight, bias = weight / scale[:, None, None, None], bias / scale
        if folding is not None:
            scale = scale * folding
            bias = bias + offset / scale
    else:
        scale = np.ones(len(bias))
        if folding is not None:
            weight, bias = weight * folding[:, None, None, None], bias * folding + offset
    relu = folds and not block.residual
    y = _convolution(builder, f"{name}.project", hidden, block.project, weight, bias, relu=relu)
    if block.residual:
        y = builder.add("ADD", f"{name}.sum", y, _shortcut(builder, name, x, block), relu=folds)
    if folds:
        return y, scale
    if gain is None:
        assert isinstance(block.norm, GRN)
        y = _global_response(builder, f"{name}.norm", y, scale, float(block.norm.gamma.detach()))
    else:
        product = builder.constant(f"{name}.norm.gain", _float32((gain * scale)[None, None, None]))
        y = builder.add("MUL", f"{name}.norm.scaled", y, product)
    beta = builder.constant(f"{name}.norm.beta", _float32(np.full((1, 1, 1, 1), offset)))
    return builder.add("ADD", f"{name}.norm", y, beta, relu=True), np.ones(len(bias))


def _affine(block: Block) -> tuple[Array | None, float]:
    """Gain of each channel and offset of the block's normalisation; the gain is None when it depends on the input."""
    norm, width = block.norm, block.project.conv.out_channels
    if isinstance(norm, nn.Identity):
        return np.ones(width), 0.0
    if isinstance(norm, FrozenGRN):
        return 1.0 + float(norm.gamma.detach()) * _double(norm.n), float(norm.beta.detach())
    if isinstance(norm, GRN):
        return None, float(norm.beta.detach())
    raise InputError(f"cannot lower block normalisation {type(norm).__name__}, expected none, frozen or grn")


def _global_response(builder: GraphBuilder, name: str, x: str, scale: Array, gamma: float) -> str:
    """Append x * (1 + gamma * n) with n = g / mean(g), g the RMS of each channel, for a stored input `x`.

    RMS instead of the L2 norm changes g by a factor that n cancels; so does the 1e-6 in GRN's denominator, which no
    signal reaches. The first op copies x only so that its channels can be brought to one level before they are
    squared (`rescale`), where eight bits would otherwise drop the quiet ones. sqrt(m) = m * rsqrt(m), 1/v = rsqrt(v)^2.
    """
    channels = len(scale)

    def each(values: Array) -> NDArray[np.float32]:
        return _float32(values.reshape(1, 1, 1, channels))

    none = np.zeros(channels, np.float32)
    copy = builder.add("DEPTHWISE_CONV_2D", f"{name}.copy", x, weight=each(scale), bias=none)
    square = builder.add("MUL", f"{name}.square", copy, copy)
    energy = builder.add("MEAN", f"{name}.energy", square, axes=(1, 2))
    inverse = builder.add("RSQRT", f"{name}.inverse_rms", energy)
    rms = builder.add("MUL", f"{name}.rms", energy, inverse)
    average = each(np.full(channels, 1.0 / channels))
    mean = builder.add("CONV_2D", f"{name}.mean_rms", rms, weight=average, bias=np.zeros(1, np.float32))
    root = builder.add("RSQRT", f"{name}.inverse_root", mean)
    half = builder.add("MUL", f"{name}.half_share", rms, root)
    share = builder.add("MUL", f"{name}.share", half, root)
    gain = builder.add("DEPTHWISE_CONV_2D", f"{name}.gain", share, weight=each(gamma * scale), bias=_float32(scale))
    return builder.add("MUL", f"{name}.scaled", x, gain)


def _shortcut(builder: GraphBuilder, name: str, x: str, block: Block) -> str:
    if block.pool is None:
        return x
    stride = block.depthwise.conv.stride
    if isinstance(block.pool, SameAvgPool2d):
        same = {"window": block.pool.kernel_size, "stride": stride, "padding": "SAME"}
        return builder.add("AVERAGE_POOL_2D", f"{name}.shortcut", x, **same)
    padded = _pad(builder, f"{name}.shortcut_pad", x, (3, 3), stride, (1, 1))
    # Padding first and no padding in the pool: torch counts the zeros at the border, TFLite's SAME would not.
    return builder.add("AVERAGE_POOL_2D", f"{name}.shortcut", padded, window=(3, 3), stride=stride)


def _convolution(
    builder: GraphBuilder, name: str, x: str, layer: ConvBn, weight: Array, bias: Array, relu: bool = False
) -> str:
    conv = layer.conv
    padding = "VALID"
    assert isinstance(conv.padding, tuple)
    if isinstance(conv, SameConv2d):
        padding = "SAME"
    elif conv.padding != (0, 0):
        if conv.stride == (1, 1):
            padding = "SAME"  # symmetric for stride 1, as torch pads
        else:
            x = _pad(builder, f"{name}.pad", x, conv.kernel_size, conv.stride, conv.padding)
    depthwise = conv.groups > 1
    return builder.add(
        "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
        name,
        x,
        weight=_float32(weight.transpose(1, 2, 3, 0) if depthwise else weight.transpose(0, 2, 3, 1)),
        bias=_float32(bias),
        stride=conv.stride,
        padding=padding,
        relu=relu,
    )


def _pad(
    builder: GraphBuilder, name: str, x: str, kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...]
) -> str:
    """Append torch's symmetric padding, less the rows and columns behind the end that no window reads."""
    pads = []
    for size, k, step, before in zip(builder.shape(x)[1:3], kernel, stride, padding, strict=True):
        windows = (size + 2 * before - k) // step + 1
        pads.append((before, max(0, (windows - 1) * step + k - size - before)))
    return builder.add("PAD", name, x, pads=tuple(pads))


def _folded(layer: ConvBn) -> tuple[Array, Array]:
    """Weight (out, in, kh, kw) and bias (out,) of a convolution with its batch norm folded in, in float64."""
    bn = layer.bn
    factor = _double(bn.weight) / np.sqrt(_double(bn.running_var) + bn.eps)
    weight = _double(layer.conv.weight) * factor[:, None, None, None]
    return weight, _double(bn.bias) - _double(bn.running_mean) * factor


def _double(tensor: torch.Tensor | None) -> Array:
    assert tensor is not None
    return np.asarray(tensor.detach().cpu().double().numpy())


def _float32(values: Array) -> NDArray[np.float32]:
    return np.ascontiguousarray(values, np.float32)
