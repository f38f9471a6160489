"""The LiteRT engine on a network whose answer is known, and every model it has to refuse."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from band_network import BandNetwork, band_network, write_band_bundle

from tinyscene.runtime.bundle import Bundle, load_bundle
from tinyscene.runtime.engines import litert as engine_module
from tinyscene.runtime.engines.litert import Kernels, LiteRTEngine, open_engine
from tinyscene.runtime.errors import InputError, UnavailableError
from tinyscene.runtime.frontend_spec import CP_RESNET, STUDENT


def inputs(network: BandNetwork, seed: int) -> np.ndarray:
    """Random int8 windows with one band louder than the others, so that the answers differ."""
    q = np.random.default_rng(seed).integers(-128, 128, (1, *network.weight.shape[1:])).astype(np.int8)
    rows = np.array_split(np.arange(q.shape[1]), 3)[seed % 3]
    q[:, rows] = np.clip(q[:, rows].astype(int) + 20 + 3 * seed, -128, 127)
    return q


@pytest.mark.parametrize("kernels", ["default", "reference"])
def test_runs_the_network(bundle: Bundle, kernels: Kernels) -> None:
    network, engine = band_network(), open_engine(bundle, kernels)
    assert engine.name == f"LiteRT {kernels}"
    winners = set()
    for seed in range(12):
        q = inputs(network, seed)
        output = engine.run_int8(q)
        exact = network.expected_logits(q) / network.output_scale + network.output_zero_point
        assert output.shape == (1, 3)
        assert output.dtype == np.int8
        # Requantisation rounds twice (LiteRT's reference), which is at most one step off.
        assert np.abs(output[0] - np.clip(exact, -128, 127)).max() < 1.01
        winners.add(int(output.argmax()))
    assert winners == {0, 1, 2}


@pytest.mark.parametrize("kernels", ["default", "reference"])
def test_logits_are_the_real_numbers_of_the_int8_answer(bundle: Bundle, kernels: Kernels) -> None:
    network, engine = band_network(), open_engine(bundle, kernels)
    log_mel = np.random.default_rng(0).uniform(-1, 1, (256, 64)).astype(np.float32)
    log_mel[100:150] += 1
    # Quantised here by hand, in float64: no value lies on a tie.
    q = np.clip(np.rint(log_mel.astype(np.float64) / network.input_scale) + network.input_zero_point, -128, 127)
    np.testing.assert_allclose(
        engine.logits(log_mel), network.expected_logits(q[None, :, :, None]), atol=1.01 * network.output_scale
    )


def test_results_do_not_share_memory(bundle: Bundle) -> None:
    network, engine = band_network(), open_engine(bundle)
    first = engine.run_int8(inputs(network, 0))
    kept = first.copy()
    engine.run_int8(inputs(network, 1))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("window", [np.zeros((1, 256, 65, 1), np.int8), np.zeros((1, 256, 64, 1), np.float32)])
def test_another_shape_or_type_is_refused(bundle: Bundle, window: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"takes int8 \[1, 256, 64, 1\], got"):
        open_engine(bundle).run_int8(window)


@pytest.mark.parametrize("kept", [0.0, 0.0001, 0.3, 0.7, 0.9, 0.99])
def test_a_truncated_model_is_refused(bundle: Bundle, tmp_path: Path, kept: float) -> None:
    data = bundle.file("model.tflite").read_bytes()
    model = tmp_path / "model.tflite"
    model.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(InputError, match=r"model\.tflite is not a TFLite model that can run"):
        LiteRTEngine(model)


def test_a_foreign_file_a_missing_file_and_bad_options_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "text.tflite").write_text("not a flatbuffer\n" * 100)
    with pytest.raises(InputError, match="not a TFLite model"):
        LiteRTEngine(tmp_path / "text.tflite")
    with pytest.raises(InputError, match="no model at"):
        LiteRTEngine(tmp_path / "nothing.tflite")
    with pytest.raises(InputError, match="unknown kernels 'fast', expected one of default, reference"):
        open_engine(bundle, "fast")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="threads is 0"):
        open_engine(bundle, threads=0)


def test_a_bundle_with_one_changed_byte_is_refused(tmp_path: Path) -> None:
    path = write_band_bundle(tmp_path / "bands", band_network()).path
    data = bytearray((path / "model.tflite").read_bytes())
    data[len(data) // 2] ^= 1
    (path / "model.tflite").write_bytes(data)
    with pytest.raises(InputError, match=r"model\.tflite was changed or damaged"):
        load_bundle(path)


@pytest.mark.parametrize(
    ("field", "spec", "found", "promised"),
    [
        ("n_frames", CP_RESNET, 64, 43),
        ("n_mels", replace(STUDENT, n_mels=128), 256, 128),
    ],
)
def test_a_model_for_another_front_end_is_refused(tmp_path: Path, field: str, spec, found: int, promised: int) -> None:  # type: ignore[no-untyped-def]
    bundle = write_band_bundle(tmp_path / "bands", band_network(STUDENT), spec)
    with pytest.raises(InputError, match=rf"differ in {field}: .* has {found}, the bundle's contract says {promised}"):
        open_engine(bundle)


@pytest.mark.parametrize(
    ("field", "value"),
    [("input_scale", 0.021), ("input_zero_point", 9), ("output_scale", 0.26), ("output_zero_point", -21)],
)
def test_a_manifest_with_another_quantisation_is_refused(tmp_path: Path, field: str, value: float) -> None:
    bundle = write_band_bundle(tmp_path / "bands", band_network(), **{field: value})
    with pytest.raises(InputError, match=f"differ in {field}: "):
        open_engine(bundle)


def test_a_manifest_with_other_labels_is_refused(bundle: Bundle) -> None:
    with pytest.raises(InputError, match=r"differ in number of labels: .* has 3, the bundle's contract says 2"):
        open_engine(replace(bundle, labels=("low", "high")))


def test_without_an_interpreter_the_install_line_is_shown(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ai_edge_litert", "tflite_runtime"):
        monkeypatch.setitem(sys.modules, f"{name}.interpreter", None)
    with pytest.raises(UnavailableError, match="run `pip install ai-edge-litert`"):
        engine_module.open_engine(bundle)
