"""The targets' own tools: a compiler that is a script here, Vela and the interpreters as they are installed."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from one_op import one_op
from test_lint import network

from tinyscene.export.lint import edgetpu_compiler, ethos_u, interpreters, tflite_micro
from tinyscene.export.lint.child import run_tool
from tinyscene.export.lint.edgetpu_compiler import read_log
from tinyscene.export.lint.operators import read_operators
from tinyscene.export.lint.targets import lint_model, lint_view
from tinyscene.export.lint.verdict import FALLS_BACK, REFUSED, RUNS, TargetLint

# The form that edgetpu_compiler 16 prints; the figures are made up for the models here.
LOG = """Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 312 ms.

Input model: model.tflite
Input size: 64.57KiB
Output model: model_edgetpu.tflite
Output size: 180.64KiB
On-chip memory used for caching model parameters: 104.25KiB
On-chip memory remaining for caching model parameters: 7.59MiB
Off-chip memory used for streaming uncached model parameters: 0.00B
Number of Edge TPU subgraphs: 1
Total number of operations: {total}
Operation log: model_edgetpu.log
{split}
Operator                       Count      Status

{rows}
Compilation child process completed within timeout period.
Compilation succeeded!
"""

SPLIT = """
Model successfully compiled but not all operations are supported by the Edge TPU. A percentage of the model will \
instead run on the CPU, which is slower. If possible, consider updating your model to use only operations supported by \
the Edge TPU. For details, visit g.co/coral/model-reqs.
Number of operations that will run on Edge TPU: {tpu}
Number of operations that will run on CPU: {cpu}
"""

FAILED = """Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.
ERROR: Attempting to use a delegate that only supports static-sized tensors with a graph that has dynamic-sized tensors.
Compilation failed: Model failed in Tflite interpreter. Please ensure model can be loaded/run in Tflite interpreter.
Compilation child process completed within timeout period.
Compilation failed!
"""

MAPPED = "Mapped to Edge TPU"
CUT = "More than one subgraph is not supported"
OTHER = "Operation is otherwise supported, but not mapped due to some unspecified limitation"


def log(rows: list[tuple[str, int, str]]) -> str:
    """A log with these operators."""
    total, tpu = sum(row[1] for row in rows), sum(row[1] for row in rows if row[2] == MAPPED)
    split = "" if tpu == total else SPLIT.format(tpu=tpu, cpu=total - tpu)
    return LOG.format(
        total=total, split=split, rows="\n".join(f"{kind:<30} {count:<10} {status}" for kind, count, status in rows)
    )


@pytest.fixture
def compile_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Put an `edgetpu_compiler` that prints a log on the PATH, and lint a model with it."""

    def run(data: bytes, printed: str, status: int = 0) -> TargetLint:
        (tmp_path / "log.txt").write_text(printed)
        script = tmp_path / "edgetpu_compiler"
        script.write_text(
            f'#!/bin/sh\nfor last; do :; done\ntest -s "$last" || exit 9\ncat {tmp_path}/log.txt\nexit {status}\n'
        )
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        return lint_model(data, ["edgetpu"])[0]

    return run


def rows_of(lint: TargetLint, status: str) -> dict[str, int]:
    """How many operators of each kind have a status."""
    kinds = [op.kind for op in lint.ops if op.status == status]
    return {kind: kinds.count(kind) for kind in kinds}


def test_a_compiler_that_maps_everything_agrees(compile_with) -> None:
    data = network()
    expected = rows_of(lint_model(data, ["edgetpu"], ask=False)[0], RUNS)
    lint = compile_with(data, log([(kind, count, MAPPED) for kind, count in expected.items()]))
    assert lint.whole
    assert lint.tool is not None
    assert lint.tool.state == "run"
    assert lint.tool.figures["compiler_version"] == "16.0.384591198"
    assert lint.tool.figures["on_chip_cached"] == "104.25KiB"
    assert lint.tool.figures["tpu_subgraphs"] == 1
    assert not lint.notes


def test_a_compiler_that_maps_less_has_the_last_word(compile_with) -> None:
    data = network()
    counts = rows_of(lint_model(data, ["edgetpu"], ask=False)[0], RUNS)
    rows = [(kind, count, MAPPED) for kind, count in counts.items() if kind != "MEAN"] + [("MEAN", 1, OTHER)]
    lint = compile_with(data, log(rows))
    assert not lint.whole
    assert lint.tool is not None
    assert lint.tool.figures["cpu_operations"] == 1
    (note,) = lint.notes
    assert "mapped 0 MEAN where these rules expect 1" in note
    assert OTHER in note


def test_several_rows_of_one_kind_add_up() -> None:
    figures = read_log(log([("ADD", 10, CUT), ("CONV_2D", 1, CUT), ("CONV_2D", 34, MAPPED), ("QUANTIZE", 1, MAPPED)]))
    assert [(row["kind"], row["count"]) for row in figures["operators"]] == [
        ("ADD", 10),
        ("CONV_2D", 1),
        ("CONV_2D", 34),
        ("QUANTIZE", 1),
    ]
    assert figures["operations"] == 46
    assert (figures["tpu_operations"], figures["cpu_operations"]) == (35, 11)


@pytest.mark.parametrize("status", [0, 1])
def test_a_compiler_that_fails_is_quoted(compile_with, status: int) -> None:
    lint = compile_with(one_op("RELU"), FAILED, status)
    assert not lint.whole
    assert lint.tool is not None
    assert lint.tool.state == "failed"
    assert "dynamic-sized tensors" in lint.tool.detail


def test_a_tool_that_hangs_or_crashes_is_a_line(tmp_path: Path) -> None:
    hung = run_tool([sys.executable, "-c", "while True: pass"], tmp_path, timeout_s=0.3)
    assert hung.ending() == "did not end in time"
    killed = run_tool([sys.executable, "-c", "import os; os.kill(os.getpid(), 11)"], tmp_path)
    assert killed.ending().startswith("crashed (signal 11)")
    assert "cannot be started" in run_tool([str(tmp_path / "none")], tmp_path).ending()


def test_tools_that_are_missing_are_named_with_their_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: None)
    lints = {lint.target: lint for lint in lint_model(network())}
    for target, words in (("edgetpu", "apt-get"), ("ethos-u", "pip install"), ("tflite-micro", "pip install")):
        tool = lints[target].tool
        assert tool is not None
        assert tool.state == "not installed"
        assert words in tool.install
        assert lints[target].whole  # by the rules


def need(module: str, install: str) -> None:
    """Skip where a tool is missing."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed: run `{install}`")


def test_vela_and_the_rules_agree_on_the_student() -> None:
    need("ethosu", "pip install ethos-u-vela")
    view = read_operators(network())
    lint = ethos_u.ask(ethos_u.lint(view), view, "ethos-u55-64")
    assert lint.whole
    assert lint.tool is not None
    figures = lint.tool.figures
    assert figures["accelerator"] == "ethos-u55-64"
    assert figures["cpu_operators"] == 0
    assert figures["sram_bytes"] > 0
    assert figures["inference_ms"] == pytest.approx(figures["cycles"] / figures["clock_mhz"] / 1e3, rel=1e-3)
    # Vela counts the mean over positions as a depthwise convolution, hence a little more than the weights' own.
    assert view.macs <= figures["macs"] <= 1.05 * view.macs
    faster = ethos_u.ask(ethos_u.lint(view), view, "ethos-u55-256").tool
    assert faster is not None
    assert faster.figures["cycles"] < figures["cycles"]


@pytest.mark.parametrize(
    ("kind", "dtype", "status"),
    [
        ("CONV_2D", "int8", RUNS),
        ("CONV_2D", "float32", FALLS_BACK),
        ("SQRT", "int8", FALLS_BACK),
        ("DIV", "int8", FALLS_BACK),
        ("GELU", "int8", RUNS),
        ("SOFTMAX", "int8", RUNS),
    ],
)
def test_vela_has_the_same_answer_as_the_rules(kind: str, dtype: str, status: str) -> None:
    need("ethosu", "pip install ethos-u-vela")
    view = read_operators(one_op(kind, dtype))
    alone = ethos_u.lint(view)
    asked = ethos_u.ask(alone, view)
    assert [alone.ops[0].status, asked.ops[0].status] == [status, status]
    assert asked.whole == (status == RUNS)


def test_the_list_for_ethos_u_is_velas_own(tmp_path: Path) -> None:
    need("ethosu", "pip install ethos-u-vela")
    command = [sys.executable, "-m", "ethosu.vela", "--supported-ops-report"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    text = (tmp_path / "SUPPORTED_OPS.md").read_text().split("## Ethos-U85 TFLite Summary Table")[0]
    assert set(re.findall(r"^\| ([A-Z0-9_]+) \|", text, re.MULTILINE)) == ethos_u.LISTED


#: Prepares and runs each named file in a fork: a kernel may crash on what is not well formed.
FORKS = """
import os, sys
import numpy as np
from tflite_micro.python.tflite_micro import runtime
for name in sys.argv[1:]:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(writing, 2)
        try:
            interpreter = runtime.Interpreter.from_file(name)
            given = interpreter.get_input_details(0)
            interpreter.set_input(np.zeros(given["shape"], given["dtype"]), 0)
            interpreter.invoke()
        except Exception:
            os._exit(1)
        os._exit(0)
    os.close(writing)
    said = os.read(reading, 4096).decode(errors="replace")
    os.close(reading)
    status = os.waitpid(child, 0)[1]
    answer = "missing" if "Didn't find op" in said else "runs" if status == 0 else "refuses"
    print(os.path.basename(name), answer, flush=True)
"""


def micro(files: dict[str, bytes], folder: Path) -> dict[str, str]:
    """What the installed TFLite-Micro says of each file: "runs", "refuses" or "missing" (no such operator)."""
    need("tflite_micro", "pip install tflite-micro")
    for name, data in files.items():
        (folder / name).write_bytes(data)
    paths = [str(folder / name) for name in files]
    ended = subprocess.run([sys.executable, "-c", FORKS, *paths], capture_output=True, text=True, check=True)
    return dict(line.rsplit(" ", 1) for line in ended.stdout.splitlines())


def test_the_list_for_tflite_micro_is_the_installed_ones(tmp_path: Path) -> None:
    from ai_edge_litert import schema_py_generated as schema

    kinds = [name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)]
    kinds = [kind for kind in kinds if kind not in ("CUSTOM", "DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES")]
    answers = micro({kind: one_op(kind) for kind in kinds}, tmp_path)
    assert {kind for kind, answer in answers.items() if answer != "missing"} == tflite_micro.REGISTERED


def test_element_types_for_tflite_micro_are_what_its_kernels_take(tmp_path: Path) -> None:
    kinds = (
        "CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED ADD SUB MUL DIV MAXIMUM MINIMUM SQUARED_DIFFERENCE AVERAGE_POOL_2D "
        "MAX_POOL_2D MEAN SUM REDUCE_MAX PAD RESHAPE SOFTMAX RSQRT SQRT LOGISTIC TANH RELU QUANTIZE DEQUANTIZE "
        "HARD_SWISH LEAKY_RELU ELU GELU"
    )
    files = {
        f"{kind}-{dtype}": one_op(kind, dtype)
        for kind in kinds.split(" ")
        for dtype in ("int8", "int16", "float32", "hybrid")
    }
    answers = micro(files, tmp_path)
    for name, data in files.items():
        (op,) = tflite_micro.lint(read_operators(data)).ops
        assert op.status == (RUNS if answers[name] == "runs" else REFUSED), name


def test_interpreters_are_asked() -> None:
    need("tflite_micro", "pip install tflite-micro")
    lints = {lint.target: lint for lint in lint_model(network(), ["tflite-micro", "pi"])}
    assert lints["tflite-micro"].whole
    assert lints["pi"].whole
    tool = lints["tflite-micro"].tool
    assert tool is not None
    assert tool.figures["arena_bytes"] > 10_000
    (refusing,) = lint_model(one_op("SQRT"), ["tflite-micro"])
    assert refusing.tool is not None
    assert refusing.tool.state == "failed"
    assert "refuses it: " in refusing.tool.detail
    (crashed,) = lint_view(read_operators(one_op("MEAN", axes=one_op_axes())), ["pi"])
    assert crashed.tool is not None
    assert not crashed.whole


def one_op_axes() -> dict[str, object]:
    """An axis that the tensor does not have."""
    return {"shape": [1], "dtype": "int32", "data": [9], "scale": None, "zero_point": 0}


def test_only_models_with_a_file_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    view = replace(read_operators(network()), data=None)
    monkeypatch.setattr(edgetpu_compiler, "run_tool", None)
    monkeypatch.setattr(interpreters, "run_tool", None)
    monkeypatch.setattr(ethos_u, "run_tool", None)
    assert all(lint.tool is None for lint in lint_view(view))
