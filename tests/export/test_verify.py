"""Verification: it passes where nothing is wrong, and names what is wrong where something is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from random_graphs import with_op

from tinyscene.export.golden import choose_clips, dump_golden, load_golden
from tinyscene.export.graph import Graph, Quant
from tinyscene.export.tflite_reader import read_tflite
from tinyscene.export.tflite_writer import write_tflite
from tinyscene.export.verify import (
    against_reference,
    compare_layers,
    compare_logits,
    first_difference,
    verify_bundle,
)
from tinyscene.runtime import errors
from tinyscene.runtime.bundle import Bundle, load_bundle, write_bundle
from tinyscene.runtime.errors import InputError, UnavailableError
from tinyscene.runtime.frontend_spec import STUDENT

Program = Callable[..., int]


def with_files(source: Path, out: Path, **files: bytes) -> Bundle:
    """A copy of a bundle with some files replaced and honest hashes: damage that only verification can see."""
    old = load_bundle(source)
    contents = {name: (source / name).read_bytes() for name in old.files}
    contents.update({name.replace("__", "."): data for name, data in files.items()})
    keys = ("name", "labels", "frontend", "quantization", "model", "budget", "metrics", "provenance")
    return write_bundle(out, **{key: getattr(old, key) for key in keys}, files=contents)  # type: ignore[arg-type]


def graph_of(bundle: Path) -> Graph:
    return read_tflite((bundle / "model.tflite").read_bytes())


def failures(bundle: Bundle) -> dict[str, str]:
    return {check.name: check.detail for check in verify_bundle(bundle) if check.passed is False}


def test_an_exported_bundle_is_verified(bundle: Path, tinyscene: Program, capsys: pytest.CaptureFixture[str]) -> None:
    assert tinyscene("verify", bundle) == 0
    text = capsys.readouterr().out
    assert "verdict: verified" in text
    assert text.count(" ok: ") == 6
    assert tinyscene("verify", bundle, "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["schema"] for line in lines] == ["tinyscene.check/1"] * 6 + ["tinyscene.verification/1"]
    assert lines[-1]["verified"] is True


def test_a_changed_weight_is_named_with_both_values(bundle: Path, tmp_path: Path) -> None:
    graph = graph_of(bundle)
    index = next(i for i, op in enumerate(graph.ops) if op.name == "blocks.2.project")
    weight = graph.ops[index].weight
    assert weight is not None
    changed = weight.copy()
    changed[0] = -changed[0]
    damaged = with_files(bundle, tmp_path / "b", model__tflite=write_tflite(with_op(graph, index, weight=changed)))
    found = failures(damaged)["LiteRT reference kernels"]
    assert found.startswith("blocks.2.project (CONV_2D) diverges first")
    assert "instead of" in found


def test_a_wrong_scale_is_named(bundle: Path, tmp_path: Path) -> None:
    graph = graph_of(bundle)
    tensors = tuple(
        replace(t, quant=Quant(float(np.float32(t.quant.scale * 1.05)), t.quant.zero_point))
        if t.name == "blocks.1.depthwise" and t.quant is not None
        else t
        for t in graph.tensors
    )
    wrong = Graph(graph.name, tensors, graph.ops, graph.input, graph.output)
    found = failures(with_files(bundle, tmp_path / "b", model__tflite=write_tflite(wrong)))
    assert found["LiteRT reference kernels"].startswith("blocks.1.depthwise (DEPTHWISE_CONV_2D) diverges first")


def test_another_input_scale_breaks_the_contract(
    bundle: Path, tmp_path: Path, tinyscene: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = graph_of(bundle)
    tensors = tuple(
        replace(t, quant=Quant(float(np.float32(0.5)), 3)) if t.name == graph.input else t
        for t in graph.tensors
        if t.quant is not None
    )
    pads = {op.output for op in graph.ops if op.kind == "PAD" and op.inputs[0] == graph.input}
    tensors = tuple(replace(t, quant=Quant(0.5, 3)) if t.name in pads else t for t in tensors)
    wrong = Graph(graph.name, tensors, graph.ops, graph.input, graph.output)
    damaged = with_files(bundle, tmp_path / "b", model__tflite=write_tflite(wrong))
    assert "the contract" in failures(damaged)["input quantisation"]
    assert tinyscene("verify", tmp_path / "b") == 1
    assert "verdict: FAILED (input quantisation" in capsys.readouterr().out


def test_a_foreign_float_model_is_noticed(bundle: Path, tmp_path: Path) -> None:
    damaged = with_files(bundle, tmp_path / "b", model_float__onnx=(bundle / "model.onnx").read_bytes())
    assert list(failures(damaged)) == ["ONNX Runtime, float"]
    damaged = with_files(bundle, tmp_path / "c", model__onnx=b"not onnx")
    assert "cannot run the model" in failures(damaged)["ONNX Runtime, QDQ"]


def test_a_different_front_end_is_noticed(bundle: Path, tmp_path: Path) -> None:
    golden = load_golden(bundle / "golden.npz", STUDENT, 3)
    moved = replace(golden, log_mel=golden.log_mel + np.float32(0.01))
    found = failures(with_files(bundle, tmp_path / "b", golden__npz=dump_golden(moved)))
    assert "1.0e-02" in found["front end"]


def test_a_missing_engine_is_listed_and_does_not_fail(
    bundle: Path, tinyscene: Program, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = errors.require

    def without(module: str, extra: str) -> object:
        if module == "onnxruntime":
            raise UnavailableError("this command needs 'onnxruntime': run `pip install 'tinyscene[export]'`")
        return genuine(module, extra)

    monkeypatch.setattr("tinyscene.export.verify.require", without)
    assert tinyscene("verify", bundle) == 0
    text = capsys.readouterr().out
    assert text.count("not checked") == 2
    assert "pip install 'tinyscene[export]'" in text


@pytest.mark.parametrize("file", ["model.tflite", "golden.npz", "model.onnx"])
def test_one_changed_byte_is_refused(
    bundle: Path, tmp_path: Path, tinyscene: Program, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    shutil.copytree(bundle, tmp_path / "b")
    data = bytearray((bundle / file).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "b" / file).write_bytes(bytes(data))
    assert tinyscene("verify", tmp_path / "b") == 2
    error = capsys.readouterr().err
    assert file in error
    assert error.count("\n") == 1


def test_golden_vectors_are_small_and_repeatable(bundle: Path) -> None:
    data = (bundle / "golden.npz").read_bytes()
    assert len(data) < 2_000_000
    golden = load_golden(bundle / "golden.npz", STUDENT, 3)
    assert dump_golden(golden) == data
    assert set(golden.layers) == {op.output for op in graph_of(bundle).ops}
    np.testing.assert_array_equal(golden.layers["logits"][0], golden.logits[0])


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 broken", b"\x93NUMPY"])
def test_damaged_golden_vectors_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "golden.npz").write_bytes(data)
    with pytest.raises(InputError, match="golden"):
        load_golden(tmp_path / "golden.npz", STUDENT, 3)


def test_golden_vectors_never_unpickle(tmp_path: Path) -> None:
    np.savez(tmp_path / "golden.npz", wave=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="damaged"):
        load_golden(tmp_path / "golden.npz", STUDENT, 3)


def test_golden_vectors_of_another_front_end_are_refused(bundle: Path) -> None:
    with pytest.raises(InputError, match="log_mel is float32"):
        load_golden(bundle / "golden.npz", replace(STUDENT, hop_length=750), 3)
    with pytest.raises(InputError, match="logits is int8"):
        load_golden(bundle / "golden.npz", STUDENT, 7)


def test_clips_are_chosen_for_different_answers() -> None:
    logits = np.eye(5, dtype=np.float32)[[2, 2, 2, 0, 2, 4, 4]]
    assert choose_clips(logits, 4) == [0, 3, 5, 1]
    assert choose_clips(logits[:2], 4) == [0, 1]


def test_comparisons_know_answers() -> None:
    a = np.array([[1, 2], [3, 4]], np.int8)
    assert first_difference("x", a, a.copy()) is None
    b = a.copy()
    b[1, 0] = 7
    assert first_difference("x", a, b) == "x diverges first: 1 of 4 values, at [1, 0] 7 instead of 3"
    assert first_difference("x", a, a[:1]) == "x: shape (1, 2), recorded (2, 2)"
    clear = np.array([[0.0, 1.0]], np.float32)
    assert compare_logits(clear, clear + np.float32(0.05), 0.1)[0]
    assert not compare_logits(clear, clear + np.float32(0.2), 0.1)[0]
    # Within the tolerance a close race may end otherwise, a clear one may not.
    close = np.array([[0.0, 0.05]], np.float32)
    assert compare_logits(close, close[:, ::-1].copy(), 0.1)[0]
    assert not compare_logits(clear, np.array([[np.nan, 1.0]], np.float32), 10.0)[0]
    assert not compare_logits(clear, np.zeros((1, 3), np.float32), 10.0)[0]


def test_layers_that_an_engine_lacks_are_named(bundle: Path) -> None:
    golden = load_golden(bundle / "golden.npz", STUDENT, 3)
    graph = graph_of(bundle)
    fewer = {name: values for name, values in golden.layers.items() if name != "blocks.3.expand"}
    assert compare_layers(graph, golden.layers, golden.layers) is None
    assert compare_layers(graph, golden.layers, fewer) == "blocks.3.expand was not given by the engine"


@pytest.mark.parametrize(("steps", "agrees"), [(0, True), (7, True), (11, False)])
def test_fast_engines_may_leave_the_reference_by_a_few_steps_only(bundle: Path, steps: int, agrees: bool) -> None:
    loaded = load_bundle(bundle)
    golden = load_golden(loaded.file("golden.npz"), loaded.frontend, len(loaded.labels))
    graph = read_tflite(loaded.file("model.tflite").read_bytes())
    quant = graph.output_quant
    found = np.float32(quant.scale) * (golden.logits.astype(np.float32) - quant.zero_point)
    found[0, found[0].argmax()] += np.float32(steps * quant.scale)
    assert against_reference(graph, golden, found)[0] is agrees
