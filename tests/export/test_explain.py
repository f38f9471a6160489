"""The explanation names what was planted, and its figures are those of theory and of the emulation it stands on."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from networks import lively, mels
from numpy.typing import NDArray
from random_graphs import int8_graphs, with_op

from tinyscene.export.explain.explain import Explanation, explain
from tinyscene.export.explain.noise import QUIET_DB, NoiseMeter, decibels
from tinyscene.export.explain.sensitivity import LogitMeter
from tinyscene.export.explain.twin import FLOAT, INT8, FloatTwin, Twin, block_of, float_twin
from tinyscene.export.formats.onnx_writer import write_onnx
from tinyscene.export.graph import Graph, Quant
from tinyscene.export.lower import lower
from tinyscene.export.quantization.fake_quant import GraphNet, dequantized, fake_quantize
from tinyscene.export.quantization.ptq import calibrate, quantize_calibrated
from tinyscene.export.quantization.quantize import quantize
from tinyscene.export.quantization.widen import widen

Program = Callable[..., int]
Networks = tuple[Graph, dict[str, tuple[float, float]], NDArray[np.float32]]


@pytest.fixture(scope="module")
def networks() -> Networks:
    """A small float network with even channels, its ranges, and log-mels it was not calibrated on."""
    made = quantize_calibrated(lower(lively(), 64, 32), mels(32), "minmax")
    return made.level, made.ranges, mels(16, seed=2)


def explained(graph: Graph, float_graph: Graph, clips: NDArray[np.float32]) -> Explanation:
    return explain(graph, FloatTwin(float_graph, True, "float"), clips, method="ptq")


def test_rounding_noise_is_what_theory_says() -> None:
    # Uniform values over the whole range: the noise is that of a uniform error, step^2 / 12 (Bennett 1948).
    quant = Quant(float(np.float32(0.01)), 0)
    value = torch.from_numpy(np.random.default_rng(0).uniform(-1.28, 1.27, (4, 8, 50, 50)).astype(np.float32))
    meter = NoiseMeter("x", None, quant)
    rounded = fake_quantize(value, quant)
    meter.add(value, value, rounded, value, rounded, rounded)
    noise = meter.result()
    expected = 10 * np.log10(1.275**2 / 3 / (0.01**2 / 12))
    assert noise.total_db == pytest.approx(expected, abs=0.05)
    assert noise.total_db == noise.own_db == noise.rounding_db
    assert noise.saturated == 0.0
    assert (noise.used, noise.core) == pytest.approx((1.0, 1.0), abs=0.01)
    assert noise.starved == 0.0


def test_what_lies_outside_is_counted() -> None:
    quant = Quant(float(np.float32(0.1)), -128)  # 0 to 25.5
    value = torch.zeros(1, 2, 10, 10)
    value[0, 0, 0, :5] = 30.0  # five of two hundred; the second channel says nothing
    meter = NoiseMeter("x", None, quant)
    rounded = fake_quantize(value, quant)
    meter.add(value, value, rounded, value, rounded, rounded)
    noise = meter.result()
    assert noise.saturated == 5 / 200
    assert noise.starved == 0.5
    assert noise.highest == pytest.approx(25.5)
    assert noise.total_db == pytest.approx(10 * np.log10(30.0**2 / 4.5**2), abs=1e-3)


def test_ratios_have_ends() -> None:
    assert decibels(1.0, 0.0) == QUIET_DB
    assert decibels(0.0, 1.0) == -QUIET_DB
    assert decibels(100.0, 1.0) == 20.0


def test_expected_agreement_is_that_of_normal_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    # Two classes, so that the second best is the only other one; what is counted is then what is expected.
    exact = torch.randn(20_000, 2, generator=generator)
    meter = LogitMeter()
    meter.add(exact, exact + 0.3 * torch.randn(exact.shape, generator=generator))
    effect = meter.result()
    assert effect.expected == pytest.approx(effect.agreement, abs=0.005)
    assert 0.85 < effect.expected < 0.95
    assert effect.logit_db == pytest.approx(-20 * np.log10(0.3), abs=0.1)


@given(int8_graphs())
@settings(max_examples=30, deadline=None)
def test_both_networks_are_the_emulations(graph: Graph) -> None:
    _, height, width, _ = graph.tensor[graph.input].shape
    log_mel = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 1, height, width)).astype(np.float32))
    plain = dequantized(graph)
    pair = Twin(graph, FloatTwin(plain, True, "float"))
    step = graph.output_quant.scale
    with torch.inference_mode():
        for mode, net in ((FLOAT, GraphNet(plain).eval()), (INT8, GraphNet.from_int8(graph))):
            found = pair.run(pair.start(log_mel, mode), 0, lambda _, mode=mode: mode)  # type: ignore[misc]
            expected = net(log_mel).numpy()
            # torch may add up in another order for another memory layout, and so round a tie the other way.
            tolerance = 1e-5 * float(np.abs(expected).max()) if mode is FLOAT else 1.01 * step
            np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=tolerance)


def test_the_parts_add_up(networks: Networks) -> None:
    graph, ranges, clips = networks
    int8 = quantize(graph, ranges)
    found = explained(int8, graph, clips)
    assert found.forms["weights alone"].logit_db > found.forms["int8"].logit_db
    assert found.forms["activations alone"].logit_db > found.forms["int8"].logit_db - 1.0
    assert sum(layer.share for layer in found.layers) == pytest.approx(1.0)
    assert [tensor.name for tensor in found.tensors] == [graph.input, *(op.name for op in graph.ops)]
    assert found.widening[-1].effect.logit_db > found.forms["int8"].logit_db
    # What a layer adds by itself is never more than what has gathered, but for chance.
    assert all(tensor.own_db > tensor.total_db - 1.0 for tensor in found.tensors)


@pytest.mark.parametrize("name", ["stem.1", "blocks.2.depthwise", "head"])
def test_spoilt_weights_are_named(networks: Networks, name: str) -> None:
    graph, ranges, clips = networks
    int8 = quantize(graph, ranges)
    number = next(n for n, op in enumerate(int8.ops) if op.name == name)
    weight = int8.ops[number].weight
    assert weight is not None
    spoilt = with_op(int8, number, weight=np.ascontiguousarray(weight[..., ::-1] // 2))
    found = explained(spoilt, graph, clips)
    worst = max(found.layers, key=lambda layer: layer.share)
    assert worst.name == name
    assert worst.share > 0.5
    best = max(found.layers, key=lambda layer: layer.restored.logit_db)
    assert best.name == name
    assert best.restored.logit_db > found.forms["int8"].logit_db + 6.0
    assert name in next(line.finding for line in found.advice if "most noise" in line.finding)
    tensor = next(tensor for tensor in found.tensors if tensor.name == name)
    assert tensor.weight_db is not None
    assert tensor.weight_db < tensor.rounding_db - 10.0


def test_a_narrow_range_is_named_with_what_to_do(networks: Networks) -> None:
    graph, ranges, clips = networks
    name = "blocks.1.expand"
    narrow = {**ranges, name: (ranges[name][0] / 4, ranges[name][1] / 4)}
    found = explained(quantize(graph, narrow), graph, clips)
    worst = max(found.tensors, key=lambda tensor: tensor.saturated)
    assert worst.name in (name, "blocks.1.depthwise.pad")
    assert worst.saturated > 0.002
    assert found.forms["int8 without clipping"].logit_db > found.forms["int8"].logit_db + 3.0
    line = next(line for line in found.advice if "beyond the ranges" in line.finding)
    assert name in line.finding
    assert "--calibrator percentile" in (line.command or "")


def test_an_empty_range_is_named(networks: Networks) -> None:
    graph, ranges, clips = networks
    name = "head"
    loose = {**ranges, name: (ranges[name][0] * 12, ranges[name][1] * 12)}
    found = explained(quantize(graph, loose), graph, clips)
    tensor = next(tensor for tensor in found.tensors if tensor.name == name)
    assert tensor.used < 0.15
    line = next(line for line in found.advice if line.finding.startswith(f"{name} uses"))
    assert "quieter than those of calibration" in line.finding


def test_response_normalisation_is_pointed_out() -> None:
    graph = lower(lively("grn"), 64, 32)
    int8 = quantize(graph, calibrate(graph, mels(32), "minmax"))
    found = explained(int8, graph, mels(8, seed=2))
    line = next(line for line in found.advice if "response normalisation" in line.finding)
    assert line.command == "tinyscene train freeze RUN --data DIR --out FROZEN"


def wide_db(
    graph: Graph, ranges: dict[str, tuple[float, float]], clips: NDArray[np.float32], blocks: Sequence[str]
) -> float:
    """Signal to noise of the logits of the network that `--int16 BLOCKS` makes."""
    widened = widen(graph, blocks)
    added = {
        t.name: ranges[t.name.rpartition("/")[0]]
        for t in widened.graph.tensors
        if t.name not in ranges and t.data is None and "/" in t.name
    }
    int8 = quantize(widened.graph, {**ranges, **added}, widened.wide)
    batch = torch.from_numpy(clips)[:, None]
    meter = LogitMeter()
    with torch.inference_mode():
        meter.add(GraphNet(graph).eval()(batch), GraphNet.from_int8(int8)(batch))
    return meter.result().logit_db


def test_wide_blocks_are_what_sixteen_bits_give(networks: Networks) -> None:
    graph, ranges, clips = networks
    found = explained(quantize(graph, ranges), graph, clips)
    for step in (found.widening[2], found.widening[5], found.widening[-1]):
        # The emulation leaves 16-bit tensors unrounded, and int8 input at their border as it is.
        assert step.effect.logit_db == pytest.approx(wide_db(graph, ranges, clips, step.blocks), abs=1.0)


def test_the_float_twin_has_the_files_weights(networks: Networks) -> None:
    graph, ranges, _ = networks
    int8 = quantize(graph, ranges)
    twin = float_twin(int8, write_onnx(graph))
    assert twin.exact
    for op, plain in zip(twin.graph.ops, graph.ops, strict=True):
        if plain.weight is not None:
            np.testing.assert_array_equal(op.weight, plain.weight)
            np.testing.assert_array_equal(op.bias, plain.bias)


def test_a_float_network_in_other_units_is_not_taken(networks: Networks) -> None:
    graph, ranges, _ = networks
    ops = [replace(op, weight=op.weight * np.float32(1.5)) if op.weight is not None else op for op in graph.ops]
    other = Graph(graph.name, graph.tensors, tuple(ops), graph.input, graph.output)
    twin = float_twin(quantize(graph, ranges), write_onnx(other))
    assert not twin.exact
    assert "other units" in twin.origin
    assert "no float network" in float_twin(quantize(graph, ranges), None).origin


def test_blocks() -> None:
    assert block_of("blocks.3.norm.copy") == "blocks.3"
    assert block_of("stem.0") == "stem.0"
    assert block_of("blocks.3.expand/as16") == "blocks.3"
    assert block_of("head") == "head"


def test_explain_by_command(
    student: Path, corpus: Path, tmp_path: Path, tinyscene: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / "bundle"
    assert tinyscene("export", student, "--ptq", "--calibrate", corpus / "audio", "--out", bundle) == 0
    capsys.readouterr()
    assert tinyscene("explain", bundle, "--json") == 0
    (record,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert record["schema"] == "tinyscene.explanation/1"
    assert record["clips"] == 4
    assert record["float_weights"] is True
    assert record["method"] == "ptq"
    assert {layer["name"] for layer in record["layers"]} < {tensor["name"] for tensor in record["tensors"]}
    assert tinyscene("explain", bundle, "--data", corpus, "--count", 5) == 0
    text = capsys.readouterr().out
    assert "5 evaluation snippets of pulses" in text
    assert "int8 answers as float on" in text
    bare = tmp_path / "net.tflite"
    bare.write_bytes((bundle / "model.tflite").read_bytes())
    assert tinyscene("explain", bare) == 2
    assert "--data DIR or --clips FILE" in capsys.readouterr().err
    assert tinyscene("explain", bare, "--data", corpus, "--count", 3) == 0
    assert "no float network beside it" in capsys.readouterr().out
    assert tinyscene("explain", bare, "--float", bundle, "--data", corpus, "--count", 3) == 0
    assert "float: model_float.onnx" in capsys.readouterr().out
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\xff" * 100)
    assert tinyscene("explain", bare, "--float", broken, "--data", corpus) == 2
    assert "damaged" in capsys.readouterr().err


def test_a_fine_tuned_network_is_held_against_the_float_one_it_came_from(
    qat_run: Path, bundle: Path, corpus: Path, tinyscene: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    for model, method in ((bundle, "qat"), (qat_run, None)):
        assert tinyscene("explain", model, "--data", corpus, "--count", 2, "--json") == 0
        record = json.loads(capsys.readouterr().out)
        assert record["float_weights"] is True
        assert record["method"] == method
        # Fine-tuning moves weights by little: in other units they would differ by as much as they are.
        assert all(tensor["weight_db"] > 30.0 for tensor in record["tensors"] if tensor["weight_db"] is not None)
