"""Quantisation-aware training by NNCF, whose scales become the graph's bit for bit.

NNCF puts trainable quantisers into the float graph's forward pass where it thinks them right: ranges are learnt by
gradient, not followed. What TFLite's rules ask beyond that is added here: an average pool keeps its input's scale (its
quantiser becomes the one before it), and what NNCF leaves in float, the logits for instance, is rounded with the range
that calibration gave.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...runtime.errors import InputError, UnavailableError, require
from ..graph import Graph, Quant, quant_source
from .fake_quant import GraphNet, fake_quantize, parameter_key
from .quantize import Ranges, bias_dtype, choose_quants, quantize, spread_scales, weight_scales

#: Clips in one batch of calibration: NNCF takes the mean of the batches' extremes.
_BATCH = 8

#: Seconds that NNCF's C++ extension may take to build, once a machine (its own limit is a minute).
_BUILD_S = "900"


class NncfNet(nn.Module):
    """A float graph with NNCF's quantisers: (batch, 1, n_mels, n_frames) log-mel -> (batch, n_classes) logits.

    `ranges` are calibration's, for the tensors that NNCF does not round. While `observing`, NNCF's ranges are trained
    with the weights. Raises `UnavailableError` when NNCF is missing or cannot compile.
    """

    def __init__(self, graph: Graph, ranges: Ranges, log_mels: NDArray[np.float32]) -> None:
        super().__init__()
        if graph.is_int8:
            raise InputError(f"graph {graph.name} is int8: NNCF quantises a float graph")
        batches = [
            torch.from_numpy(np.ascontiguousarray(log_mels[start : start + _BATCH], np.float32))[:, None]
            for start in range(0, len(log_mels), _BATCH)
        ]
        self.net = _quantised(_Observed(graph), batches)
        self._source = quant_source(graph)
        self._ranges = dict(ranges)
        self._rounders, self._weight_rounders = _Placement(self.net, batches[0][:1]).settle(self._source)
        own = choose_quants(graph, ranges)
        self.net.rounding = {name: own[name] for name in self._source if self._source[name] not in self._rounders}
        modules = self._rounders.values()
        self._trained = [value for module in modules for value in module.parameters() if value.requires_grad]
        self._observing = True
        self.train()

    @property
    def observing(self) -> bool:
        """Whether the ranges are trained."""
        return self._observing

    @observing.setter
    def observing(self, value: bool) -> None:
        self._observing = value
        for parameter in self._trained:
            parameter.requires_grad_(value)
            if not value:
                parameter.grad = None  # else the optimiser would take the last one's step again

    def forward(self, log_mel: Tensor) -> Tensor:
        """Logits of a batch, rounded as int8 will round them."""
        self._settle()
        logits: Tensor = self.net(log_mel)
        return logits

    def quants(self) -> dict[str, Quant]:
        """The quantisation of each activation: NNCF's where it has one, else calibration's."""
        self._settle()
        own: Mapping[str, Quant] = self.net.rounding
        found = {name: _activation_quant(rounder) for name, rounder in self._rounders.items()}
        return {name: found[source] if source in found else own[name] for name, source in self._source.items()}

    def weight_scales(self) -> dict[str, NDArray[np.float32]]:
        """NNCF's scale of each output channel by the op's name, (out,) float32."""
        return {
            name: np.asarray(_parameters(rounder)[1].numpy(), np.float32)
            for name, rounder in self._weight_rounders.items()
        }

    @torch.no_grad()
    def _settle(self) -> None:
        """Begin at zero each range that training moved below it by less than half a step.

        NNCF leaves such a range as it is and rounds around its uneven end, up to half a step off what it exports.
        """
        for rounder in self._rounders.values():
            low = getattr(rounder, "input_low", None)  # a symmetric one has none
            if isinstance(low, Tensor):
                low[(low < 0) & (-low < 0.51 * torch.as_tensor(rounder.input_range).abs() / 255)] = 0.0

    def to_graph(self) -> Graph:
        """The int8 graph of the present weights, with NNCF's scales."""
        return with_scales(self.net.float_graph(), self._ranges, self.quants(), self.weight_scales())


class _Observed(GraphNet):
    """A float graph that rounds what it is told to (`rounding`), and can say what goes through it (`listener`)."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self.rounding: dict[str, Quant] = {}
        self.listener: Any = None

    def forward(self, log_mel: Tensor) -> Tensor:
        """Logits of a batch."""
        return self.run(log_mel, self._visit)

    def _visit(self, name: str, value: Tensor) -> Tensor:
        if self.listener is not None:
            self.listener(name, value)
        quant = self.rounding.get(name)
        return value if quant is None else fake_quantize(value, quant)


class _Placement:
    """Which tensor or weight of the graph each of NNCF's quantisers rounds, found by running `clip` through."""

    def __init__(self, net: Any, clip: Tensor) -> None:
        from nncf.torch.function_hook.wrapper import get_hook_storage

        self.storage = get_hook_storage(net)
        self.keys: dict[str, tuple[Any, str]] = {}  # tensor name -> where its quantiser hangs
        self.weights: dict[str, nn.Module] = {}
        seen: dict[str, tuple[Tensor, Tensor]] = {}
        values: dict[str, Tensor] = {}
        handles = []
        for where, hooks, key, hook in self._hooks():
            handles.append(hook.register_forward_hook(_keeper(seen, f"{where} {key}")))
            del hooks
        net.listener = values.__setitem__
        try:
            with torch.no_grad():
                net.eval()(clip)
        finally:
            net.listener = None
            for handle in handles:
                handle.remove()
        by_weight = {
            net.weights[parameter_key(op.name)].data_ptr(): op.name for op in net.graph.ops if op.weight is not None
        }
        by_value = {value.data_ptr(): name for name, value in values.items()}
        for where, hooks, key, hook in list(self._hooks()):
            before, after = seen[f"{where} {key}"]
            if before.data_ptr() in by_weight:
                self.weights[by_weight[before.data_ptr()]] = hook
            elif after.data_ptr() in by_value:
                self.keys[by_value[after.data_ptr()]] = (hooks, key)
            else:
                # A constant operand, which is rounded when the graph is made, or a value inside an op (between its
                # padding and its sum, say), where int8 kernels do not round: what enters the op is rounded instead.
                del hooks[key]
        missing = [op.name for op in net.graph.ops if op.weight is not None and op.name not in self.weights]
        if missing:
            raise InputError(f"NNCF leaves the weights of {', '.join(missing[:3])} in float: use engine=own")

    def settle(self, source: Mapping[str, str]) -> tuple[dict[str, nn.Module], dict[str, nn.Module]]:
        """Quantisers by tensor and by op, one a tensor of `source` that has a scale of its own."""
        activations = {name: hooks[key] for name, (hooks, key) in self.keys.items() if source[name] == name}
        for name, (hooks, key) in self.keys.items():
            if source[name] in activations:
                hooks[key] = activations[source[name]]
            else:
                del hooks[key]
        return activations, self.weights

    def _hooks(self) -> Iterator[tuple[str, Any, str, nn.Module]]:
        for storage in (self.storage.pre_hooks, self.storage.post_hooks):
            for where, hooks in storage.items():
                for key, hook in hooks.items():
                    yield where, hooks, key, hook


def with_scales(
    float_graph: Graph, ranges: Ranges, quants: Mapping[str, Quant], scales: Mapping[str, NDArray[np.float32]]
) -> Graph:
    """The int8 graph of `float_graph` with these quantisations of activations and scales of weights, as they are.

    A channel whose bias would leave its 32 bits gets a coarser scale, as in `quantize`; constants are rounded by their
    own range.
    """
    graph = quantize(float_graph, ranges)
    tensors = tuple(t if t.data is not None else replace(t, quant=quants[t.name]) for t in graph.tensors)
    ops = []
    for plain, op in zip(float_graph.ops, graph.ops, strict=True):
        if plain.weight is None or plain.bias is None:
            ops.append(op)
            continue
        quant = quants[plain.inputs[0]]
        none = np.zeros((len(plain.bias), 1), np.float32)
        chosen = np.maximum(scales[plain.name], weight_scales(none, plain.bias, quant.scale, quant.bits))
        unit = (np.float32(quant.scale) * chosen).astype(np.float64)
        weight = np.clip(np.rint(plain.weight / spread_scales(plain, chosen)), -127, 127).astype(np.int8)
        bias = np.rint(plain.bias.astype(np.float64) / unit).astype(bias_dtype(quant))
        ops.append(replace(op, weight=weight, bias=bias, weight_scales=chosen))
    return Graph(graph.name, tensors, tuple(ops), graph.input, graph.output).validate()


def _quantised(net: GraphNet, batches: list[Tensor]) -> Any:
    """`net` with NNCF's quantisers for int8 kernels: activations per tensor, weights per channel over all 8 bits."""
    # Torch's build waits for ever on a lock that a killed build left; NNCF's own limit is too short for a slow machine.
    os.environ.setdefault("NNCF_EXTENSION_LOAD_TIMEOUT", _BUILD_S)
    os.environ.setdefault("NNCF_CI", "1")  # or it reports its use over the network
    nncf = require("nncf", "nncf")
    from nncf.quantization.advanced_parameters import (
        AdvancedQuantizationParameters,
        OverflowFix,
        QuantizationParameters,
    )

    parameters = AdvancedQuantizationParameters(
        overflow_fix=OverflowFix.DISABLE,
        activations_quantization_params=QuantizationParameters(per_channel=False),
        weights_quantization_params=QuantizationParameters(per_channel=True),
        disable_bias_correction=True,  # rounding has made the means right already, see `rounding`
    )
    with _quiet():
        quantised = nncf.quantize(
            net.eval(),
            nncf.Dataset(batches),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(batches),
            advanced_parameters=parameters,
        )
        try:
            with torch.no_grad():
                quantised(batches[0][:1])
        except Exception as error:  # of the compiler, of its timeout, of loading what it made
            reason = " ".join(str(error).split())[:160]
            raise UnavailableError(
                f"NNCF cannot build or load its C++ extension ({reason}): install a C++ compiler and ninja, delete "
                "torch's folder of extensions (~/.cache/torch_extensions) when a build was killed, or use engine=own"
            ) from error
    return quantised


def _activation_quant(rounder: Any) -> Quant:
    """What NNCF hands to torch's own fake quantisation, with the zero point of int8 instead of uint8."""
    low, scale, zero_point = _parameters(rounder)
    return Quant(float(scale[0]), int(zero_point[0]) - low - 128)


def _parameters(rounder: Any) -> tuple[int, Tensor, Tensor]:
    low, high, scale, zero_point = rounder.get_parameters_for_torch_fq()
    low, high = int(torch.as_tensor(low).min()), int(torch.as_tensor(high).max())
    if high - low != 255:
        raise InputError(f"NNCF chose a quantiser of {high - low + 1} steps, expected 256: use engine=own")
    return low, scale.detach().cpu().float(), zero_point.detach().cpu()


def _keeper(seen: dict[str, tuple[Tensor, Tensor]], key: str) -> Any:
    def keep(module: object, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen[key] = (inputs[0], output)

    return keep


@contextmanager
def _quiet() -> Iterator[None]:
    """Without NNCF's messages, and with its progress bars on stderr: stdout is for results."""
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        logger.setLevel(level)
