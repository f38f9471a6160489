"""Engines against each other on files that bring no golden vectors, on inputs that look for trouble."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import lively, mels
from numpy.typing import NDArray

from tinyscene.export.engines.catalogue import choose
from tinyscene.export.engines.engine import Engine, Replay
from tinyscene.export.formats.tflite_reader import read_tflite
from tinyscene.export.formats.tflite_writer import write_tflite
from tinyscene.export.graph import Graph, Quant
from tinyscene.export.lower import lower
from tinyscene.export.quantization.freeze import freeze_norm
from tinyscene.export.quantization.ptq import quantize_calibrated
from tinyscene.export.verification.stimuli import stimuli
from tinyscene.export.verification.verify_file import Subject, verify_file, verify_many
from tinyscene.runtime.errors import InputError
from tinyscene.training.run import Run

Program = Callable[..., int]

EXACT = ("litert-reference", "tflite-micro")


@pytest.fixture(scope="module")
def graph() -> Graph:
    return quantize_calibrated(lower(lively(), 64, 32), mels(16), "minmax").graph


@pytest.fixture(scope="module")
def file(graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "small.tflite"
    path.write_bytes(write_tflite(graph))
    return path


def test_a_bare_file_is_verified(file: Path, tinyscene: Program, capsys: pytest.CaptureFixture[str]) -> None:
    assert tinyscene("verify", file, "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = {line["engine"]: line for line in lines if line["schema"] == "tinyscene.check/1"}
    assert found[None]["detail"].startswith("written out again it gives the same")
    assert found["tflite-micro"]["detail"].endswith("logits are bit for bit equal")
    assert found["onnx-qdq"]["passed"] is True
    assert found["tensorflow"]["passed"] is None
    assert "onnx-float" not in found
    assert lines[-1] == {"schema": "tinyscene.verification/1", "bundle": str(file), "verified": True}


def test_many_inputs_byte_for_byte(
    file: Path, bundle: Path, corpus: Path, tinyscene: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tinyscene("verify", file, "--many", 40, "--engine", "tflite-micro") == 0
    assert "40 adversarial inputs: logits and all" in capsys.readouterr().out
    assert tinyscene("verify", bundle, "--many", 20, "--engine", "tflite-micro", "--data", corpus) == 0
    assert "20 real inputs: logits and all" in capsys.readouterr().out
    assert tinyscene("verify", file, "--many", 20, "--engine", "litert-default") == 2
    assert "name one with --engine" in capsys.readouterr().err
    assert tinyscene("verify", file, "--many", 0) == 2


def test_reference_and_micro_are_byte_equal_on_the_published_student(
    tau22: Run, real_clips: NDArray[np.float32]
) -> None:
    """The frozen form, which holds no float op and no reciprocal root; `--many 1000` does more of the same."""
    model, _ = freeze_norm(tau22, real_clips[::4])
    graph = quantize_calibrated(lower(model, *real_clips.shape[1:]), real_clips[::16], "minmax").graph
    quant = graph.input_quant
    low, high = quant.limits
    real = np.clip(np.rint(real_clips[::10] / quant.scale) + quant.zero_point, low, high).astype(np.int8)[..., None]
    data = write_tflite(graph)
    for what, inputs in (("real", real), ("adversarial", stimuli(real.shape[1:], quant, 16))):
        (check,) = verify_many(data, graph, choose(EXACT), inputs, what)
        assert check.passed, check.detail
        assert f"all {len(graph.ops)} inner tensors are byte for byte equal" in check.detail


def test_an_engine_that_is_off_once_in_many_is_caught(file: Path, graph: Graph) -> None:
    micro = choose(["tflite-micro"])[0]
    inputs = stimuli((64, 32, 1), graph.input_quant, 12)
    hidden = inputs[9]

    def run(model: bytes, values: NDArray[Any], layers: bool, digests: bool) -> Replay:
        replay = micro.replay(model, values, layers=True, digests=True)
        assert replay.layers is not None
        assert replay.digests is not None
        place = [i for i in range(len(values)) if np.array_equal(values[i], hidden)]
        found, marks = dict(replay.layers), replay.digests.copy()
        if place:
            marks[place[0]] ^= 1
        if place == [0]:
            found["blocks.1.sum"] = found["blocks.1.sum"] ^ 1
        return Replay(replay.logits, found, marks)

    (check,) = verify_many(file.read_bytes(), graph, [Engine("x", "X", True, "", run)], inputs, "odd")
    assert check.passed is False
    assert check.detail.startswith("input 9: blocks.1.sum (ADD) diverges first")
    assert check.diverges is not None


def test_a_wrong_reading_is_noticed(file: Path, graph: Graph) -> None:
    """A graph that is not the file's gives other logits when it is written out again."""
    index = next(i for i, op in enumerate(graph.ops) if op.name == "head")
    from random_graphs import with_op

    weight = graph.ops[index].weight
    assert weight is not None
    other = with_op(graph, index, weight=-weight)
    checks = verify_file(file.read_bytes(), other, choose(["tflite-micro"]), stimuli((64, 32, 1), graph.input_quant, 4))
    assert checks[0].passed is False
    assert checks[0].detail.startswith("written out again it differs: logits diverges first")
    assert checks[1].passed


def test_a_tolerant_engine_that_is_far_off_names_the_tensor(file: Path, graph: Graph) -> None:
    reference = choose(["litert-reference"])[0]

    def run(model: bytes, values: NDArray[Any], layers: bool, digests: bool) -> Replay:
        replay = reference.replay(model, values, layers=True)
        assert replay.layers is not None
        found = dict(replay.layers)
        found["stem.1"] = np.clip(found["stem.1"].astype(int) // 2, -128, 127).astype(np.int8)
        return Replay(np.clip(replay.logits.astype(int) + 90, -128, 127).astype(np.int8), found)

    inputs = stimuli((64, 32, 1), graph.input_quant, 10)
    checks = verify_file(file.read_bytes(), graph, [Engine("x", "X", False, "", run)], inputs)
    assert checks[1].passed is False
    assert checks[1].detail.startswith("stem.1 (CONV_2D) diverges first")


def test_real_inputs_join_the_others(
    bundle: Path, corpus: Path, tinyscene: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tinyscene("verify", bundle / "model.tflite", "--data", corpus, "--engine", "tflite-micro") == 0
    assert "on 84 inputs" in capsys.readouterr().out  # 36 snippets and 48 others


def test_float_and_uint8_ends_are_served() -> None:
    """A file's own ends, as other converters write them, around the integers of the graph."""
    quant = Quant(0.5, 3)
    inputs = np.array([[[-128], [127]]], np.int8)
    graph = type("G", (), {"input_quant": quant, "output_quant": quant})()
    floats = Subject(b"", graph, (), (2, 1), "float32", "float32")
    np.testing.assert_array_equal(floats.inputs(inputs), np.array([[[-65.5], [62.0]]], np.float32))
    np.testing.assert_array_equal(floats.logits(floats.inputs(inputs)), inputs.reshape(1, 2))
    bytes_ = Subject(b"", graph, (), (2, 1), "uint8", "uint8")
    np.testing.assert_array_equal(bytes_.inputs(inputs), np.array([[[0], [255]]], np.uint8))
    np.testing.assert_array_equal(bytes_.logits(bytes_.inputs(inputs)), inputs.reshape(1, 2))


def test_what_is_no_network_is_refused(tmp_path: Path, tinyscene: Program, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.tflite").write_bytes(b"\x00\x00\x00\x00TFL3" + bytes(100))
    assert tinyscene("verify", tmp_path / "a.tflite") == 2
    assert tinyscene("verify", tmp_path / "b.tflite") == 2
    assert capsys.readouterr().err.count("\n") == 2


@settings(max_examples=30, deadline=None)
@given(
    shape=st.lists(st.integers(1, 20), min_size=1, max_size=4).map(tuple),
    zero_point=st.integers(-128, 127),
    count=st.integers(0, 40),
    bits=st.sampled_from([8, 16]),
)
def test_stimuli_fit_any_input(shape: tuple[int, ...], zero_point: int, count: int, bits: int) -> None:
    quant = Quant(0.1, zero_point if bits == 8 else 0, bits)
    if not count:
        return
    values = stimuli(shape, quant, count)
    assert values.shape == (count, *shape)
    assert values.dtype == quant.dtype
    np.testing.assert_array_equal(values, stimuli(shape, quant, count))
    assert (values[0] == quant.limits[0]).all()
    if count > 1:
        assert (values[1] == quant.limits[1]).all()


def test_stimuli_of_an_input_are_all_different() -> None:
    values = stimuli((64, 32, 1), Quant(0.1, -5), 200)
    assert len({row.tobytes() for row in values}) >= 190
    share = np.mean((values == -128) | (values == 127))
    assert 0.3 < share < 0.7


def test_exact_engines_are_needed_for_many(file: Path) -> None:
    graph = read_tflite(file.read_bytes())
    with pytest.raises(InputError, match="name one with --engine"):
        list(verify_many(file.read_bytes(), graph, choose(["onnx-qdq"]), np.zeros((1, 64, 32, 1), np.int8), "x"))
