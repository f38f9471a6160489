"""The lowered graph against the torch network it came from, in torch and in ONNX Runtime, for every norm and stride."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from networks import lively, mels
from numpy.typing import NDArray
from torch import nn

from tinyscene.export.formats.onnx_writer import write_onnx
from tinyscene.export.formats.tflite_writer import write_tflite
from tinyscene.export.graph import Graph
from tinyscene.export.graph_builder import GraphBuilder
from tinyscene.export.lower import lower
from tinyscene.export.quantization.fake_quant import GraphNet
from tinyscene.export.quantization.freeze import freeze_norm
from tinyscene.export.quantization.quantize import quantize as quantize_graph
from tinyscene.export.verification.golden import run_layers
from tinyscene.export.verification.verify import run_onnx
from tinyscene.runtime.errors import InputError
from tinyscene.runtime.int8 import dequantize, quantize
from tinyscene.training.models.cp_mobile import CPMobile
from tinyscene.training.models.cp_resnet import CPResNet
from tinyscene.training.models.norm import normalizer
from tinyscene.training.models.padding import SameAvgPool2d, SameConv2d
from tinyscene.training.run import Run


def logits(net: nn.Module, clips: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.inference_mode():
        return np.asarray(net(torch.from_numpy(clips)[:, None]).numpy())


def assert_same_everywhere(model: CPMobile, graph: Graph, clips: NDArray[np.float32]) -> None:
    expected = logits(model, clips)
    scale = np.abs(expected).max()
    assert expected.std(axis=0).max() > 1e-3 * scale, "the network says the same whatever it hears"
    np.testing.assert_allclose(logits(GraphNet(graph), clips), expected, atol=1e-4 * scale)
    np.testing.assert_allclose(run_onnx(write_onnx(graph), clips), expected, atol=1e-4 * scale)


@pytest.mark.parametrize("norm", ["none", "frozen", "grn"])
@pytest.mark.parametrize("strides", [{"b2": (2, 2), "b4": (2, 1)}, {"b2": (1, 1), "b3": (1, 2), "b4": (2, 1)}])
@pytest.mark.parametrize(("size", "padding"), [((64, 32), "symmetric"), ((50, 33), "symmetric"), ((49, 34), "same")])
def test_all_three_give_the_same_logits(
    norm: str, strides: dict[str, tuple[int, int]], size: tuple[int, int], padding: str
) -> None:
    model = lively(norm, seed=5, strides=strides, padding=padding)
    assert_same_everywhere(model, lower(model, *size), mels(3, *size))


def test_frozen_norm_costs_no_op() -> None:
    kinds = [op.kind for op in lower(lively("frozen"), 64, 32).ops]
    assert kinds == [op.kind for op in lower(lively("none"), 64, 32).ops]
    assert set(kinds) == {"PAD", "CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "AVERAGE_POOL_2D", "MEAN"}


@pytest.mark.parametrize("stride", [(2, 2), (2, 1)])
@pytest.mark.parametrize("size", [(8, 6), (9, 7)])
def test_same_padding_costs_no_op_and_is_what_tflite_understands_by_it(
    size: tuple[int, int], stride: tuple[int, int]
) -> None:
    model = lively(padding="same")
    kinds = {op.kind for op in lower(model, 64, 32).ops}
    assert kinds == {"CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "AVERAGE_POOL_2D", "MEAN"}
    conv = SameConv2d(1, 1, 3, stride=stride, bias=False)
    builder = GraphBuilder("same", "in", (1, *size, 1))
    x = builder.add("AVERAGE_POOL_2D", "pool", "in", window=(3, 3), stride=stride, padding="SAME")
    weight = conv.weight.detach().permute(0, 2, 3, 1).numpy()
    bias = np.zeros(1, np.float32)
    builder.add("CONV_2D", "out", x, weight=weight, bias=bias, stride=stride, padding="SAME")
    graph = quantize_graph(builder.build(), {"in": (-2.0, 2.0), "out": (-2.0, 2.0)})
    log_mel = mels(1, *size)[0]
    quant = graph.input_quant
    layers = run_layers(write_tflite(graph), quantize(log_mel, quant.scale, quant.zero_point))
    with torch.inference_mode():
        pooled = SameAvgPool2d(3, stride)(torch.from_numpy(log_mel)[None, None])
        expected = {"pool": pooled, "out": conv(pooled)}
    for name, values in expected.items():
        found = dequantize(layers[name], quant.scale, quant.zero_point)[0, :, :, 0]
        np.testing.assert_allclose(found, values[0, 0].numpy(), atol=3 * quant.scale)


def test_gains_that_are_not_positive_become_a_product() -> None:
    model = lively("frozen", seed=2, gamma=-1.2)
    gains = [1 + block.norm.gamma * block.norm.n for block in model.blocks]
    assert any((gain <= 0).any() for gain in gains)
    assert any((gain > 0).all() for gain in gains) or len(gains) == 6
    graph = lower(model, 64, 32)
    assert "MUL" in {op.kind for op in graph.ops}
    assert_same_everywhere(model, graph, mels(3))


def test_only_rows_that_are_read_are_padded() -> None:
    graph = lower(lively(), 64, 32)
    pads = {op.name: op.pads for op in graph.ops if op.kind == "PAD"}
    assert pads["stem.0.pad"] == ((1, 0), (1, 0))
    odd = lower(lively(), 63, 32)
    assert odd.tensor["stem.0.pad"].shape == (1, 65, 33, 1)  # an odd side is read to its last row


def test_published_student(tau22: Run, shared: Path) -> None:
    golden = np.load(shared / "weights" / "cp_mobile_tau22" / "golden.npz", allow_pickle=False)
    graph = lower(tau22.build(), 256, 64)
    noise = golden["randn_in"][:, 0]
    np.testing.assert_allclose(logits(GraphNet(graph), noise), golden["randn_logits"], atol=1e-3)
    mel = golden["metro_station-paris_mel0"][None]
    found = run_onnx(write_onnx(graph), mel)
    np.testing.assert_allclose(found[0], golden["metro_station-paris_logits"][0], atol=1e-3)


def test_freezing_takes_the_mean_normaliser(tau22: Run, real_clips: NDArray[np.float32]) -> None:
    clips = real_clips[:40]
    frozen, arguments = freeze_norm(tau22, clips, fitted=False)
    assert arguments["norm"] == "frozen"
    source = tau22.build()
    seen: list[torch.Tensor] = []
    source.blocks[0].norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    logits(source, clips)
    expected = normalizer(seen[0]).mean(dim=0).flatten()
    np.testing.assert_allclose(frozen.blocks[0].norm.n.numpy(), expected.numpy(), rtol=1e-4)
    # On one clip alone, freezing to that clip's own normaliser changes nothing.
    alone, _ = freeze_norm(tau22, clips[:1], fitted=False)
    np.testing.assert_allclose(logits(alone, clips[:1]), logits(source, clips[:1]), atol=1e-3)


def test_other_networks_are_refused() -> None:
    with pytest.raises(InputError, match="cannot lower CPResNet"):
        lower(CPResNet(n_classes=4), 256, 43)
