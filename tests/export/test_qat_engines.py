"""Quantisation-aware training by NNCF: what its own quantisers do is what the graph says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tinyscene.export.formats.onnx_writer import write_onnx
from tinyscene.export.formats.tflite_reader import read_tflite
from tinyscene.export.formats.tflite_writer import write_tflite
from tinyscene.export.graph import quant_source
from tinyscene.export.lower import lower
from tinyscene.export.quantization.fake_quant import GraphNet, fake_quantize
from tinyscene.export.quantization.ptq import Calibrated, quantize_calibrated
from tinyscene.export.quantization.qat_engines import ENGINES, qat_net
from tinyscene.runtime.errors import UnavailableError
from tinyscene.training.models.build import build_model
from tinyscene.training.run import load_run


def calibrated(padding: str = "symmetric", norm: str = "none") -> tuple[Calibrated, NDArray[np.float32]]:
    """A small network with a trained one's proportions (drawn statistics), calibrated on noise."""
    torch.manual_seed(0)
    model = build_model("cpm", {"base_channels": 8, "padding": padding, "norm": norm}, 4)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2.0)
    clips = np.random.default_rng(1).standard_normal((16, 256, 64)).astype(np.float32)
    return quantize_calibrated(lower(model.eval(), 256, 64), clips), clips


@pytest.fixture(scope="module", params=["symmetric", "same"])
def nncf_net(request: pytest.FixtureRequest) -> tuple[Any, NDArray[np.float32]]:
    """An NNCF network after a few steps of training, so that its ranges are no longer those of its calibration."""
    pytest.importorskip("nncf", reason="NNCF is not installed: pip install 'tinyscene[nncf]'")
    start, clips = calibrated(request.param)
    try:
        net, _ = qat_net("nncf", start, clips)
    except UnavailableError as error:
        pytest.skip(str(error))
    optimiser = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=1e-3)
    for step in range(3):
        optimiser.zero_grad()
        net.train()(torch.from_numpy(clips[4 * step : 4 * step + 4])[:, None]).square().mean().backward()
        optimiser.step()
    return net.eval(), clips


def test_nncf_scales_are_the_graphs(nncf_net: tuple[Any, NDArray[np.float32]]) -> None:
    net, _ = nncf_net
    graph = net.to_graph()
    by_op = {op.name: op for op in graph.ops}
    checked = 0
    for name, module in net.named_modules():
        if not hasattr(module, "get_parameters_for_torch_fq"):
            continue
        low, _, scale, zero_point = module.get_parameters_for_torch_fq()
        if len(scale) > 1 or "pre_hooks" in name:
            matches = [
                op for op in by_op.values() if op.weight_scales is not None and len(op.weight_scales) == len(scale)
            ]
            assert any(np.array_equal(op.weight_scales, scale.detach().numpy()) for op in matches)
        else:
            pairs = {(t.quant.scale, t.quant.zero_point) for t in graph.tensors if t.quant is not None}
            assert (float(scale), int(zero_point) - int(torch.as_tensor(low)) - 128) in pairs
        checked += 1
    # One a layer, and one a tensor with a scale of its own but for the logits and what NNCF would round inside an op.
    layers = sum(op.weight is not None for op in graph.ops)
    ours = {quant_source(graph)[name] for name in net.net.rounding}
    assert "logits" in ours
    assert len(ours) <= 3
    assert checked == layers + len(set(quant_source(graph).values()) - ours)


def test_nncf_rounds_as_the_graph_does(nncf_net: tuple[Any, NDArray[np.float32]]) -> None:
    """Each tensor as NNCF left it, against torch's fake quantisation of the value that NNCF got."""
    net, clips = nncf_net
    graph = net.to_graph()
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    values: dict[str, torch.Tensor] = {}
    handles = [
        rounder.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
        for rounder in net._rounders.values()
    ]
    net.net.listener = values.__setitem__
    with torch.no_grad():
        net(torch.from_numpy(clips[:2])[:, None])
    net.net.listener = None
    for handle in handles:
        handle.remove()
    assert len(seen) >= len(net._rounders)
    names = {value.data_ptr(): name for name, value in values.items()}
    for before, after in seen:
        quant = graph.tensor[names[after.data_ptr()]].quant
        assert quant is not None
        steps = torch.round(after / quant.scale)
        assert (after - steps * quant.scale).abs().max() <= 1e-5 * after.abs().max()
        # A value within float rounding of the middle between two steps may go either way.
        expected = torch.round(fake_quantize(before, quant) / quant.scale)
        off = steps != expected
        middle = (before / quant.scale % 1.0 - 0.5).abs() < 1e-3
        assert not (off & ~middle).any()
        assert (steps - expected).abs().max() <= 1


def test_weights_rounded_by_nncf_are_the_graphs(nncf_net: tuple[Any, NDArray[np.float32]]) -> None:
    net, _ = nncf_net
    for op in net.to_graph().ops:
        if op.weight is None or op.weight_scales is None:
            continue
        with torch.no_grad():
            rounded = net._weight_rounders[op.name](net.net.weights["/" + op.name.replace(".", "/")])
        axes = (1, 2, 3, 0) if op.kind == "DEPTHWISE_CONV_2D" else (0, 2, 3, 1)
        scales = op.weight_scales if op.kind == "DEPTHWISE_CONV_2D" else op.weight_scales.reshape(-1, 1, 1, 1)
        steps = rounded.numpy().transpose(axes) / scales
        assert np.abs(steps - np.rint(steps)).max() < 1e-3
        exact = net.net.weights["/" + op.name.replace(".", "/")].detach().numpy().transpose(axes) / scales
        off = np.rint(steps) != op.weight
        # A weight within float rounding of the middle between two steps may go either way.
        assert (np.abs(exact[off] % 1.0 - 0.5) < 1e-3).all()
        assert off.mean() < 0.01


def test_an_nncf_graph_is_written_and_computes_the_same(nncf_net: tuple[Any, NDArray[np.float32]]) -> None:
    net, clips = nncf_net
    graph = net.to_graph()
    assert not read_tflite(write_tflite(graph)).differences(graph)
    batch = torch.from_numpy(clips[:8])[:, None]
    with torch.no_grad():
        nncf, emulated = net(batch), GraphNet.from_int8(graph)(batch)
    quant = graph.tensor[graph.output].quant
    assert quant is not None
    assert (nncf - emulated).abs().max() <= 4 * quant.scale  # ties that went the other way, passed on
    # An average pool must not change its scale.
    for op in graph.ops:
        if op.kind == "AVERAGE_POOL_2D":
            assert graph.tensor[op.inputs[0]].quant == graph.tensor[op.output].quant


def test_held_ranges_stay_while_weights_move(nncf_net: tuple[Any, NDArray[np.float32]]) -> None:
    net, clips = nncf_net
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    batch = torch.from_numpy(clips[:4])[:, None]

    def step() -> None:
        optimiser.zero_grad()
        net.train()(batch).square().mean().backward()
        optimiser.step()

    step()
    before, weights = net.quants(), net.net.weights["/head"].detach().clone()
    net.observing = False
    step()
    assert net.quants() == before
    assert not torch.equal(weights, net.net.weights["/head"])
    net.observing = True
    step()
    assert net.quants() != before
    net.eval()


def test_an_nncf_network_is_taken_up_from_its_state(nncf_net: tuple[Any, NDArray[np.float32]]) -> None:
    """As a killed training does: build the network again, then load the checkpoint over it."""
    net, _ = nncf_net
    start, clips = calibrated(
        "same" if any(op.padding == "SAME" and op.stride != (1, 1) for op in net.net.graph.ops) else "symmetric"
    )
    again, _ = qat_net("nncf", start, clips)
    again.load_state_dict(net.state_dict())
    assert not again.to_graph().differences(net.to_graph())


@pytest.mark.parametrize("engine", ENGINES)
def test_both_engines_start_close_to_the_float_network(engine: str) -> None:
    if engine == "nncf":
        pytest.importorskip("nncf", reason="NNCF is not installed: pip install 'tinyscene[nncf]'")
    start, clips = calibrated()
    try:
        net, as_graph = qat_net(engine, start, clips)
    except UnavailableError as error:
        pytest.skip(str(error))
    batch = torch.from_numpy(clips)[:, None]
    with torch.no_grad():
        exact = GraphNet(start.level)(batch)
        rounded = net.eval()(batch)
        deployed = GraphNet.from_int8(as_graph.to_graph())(batch)
    for logits in (rounded, deployed):
        noise_db = 10 * torch.log10(exact.square().mean() / (logits - exact).square().mean())
        assert noise_db > 20


def test_nncf_trains_from_the_command_line(
    tinyscene: Callable[..., int], student: Path, corpus: Path, tmp_path: Path
) -> None:
    pytest.importorskip("nncf", reason="NNCF is not installed: pip install 'tinyscene[nncf]'")
    out = tmp_path / "qat"
    options = [
        "engine=nncf",
        "epochs=2",
        "frozen_epochs=1",
        "batch_size=8",
        "evaluate_every=2",
        "device=cpu",
        "threads=1",
    ]
    assert tinyscene("train", "qat", student, "--data", corpus, "--out", out, *options) == 0
    run = load_run(out)
    assert run.metrics["agreement"] > 0.8
    assert read_tflite(run.file("model.tflite").read_bytes()).is_int8
    assert tinyscene("export", out, "--data", corpus, "--out", tmp_path / "bundle") == 0


def test_a_qat_run_keeps_its_float_source_in_the_int8_networks_units(qat_run: Path, bundle: Path, corpus: Path) -> None:
    """Weights of corresponding channels differ by rounding and fine-tuning only, not by a factor."""
    import onnxruntime

    run = load_run(qat_run)
    kept = run.file("model_float.onnx").read_bytes()
    session = onnxruntime.InferenceSession(kept, providers=["CPUExecutionProvider"])
    clips = np.random.default_rng(2).standard_normal((1, 1, 256, 64)).astype(np.float32)
    with torch.inference_mode():
        expected = run.build()(torch.from_numpy(clips)).numpy()
    (logits,) = session.run(None, {session.get_inputs()[0].name: clips})
    assert np.allclose(logits, expected, rtol=1e-3, atol=1e-4)
    assert write_onnx(lower(run.build(), 256, 64)) != kept
    bundled = onnxruntime.InferenceSession(
        (bundle / "model_float.onnx").read_bytes(), providers=["CPUExecutionProvider"]
    )
    (from_bundle,) = bundled.run(None, {bundled.get_inputs()[0].name: clips})
    assert np.array_equal(from_bundle, logits)


def test_nncf_takes_no_16_bit_layers(
    tinyscene: Callable[..., int], student: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["engine=nncf", "int16=blocks.1"]
    assert tinyscene("train", "qat", student, "--data", corpus, "--out", tmp_path / "q", *options) == 2
    assert "engine is 'nncf', which rounds to 8 bits only" in capsys.readouterr().err
