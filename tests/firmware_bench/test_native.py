"""The generated C as an engine: LiteRT's bits in every form, kept libraries that are whole, models that are not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from importlib.metadata import entry_points
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from generated import Reference, adversarial
from numpy.typing import NDArray

from tinyscene.export.engines import catalogue
from tinyscene.export.engines.catalogue import choose
from tinyscene.export.engines.engine import EngineError, RefusedError
from tinyscene.export.formats.tflite_writer import write_tflite
from tinyscene.export.graph import Graph
from tinyscene.export.verification.golden import to_integers
from tinyscene.firmware_bench.generator import GeneratedModel, generate
from tinyscene.firmware_bench.native import bench, library
from tinyscene.firmware_bench.native.engine import NativeEngine, open_native
from tinyscene.firmware_bench.native.library import shared_library
from tinyscene.firmware_bench.native.model import NativeModel, TappedModel
from tinyscene.firmware_bench.native.rows import rows
from tinyscene.runtime.bench.rows import context
from tinyscene.runtime.bundle import Bundle, Quantization, write_bundle
from tinyscene.runtime.cli import main
from tinyscene.runtime.engines.catalogue import open_named_engine
from tinyscene.runtime.engines.litert import LiteRTEngine
from tinyscene.runtime.errors import InputError, UnavailableError
from tinyscene.runtime.frontend_spec import FrontendSpec

#: 32 frames of 64 bands: what the small networks take.
SPEC = FrontendSpec(sample_rate_hz=16_000, clip_samples=15_501, n_fft=1024, win_length=800, n_mels=64, fmax_hz=8_000.0)


@pytest.fixture(scope="module", autouse=True)
def compiler() -> None:
    """Every test here compiles."""
    try:
        library._toolchain()
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def generated(frozen_graph: Graph) -> GeneratedModel:
    return generate(frozen_graph, "host")


@pytest.fixture(scope="module")
def native(generated: GeneratedModel, frozen_graph: Graph) -> NativeModel:
    return NativeModel(generated, frozen_graph)


@pytest.fixture(scope="module")
def inputs(frozen_graph: Graph, small_inputs: NDArray[np.float32]) -> NDArray[np.int8]:
    """Log-mels and what no front end gives, (n, 64, 32, 1)."""
    real = to_integers(small_inputs, frozen_graph.input_quant)[..., None]
    return np.concatenate([real, adversarial(real.shape[1:], 20)])


@pytest.fixture(scope="module")
def bundle(frozen_graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("native") / "bundle", frozen_graph)


def make_bundle(path: Path, graph: Graph, output_zero_point: int | None = None) -> Bundle:
    source, target = graph.input_quant, graph.output_quant
    zero_point = target.zero_point if output_zero_point is None else output_zero_point
    quantization = Quantization(source.scale, source.zero_point, target.scale, zero_point, method="ptq")
    return write_bundle(
        path,
        name="small",
        labels=("bus", "metro", "park", "tram"),
        frontend=SPEC,
        quantization=quantization,
        model={},
        budget={},
        metrics={},
        provenance={},
        files={"model.tflite": write_tflite(graph)},
    )


def test_every_form_gives_the_reference_kernels_bytes(
    native: NativeModel, frozen_graph: Graph, inputs: NDArray[np.int8]
) -> None:
    reference = Reference(frozen_graph)
    expected = [reference.run(row)[frozen_graph.output].reshape(-1) for row in inputs]
    assert len({row.tobytes() for row in expected}) > len(inputs) // 2
    best = native.kernels
    used = [form for form in native.forms() if native.use(form)]
    assert used[0] == best
    assert used[-1] == "plain"
    for form in used:
        assert native.use(form)
        assert native.kernels == form
        for row, wanted in zip(inputs, expected, strict=True):
            np.testing.assert_array_equal(native.run(row), wanted, err_msg=form)
    assert not native.use("avx1024")
    assert native.kernels == used[-1]
    native.use(best)


@pytest.mark.parametrize("name", ["frozen_graph", "same_graph", "grn_graph"])
def test_the_debug_build_shows_every_tensor(
    name: str, request: pytest.FixtureRequest, small_inputs: NDArray[np.float32]
) -> None:
    graph: Graph = request.getfixturevalue(name)
    tapped = TappedModel(generate(graph, "host"), graph)
    row = to_integers(small_inputs, graph.input_quant)[3][..., None]
    expected = Reference(graph).run(row)
    logits, layers = tapped.run(row)
    assert list(layers) == [op.output for op in graph.ops]
    np.testing.assert_array_equal(logits, expected[graph.output].reshape(-1))
    for layer, values in layers.items():
        np.testing.assert_array_equal(values, expected[layer], err_msg=layer)


def test_the_published_network_on_real_scenes(published_graph: Graph, real_log_mels: NDArray[np.float32]) -> None:
    native = NativeModel(generate(published_graph, "host"), published_graph)
    reference = Reference(published_graph)
    rows_ = [*to_integers(real_log_mels[::10], published_graph.input_quant)[..., None], *adversarial((256, 64, 1), 10)]
    for row in rows_:
        np.testing.assert_array_equal(native.run(row), reference.run(row)[published_graph.output].reshape(-1))


def test_any_layout_of_an_input_is_taken_and_another_shape_refused(
    native: NativeModel, inputs: NDArray[np.int8]
) -> None:
    row = inputs[0]
    turned = np.asfortranarray(row)
    assert not turned.flags.c_contiguous
    np.testing.assert_array_equal(native.run(turned), native.run(row))
    with pytest.raises(InputError, match=r"takes int8 \[64, 32, 1\], got int8 \[32, 64, 1\]"):
        native.run(row.transpose(1, 0, 2))
    with pytest.raises(InputError, match="got int16"):
        native.run(row.astype(np.int16))  # type: ignore[arg-type]


def test_objects_run_in_threads_of_their_own(
    generated: GeneratedModel, frozen_graph: Graph, inputs: NDArray[np.int8]
) -> None:
    models = [NativeModel(generated, frozen_graph) for _ in range(4)]
    expected = [models[0].run(row).copy() for row in inputs]
    wrong: list[int] = []

    def work(model: NativeModel) -> None:
        for _ in range(20):
            for number, row in enumerate(inputs):
                if not np.array_equal(model.run(row), expected[number]):
                    wrong.append(number)

    threads = [threading.Thread(target=work, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_runtime_finds_the_engine(bundle: Bundle, small_inputs: NDArray[np.float32]) -> None:
    engine = open_named_engine(bundle, "native")
    assert isinstance(engine, NativeEngine)
    assert engine.name.startswith("native C (")
    reference = LiteRTEngine(bundle.file("model.tflite"), "reference")
    for mel in small_inputs:
        np.testing.assert_array_equal(engine.logits(mel), reference.logits(mel))
    with pytest.raises(InputError, match=r"takes int8 \[1, 64, 32, 1\], got float32"):
        engine.run_int8(small_inputs[:1, ..., None])  # type: ignore[arg-type]
    assert isinstance(open_named_engine(bundle), LiteRTEngine)
    with pytest.raises(InputError, match=r"unknown engine 'nativ': did you mean 'native'\?"):
        open_named_engine(bundle, "nativ")
    with pytest.raises(InputError, match="--kernels reference chooses LiteRT's kernels"):
        open_named_engine(bundle, "native", "reference")
    with pytest.raises(InputError, match="threads is 2, expected 1"):
        open_named_engine(bundle, "native", threads=2)


def test_a_model_that_breaks_its_contract_is_refused(frozen_graph: Graph, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="differ in output_zero_point"):
        open_native(make_bundle(tmp_path / "b", frozen_graph, output_zero_point=99))
    (tmp_path / "model.tflite").write_bytes(write_tflite(frozen_graph)[:300])
    with pytest.raises(InputError):
        NativeEngine(tmp_path / "model.tflite")
    with pytest.raises(InputError, match="no model at"):
        NativeEngine(tmp_path / "nothing.tflite")


def test_without_a_compiler_the_line_that_installs_one(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("tinyscene.firmware_bench.targets.toolchains.zig_command", lambda: None)
    with pytest.raises(UnavailableError, match=r"pip install 'tinyscene\[firmware\]'"):
        open_native(bundle)
    row = next(iter(_guarded_rows(bundle)))
    assert "not measured" in row


def _guarded_rows(bundle: Bundle) -> list[str]:
    from tinyscene.runtime.bench.rows import _guarded

    return [row.note for row in _guarded("native", lambda: rows(context(bundle, None, 0.01)))]


def test_listen_says_what_it_always_says(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import soundfile

    noise = 0.1 * np.random.default_rng(0).standard_normal(3 * SPEC.sample_rate_hz)
    soundfile.write(tmp_path / "noise.wav", noise, SPEC.sample_rate_hz)
    heard = []
    for words in (["--engine", "native"], ["--kernels", "reference"]):
        assert main(["listen", str(bundle.path), "--source", str(tmp_path / "noise.wav"), "--json", *words]) == 0
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        heard.append([line["probabilities"] for line in lines if line["schema"] == "tinyscene.decision/2"])
    assert len(heard[0]) > 5
    assert heard[0] == heard[1]
    assert main(["listen", str(bundle.path), "--source", str(tmp_path / "noise.wav"), "--engine", "natif"]) == 2
    assert "did you mean 'native'" in capsys.readouterr().err


def test_bench_has_a_row(bundle: Bundle) -> None:
    assert "native" in {entry.name for entry in entry_points(group="tinyscene.bench")}
    (row,) = rows(context(bundle, None, 0.05))
    assert row.name == "native C, int8"
    assert row.p50_ms is not None
    assert 0 < row.p50_ms < 1000


def test_latencies_side_by_side(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main([str(bundle.path), "--rounds", "1", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0]["name"] == bench.BASELINE
    assert lines[0]["ratio"] == 1.0
    assert lines[-1]["name"] == bench.REFERENCE
    assert len(lines) >= 3
    assert all(line["differing"] == 0 for line in lines[1:])
    assert all(line["median_ms"] > 0 for line in lines)
    assert bench.main([str(bundle.path), "--rounds", "0"]) == 2
    assert bench.main([str(bundle.path / "nothing")]) == 2


class TestKeptLibraries:
    """The cache: shared_library's folder, what is in it, and what somebody did to it."""

    FILES: ClassVar[dict[str, str | bytes]] = {"a.c": "int answer(void);\nint answer(void) { return 42; }\n"}

    @pytest.fixture(autouse=True)
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("TINYSCENE_CACHE", str(tmp_path / "cache"))
        return tmp_path / "cache" / "native"

    def test_what_is_whole_is_taken_again(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = shared_library(self.FILES)
        assert first.parent == cache
        assert cache.stat().st_mode & 0o777 == 0o700
        monkeypatch.setattr(library, "build", None)  # nothing is compiled again
        assert shared_library(self.FILES) == first

    def test_another_text_or_define_is_another_library(self) -> None:
        found = {
            shared_library(self.FILES),
            shared_library(self.FILES, ("A",)),
            shared_library({"a.c": f"{self.FILES['a.c']!s}\n"}),
            shared_library({"b.c": self.FILES["a.c"]}),
        }
        assert len({path.name.partition("-")[0] for path in found}) == 4

    @pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"", lambda data: data[:-1] + b"\x01"])
    def test_what_is_damaged_is_made_again(self, damage: object) -> None:
        path = shared_library(self.FILES)
        whole = path.read_bytes()
        path.chmod(0o700)
        path.write_bytes(damage(whole))  # type: ignore[operator]
        again = shared_library(self.FILES)
        assert again.read_bytes() == whole

    def test_a_folder_that_others_can_write_to_is_not_used(self, cache: Path) -> None:
        cache.mkdir(parents=True)
        cache.chmod(0o777)
        path = shared_library(self.FILES)
        assert path.parent != cache
        assert list(cache.iterdir()) == []
        assert path.parent.stat().st_mode & 0o077 == 0

    def test_a_link_to_another_folder_is_not_used(self, cache: Path, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        cache.parent.mkdir()
        cache.symlink_to(tmp_path / "other")
        assert shared_library(self.FILES).parent.resolve() != tmp_path / "other"

    def test_processes_that_build_at_once_all_get_it(self, cache: Path) -> None:
        script = (
            "from tinyscene.firmware_bench.native.library import shared_library\n"
            "import ctypes\n"
            f"print(ctypes.CDLL(str(shared_library({self.FILES!r}))).answer())\n"
        )
        children = [
            subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=os.environ.copy())
            for _ in range(3)
        ]
        assert [child.communicate(timeout=60)[0].strip() for child in children] == [b"42"] * 3
        assert not [path for path in cache.iterdir() if path.suffix != ".so"]


class TestVerifying:
    """`verify --engine c`: in a process of its own."""

    def test_it_replays_byte_for_byte_what_the_reference_does(
        self, frozen_graph: Graph, inputs: NDArray[np.int8]
    ) -> None:
        c, reference = choose(["c", "litert-reference"])
        assert c.exact
        model = write_tflite(frozen_graph)
        found = c.replay(model, inputs[:4], layers=True, digests=True)
        wanted = reference.replay(model, inputs[:4], layers=True, digests=True)
        np.testing.assert_array_equal(found.logits, wanted.logits)
        assert found.logits.shape == wanted.logits.shape
        np.testing.assert_array_equal(found.digests, wanted.digests)  # type: ignore[arg-type]
        assert found.layers is not None
        assert wanted.layers is not None
        assert list(found.layers) == list(wanted.layers)
        for name, values in wanted.layers.items():
            np.testing.assert_array_equal(found.layers[name], values, err_msg=name)
        assert c.replay(model, inputs[:2]).layers is None

    def test_what_it_cannot_run_is_refused(self, frozen_graph: Graph, inputs: NDArray[np.int8]) -> None:
        (c,) = choose(["c"])
        with pytest.raises(RefusedError, match="int8 from end to end"):
            c.replay(write_tflite(frozen_graph), inputs[:1].astype(np.int16))
        with pytest.raises(EngineError, match=r"takes int8 \[64, 32, 1\]"):
            c.replay(write_tflite(frozen_graph), inputs[:1, :32])
        with pytest.raises(InputError):
            c.replay(write_tflite(frozen_graph)[:500], inputs[:1])

    def test_code_that_crashes_ends_the_child_alone(
        self, frozen_graph: Graph, inputs: NDArray[np.int8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A compiler that makes every network jump to nowhere."""
        cc = tmp_path / "bin" / "gcc"
        cc.parent.mkdir()
        real = library._toolchain().compiler[0]
        cc.write_text(
            f'#!/bin/sh\ncase "$*" in *-dumpfullversion*) exec {real} "$@";; esac\n'
            f"printf 'void ts_model_run(void) {{ __builtin_trap(); }}\\n"
            "const char *ts_host_kernels(void) { return 0; }\\nconst char *ts_host_form_name(int i)"
            " { (void)i; return 0; }\\n' > crash.c\n"
            f"exec {real} -shared -fPIC crash.c -o out.elf\n"
        )
        cc.chmod(0o700)
        monkeypatch.setenv("PATH", f"{cc.parent}:{os.environ['PATH']}")
        monkeypatch.setenv("TINYSCENE_CACHE", str(tmp_path / "cache"))
        (c,) = choose(["c"])
        with pytest.raises(EngineError, match=r"generated C crashed \(SIG(ILL|TRAP|ABRT)\)"):
            c.replay(write_tflite(frozen_graph), inputs[:1])

    def test_it_is_in_the_catalogue(self) -> None:
        assert catalogue.catalogue()["c"].file == "model.tflite"
