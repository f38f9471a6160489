"""Training's simulation of int8 against the engines, and how its ranges move."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import lively, mels
from numpy.typing import NDArray
from test_lower import logits

from tinyscene.export.formats.tflite_writer import write_tflite
from tinyscene.export.graph import Graph
from tinyscene.export.lower import lower
from tinyscene.export.quantization.fake_quant import GraphNet, dequantized, fake_quantize, parameter_key
from tinyscene.export.quantization.ptq import calibrate, quantize_calibrated
from tinyscene.export.quantization.quantize import quantize, weight_scales
from tinyscene.export.verification.golden import run_layers
from tinyscene.runtime.errors import InputError
from tinyscene.runtime.int8 import dequantize
from tinyscene.runtime.int8 import quantize as to_int8


def simulated(norm: str = "frozen", seed: int = 0) -> tuple[GraphNet, NDArray[np.float32]]:
    clips = mels(12)
    graph = lower(lively(norm, seed), *clips.shape[1:])
    return GraphNet(graph, calibrate(graph, clips, "minmax")), clips


def assert_each_layer_rounds_alike(graph: Graph, values: dict[str, torch.Tensor], share: float) -> None:
    """Every op of the emulated `graph` on recorded inputs: at most one step from the recorded output, and rarely that.

    Layer by layer, because a single tie that falls the other way changes everything after it a little.
    """
    differing, total = 0, 0

    def compare(name: str, value: torch.Tensor) -> torch.Tensor:
        nonlocal differing, total
        quant = graph.tensor[name].quant
        assert quant is not None
        steps = ((fake_quantize(value, quant) - values[name]) / quant.scale).abs().round()
        assert steps.max() <= 1, f"{name}: {steps.max()} steps"
        differing, total = differing + int((steps > 0).sum()), total + steps.numel()
        return values[name]

    with torch.inference_mode():
        GraphNet.from_int8(graph).run(values[graph.input], compare)
    assert differing <= share * total, f"{differing} of {total} differ"


@pytest.mark.parametrize("norm", ["none", "frozen", "grn"])
def test_emulation_against_the_reference_kernels(norm: str) -> None:
    net, clips = simulated(norm)
    graph = net.to_graph()
    quant = graph.input_quant
    layers = run_layers(write_tflite(graph), to_int8(clips[0], quant.scale, quant.zero_point))
    values = {}
    for tensor in graph.tensors:
        if tensor.data is None:
            assert tensor.quant is not None
            real = dequantize(layers[tensor.name], tensor.quant.scale, tensor.quant.zero_point)
            values[tensor.name] = torch.from_numpy(np.moveaxis(real, 3, 1).copy() if real.ndim == 4 else real)
    assert_each_layer_rounds_alike(graph, values, 0.01)


@pytest.mark.parametrize("norm", ["none", "grn"])
def test_what_is_simulated_is_what_is_written(norm: str) -> None:
    net, clips = simulated(norm)
    values, quants = {}, net.quants()

    def record(name: str, value: torch.Tensor) -> torch.Tensor:
        values[name] = fake_quantize(value, quants[net.source[name]])
        return values[name]

    with torch.inference_mode():
        x = torch.from_numpy(clips)[:, None]
        answer = net.eval()(x)
        net.run(x, record, net.rounded_weights(quants))
    torch.testing.assert_close(values["logits"], answer, rtol=0, atol=0)
    # Only the biases differ, which are whole numbers of a much finer step in the file.
    assert_each_layer_rounds_alike(net.to_graph(), values, 0.001)


def test_scales_in_training_are_the_graphs_bit_for_bit() -> None:
    net, _ = simulated("grn")
    graph, quants = net.to_graph(), net.quants()
    for op in net.graph.ops:
        if op.weight is None:
            continue
        key = parameter_key(op.name)
        weight, bias = net.weights[key].detach().numpy(), net.biases[key].detach().numpy()
        scales = weight_scales(weight, bias, quants[net.source[op.inputs[0]]].scale)
        written = next(o for o in graph.ops if o.name == op.name).weight_scales
        assert written is not None
        assert scales.tobytes() == written.tobytes()


def test_float_mode_is_the_graph() -> None:
    net, clips = simulated()
    plain = GraphNet(net.graph)
    assert plain.float_graph().differences(net.graph) == []
    with pytest.raises(InputError, match="has no ranges"):
        plain.to_graph()
    error = np.abs(logits(plain, clips) - logits(net.eval(), clips)).max()
    assert error > 0, "fake quantisation rounds nothing"


def test_training_reaches_every_weight_and_improves_the_loss() -> None:
    net, clips = simulated()
    torch.manual_seed(0)
    x, target = torch.from_numpy(clips)[:, None], torch.arange(12) % 4
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    losses = []
    for _ in range(8):
        loss = torch.nn.functional.cross_entropy(net.train()(x), target)
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in net.weights.values())
    assert losses[-1] < losses[0]


def test_ranges_follow_the_signal_only_while_observing() -> None:
    net, clips = simulated()
    x, start = torch.from_numpy(clips)[:, None], net.ranges()
    net.train()(3 * x)
    net.eval()
    net.observing = True
    net(3 * x)
    assert net.ranges() == start
    net.train()
    for _ in range(40):  # the moving extremes begin at the first batch and then follow it
        net(x)
    np.testing.assert_allclose(net.ranges()["log_mel"], start["log_mel"], rtol=1e-5)
    for _ in range(200):
        net(3 * x)
    np.testing.assert_allclose(net.ranges()["log_mel"], 3 * np.array(start["log_mel"]), rtol=0.01)


def test_clipped_ranges_stay_clipped_by_their_share() -> None:
    clips = mels(12)
    graph = lower(lively("frozen"), *clips.shape[1:])
    ranges = calibrate(graph, clips, "minmax")
    ranges["stem.0"] = (0.0, 0.5 * ranges["stem.0"][1])
    net = GraphNet(graph, ranges).train()
    net.observing = True
    for _ in range(5):
        net(torch.from_numpy(clips)[:, None])
    assert net.ranges()["stem.0"][1] == pytest.approx(ranges["stem.0"][1], rel=1e-5)


def test_state_restores_the_ranges() -> None:
    net, clips = simulated()
    net.observing = True
    net.train()(2 * torch.from_numpy(clips)[:, None])
    net(torch.from_numpy(clips)[:, None])
    copy, _ = simulated()
    copy.load_state_dict(net.state_dict())
    assert copy.to_graph().differences(net.to_graph()) == []
    assert net.ranges() != simulated()[0].ranges()


def test_starting_from_the_calibrated_graph_starts_at_its_weights() -> None:
    clips = mels(12)
    start = quantize_calibrated(lower(lively("grn"), *clips.shape[1:]), clips)
    net = GraphNet(dequantized(start.graph), start.ranges)
    again = net.to_graph()
    for op, twin in zip(start.graph.ops, again.ops, strict=True):
        if op.weight is not None and op.weight_scales is not None and twin.weight_scales is not None:
            used = np.abs(op.weight.reshape(-1, op.weight.shape[-1])).max()
            if used == 127 and np.array_equal(op.weight_scales, twin.weight_scales):
                np.testing.assert_array_equal(op.weight, twin.weight)
    reference = GraphNet.from_int8(start.graph)
    scale = np.abs(logits(reference, clips)).max()
    np.testing.assert_allclose(logits(net.eval(), clips), logits(reference, clips), atol=0.05 * scale)


def test_int8_graphs_need_their_own_constructor() -> None:
    net, _ = simulated()
    with pytest.raises(InputError, match="from_int8"):
        GraphNet(net.to_graph())
    assert quantize(net.graph, net.ranges()).differences(net.to_graph()) == []
