"""The lint of .tflite files: Edge TPU's rules and its cut, other targets' lists, foreign files, damage, the verb."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import lively, mels
from one_op import one_op, tensor, tflite

from tinyscene.export.formats.tflite_ops import KIND_OF
from tinyscene.export.formats.tflite_reader import read_tflite
from tinyscene.export.formats.tflite_writer import write_tflite
from tinyscene.export.lint import cortex_m
from tinyscene.export.lint.operators import read_operators
from tinyscene.export.lint.targets import TARGETS, lint_model
from tinyscene.export.lint.verdict import FALLS_BACK, REFUSED, RUNS, TargetLint
from tinyscene.export.lower import lower
from tinyscene.export.quantization.ptq import calibrate
from tinyscene.export.quantization.quantize import quantize
from tinyscene.runtime.errors import InputError


def network(norm: str = "none") -> bytes:
    """A small student's int8 model."""
    graph = lower(lively(norm), 64, 32)
    return write_tflite(quantize(graph, calibrate(graph, mels(4), "minmax")))


def rules(data: bytes, target: str) -> TargetLint:
    """The verdict of one target's rules alone."""
    return lint_model(data, [target], ask=False)[0]


def chain(*kinds: str, **after: int) -> bytes:
    """Elementwise int8 ops one after the other, `t0` to `tN`; `after` lets an op read another tensor than the last."""
    names = [f"t{number}" for number in range(len(kinds) + 1)]
    ops = [
        {
            "kind": kind,
            "inputs": [f"t{after.get(f't{number + 1}', number)}"] * (2 if kind in ("ADD", "MUL", "DIV") else 1),
            "outputs": [f"t{number + 1}"],
        }
        for number, kind in enumerate(kinds)
    ]
    return tflite(ops, {name: tensor((1, 2, 2, 4)) for name in names}, (names[0], names[-1]))


def test_students_run_on_every_target() -> None:
    for lint in lint_model(network(), ask=False):
        assert lint.whole, lint.table(every=False)
        assert lint.mac_share == 1.0


def test_multiply_accumulates_are_the_graphs() -> None:
    data = network()
    assert read_operators(data).macs == sum(cost.macs for cost in read_tflite(data).costs())


def test_response_normalisation_cuts_the_graph_for_the_edge_tpu() -> None:
    data = network("grn")
    lint = rules(data, "edgetpu")
    assert {op.kind for op in lint.problems} == {"RSQRT"}
    assert lint.problems[0].name == "blocks.0.norm.inverse_rms"
    assert "train freeze" in lint.problems[0].fix
    # All of the stem and the first block's three convolutions with its copy lie before the cut.
    graph = read_tflite(data)
    cost = {layer.name: layer.macs for layer in graph.costs()}
    before = ["stem.0", "stem.1", *(f"blocks.0.{name}" for name in ("expand", "depthwise", "project", "norm.copy"))]
    assert lint.mac_share == pytest.approx(sum(cost[name] for name in before) / sum(cost.values()))
    assert "blocks.0.norm.inverse_rms (RSQRT)" in lint.notes[-1]
    assert all(rules(data, target).whole for target in TARGETS if target != "edgetpu")


def test_what_stands_behind_an_unmapped_op_stays_on_the_cpu() -> None:
    """Ten ops, one that cannot be mapped, nine more: the compiler maps ten (google-coral/edgetpu#461)."""
    lint = rules(chain(*["ADD"] * 10, "DIV", *["ADD"] * 9), "edgetpu")
    assert [op.status for op in lint.ops] == [RUNS] * 10 + [FALLS_BACK] * 10
    assert [op.kind for op in lint.problems] == ["DIV"]
    assert all(op.behind for op in lint.ops[11:])


def test_a_branch_beside_the_cut_is_mapped() -> None:
    # t2 = DIV(t1) is not mapped; t3 = MUL(t1) does not wait for it; t4 = ADD(t3) neither.
    lint = rules(chain("ADD", "DIV", "MUL", "ADD", t3=1), "edgetpu")
    assert [op.status for op in lint.ops] == [RUNS, FALLS_BACK, RUNS, RUNS]


def test_the_first_part_may_begin_behind_a_float_input() -> None:
    tensors = {"x": tensor((1, 2, 2, 4), "float32", scale=None), "q": tensor((1, 2, 2, 4)), "y": tensor((1, 2, 2, 4))}
    ops = [
        {"kind": "QUANTIZE", "inputs": ["x"], "outputs": ["q"]},
        {"kind": "ADD", "inputs": ["q", "q"], "outputs": ["y"], "version": 2},
    ]
    lint = rules(tflite(ops, tensors, ("x", "y")), "edgetpu")
    assert [op.status for op in lint.ops] == [FALLS_BACK, RUNS]


#: Limits in Coral's table of supported operations, each just broken (or, last, just kept).
LIMITS = [
    ("MEAN over the batch", one_op("MEAN", axes=tensor((1,), "int32", [0], None)), FALLS_BACK),
    ("MEAN over 6 channels", one_op("MEAN", x=tensor((1, 4, 4, 6)), axes=tensor((1,), "int32", [3], None)), FALLS_BACK),
    ("MEAN over 8 channels", one_op("MEAN", axes=tensor((1,), "int32", [-1], None)), RUNS),
    ("pool with ReLU", one_op("AVERAGE_POOL_2D", options={"fusedActivationFunction": 1}), FALLS_BACK),
    ("dilation 2 x 1", one_op("CONV_2D", options={"dilationHFactor": 2}), FALLS_BACK),
    ("dilation 2 x 2", one_op("CONV_2D", options={"dilationHFactor": 2, "dilationWFactor": 2}), RUNS),
    ("padded batch", one_op("PAD", pads=tensor((4, 2), "int32", [[1, 0], [0, 0], [0, 0], [0, 0]], None)), FALLS_BACK),
    ("padded channels", one_op("PAD", pads=tensor((4, 2), "int32", [[0, 0], [0, 0], [0, 0], [0, 4]], None)), RUNS),
    ("softmax of 16,001", one_op("SOFTMAX", x=tensor((1, 16001)), y=tensor((1, 16001))), FALLS_BACK),
    ("softmax of 16,000", one_op("SOFTMAX", x=tensor((1, 16000)), y=tensor((1, 16000))), RUNS),
    ("softmax of rows", one_op("SOFTMAX", x=tensor((4, 8)), y=tensor((4, 8))), FALLS_BACK),
    ("shuffled weights", one_op("FULLY_CONNECTED", options={"weightsFormat": 1}), FALLS_BACK),
    ("vectors in a batch", one_op("FULLY_CONNECTED", x=tensor((3, 8)), y=tensor((3, 5))), FALLS_BACK),
    ("batch of 2", one_op("RELU", x=tensor((2, 4, 4, 8)), y=tensor((2, 4, 4, 8))), FALLS_BACK),
    ("five dimensions", one_op("RELU", x=tensor((1, 1, 4, 4, 8)), y=tensor((1, 1, 4, 4, 8))), RUNS),
    ("five wide dimensions", one_op("RELU", x=tensor((1, 2, 4, 4, 8)), y=tensor((1, 2, 4, 4, 8))), FALLS_BACK),
    ("float", one_op("CONV_2D", "float32"), FALLS_BACK),
    ("hybrid", one_op("CONV_2D", "hybrid"), FALLS_BACK),
    ("16 bits", one_op("CONV_2D", "int16"), FALLS_BACK),
    ("unsigned", one_op("RELU", "uint8"), RUNS),
    ("DEQUANTIZE", one_op("DEQUANTIZE"), FALLS_BACK),
    ("newer than the compiler", one_op("GELU"), REFUSED),
    ("no fixed shape", one_op("RELU", x=tensor((-1, 4, 4, 8)), y=tensor((-1, 4, 4, 8))), REFUSED),
]


@pytest.mark.parametrize(("data", "status"), [pytest.param(*case[1:], id=case[0]) for case in LIMITS])
def test_limits_of_the_edge_tpu(data: bytes, status: str) -> None:
    (op,) = rules(data, "edgetpu").ops
    assert op.status == status, op.rule
    assert bool(op.rule) == (status != RUNS)


def test_a_refused_operator_leaves_nothing_on_the_edge_tpu() -> None:
    tensors = {"x": tensor((1, 4, 4, 8)), "h": tensor((1, 4, 4, 8)), "y": tensor((1, 4, 4, 8))}
    tensors |= {"w": tensor((8, 1, 1, 8), data=np.ones((8, 1, 1, 8))), "b": tensor((8,), "int32", np.zeros(8))}
    ops = [
        {"kind": "CONV_2D", "inputs": ["x", "w", "b"], "outputs": ["h"], "version": 3},
        {"kind": "GELU", "inputs": ["h"], "outputs": ["y"], "version": 2},
    ]
    lint = rules(tflite(ops, tensors, ("x", "y")), "edgetpu")
    assert lint.mac_share == 0.0


@pytest.mark.parametrize(
    "kind", ["ADD", "MUL", "MEAN", "PAD", "RSQRT", "RELU6", "SOFTMAX", "MAX_POOL_2D", "FULLY_CONNECTED", "RESHAPE"]
)
def test_the_generator_takes_the_graphs_ops_in_int8(kind: str) -> None:
    assert rules(one_op(kind), "cortex-m").whole


def test_the_generators_list_is_the_readers() -> None:
    assert set(cortex_m.TAKEN) == set(KIND_OF)


def test_what_the_generator_refuses() -> None:
    for data in (one_op("ADD", "int16"), one_op("ADD", "float32"), one_op("HARD_SWISH"), one_op("DEQUANTIZE")):
        assert rules(data, "cortex-m").counts[REFUSED] == 1


@pytest.mark.parametrize("name", ["keras_int8", "keras_uint8", "keras_float_ends", "litert_torch"])
def test_the_generator_takes_models_of_other_converters(name: str) -> None:
    data = (Path(__file__).parent / "foreign" / f"{name}.tflite").read_bytes()
    (lint,) = lint_model(data, ["cortex-m"])
    assert lint.whole
    assert lint.tool is not None
    assert lint.tool.detail.startswith("takes all")


def test_options_that_no_rule_here_knows_are_the_readers_to_refuse() -> None:
    dilated = one_op("CONV_2D", options={"dilationHFactor": 2, "dilationWFactor": 2})
    assert rules(dilated, "cortex-m").whole
    (lint,) = lint_model(dilated, ["cortex-m"])
    assert not lint.whole
    assert lint.tool is not None
    assert "dilated" in lint.tool.detail


def test_names_need_not_tell_tensors_apart() -> None:
    data = chain("ADD", "DIV", "MUL", "ADD", t3=1)
    for number in "1234":
        data = data.replace(b"\x02\x00\x00\x00t" + number.encode(), b"\x02\x00\x00\x00t0")
    lint = rules(data, "edgetpu")
    assert [op.name for op in lint.ops] == ["t0"] * 4
    assert [op.status for op in lint.ops] == [RUNS, FALLS_BACK, RUNS, RUNS]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_files_are_refused_or_judged(data: st.DataObject) -> None:
    whole = one_op("CONV_2D")
    mutated = bytearray(whole[: data.draw(st.integers(0, len(whole)))] if data.draw(st.booleans()) else whole)
    for _ in range(data.draw(st.integers(0, 4))):
        if mutated:
            mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    try:
        lints = lint_model(bytes(mutated), ask=False)
    except InputError:
        return
    assert [lint.target for lint in lints] == list(TARGETS)


def test_no_torch_is_needed_for_files() -> None:
    code = "import sys, tinyscene.export.lint.targets, tinyscene.export.lint.verbs; print('torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"


def test_verb_is_a_gate_only_for_named_targets(
    tinyscene: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "grn.tflite"
    file.write_bytes(network("grn"))
    assert tinyscene("lint", file, "--rules-only") == 0
    assert tinyscene("lint", file, "--rules-only", "--target", "edgetpu") == 1
    assert tinyscene("lint", file, "--rules-only", "--target", "tflite-micro", "--target", "cortex-m") == 0
    assert "blocks.0.norm.inverse_rms" in capsys.readouterr().out
    assert tinyscene("lint", file, "--rules-only", "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["target"] for line in lines] == list(TARGETS)
    assert all(line["schema"] == "tinyscene.lint/1" and len(line["ops"]) == 104 for line in lines)


def test_verb_names_what_is_wrong(
    tinyscene: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "text.tflite"
    file.write_bytes(b"not a model at all")
    for arguments, expected in (
        ((file,), "text.tflite"),
        ((tmp_path / "missing",), "no model at"),
        ((file, "--target", "edgetpuu"), "did you mean 'edgetpu'"),
        ((file, "--accelerator", "ethos-u99"), "ethos-u55-128"),
        ((), "nothing to judge"),
        (("base_channels=8",), "--student"),
    ):
        assert tinyscene("lint", *arguments) == 2
        assert expected in capsys.readouterr().err


def test_verb_reads_bundles_and_runs(
    tinyscene: Callable[..., int], bundle: Path, qat_run: Path, student: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tinyscene("lint", bundle, qat_run, student, "--target", "all", "--rules-only", "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    names = {line["model"]: [op["name"] for op in line["ops"]] for line in lines}
    assert list(names) == [str(bundle), str(qat_run), str(student)]
    assert len({tuple(ops) for ops in names.values()}) == 1  # the untrained form has the operators of the final one
