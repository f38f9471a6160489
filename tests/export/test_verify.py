"""Verification: it passes where nothing is wrong, and names what is wrong where something is."""

from __future__ import annotations

import importlib.util
import json
import shutil
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from random_graphs import with_op

from tinyscene.export.engines.catalogue import choose
from tinyscene.export.engines.engine import Engine, RefusedError, Replay
from tinyscene.export.formats.tflite_reader import read_network
from tinyscene.export.formats.tflite_writer import write_tflite
from tinyscene.export.graph import Graph, Quant
from tinyscene.export.verification.divergence import (
    compare_layers,
    compare_logits,
    drifting_layer,
    first_difference,
    order_of,
)
from tinyscene.export.verification.fingerprint import differing_channel, fingerprint
from tinyscene.export.verification.golden import choose_clips, dump_golden, load_golden
from tinyscene.export.verification.verify import against_reference, verify_bundle
from tinyscene.runtime.bundle import Bundle, load_bundle, write_bundle
from tinyscene.runtime.errors import InputError
from tinyscene.runtime.frontend_spec import FrontendSpec

Program = Callable[..., int]


#: Engines that every development install has.
HERE = ("litert-reference", "litert-default", "tflite-micro", "onnx-qdq", "onnx-float")

KEYS = ("name", "labels", "frontend", "quantization", "model", "budget", "metrics", "provenance")


def with_files(source: Path, out: Path, frontend: FrontendSpec | None = None, **files: bytes) -> Bundle:
    """A copy of a bundle with some files replaced and honest hashes: damage that only verification can see."""
    old = load_bundle(source)
    contents = {name: (source / name).read_bytes() for name in old.files}
    contents.update({name.replace("__", "."): data for name, data in files.items()})
    entries = {key: getattr(old, key) for key in KEYS}
    if frontend is not None:
        entries["frontend"] = frontend
    return write_bundle(out, **entries, files=contents)


def graph_of(bundle: Path) -> Graph:
    return read_network((bundle / "model.tflite").read_bytes()).graph


def rewritten(bundle: Path, graph: Graph) -> bytes:
    """`graph` as the model file of `bundle`, labels and front end included."""
    return write_tflite(graph, read_network((bundle / "model.tflite").read_bytes()).metadata)


def failures(bundle: Bundle, *keys: str) -> dict[str, str]:
    checks = verify_bundle(bundle, choose(keys or HERE))
    return {check.name: check.detail for check in checks if check.passed is False}


def test_an_exported_bundle_is_verified(bundle: Path, tinyscene: Program, capsys: pytest.CaptureFixture[str]) -> None:
    assert tinyscene("verify", bundle) == 0
    text = capsys.readouterr().out
    assert "verdict: verified" in text
    assert text.count(" ok: ") == 9
    assert text.count("make engines") == 3
    assert tinyscene("verify", bundle, "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["schema"] for line in lines] == ["tinyscene.check/1"] * 12 + ["tinyscene.verification/1"]
    assert [line["engine"] for line in lines[3:12]] == [engine.key for engine in choose(None)]
    assert lines[-1]["verified"] is True


def test_one_engine_alone(bundle: Path, tinyscene: Program, capsys: pytest.CaptureFixture[str]) -> None:
    assert tinyscene("verify", bundle, "--engine", "tflite-micro") == 0
    text = capsys.readouterr().out
    assert "TFLite-Micro" in text
    assert "ONNX Runtime" not in text
    assert tinyscene("verify", bundle, "--engine", "tflite-runtime") == 3
    assert "make engines" in capsys.readouterr().err
    assert tinyscene("verify", bundle, "--engine", "litert-defaults") == 2
    assert "did you mean 'litert-default'" in capsys.readouterr().err


def plant(graph: Graph, fault: str, layer: str) -> Graph:
    """`graph` with one fault in a layer."""
    index = next(i for i, op in enumerate(graph.ops) if op.name == layer)
    weight = graph.ops[index].weight
    if fault == "weight":
        assert weight is not None
        swapped = weight.copy()
        swapped[[0, 1]] = swapped[[1, 0]]
        return with_op(graph, index, weight=swapped)

    def change(quant: Quant) -> Quant:
        if fault == "scale":
            return replace(quant, scale=float(np.float32(quant.scale * 1.05)))
        return replace(quant, zero_point=quant.zero_point + (3 if quant.zero_point < 100 else -3))

    tensors = tuple(
        replace(t, quant=change(t.quant)) if t.name == layer and t.quant is not None else t for t in graph.tensors
    )
    return Graph(graph.name, tensors, graph.ops, graph.input, graph.output)


@pytest.mark.parametrize("fault", ["scale", "zero point", "weight"])
def test_a_fault_in_the_tflite_is_named_with_both_values(bundle: Path, tmp_path: Path, fault: str) -> None:
    layer = "blocks.2.project"
    wrong = rewritten(bundle, plant(graph_of(bundle), fault, layer))
    damaged = with_files(bundle, tmp_path / "b", model__tflite=wrong)
    found = failures(damaged, "litert-reference", "tflite-micro", "litert-default")
    for name in ("LiteRT reference kernels", "TFLite-Micro"):
        assert found[name].startswith(f"{layer} (CONV_2D) diverges first")
        assert "instead of" in found[name]
    assert layer in found["ONNX constants"]
    if fault != "scale":  # too little for a tolerance
        assert found["LiteRT default kernels"].startswith(f"{layer} (CONV_2D) diverges first")


@pytest.mark.parametrize(
    ("fault", "constant"),
    [("scale", "scale"), ("zero_point", "zero_point"), ("weight", "weight/int"), ("bias", "bias/int")],
)
def test_a_fault_in_the_qdq_model_is_named_with_both_values(
    bundle: Path, tmp_path: Path, fault: str, constant: str
) -> None:
    layer = "blocks.1.expand"
    data = with_initializer(bundle / "model.onnx", f"{layer}/{constant}", spoil)
    damaged = with_files(bundle, tmp_path / "b", model__onnx=data)
    found = failures(damaged, "onnx-qdq", "tflite-micro")
    assert found["ONNX constants"].startswith(f"{layer}/{constant} differs from model.tflite")
    assert "instead of" in found["ONNX constants"]
    assert "TFLite-Micro" not in found
    if fault != "scale":
        assert found["ONNX Runtime, QDQ"].startswith(f"{layer} (CONV_2D) diverges first")


@pytest.mark.parametrize("layer", ["stem.0", "blocks.0.depthwise", "blocks.3.project", "head"])
def test_a_fault_in_the_float_model_is_named_with_both_values(bundle: Path, tmp_path: Path, layer: str) -> None:
    for number, change in enumerate([spoil, lambda values: values * np.float32(1.02)]):
        data = with_initializer(bundle / "model_float.onnx", f"{layer}/weight", change)
        damaged = with_files(bundle, tmp_path / f"b{number}", model_float__onnx=data)
        (line,) = failures(damaged, "onnx-float").values()
        assert line.startswith(f"{layer} (")
        assert "instead of" in line


def with_initializer(file: Path, name: str, change: Callable[[NDArray[Any]], NDArray[Any]]) -> bytes:
    """An ONNX file with one of its constants changed."""
    model = onnx.load(file)
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    changed = change(onnx.numpy_helper.to_array(tensor)).astype(onnx.numpy_helper.to_array(tensor).dtype)
    tensor.CopyFrom(onnx.numpy_helper.from_array(changed, name))
    return bytes(model.SerializeToString())


def spoil(values: NDArray[Any]) -> NDArray[Any]:
    """One value off, or two output channels swapped where there are several."""
    if values.ndim == 0:
        return values + 3 if values.dtype == np.int8 and values < 100 else values * np.float32(1.05)
    return values[::-1]


@pytest.mark.parametrize(
    ("field", "value"),
    [("hop_length", 750), ("log_offset", 2e-5), ("fmax_hz", 15_000.0), ("norm_shift", 4.4), ("preemphasis", 0.95)],
)
def test_a_changed_field_of_the_front_end_is_named(bundle: Path, tmp_path: Path, field: str, value: float) -> None:
    old = load_bundle(bundle)
    damaged = with_files(bundle, tmp_path / "b", replace(old.frontend, **{field: value}))  # type: ignore[arg-type]
    found = failures(damaged, "litert-reference")
    recorded = getattr(old.frontend, field)
    assert f"{field}: {value} != {recorded} in the golden vectors" in found["front end"]
    assert f"{field}: {value} != {recorded} in model.tflite" in found["front end"]


def test_swapped_labels_are_named(bundle: Path, tmp_path: Path) -> None:
    old = load_bundle(bundle)
    entries = {key: getattr(old, key) for key in KEYS} | {"labels": old.labels[::-1]}
    contents = {name: (bundle / name).read_bytes() for name in old.files}
    damaged = write_bundle(tmp_path / "b", **entries, files=contents)
    assert "labels: ['tram', 'park', 'bus']" in failures(damaged, "litert-reference")["front end"]


def test_another_input_scale_breaks_the_contract(
    bundle: Path, tmp_path: Path, tinyscene: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = graph_of(bundle)
    pads = {op.output for op in graph.ops if op.kind == "PAD" and op.inputs[0] == graph.input}
    tensors = tuple(replace(t, quant=Quant(0.5, 3)) if t.name in {graph.input, *pads} else t for t in graph.tensors)
    wrong = Graph(graph.name, tensors, graph.ops, graph.input, graph.output)
    damaged = with_files(bundle, tmp_path / "b", model__tflite=rewritten(bundle, wrong))
    assert "the contract" in failures(damaged, "litert-reference")["input quantisation"]
    assert tinyscene("verify", tmp_path / "b", "--engine", "litert-reference") == 1
    assert "verdict: FAILED (input quantisation" in capsys.readouterr().out


def test_another_model_in_its_place_is_noticed(bundle: Path, tmp_path: Path) -> None:
    damaged = with_files(bundle, tmp_path / "b", model_float__onnx=(bundle / "model.onnx").read_bytes())
    assert list(failures(damaged, "onnx-float", "onnx-qdq")) == ["ONNX Runtime, float"]
    damaged = with_files(bundle, tmp_path / "c", model__onnx=b"not onnx")
    found = failures(damaged, "onnx-qdq")
    assert "ONNX model is damaged" in found["ONNX Runtime, QDQ"]
    assert "no ONNX file" in found["ONNX constants"]


def test_a_different_front_end_is_noticed(bundle: Path, tmp_path: Path) -> None:
    golden = load_golden(bundle / "golden.npz")
    moved = replace(golden, log_mel=golden.log_mel + np.float32(0.01))
    found = failures(with_files(bundle, tmp_path / "b", golden__npz=dump_golden(moved)), "litert-reference")
    assert "1.0e-02" in found["front end"]


def test_a_missing_engine_is_listed_and_does_not_fail(
    bundle: Path, tinyscene: Program, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n: None if n in ("onnxruntime", "tflite_micro") else genuine(n)
    )
    assert tinyscene("verify", bundle) == 0
    text = capsys.readouterr().out
    assert text.count("not checked") == 6
    assert text.count("pip install 'tinyscene[export]'") == 2
    assert "pip install 'tinyscene[micro]'" in text


def test_an_engine_of_another_package_that_is_wrong_is_named(bundle: Path) -> None:
    reference = choose(["litert-reference"])[0]

    def off_by_one(model: bytes, inputs: NDArray[Any], layers: bool, digests: bool) -> Replay:
        replay = reference.replay(model, inputs, layers=True)
        assert replay.layers is not None
        wrong = {name: values.copy() for name, values in replay.layers.items()}
        wrong["blocks.0.project"][0, 1, 2, 3] ^= 1
        return Replay(replay.logits, wrong)

    def broken(model: bytes, inputs: NDArray[Any], layers: bool, digests: bool) -> Replay:
        raise ZeroDivisionError("no reason")

    engines = [Engine("c", "C engine", True, "", off_by_one), Engine("d", "D engine", True, "", broken)]
    checks = verify_bundle(load_bundle(bundle), engines)[-2:]
    golden = load_golden(bundle / "golden.npz").layers["blocks.0.project"][0, 1, 2, 3]
    assert checks[0].diverges is not None
    assert checks[0].diverges.tensor == "blocks.0.project"
    assert checks[0].diverges.place == (0, 1, 2, 3)
    assert (checks[0].diverges.found, checks[0].diverges.expected) == (golden ^ 1, golden)
    assert checks[1].detail == "ZeroDivisionError: no reason"
    assert [check.passed for check in checks] == [False, False]


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
    golden = load_golden(bundle / "golden.npz")
    assert dump_golden(golden) == data
    assert set(golden.layers) == {op.output for op in graph_of(bundle).ops}
    np.testing.assert_array_equal(golden.layers["logits"][0], golden.logits[0])


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 broken", b"\x93NUMPY"])
def test_damaged_golden_vectors_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "golden.npz").write_bytes(data)
    with pytest.raises(InputError, match="golden"):
        load_golden(tmp_path / "golden.npz")


def test_golden_vectors_never_unpickle(tmp_path: Path) -> None:
    np.savez(tmp_path / "golden.npz", wave=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="damaged"):
        load_golden(tmp_path / "golden.npz")


def test_golden_vectors_that_do_not_fit_each_other_are_refused(bundle: Path, tmp_path: Path) -> None:
    golden = load_golden(bundle / "golden.npz")
    for wrong, message in (
        (replace(golden, frontend=replace(golden.frontend, hop_length=750)), "log_mel is float32"),
        (replace(golden, labels=(*golden.labels, "beach")), "logits is int8"),
        (replace(golden, float_logits=golden.float_logits * np.float32("nan")), "not finite"),
        (replace(golden, layers={}), "no int8 layers"),
        (replace(golden, layers={"a": np.zeros(3, np.float32)}), "no int8 layers"),
        (replace(golden, fingerprints={"a": np.zeros((2, 3), np.float32)}), "fingerprints of another form"),
    ):
        (tmp_path / "golden.npz").write_bytes(dump_golden(wrong))
        with pytest.raises(InputError, match=message):
            load_golden(tmp_path / "golden.npz")


def test_golden_vectors_of_an_older_form_are_refused(bundle: Path, tmp_path: Path) -> None:
    with np.load(bundle / "golden.npz") as archive:
        np.savez(tmp_path / "golden.npz", **{name: archive[name] for name in archive.files if name != "contract"})
    with pytest.raises(InputError, match="it lacks 'contract'"):
        load_golden(tmp_path / "golden.npz")


@pytest.mark.parametrize(
    ("header", "size", "message"),
    [
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (1 << 40,), }", 64, "no plain array"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (8589934592,), }", 64, "of its stated shape"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (-4, -4), }", 64, "no plain array"),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", 8, "no plain array"),
        ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", 4, "no plain array"),
        ("(" * 200, 4, "no plain array"),
        ("{'descr': '<f4'}", 4, "no plain array"),
    ],
)
def test_lies_in_an_array_header_are_refused(tmp_path: Path, header: str, size: int, message: str) -> None:
    text = header.encode() + b" " * (-(len(header) + 11) % 64) + b"\n"
    data = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(size)
    with zipfile.ZipFile(tmp_path / "golden.npz", "w") as archive:
        archive.writestr("wave.npy", data)
    with pytest.raises(InputError, match=message):
        load_golden(tmp_path / "golden.npz")


def test_a_zip_bomb_is_refused_before_it_unpacks(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "golden.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(f"layer/{number}.npy", bytes(40 << 20))
    assert (tmp_path / "golden.npz").stat().st_size < 1 << 20
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"damaged \("):
            load_golden(tmp_path / "golden.npz")
        assert tracemalloc.get_traced_memory()[1] < 200 << 20
    finally:
        tracemalloc.stop()


def test_clips_are_chosen_for_different_answers() -> None:
    logits = np.eye(5, dtype=np.float32)[[2, 2, 2, 0, 2, 4, 4]]
    assert choose_clips(logits, 4) == [0, 3, 5, 1]
    assert choose_clips(logits[:2], 4) == [0, 1]


def test_comparisons_know_answers() -> None:
    a = np.array([[1, 2], [3, 4]], np.int8)
    assert first_difference("x", a, a.copy()) is None
    b = a.copy()
    b[1, 0] = 7
    assert str(first_difference("x", a, b)) == "x diverges first: 1 of 4 values, at [1, 0] 7 instead of 3"
    assert str(first_difference("x", a, a[:1])) == "x: int8 (1, 2), recorded int8 (2, 2)"
    assert str(first_difference("x", a, a.astype(np.int16))) == "x: int16 (2, 2), recorded int8 (2, 2)"
    clear = np.array([[0.0, 1.0]], np.float32)
    assert compare_logits(clear, clear + np.float32(0.05), 0.1)[0]
    assert not compare_logits(clear, clear + np.float32(0.2), 0.1)[0]
    # Within the tolerance a close race may end otherwise, a clear one may not.
    close = np.array([[0.0, 0.05]], np.float32)
    assert compare_logits(close, close[:, ::-1].copy(), 0.1)[0]
    assert not compare_logits(clear, np.array([[np.nan, 1.0]], np.float32), 10.0)[0]
    assert not compare_logits(clear, np.zeros((1, 3), np.float32), 10.0)[0]


def test_layers_that_an_engine_lacks_are_named(bundle: Path) -> None:
    golden = load_golden(bundle / "golden.npz")
    order = order_of(graph_of(bundle))
    fewer = {name: values for name, values in golden.layers.items() if name != "blocks.3.expand"}
    assert compare_layers(order, golden.layers, golden.layers) is None
    assert str(compare_layers(order, golden.layers, fewer)) == "blocks.3.expand was not given by the engine"
    assert drifting_layer(order, golden.layers, fewer, {}) is None


def test_drift_is_judged_by_the_channel_and_its_noise() -> None:
    order = [("a", "a (CONV_2D)"), ("b", "b (CONV_2D)")]
    expected = {name: np.zeros((1, 4, 4, 8), np.int8) for name in "ab"}
    found = {name: values.copy() for name, values in expected.items()}
    found["b"][..., 5] = 2  # one channel of eight
    drift = drifting_layer(order, expected, found, {})
    assert drift is not None
    assert (drift.tensor, drift.found, drift.expected) == ("b", 2, 0)
    assert drift.place[-1] == 5
    assert drifting_layer(order, expected, found, {"b": 0.3}) is None


def test_fingerprints_see_what_moves_and_what_changes() -> None:
    values = np.random.default_rng(0).normal(size=(1, 16, 8, 4)).astype(np.float32)
    expected = fingerprint(values)
    assert differing_channel(expected, fingerprint(values * np.float32(1 + 1e-6))) is None
    moved = values.copy()
    moved[..., 2] = moved[:, ::-1, :, 2]
    assert (differing_channel(expected, fingerprint(moved)) or (0, 0))[1] == 2
    np.testing.assert_allclose(fingerprint(moved)[0], expected[0], atol=1e-6)  # the plain mean alone would not see it
    scaled = values.copy()
    scaled[..., 3] *= np.float32(1.01)
    assert (differing_channel(expected, fingerprint(scaled)) or (0, 0))[1] == 3
    broken = values.copy()
    broken[0, 0, 0, 1] = np.nan
    assert (differing_channel(expected, fingerprint(broken)) or (0, 0))[1] == 1


@pytest.mark.parametrize(("steps", "agrees"), [(0, True), (7, True), (11, False)])
def test_fast_engines_may_leave_the_reference_by_a_few_steps_only(bundle: Path, steps: int, agrees: bool) -> None:
    loaded = load_bundle(bundle)
    golden = load_golden(loaded.file("golden.npz"))
    graph = graph_of(bundle)
    quant = graph.output_quant
    found = np.float32(quant.scale) * (golden.logits.astype(np.float32) - quant.zero_point)
    found[0, found[0].argmax()] += np.float32(steps * quant.scale)
    assert against_reference(graph, golden, found)[0] is agrees


def test_an_engine_may_lack_an_op_unless_it_was_asked_for(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: bytes, inputs: NDArray[Any], layers: bool, digests: bool) -> Replay:
        raise RefusedError("X cannot run the model (no op FOO)")

    engines = [Engine(key, key, True, "", refuse) for key in ("tflite-micro", "litert-reference")]
    assert [check.passed for check in verify_bundle(load_bundle(bundle), engines)[-2:]] == [False, False]
    monkeypatch.setattr("tinyscene.export.verification.verify.choose", lambda keys: engines)
    checks = verify_bundle(load_bundle(bundle))[-2:]
    assert [check.passed for check in checks] == [None, False]
    assert checks[0].detail == "X cannot run the model (no op FOO)"


def test_micro_is_not_held_to_bits_that_it_computes_otherwise(bundle: Path) -> None:
    micro, reference = choose(["tflite-micro", "litert-reference"])
    graph = graph_of(bundle)
    assert micro.exact_on(graph)
    name = graph.ops[3].output
    wide = tuple(
        replace(t, quant=Quant(1.0, 0, 16)) if t.name == name and t.quant is not None else t for t in graph.tensors
    )
    rooted = Graph(graph.name, wide, with_op(graph, 3, kind="RSQRT").ops, graph.input, graph.output)
    assert not micro.exact_on(rooted)
    assert reference.exact_on(rooted)
    assert micro.exact_on(with_op(graph, 3, kind="RSQRT"))
