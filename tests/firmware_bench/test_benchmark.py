"""The whole network of base width 32 on every part: every byte, and no more instructions and memory than promised."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tinyscene.export.formats.metadata import Metadata
from tinyscene.export.formats.model_file import ModelFile
from tinyscene.export.formats.tflite_writer import write_tflite
from tinyscene.export.graph import Graph
from tinyscene.export.verification.stimuli import stimuli
from tinyscene.firmware_bench.benchmark.bakenn import pooled
from tinyscene.firmware_bench.benchmark.baselines import in_emulation
from tinyscene.firmware_bench.benchmark.bench import SCHEMA, Result, fields
from tinyscene.firmware_bench.benchmark.inputs import Inputs, gather
from tinyscene.firmware_bench.benchmark.measure import Cost, measure
from tinyscene.firmware_bench.benchmark.table import baselines_table, costs_table, profile_table
from tinyscene.firmware_bench.targets.target import TARGETS
from tinyscene.runtime.cli import main
from tinyscene.runtime.engines.litert import LiteRTEngine
from tinyscene.runtime.errors import UnavailableError
from tinyscene.runtime.frontend import StreamingLogMel
from tinyscene.runtime.frontend_spec import STUDENT
from tinyscene.runtime.int8 import quantize

#: Most instructions of one inference, and most of them for each one that bakenn with CMSIS-NN needs.
LIMITS = {"cortex-m4": (62e6, 0.5), "cortex-m7": (62e6, 0.5), "cortex-m33": (62e6, 0.5), "cortex-m55": (14e6, 0.33)}
MOST = {**{key: limit for key, (limit, _) in LIMITS.items()}, "rv32": 140e6}

PARTS = tuple(key for key, target in TARGETS.items() if target.is_bare)


@pytest.fixture(scope="session")
def published(published_graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    """The published student as a .tflite that carries its contract."""
    labels = tuple(f"scene {number}" for number in range(10))
    metadata = Metadata(labels, STUDENT)
    data = write_tflite(published_graph, metadata)
    path = tmp_path_factory.mktemp("published") / "model.tflite"
    path.write_bytes(data)
    return ModelFile(path, data, published_graph, None, data, metadata)


@pytest.fixture(scope="session")
def compared(published: ModelFile, real_log_mels: NDArray[np.float32], shared: Path) -> Inputs:
    """10 real and 10 adversarial inputs with the reference's logits, and a second of a real scene to listen to."""
    from tinyscene.training.data.snippets import cut_file

    quant = published.graph.input_quant
    real = quantize(real_log_mels[:10], quant.scale, quant.zero_point)[..., None]
    planes = np.concatenate([real, stimuli(real.shape[1:], quant, 10)])
    engine = LiteRTEngine(published.path, "reference")
    logits = np.stack([engine.run_int8(plane[None])[0] for plane in planes])
    assert len({row.tobytes() for row in logits}) > 10, "inputs that all give the same logits prove little"
    file = sorted((shared / "data" / "tut2017" / "audio").iterdir())[0]
    wave = np.resize(cut_file(file, 32_000, 32_000)[0], 34_000)
    needed = STUDENT.win_length // 2 + 63 * STUDENT.hop_length + 1
    heard = wave[: -(-needed // STUDENT.hop_length) * STUDENT.hop_length].astype(np.float32) / np.float32(32768)
    window = StreamingLogMel(STUDENT).push(heard)[:, -64:]
    return Inputs(planes, logits, (wave,), (int(engine.logits(window).argmax()),), needed, "10 real, 10 adversarial")


@pytest.fixture(scope="session")
def costs(published: ModelFile, compared: Inputs) -> dict[str, Cost]:
    """What is measured once for several tests."""
    return {}


def _cost(costs: dict[str, Cost], published: ModelFile, compared: Inputs, key: str) -> Cost:
    if key not in costs:
        try:
            costs[key] = measure(published, TARGETS[key], compared)
        except UnavailableError as error:
            pytest.skip(str(error))
    return costs[key]


@pytest.mark.parametrize("key", PARTS)
def test_every_byte_is_the_references_on(
    key: str, costs: dict[str, Cost], published: ModelFile, compared: Inputs
) -> None:
    cost = _cost(costs, published, compared, key)
    assert (cost.parity.inputs, cost.parity.differing_bytes) == (20, 0)
    assert cost.listening is not None
    assert (cost.listening.same_decisions, cost.listening.decisions) == (1, 1)
    assert cost.instructions is not None
    assert cost.instructions <= MOST.get(key, np.inf), f"{cost.instructions / 1e6:.1f} M"
    assert sum(cost.by_function.values()) == cost.instructions
    assert cost.arena_bytes <= 56 * 1024
    assert cost.ram_bytes < 128 * 1024
    assert cost.flash_bytes < 256 * 1024


@pytest.mark.parametrize("key", ["cortex-m4", "cortex-m55"])
def test_less_than_half_of_the_best_engine_that_can_be_installed(
    key: str, costs: dict[str, Cost], published: ModelFile, compared: Inputs
) -> None:
    cost = _cost(costs, published, compared, key)
    others = list(in_emulation(published.graph, TARGETS[key], None, None))
    assert [other.name for other in others] == ["bakenn, portable C", "bakenn + CMSIS-NN"]
    if any(other.instructions is None for other in others):
        pytest.skip(others[-1].note)
    best = min(other.instructions or 0 for other in others)
    assert cost.instructions is not None
    assert cost.instructions / best <= LIMITS[key][1]
    assert "ours / theirs" in baselines_table([cost], others)


def test_bakenns_network_differs_in_its_mean_alone(published_graph: Graph) -> None:
    changed = pooled(published_graph)
    assert [op.kind for op in changed.ops[:-2]] == [op.kind for op in published_graph.ops[:-1]]
    assert [op.kind for op in changed.ops[-2:]] == ["AVERAGE_POOL_2D", "RESHAPE"]
    assert sum(cost.macs for cost in changed.costs()) == sum(cost.macs for cost in published_graph.costs())


def test_tables_and_files_say_what_was_measured(
    costs: dict[str, Cost], published: ModelFile, compared: Inputs, tmp_path: Path
) -> None:
    cost = _cost(costs, published, compared, "cortex-m4")
    assert "0 of 20 inputs" in costs_table([cost])
    assert "ts_" in profile_table(cost)
    result = Result("model", compared.origin, (cost,), (), {"rv32": "no compiler"})
    result.write(tmp_path / "out")
    stored = json.loads((tmp_path / "out" / "bench.json").read_text())
    assert stored["schema"] == SCHEMA
    assert stored["targets"][0]["instructions"] == cost.instructions
    assert stored["missing"] == {"rv32": "no compiler"}
    assert (tmp_path / "out" / "bench.svg").read_text().lstrip().startswith("<?xml")
    result.write(tmp_path / "out")  # again: replaced
    (tmp_path / "out" / "mine.txt").write_text("kept")
    with pytest.raises(Exception, match="choose another folder"):
        result.write(tmp_path / "out")
    assert fields(cost)["ram_bytes"] == cost.ram_bytes


def test_a_wrong_byte_is_a_failed_gate(
    published: ModelFile, compared: Inputs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = compared.logits[:1].copy()
    wrong[0, 3] ^= 1
    spoilt = Inputs(compared.planes[:1], wrong, (), (), 0, "one input")
    monkeypatch.setattr("tinyscene.firmware_bench.benchmark.inputs.gather", lambda *arguments: spoilt)
    words = ["firmware", "run", str(published.path), "--target", "cortex-m4"]
    assert main(words) == 1
    assert "1 of 1 inputs" in capsys.readouterr().out
    assert main([*words, "--json"]) == 1
    line = json.loads(capsys.readouterr().out)
    assert (line["schema"], line["differing_bytes"]) == ("tinyscene.firmware-cost/1", 1)


def test_wrong_words_are_named(published: ModelFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (["--target", "cortex-m3"], "cortex-m3"),
        (["--target", "cortex-m4", "--ram-limit", "1000"], "--ram-limit"),
        (["--target", "cortex-m4", "--inputs", "0"], "--inputs"),
        (["--target", "cortex-m4", "--toolchain", "keil"], "keil"),
        (["--target", "cortex-m55", "--emulator", "unicorn"], "unicorn"),
    ):
        assert main(["firmware", "run", str(published.path), *words]) == 2, words
        assert said in capsys.readouterr().err
    assert main(["firmware", "run", str(tmp_path / "none"), "--target", "host"]) == 2
    assert main(["firmware", "bench", str(published.path), "--target", "cortex-m4", "--data", str(tmp_path)]) == 2


def test_a_bare_network_has_adversarial_inputs_alone(published_graph: Graph, tmp_path: Path) -> None:
    path = tmp_path / "bare.tflite"
    path.write_bytes(write_tflite(published_graph))
    bare = ModelFile(path, path.read_bytes(), published_graph, None, path.read_bytes())
    inputs = gather(bare, None, 3)
    assert inputs.planes.shape == (3, 256, 64, 1)
    assert inputs.waves == ()


@pytest.mark.parametrize("form", ["plain", "cmake", "arduino", "zephyr"])
def test_a_build_says_what_it_wrote(
    form: str, published: ModelFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "project"
    assert main(["firmware", "build", str(published.path), "--form", form, "--out", str(out), "--json"]) == 0
    line = json.loads(capsys.readouterr().out)
    written = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert (line["schema"], line["form"], line["files"]) == ("tinyscene.firmware-build/1", form, written)
    assert line["listens"]
    assert any(name.endswith("model.c") for name in written)


def test_an_image_for_a_board(published: ModelFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "board"
    words = ["firmware", "build", str(published.path), "--board", "nucleo-l4r5zi", "--plans", "--out", str(out)]
    code = main(words)
    said, missing = capsys.readouterr()
    if code == 3:
        pytest.skip(missing)
    assert code == 0
    assert "run on: nothing" in said
    assert "whole tensors" in said
    assert (out / "firmware.elf").read_bytes()[:4] == b"\x7fELF"
    assert main([*words[:3], "--board", "nucleo", "--out", str(out)]) == 2
    assert "nucleo-l4r5zi" in capsys.readouterr().err
