"""A bundle against the board that runs its firmware: the program of this machine behind a pseudo-terminal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from stub_board import Terminal, compile_host, running

from tinyscene.export.formats.tflite_writer import write_tflite
from tinyscene.export.graph import Graph
from tinyscene.export.verification.golden import Golden, dump_golden, run_layers, to_integers
from tinyscene.firmware_bench.boards.image import board_files, protocol_files
from tinyscene.firmware_bench.boards.run import run_on_board
from tinyscene.firmware_bench.generator import generate
from tinyscene.runtime.bundle import Bundle, Quantization, write_bundle
from tinyscene.runtime.errors import InputError
from tinyscene.runtime.frontend_spec import STUDENT

LABELS = ("airport", "bus", "park", "tram")
SPEC = replace(STUDENT, n_mels=64, clip_samples=STUDENT.clip_samples // 2)


def make_bundle(path: Path, graph: Graph, log_mels: NDArray[np.float32], labels: tuple[str, ...] = LABELS) -> Bundle:
    """A bundle with as much in it as a board needs."""
    data = write_tflite(graph)
    inputs = to_integers(log_mels, graph.input_quant)
    logits = np.stack([run_layers(data, values)[graph.output].reshape(-1) for values in inputs])
    real = logits.astype(np.float32)
    waves = np.zeros((len(log_mels), SPEC.clip_samples), np.int16)
    golden = Golden(SPEC, labels, waves, log_mels, inputs, logits, real, real, {graph.output: logits[:1]}, {}, {})
    quants = graph.input_quant, graph.output_quant
    quantization = Quantization(
        quants[0].scale, quants[0].zero_point, quants[1].scale, quants[1].zero_point, method="ptq"
    )
    return write_bundle(
        path, name="small", labels=labels, frontend=SPEC, quantization=quantization, model={}, budget={}, metrics={},
        provenance={}, files={"model.tflite": data, "golden.npz": dump_golden(golden)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def bundle(frozen_graph: Graph, small_inputs: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "b", frozen_graph, small_inputs[:3])


@pytest.fixture
def board(frozen_graph: Graph, bundle: Bundle, tmp_path: Path) -> Iterator[Terminal]:
    model = generate(frozen_graph, "scalar", bundle=bundle)
    files = {**model.files, **protocol_files(), **board_files("host")}
    texts = {name: content for name, content in files.items() if isinstance(content, str)}
    assert texts.keys() == files.keys()
    sources = [name for name in texts if name.endswith(".c")]
    program = compile_host(tmp_path, texts, sources, "firmware", "-O1", "-fsanitize=address,undefined")
    with running(program, tmp_path) as terminal:
        yield terminal


def test_a_bundle_is_proved_and_timed(board: Terminal, bundle: Bundle, small_inputs: NDArray[np.float32]) -> None:
    session = run_on_board(bundle, board.path, log_mels=small_inputs[3:6], inferences=5, warmup=1)
    assert session.passed
    assert (session.parity.inputs, session.parity.differing_bytes) == (6, 0)
    assert session.parity.distinct_outputs > 3
    assert session.board.contract == SPEC.hash()
    assert session.board.labels == LABELS
    assert session.latency is not None
    assert session.latency.inferences == 5
    assert "parity   the reference's bytes in the logits of 6 inputs" in session.text()
    assert f"median {session.latency.median_ms:.3f} ms" in session.text()


def test_a_wrong_byte_fails(board: Terminal, bundle: Bundle, frozen_graph: Graph, tmp_path: Path) -> None:
    """The bundle's model has another bias than the firmware."""
    ops = list(frozen_graph.ops)
    at = next(i for i, op in enumerate(ops) if op.output == "head")
    bias = ops[at].bias
    assert bias is not None
    changed = bias.copy()
    changed[0] += 4000
    ops[at] = replace(ops[at], bias=changed)
    other = make_bundle(tmp_path / "b", replace(frozen_graph, ops=tuple(ops)), np.zeros((2, 64, 32), np.float32))
    session = run_on_board(other, board.path, inputs=1, inferences=1, warmup=0)
    assert not session.passed
    assert session.parity.inputs == 1
    assert session.parity.differing_bytes >= 1
    assert "BYTES DIFFER" in session.text()
    assert "first: input 0: the board gave" in session.text()


def test_the_firmware_of_another_bundle_is_refused(board: Terminal, frozen_graph: Graph, tmp_path: Path) -> None:
    other = make_bundle(tmp_path / "b", frozen_graph, np.zeros((1, 64, 32), np.float32), ("a", "b", "c", "d"))
    with pytest.raises(InputError, match="differ in labels"):
        run_on_board(other, board.path)


def test_inputs_are_checked_before_the_port_is_opened(bundle: Bundle) -> None:
    with pytest.raises(InputError, match="0 inputs to compare"):
        run_on_board(bundle, "/dev/ttyNotThere", inputs=0)
    with pytest.raises(InputError, match=r"expected \[k, 64, 32\]"):
        run_on_board(bundle, "/dev/ttyNotThere", log_mels=np.zeros((1, 8, 8), np.float32))
