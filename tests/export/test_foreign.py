"""Models that other converters made (`foreign/`, each beside its script): read, written again, and run the same.

The measure is LiteRT's reference kernels on the file as the converter left it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from hypothesis import given, settings
from networks import mels
from numpy.typing import NDArray
from random_graphs import foreign_graphs, int8_graphs
from test_fake_quant import assert_each_layer_rounds_alike
from test_lower import logits
from test_tflite import pack

from tinyscene.export.formats.model_file import open_model
from tinyscene.export.formats.onnx_writer import write_onnx
from tinyscene.export.formats.tflite_reader import read_network, read_tflite
from tinyscene.export.formats.tflite_structure import parse_model
from tinyscene.export.formats.tflite_writer import write_tflite
from tinyscene.export.graph import Graph, Op, Quant, Tensor, to_nchw
from tinyscene.export.quantization.fake_quant import GraphNet, dequantized
from tinyscene.export.verification.golden import run_layers
from tinyscene.export.verification.verify import run_onnx
from tinyscene.runtime.errors import InputError
from tinyscene.runtime.int8 import dequantize

FOREIGN = Path(__file__).with_name("foreign")
FILES = ("keras_int8", "keras_float_ends", "keras_uint8", "litert_torch")

Inputs = NDArray[np.int8]


def content(name: str) -> bytes:
    return (FOREIGN / f"{name}.tflite").read_bytes()


def inputs(graph: Graph, count: int = 24) -> Inputs:
    """Every second one noise over all integers, the rest like what the network was calibrated on; then the extremes."""
    rng, quant = np.random.default_rng(0), graph.input_quant
    shape = (count, *graph.tensor[graph.input].shape)
    values = rng.integers(*quant.limits, size=shape, endpoint=True)
    values[::2] = np.clip(np.rint(rng.normal(size=values[::2].shape) / quant.scale) + quant.zero_point, *quant.limits)
    values[-1], values[-2] = quant.limits
    return values.astype(quant.dtype)


def run(model: bytes, graph: Graph, rows: Inputs) -> NDArray[np.int64]:
    """Output integers of the reference kernels for integer `rows` of the graph's input, whatever the file's ends."""
    interpreter = Interpreter(model_content=model, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    first, last = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    found = []
    for values in rows:
        if first["dtype"] == np.float32:
            values = (values.astype(np.float32) - graph.input_quant.zero_point) * np.float32(graph.input_quant.scale)
        elif first["dtype"] == np.uint8:
            values = (values.astype(np.int16) + 128).astype(np.uint8)
        interpreter.set_tensor(first["index"], values.reshape(first["shape"]))
        interpreter.invoke()
        result = interpreter.get_tensor(last["index"])
        if last["dtype"] == np.float32:
            result = np.rint(result / np.float32(graph.output_quant.scale)) + graph.output_quant.zero_point
        elif last["dtype"] == np.uint8:
            result = result.astype(np.int16) - 128
        found.append(result.astype(np.int64))
    return np.concatenate(found)


@pytest.mark.parametrize("name", FILES)
def test_what_is_written_again_gives_the_same_bytes(name: str) -> None:
    graph = read_tflite(content(name))
    again = write_tflite(graph)
    assert read_tflite(again).differences(graph) == []
    rows = inputs(graph)
    expected = run(content(name), graph, rows)
    assert len(np.unique(expected, axis=0)) > 10, "the network says the same whatever it is given"
    np.testing.assert_array_equal(run(again, graph, rows), expected)


@pytest.mark.parametrize("name", FILES)
def test_torch_and_onnx_say_the_same_within_a_step(name: str) -> None:
    graph = read_tflite(content(name))
    rows, quant = inputs(graph), graph.output_quant
    expected = run(content(name), graph, rows)
    real = (rows.astype(np.float32) - graph.input_quant.zero_point) * np.float32(graph.input_quant.scale)
    nchw = np.ascontiguousarray(np.moveaxis(real[:, 0], 3, 1))
    with torch.inference_mode():
        simulated = GraphNet.from_int8(graph)(torch.from_numpy(nchw)).numpy()
    session = onnxruntime.InferenceSession(write_onnx(graph))
    qdq = np.concatenate([session.run(None, {graph.input: values[None]})[0] for values in nchw])
    for found in (simulated, qdq):
        steps = np.rint(found / quant.scale) + quant.zero_point - expected
        # A tie that falls the other way moves an inner value by a step, and a softmax answer by up to two.
        assert np.abs(steps).max() <= 2
        assert np.abs(steps).mean() < 0.1


@pytest.mark.parametrize("name", FILES)
def test_the_float_network_inside_runs_alike_in_torch_and_onnx(name: str) -> None:
    graph = dequantized(read_tflite(content(name)))
    clip = np.random.default_rng(1).normal(size=(1, 1, *graph.tensor[graph.input].shape[1:3])).astype(np.float32)
    with torch.inference_mode():
        expected = GraphNet(graph)(torch.from_numpy(clip)).numpy()
    found = onnxruntime.InferenceSession(write_onnx(graph)).run(None, {graph.input: clip})[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_ends_that_are_not_int8_come_off(tmp_path: Path) -> None:
    for name in FILES:
        file = tmp_path / f"{name}.tflite"
        file.write_bytes(content(name))
        model = open_model(file)
        assert model.as_stored == (name == "keras_int8")
        assert model.stored == content(name)
        assert read_network(model.data).as_stored
        assert model.graph.tensor[model.graph.input].shape == (1, 32, 16, 1)
        assert model.graph.tensor[model.graph.output].shape == (1, 5)


def changed(change: Callable[[Any], None], name: str = "keras_int8") -> bytes:
    model = parse_model(content(name))
    change(model)
    return pack(model)


def test_empty_and_repeated_names_become_unique() -> None:
    def rename(model: Any) -> None:
        for index, tensor in enumerate(model.subgraphs[0].tensors):
            tensor.name = (b"", b"same", tensor.name)[index % 3]

    before, after = read_network(content("keras_int8")), read_network(changed(rename))
    assert not after.as_stored
    names = [tensor.name for tensor in after.graph.tensors]
    assert len(set(names)) == len(names) == len(before.graph.tensors)
    assert all(names)
    rows = inputs(before.graph)
    np.testing.assert_array_equal(
        run(write_tflite(after.graph), after.graph, rows), run(content("keras_int8"), before.graph, rows)
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda op: setattr(op.builtinOptions, "dilationHFactor", 2), "dilated"),
        (lambda op: setattr(op.builtinOptions, "fusedActivationFunction", 4), "expected none, ReLU or ReLU6"),
        (lambda op: setattr(op.builtinOptions, "strideW", 0), "impossible"),
        (lambda op: setattr(op.builtinOptions, "padding", 9), "expected SAME or VALID"),
        (lambda op: setattr(op, "builtinOptions", None), "lacks its options"),
        (lambda op: setattr(op, "inputs", op.inputs[:1]), "has 1 inputs"),
    ],
)
def test_what_the_graph_cannot_hold_is_refused_with_the_reason(change: Callable[[Any], None], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read_tflite(changed(lambda model: change(model.subgraphs[0].operators[0])), "it.tflite")


def test_weights_with_a_zero_point_are_refused() -> None:
    def shift(model: Any) -> None:
        graph = model.subgraphs[0]
        quantization = graph.tensors[graph.operators[0].inputs[1]].quantization
        quantization.zeroPoint = quantization.zeroPoint + 1

    with pytest.raises(InputError, match="has a zero point"):
        read_tflite(changed(shift))


def test_a_bias_of_another_scale_is_refused_and_rounding_is_not() -> None:
    def scaled(factor: float) -> bytes:
        def change(model: Any) -> None:
            graph = model.subgraphs[0]
            quantization = graph.tensors[graph.operators[0].inputs[2]].quantization
            quantization.scale = quantization.scale * np.float32(factor)

        return changed(change)

    with pytest.raises(InputError, match="bias"):
        read_tflite(scaled(1.001))
    assert read_tflite(scaled(1 + 3e-7)).differences(read_tflite(content("keras_int8"))) == []


def one_op(op: Op, low: Quant, high: Quant, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> Graph:
    tensors = (Tensor("x", shapes[0], low), Tensor(op.output, shapes[1], high))
    return Graph("one", tensors, (op,), "x", op.output).validate()


@pytest.mark.parametrize("ceiling", [None, 6.0])
@pytest.mark.parametrize("quants", [(0.1, 3, 0.07, -128), (0.05, -100, 0.09, -20), (0.013, 20, 0.4, 11)])
def test_a_relu_of_its_own_is_a_requantisation_that_clamps(ceiling: float | None, quants: Any) -> None:
    first, last = Quant(float(np.float32(quants[0])), quants[1]), Quant(float(np.float32(quants[2])), quants[3])
    op = Op("QUANTIZE", ("x",), "y", relu=True, ceiling=ceiling)
    graph = one_op(op, first, last, ((1, 16, 16, 1), (1, 16, 16, 1)))
    model = write_tflite(graph)
    codes = [code.builtinCode for code in parse_model(model).operatorCodes]
    assert codes == [schema.BuiltinOperator.RELU if ceiling is None else schema.BuiltinOperator.RELU6]
    assert read_tflite(model).differences(graph) == []
    rows = np.arange(-128, 128, dtype=np.int8).reshape(1, 1, 16, 16, 1)
    real = np.clip((rows.astype(np.float64) - first.zero_point) * first.scale, 0, ceiling)
    expected = np.clip(real / last.scale + last.zero_point, -128, 127)
    # The kernel rounds twice: first, for the last of these scales, to a sixteenth.
    np.testing.assert_allclose(run(model, graph, rows)[0], expected[0, 0], atol=0.5 + 1 / 32 + 1e-3)
    with torch.inference_mode():
        net = GraphNet.from_int8(graph)
        found = net(torch.from_numpy((rows[0].astype(np.float32) - first.zero_point) * np.float32(first.scale)))
    np.testing.assert_allclose(found / last.scale + last.zero_point, expected[0], atol=0.5 + 1e-3)


def test_a_depthwise_multiplier_keeps_the_order_of_channels() -> None:
    rng = np.random.default_rng(0)
    weight = rng.integers(-127, 128, (1, 3, 3, 6)).astype(np.int8)
    op = Op(
        "DEPTHWISE_CONV_2D",
        ("x",),
        "y",
        weight=weight,
        bias=np.zeros(6, np.int32),
        weight_scales=np.full(6, np.float32(0.01)),
        padding="SAME",
    )
    quants = Quant(float(np.float32(0.1)), 0), Quant(float(np.float32(0.1)), 0)
    graph = one_op(op, *quants, ((1, 8, 8, 2), (1, 8, 8, 6)))
    values = rng.integers(-40, 40, (1, 1, 8, 8, 2)).astype(np.int8)
    by_hand = np.zeros((8, 8, 6))
    padded = np.pad(values[0, 0].astype(np.float64), ((1, 1), (1, 1), (0, 0)))
    for out in range(6):
        for row in range(8):
            for column in range(8):
                window = padded[row : row + 3, column : column + 3, out // 3]
                by_hand[row, column, out] = (window * weight[0, :, :, out]).sum() * 0.01
    model = write_tflite(graph)
    np.testing.assert_allclose(run(model, graph, values)[0], np.clip(by_hand, -128, 127), atol=0.51)
    assert read_tflite(model).differences(graph) == []


def test_networks_that_are_too_large_are_refused() -> None:
    op = Op(
        "CONV_2D",
        ("x",),
        "y",
        weight=np.ones((512, 16, 16, 1), np.int8),
        bias=np.zeros(512, np.int32),
        weight_scales=np.full(512, np.float32(0.01)),
        padding="SAME",
    )
    quant = Quant(float(np.float32(0.1)), 0)
    graph = one_op(op, quant, quant, ((1, 600, 600, 1), (1, 600, 600, 512)))
    with pytest.raises(InputError, match="multiply-accumulates"):
        read_tflite(write_tflite(graph))
    with pytest.raises(InputError, match="ends at 5"):
        write_tflite(Graph("one", graph.tensors, (replace(op, relu=True, ceiling=5.0),), "x", "y"))


@settings(deadline=None, max_examples=40)
@given(foreign_graphs())
def test_random_float_networks_run_alike_in_torch_and_onnx(graph: Graph) -> None:
    clips = mels(2, *graph.tensor["in"].shape[1:3])
    np.testing.assert_allclose(run_onnx(write_onnx(graph), clips), logits(GraphNet(graph), clips), rtol=1e-3, atol=1e-3)


@settings(deadline=None, max_examples=40)
@given(int8_graphs(foreign=True))
def test_random_int8_networks_survive_the_file_and_round_as_the_reference_kernels(graph: Graph) -> None:
    model = write_tflite(graph)
    assert read_tflite(model).differences(graph) == []
    assert write_tflite(read_tflite(model)) == model
    rng = np.random.default_rng(0)
    layers = run_layers(model, rng.integers(-128, 128, graph.tensor["in"].shape[1:3]).astype(np.int8))
    values = {}
    for tensor in graph.tensors:
        assert tensor.quant is not None
        real = dequantize(layers[tensor.name], tensor.quant.scale, tensor.quant.zero_point)
        values[tensor.name] = torch.from_numpy(to_nchw(real))
    # Ties round either way; a plane that is all one value ties everywhere or nowhere, so their share varies widely.
    assert_each_layer_rounds_alike(graph, values, 0.15)
