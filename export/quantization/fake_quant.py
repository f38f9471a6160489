"""The graph as a torch module: plain float, or with the rounding of the int8 network in the forward pass.

Scales come from `quantize.choose_quants` and `quantize.weight_scales` themselves at every step, so that what training
simulates is, bit for bit, what `to_graph` writes. Gradients pass straight through the rounding and stop where a value
was clipped.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ...runtime.errors import InputError
from ..graph import Graph, Op, Quant, quant_source, to_nchw, to_nhwc
from .quantize import Ranges, choose_quants, dequantize, dequantize_weights, quantize, weight_scales

#: Called with each activation's name and value (batch, channels, freq, time); what it returns is used instead.
Visit = Callable[[str, Tensor], Tensor]

#: Share of a batch's extremes that enters the moving ranges.
MOMENTUM = 0.05

_NCHW_AXIS = {1: 2, 2: 3, 3: 1}


class GraphNet(nn.Module):
    """A trainable copy of a float graph: (batch, 1, n_mels, n_frames) log-mel -> (batch, n_classes) logits.

    Without `ranges` it computes in float. With them, weights and activations are rounded as int8 will round them; in
    training mode, while `observing`, the ranges follow the batches: each moves in proportion to the moving extremes of
    its tensor, so that a range which calibration clipped stays clipped by the same share. Activations named in `wide`
    are rounded to 16 bits.
    """

    low: Tensor
    high: Tensor
    seen_low: Tensor
    seen_high: Tensor

    def __init__(self, graph: Graph, ranges: Ranges | None = None, wide: Collection[str] = ()) -> None:
        super().__init__()
        if graph.is_int8:
            raise InputError(f"graph {graph.name} is int8: use GraphNet.from_int8")
        self.graph = graph.validate()
        self.quantised = ranges is not None
        self.wide = frozenset(wide)
        self.observing = False
        self.source = quant_source(graph)
        self.names = sorted(set(self.source.values()))
        self._fixed: Mapping[str, Quant] | None = None
        self.weights = nn.ParameterDict()
        self.biases = nn.ParameterDict()
        self.constants = nn.ParameterDict()
        for op in graph.ops:
            if op.weight is not None and op.bias is not None:
                self.weights[parameter_key(op.name)] = nn.Parameter(torch.from_numpy(oihw(op.weight, op)).clone())
                self.biases[parameter_key(op.name)] = nn.Parameter(torch.from_numpy(op.bias).clone())
        for tensor in graph.tensors:
            if tensor.data is not None:
                values = to_nchw(tensor.data).copy()
                self.constants[parameter_key(tensor.name)] = nn.Parameter(torch.from_numpy(values))
        limits = [(0.0, 0.0) if ranges is None else ranges[name] for name in self.names]
        self.register_buffer("low", torch.tensor([low for low, _ in limits]))
        self.register_buffer("high", torch.tensor([high for _, high in limits]))
        self.register_buffer("seen_low", torch.full((len(limits),), float("nan")))
        self.register_buffer("seen_high", torch.full((len(limits),), float("nan")))

    @classmethod
    def from_int8(cls, graph: Graph) -> GraphNet:
        """The float emulation of an int8 graph: its weights, its scales, its rounding of every activation."""
        net = cls(dequantized(graph), wide=graph.wide)
        net._fixed = {t.name: t.quant for t in graph.tensors if t.quant is not None}
        return net.eval()

    def forward(self, log_mel: Tensor) -> Tensor:
        """Logits of a batch, in the mode described above."""
        if self._fixed is not None:
            fixed = self._fixed
            return self.run(log_mel, lambda name, value: fake_quantize(value, fixed[name]))
        if not self.quantised:
            return self.run(log_mel)
        return self._quantised(log_mel)

    def run(self, log_mel: Tensor, visit: Visit | None = None, weights: Mapping[str, Tensor] | None = None) -> Tensor:
        """Run the ops in float, passing every activation through `visit`."""
        values = {self.graph.input: visit(self.graph.input, log_mel) if visit else log_mel}
        last = {name: op.name for op in self.graph.ops for name in op.inputs}
        for op in self.graph.ops:
            inputs = [values[name] if name in values else self.constants[parameter_key(name)] for name in op.inputs]
            key = parameter_key(op.name)
            weight = weights[op.name] if weights is not None and op.name in weights else None
            if weight is None and op.weight is not None:
                weight = self.weights[key]
            result = run_op(op, inputs, weight, self.biases[key] if op.weight is not None else None)
            values[op.output] = visit(op.output, result) if visit else result
            for name in op.inputs:  # frees what no later op reads
                if last[name] == op.name:
                    values.pop(name, None)
        return values[self.graph.output]

    def ranges(self) -> dict[str, tuple[float, float]]:
        """The range of each activation as it stands."""
        return dict(zip(self.names, zip(self.low.tolist(), self.high.tolist(), strict=True), strict=True))

    def quants(self) -> dict[str, Quant]:
        """The quantisation of each activation that the present ranges give."""
        return choose_quants(self.graph, self.ranges(), self.wide)

    def float_graph(self) -> Graph:
        """The graph with the module's present weights."""
        ops = []
        for op in self.graph.ops:
            if op.weight is None:
                ops.append(op)
                continue
            weight = self.weights[parameter_key(op.name)].detach().cpu().numpy()
            axes = {"DEPTHWISE_CONV_2D": (1, 2, 3, 0), "CONV_2D": (0, 2, 3, 1), "FULLY_CONNECTED": (0, 1)}[op.kind]
            bias = self.biases[parameter_key(op.name)].detach().cpu().numpy().copy()
            ops.append(replace(op, weight=np.ascontiguousarray(weight.transpose(axes)), bias=bias))
        tensors = [
            t if t.data is None else replace(t, data=to_nhwc(self._constant(t.name)).copy()) for t in self.graph.tensors
        ]
        return Graph(self.graph.name, tuple(tensors), tuple(ops), self.graph.input, self.graph.output).validate()

    def to_graph(self) -> Graph:
        """The int8 graph of the present weights and ranges; raises `InputError` in plain float mode."""
        if not self.quantised:
            raise InputError(f"graph {self.graph.name} has no ranges: calibrate it first")
        return quantize(self.float_graph(), self.ranges(), self.wide)

    def _quantised(self, log_mel: Tensor) -> Tensor:
        observe = self.training and self.observing
        quants = self.quants()
        extremes: dict[str, Tensor] = {}

        def visit(name: str, value: Tensor) -> Tensor:
            if observe and self.source[name] == name:
                extremes[name] = torch.stack(torch.aminmax(value.detach()))
            return fake_quantize(value, quants[name])

        logits = self.run(log_mel, visit, self.rounded_weights(quants))
        if observe:
            self._observe(torch.stack([extremes[name] for name in self.names]))
        return logits

    def rounded_weights(self, quants: Mapping[str, Quant]) -> dict[str, Tensor]:
        """Each convolution's weights as int8 will hold them, (out, in, kh, kw), for the inputs' `quants`."""
        return {
            op.name: self._rounded_weight(op, quants[op.inputs[0]]) for op in self.graph.ops if op.weight is not None
        }

    def _rounded_weight(self, op: Op, quant: Quant) -> Tensor:
        weight, bias = self.weights[parameter_key(op.name)], self.biases[parameter_key(op.name)]
        scales = weight_scales(weight.detach().cpu().numpy(), bias.detach().cpu().numpy(), quant.scale, quant.bits)
        zeros = torch.zeros(len(scales), dtype=torch.int32, device=weight.device)
        return torch.fake_quantize_per_channel_affine(
            weight, torch.from_numpy(scales).to(weight.device), zeros, 0, -127, 127
        )

    def _observe(self, extremes: Tensor) -> None:
        """Move the ranges with the batch's extremes, (n_names, 2)."""
        for limit, seen, new in (
            (self.low, self.seen_low, extremes[:, 0]),
            (self.high, self.seen_high, extremes[:, 1]),
        ):
            first = torch.isnan(seen)
            moved = torch.where(first, new, seen.lerp(new, MOMENTUM))
            # Keep the ratio of range to extremes; a side that has none yet (always zero) stays.
            ratio = torch.where(first | (seen.abs() < 1e-6), torch.ones_like(moved), moved / seen)
            limit.mul_(ratio.clamp(0.5, 2.0))
            seen.copy_(moved)

    def _constant(self, name: str) -> NDArray[np.float32]:
        return np.asarray(self.constants[parameter_key(name)].detach().cpu().numpy(), np.float32)


def run_op(op: Op, inputs: list[Tensor], weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """One op in float on (batch, channels, freq, time) inputs; `weight` is (out, in, kh, kw)."""
    x = inputs[0]
    if op.kind == "PAD":
        (top, bottom), (left, right) = op.pads
        return F.pad(x, (left, right, top, bottom))
    if op.kind == "RESHAPE":
        return _channels_first(_channels_last(x).reshape(x.shape[0], *op.shape[1:]))
    if op.kind == "SOFTMAX":
        return x.softmax(1 if x.ndim == 4 else -1)
    if op.kind == "FULLY_CONNECTED":
        assert weight is not None
        y = F.linear(_channels_last(x).flatten(1), weight, bias)
    elif weight is not None:
        if op.padding == "SAME":
            x = F.pad(x, same_pads(op, x, weight.shape[2:]))
        groups = x.shape[1] if op.kind == "DEPTHWISE_CONV_2D" else 1
        y = F.conv2d(x, weight, bias, stride=op.stride, groups=groups)
    elif op.kind == "ADD":
        y = x + inputs[1]
    elif op.kind == "MUL":
        y = x * inputs[1]
    elif op.kind == "AVERAGE_POOL_2D":
        y = _average_pool(op, x)
    elif op.kind == "MAX_POOL_2D":
        pads = same_pads(op, x, op.window) if op.padding == "SAME" else (0, 0, 0, 0)
        y = F.max_pool2d(F.pad(x, pads, value=-torch.inf), op.window, op.stride)
    elif op.kind == "MEAN":
        y = x.mean([_NCHW_AXIS[axis] for axis in op.axes], keepdim=op.keep_dims)
    elif op.kind == "QUANTIZE":
        y = x  # what rounds is the visit of its output
    else:
        y = torch.rsqrt(x.clamp_min(1e-12))  # as in every writer: an energy of zero must not become infinite
    if not op.relu:
        return y
    return F.relu(y) if op.ceiling is None else y.clamp(0.0, op.ceiling)


def _channels_last(x: Tensor) -> Tensor:
    """The order of the graph's own layout, which is what gives a RESHAPE its meaning."""
    return x.permute(0, 2, 3, 1) if x.ndim == 4 else x


def _channels_first(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2) if x.ndim == 4 else x


def _average_pool(op: Op, x: Tensor) -> Tensor:
    """The mean over each window; with SAME padding over what of it lies inside `x`, as TFLite counts."""
    if op.padding == "VALID":
        return F.avg_pool2d(x, op.window, op.stride)
    pads = same_pads(op, x, op.window)
    share = F.avg_pool2d(F.pad(torch.ones_like(x[:1, :1]), pads), op.window, op.stride)
    return F.avg_pool2d(F.pad(x, pads), op.window, op.stride) / share


def same_pads(op: Op, x: Tensor, kernel: Sequence[int]) -> tuple[int, int, int, int]:
    """TFLite's SAME padding as (left, right, top, bottom)."""
    pads: list[int] = []
    for size, taps, step in zip(x.shape[:1:-1], kernel[::-1], op.stride[::-1], strict=True):
        total = max((-(-size // step) - 1) * step + taps - size, 0)
        pads += [total // 2, total - total // 2]
    return (pads[0], pads[1], pads[2], pads[3])


def fake_quantize(value: Tensor, quant: Quant) -> Tensor:
    """`value` rounded to what integers with `quant` can hold; the gradient passes where nothing was clipped."""
    return torch.fake_quantize_per_tensor_affine(value, quant.scale, quant.zero_point, *quant.limits)


def oihw(weight: NDArray[np.float32], op: Op) -> NDArray[np.float32]:
    """A weight in the graph's layout as torch has it, (out, in, kh, kw) or (out, in)."""
    if op.kind == "FULLY_CONNECTED":
        return weight
    axes = (3, 0, 1, 2) if op.kind == "DEPTHWISE_CONV_2D" else (0, 3, 1, 2)
    return np.ascontiguousarray(weight.transpose(axes))


def real_bias(graph: Graph, op: Op) -> NDArray[np.float32]:
    """The real bias of an int8 convolution, (out,) float32."""
    quant = graph.tensor[op.inputs[0]].quant
    assert quant is not None
    assert op.bias is not None
    assert op.weight_scales is not None
    return np.asarray(op.bias * (np.float32(quant.scale) * op.weight_scales), np.float32)


def dequantized(graph: Graph) -> Graph:
    """The float graph with the weights, biases and constants that an int8 `graph` really has."""
    tensors = tuple(replace(t, quant=None, data=None if t.data is None else dequantize(t)) for t in graph.tensors)
    ops = tuple(_float_op(graph, op) if op.weight is not None else op for op in graph.ops)
    return Graph(graph.name, tensors, ops, graph.input, graph.output).validate()


def _float_op(graph: Graph, op: Op) -> Op:
    return replace(op, weight=dequantize_weights(op), bias=real_bias(graph, op), weight_scales=None)


def parameter_key(name: str) -> str:
    """An op's or tensor's name as a parameter's: torch forbids dots, and names that a ParameterDict's methods have."""
    return "/" + name.replace(".", "/")
