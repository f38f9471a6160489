"""Layers in 16 bits: where the borders are, what they cost, and the same bits in every engine that runs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from integer_reference import requantize_wide, run
from networks import lively, mels
from numpy.typing import NDArray
from random_graphs import float_graphs, mixed_graphs
from test_graph import tiny
from test_int8_arithmetic import int8_inputs
from test_lower import logits

from tinyscene.export.formats.onnx_writer import write_onnx
from tinyscene.export.formats.tflite_reader import read_tflite
from tinyscene.export.formats.tflite_writer import write_tflite
from tinyscene.export.graph import Graph, Quant
from tinyscene.export.graph_builder import GraphBuilder
from tinyscene.export.lower import lower
from tinyscene.export.quantization.fake_quant import GraphNet, dequantized
from tinyscene.export.quantization.freeze import freeze_norm
from tinyscene.export.quantization.ptq import calibrate, quantize_calibrated
from tinyscene.export.quantization.quantize import ROOM, choose_quant, choose_quants, quantize
from tinyscene.export.quantization.wide_choice import activation_noise, layers_around, resolve_layers
from tinyscene.export.quantization.widen import layers_named, parse_layers, widen
from tinyscene.export.verification.golden import run_layers
from tinyscene.export.verification.verify import run_onnx
from tinyscene.runtime.errors import InputError
from tinyscene.training.run import Run


def small(norm: str = "none", seed: int = 0) -> tuple[Graph, NDArray[np.float32]]:
    clips = mels(24)
    return lower(lively(norm, seed), *clips.shape[1:]), clips


def test_borders_of_a_block() -> None:
    graph, _ = small()
    widened = widen(graph, ["blocks.3"])
    borders = {op.output: op.inputs for op in widened.graph.ops if op.kind == "QUANTIZE"}
    # The block reads what blocks.2 wrote in int8, and blocks.4 reads its result in int8.
    assert borders == {"blocks.2.sum/as16": ("blocks.2.sum",), "blocks.3.project/as8": ("blocks.3.project",)}
    inside = {op.output for op in graph.ops if op.name.startswith("blocks.3.")}
    assert widened.wide == inside | {"blocks.2.sum/as16"}


def test_the_whole_network_keeps_int8_ends() -> None:
    graph, clips = small()
    widened = widen(graph, ["all"])
    int8 = quantize(widened.graph, calibrate(widened.graph, clips), widened.wide)
    assert (int8.input_quant.bits, int8.output_quant.bits, int8.output) == (8, 8, "logits")
    assert [op.output for op in int8.ops if op.kind == "QUANTIZE"] == ["log_mel/as16", "logits"]
    assert all(t.quant is not None and t.quant.bits == 16 for t in int8.tensors if t.name not in ("log_mel", "logits"))


@settings(deadline=None, max_examples=40)
@given(float_graphs(), st.data())
def test_borders_change_nothing_in_float(graph: Graph, data: st.DataObject) -> None:
    layers = data.draw(st.lists(st.sampled_from([op.name for op in graph.ops]), min_size=1, max_size=6))
    clips = mels(2, *graph.tensor["in"].shape[1:3])
    np.testing.assert_array_equal(logits(GraphNet(widen(graph, layers).graph), clips), logits(GraphNet(graph), clips))


def test_a_border_into_16_bits_loses_nothing() -> None:
    widened = widen(tiny(), ["out"])
    ranges = {"in": (0.0, 1.0), "conv": (-0.3, 2.5), "out/as16": (0.0, 3.0), "out": (0.0, 3.0)}
    quants = choose_quants(widened.graph, ranges, widened.wide)
    narrow, wide = quants["conv"], quants["conv/as16"]
    assert (wide.bits, wide.zero_point, wide.scale * 128) == (16, 0, narrow.scale)
    assert max(abs(limit - narrow.zero_point) for limit in narrow.limits) * 128 <= 32767


def test_scales_of_16_bits_have_room_and_no_zero_point() -> None:
    assert choose_quant(-3.0, 32767.0, 16) == Quant(1.0, 0, 16)
    assert choose_quant(-65534.0, 3.0, 16) == Quant(2.0, 0, 16)
    quants = choose_quants(tiny(), {"in": (0, 1), "conv": (0, 32767.0), "out": (0, 3)}, ["conv"])
    assert quants["conv"] == Quant(ROOM, 0, 16)


def test_a_constant_that_both_read_is_kept_in_both() -> None:
    builder = GraphBuilder("net", "in", (1, 4, 4, 1))
    constant = builder.constant("c", np.full((1, 1, 1, 1), 0.7, np.float32))
    builder.add("MUL", "b", builder.add("ADD", "a", "in", constant), constant)
    builder.add("MEAN", "out", "b", axes=(1, 2), keep_dims=False)
    widened = widen(builder.build(), ["b"])
    graph = quantize(widened.graph, dict.fromkeys(widened.graph.tensor, (-2.0, 2.0)), widened.wide)
    assert {op.name: op.inputs for op in graph.ops if op.kind != "QUANTIZE"} == {
        "a": ("in", "c"),
        "b": ("a/as16", "c/as16"),
        "out": ("b/as8",),
    }
    dtypes = {name: graph.tensor[name].data.dtype for name in ("c", "c/as16")}  # type: ignore[union-attr]
    assert dtypes == {"c": np.int8, "c/as16": np.int16}


def test_names_of_layers() -> None:
    graph, _ = small()
    assert parse_layers(" blocks.3, head ,") == ("blocks.3", "head")
    assert layers_named(graph, ["head", "stem"]) == {
        "head",
        *(op.name for op in graph.ops if op.name.startswith("stem")),
    }
    assert layers_named(graph, ["all"]) == {op.name for op in graph.ops}
    with pytest.raises(InputError, match=r"no layer 'block\.3' in the network: did you mean 'blocks\.3'\?"):
        layers_named(graph, ["block.3"])


@settings(deadline=None, max_examples=40)
@given(mixed_graphs())
def test_files_hold_every_mixed_graph(graph: Graph) -> None:
    data = write_tflite(graph)
    assert read_tflite(data).differences(graph) == []
    assert write_tflite(read_tflite(data)) == data
    rng = np.random.default_rng(0)
    inputs = rng.integers(-128, 128, graph.tensor["in"].shape[1:3]).astype(np.int8)
    layers = run_layers(data, inputs)
    for op in graph.ops:
        quant = graph.tensor[op.output].quant
        assert quant is not None
        assert layers[op.output].dtype == quant.dtype


@settings(deadline=None, max_examples=20)
@given(mixed_graphs())
def test_onnx_runtime_takes_every_mixed_graph(graph: Graph) -> None:
    data = write_onnx(graph)
    assert data == write_onnx(graph)
    clips = mels(2, *graph.tensor["in"].shape[1:3])
    assert np.isfinite(run_onnx(data, clips)).all()
    expected = logits(GraphNet(dequantized(graph)), clips)
    np.testing.assert_allclose(run_onnx(write_onnx(dequantized(graph)), clips), expected, rtol=1e-3, atol=1e-3)


def test_an_int8_network_needs_no_new_operator_set() -> None:
    graph, clips = small()
    versions = {}
    for layers in ((), ("blocks.3",)):
        model = onnx.load_from_string(write_onnx(quantize_calibrated(graph, clips, int16=layers).graph))
        versions[layers] = (model.opset_import[0].version, model.ir_version)
    assert versions == {(): (17, 8), ("blocks.3",): (21, 10)}


def test_requantising_sums_of_16_bits_known_answers() -> None:
    # A half is 2**30 * 2**-31: halves round up, also below zero.
    np.testing.assert_array_equal(requantize_wide(np.array([3, -3, 5, -5, 2**40]), 2**30, 0), [2, -1, 3, -2, 2**39])
    # A multiplier next to one keeps 15 bits.
    np.testing.assert_array_equal(requantize_wide(np.array([2**15]), 2**31 - 1, 0), [2**15 - 1])


@pytest.mark.parametrize("layers", [("all",), ("blocks.3",), ("stem", "blocks.1.sum", "blocks.2", "head")])
@pytest.mark.parametrize("norm", ["none", "frozen"])
def test_mixed_networks_are_bit_exact(norm: str, layers: tuple[str, ...]) -> None:
    graph, clips = small(norm, seed=3)
    int8 = quantize_calibrated(graph, clips, int16=layers).graph
    assert int8.wide
    assert_bit_exact(int8, clips[:4])


def test_products_and_means_are_bit_exact() -> None:
    graph, clips = small("grn")
    # Up to the first RSQRT, whose table the specification does not give.
    last = next(index for index, op in enumerate(graph.ops) if op.kind == "RSQRT")
    ops = graph.ops[:last]
    known = {graph.input} | {name for op in ops for name in (*op.inputs, op.output)}
    head = Graph(
        "head", tuple(t for t in graph.tensors if t.name in known), ops, graph.input, ops[-1].output
    ).validate()
    widened = widen(head, ["all"])
    int8 = quantize(widened.graph, calibrate(widened.graph, clips, "minmax"), widened.wide)
    assert {"MUL", "MEAN"} <= {op.kind for op in int8.ops}
    assert_bit_exact(int8, clips[:4])


def assert_bit_exact(graph: Graph, clips: NDArray[np.float32]) -> None:
    """LiteRT's reference kernels and TFLite-Micro against plain integers, every layer."""
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime", reason="pip install tflite-micro")
    model = write_tflite(graph)
    micro = runtime.Interpreter.from_bytes(model)
    answers = set()
    for values in int8_inputs(graph, clips):
        expected, found = run(graph, values), run_layers(model, values)
        for op in graph.ops:
            wrong = int((expected[op.output] != found[op.output]).sum())
            assert wrong == 0, f"{op.name} ({op.kind}): {wrong} of {expected[op.output].size} values differ"
        micro.set_input(values[None, :, :, None], 0)
        micro.invoke()
        np.testing.assert_array_equal(micro.get_output(0), expected[graph.output])
        answers.add(found[graph.output].tobytes())
    assert len(answers) > 1, "the network says the same whatever it hears: a test of nothing"


@pytest.mark.parametrize("norm", ["none", "grn"])
def test_training_simulates_what_is_written(norm: str) -> None:
    graph, clips = small(norm)
    made = quantize_calibrated(graph, clips, int16=["blocks.0", "blocks.4", "head"])
    net = GraphNet(dequantized(made.graph), made.ranges, made.graph.wide)
    again = net.to_graph()
    assert {name: t.quant for name, t in again.tensor.items()} == {
        name: t.quant for name, t in made.graph.tensor.items()
    }
    # Only biases differ, which are whole numbers of a much finer step in the file.
    simulated, written = logits(net.eval(), clips), logits(GraphNet.from_int8(again), clips)
    assert np.abs(simulated - written).max() <= 2 * made.graph.output_quant.scale
    net.train()(torch.from_numpy(clips)[:, None]).sum().backward()
    gradients = [parameter.grad for parameter in net.weights.values()]
    assert all(grad is not None and bool(grad.abs().max() > 0) for grad in gradients)


@pytest.mark.parametrize("norm", ["none", "grn"])
def test_16_bits_bring_the_answers_nearer_to_float(norm: str) -> None:
    graph, clips = small(norm)
    exact = logits(GraphNet(graph), clips)

    def noise(*layers: str) -> float:
        int8 = quantize_calibrated(graph, clips[:12], int16=layers).graph
        return float(np.square(logits(GraphNet.from_int8(int8), clips) - exact).mean())

    assert noise("all") < 0.7 * noise()  # what is left is mostly the rounding of the weights, 8 bits in both


def test_the_noisiest_activation_is_found() -> None:
    graph, clips = small()
    ranges = calibrate(graph, clips, "minmax")
    low, high = ranges["blocks.2.project"]
    ranges["blocks.2.project"] = (40 * low, 40 * high)
    noises = activation_noise(graph, ranges, clips)
    assert noises[0].name == "blocks.2.project"
    assert {"log_mel", "logits"}.isdisjoint(entry.name for entry in noises)
    layers = resolve_layers(graph, ranges, clips, ["auto:1"])
    assert set(layers) == layers_around(graph, ["blocks.2.project"]) == {"blocks.2.project", "blocks.2.sum"}


def test_auto_takes_no_more_memory() -> None:
    graph, clips = small("grn")
    ranges = calibrate(graph, clips, "minmax")
    widened = widen(graph, resolve_layers(graph, ranges, clips, ["auto"]))
    int8 = quantize(widened.graph, calibrate(widened.graph, clips, "minmax"), widened.wide)
    assert len(int8.wide) > 10
    assert int8.peak_activation_bytes() <= quantize(graph, ranges).peak_activation_bytes()


@pytest.mark.parametrize("name", ["auto:0", "auto:many", "auto:"])
def test_a_count_that_means_nothing_is_refused(name: str) -> None:
    graph, clips = small()
    with pytest.raises(InputError, match="expected a number such as auto:4"):
        resolve_layers(graph, {}, clips, [name])


def test_published_network_with_16_bits_is_bit_exact(tau22: Run, real_clips: NDArray[np.float32]) -> None:
    graph = lower(freeze_norm(tau22, real_clips[:32])[0], 256, 64)
    int8 = quantize_calibrated(graph, real_clips[:16], int16=["blocks.2", "head"]).graph
    assert_bit_exact(int8, real_clips[[0, 100]])


def test_export_with_16_bits(student: Path, corpus: Path, tmp_path: Path, tinyscene: Callable[..., int]) -> None:
    out = tmp_path / "bundle"
    options = ["--ptq", "--int16", "blocks.5,head", "--calibrate", corpus / "audio"]
    assert tinyscene("export", student, *options, "--out", out) == 0
    graph = read_tflite((out / "model.tflite").read_bytes())
    assert {name.rpartition("/")[0] or name for name in graph.wide} >= {"blocks.4.sum", "blocks.5.expand", "head"}
    assert graph.output_quant.bits == 8


def test_unknown_layers_end_with_the_nearest_name(
    student: Path, corpus: Path, tmp_path: Path, tinyscene: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--ptq", "--int16", "blocks.33", "--calibrate", corpus / "audio"]
    assert tinyscene("export", student, *options, "--out", tmp_path / "bundle") == 2
    assert "no layer 'blocks.33' in the network: did you mean 'blocks.3'?" in capsys.readouterr().err


def test_a_fine_tuned_run_has_settled_its_bits(
    qat_run: Path, tmp_path: Path, tinyscene: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert tinyscene("export", qat_run, "--int16", "head", "--out", tmp_path / "bundle") == 2
    assert "train qat RUN int16=head" in capsys.readouterr().err


def test_fine_tuning_with_16_bits(student: Path, corpus: Path, tmp_path: Path, tinyscene: Callable[..., int]) -> None:
    out = tmp_path / "qat"
    options = ["epochs=2", "batch_size=8", "evaluate_every=2", "device=cpu", "threads=1", "int16=blocks.4,blocks.5"]
    assert tinyscene("train", "qat", student, "--data", corpus, "--out", out, *options) == 0
    graph = read_tflite((out / "model.tflite").read_bytes())
    assert "blocks.4.expand" in graph.wide
    assert "blocks.3.project" not in graph.wide
    metrics = json.loads((out / "run.json").read_text())["metrics"]
    assert metrics["agreement"] >= 0.75
