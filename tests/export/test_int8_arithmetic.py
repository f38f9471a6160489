"""The exported network's int8 arithmetic against LiteRT's reference kernels, computed independently in integers."""

from __future__ import annotations

import numpy as np
import pytest
from integer_reference import multiplier, requantize, run
from networks import lively, mels
from numpy.typing import NDArray

from tinyscene.export.formats.tflite_writer import write_tflite
from tinyscene.export.graph import Graph
from tinyscene.export.lower import lower
from tinyscene.export.quantization.freeze import freeze_norm
from tinyscene.export.quantization.ptq import quantize_calibrated
from tinyscene.export.verification.golden import run_layers
from tinyscene.runtime.int8 import quantize
from tinyscene.training.run import Run


def int8_inputs(graph: Graph, log_mels: NDArray[np.float32]) -> NDArray[np.int8]:
    return quantize(log_mels, graph.input_quant.scale, graph.input_quant.zero_point)


def assert_bit_exact(graph: Graph, log_mels: NDArray[np.float32]) -> None:
    model = write_tflite(graph)
    answers = set()
    for values in int8_inputs(graph, log_mels):
        expected, found = run(graph, values), run_layers(model, values)
        for op in graph.ops:
            wrong = int((expected[op.output] != found[op.output]).sum())
            assert wrong == 0, f"{op.name} ({op.kind}): {wrong} of {expected[op.output].size} values differ"
        answers.add(found["head"].tobytes())
    assert len(answers) == len(log_mels), "the network says the same whatever it hears: a test of nothing"


def test_requantize_known_answers() -> None:
    q, shift = multiplier(0.5)
    assert (q, shift) == (2**30, 0)
    x = np.array([3, -3, 5, -5, 2**20])
    # Halves round away from zero in the multiply.
    np.testing.assert_array_equal(requantize(x, q, shift), [2, -1, 3, -2, 2**19])
    q, shift = multiplier(1 / 1024)
    np.testing.assert_array_equal(
        requantize(np.array([1536, -1536, 511, 512]), q, shift), [2, -2, 1, 1]
    )  # 511: 255.5, 256, 0.5, 1


@pytest.mark.parametrize("norm", ["none", "frozen"])
def test_small_network_is_bit_exact(norm: str) -> None:
    clips = mels(24)
    graph = lower(lively(norm, seed=3), *clips.shape[1:])
    assert_bit_exact(quantize_calibrated(graph, clips).graph, clips[:6])


def test_published_network_is_bit_exact(tau22: Run, real_clips: NDArray[np.float32]) -> None:
    model, _ = freeze_norm(tau22, real_clips)
    graph = quantize_calibrated(lower(model, 256, 64), real_clips[:32]).graph
    assert_bit_exact(graph, real_clips[[0, 100]])
