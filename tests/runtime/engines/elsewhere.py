"""What stands outside the project: a stand-in for libedgetpu with a model for it, and another Python."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import tinyscene.runtime
from tinyscene.runtime.bundle import Bundle

#: What a TfLiteTensor takes in the interpreters that the tests run (ai-edge-litert 2.3, tflite-runtime 2.14): the
#: stand-in walks over them.
TENSOR_BYTES = 112


def compile_stand_in(folder: Path) -> Path:
    """`edgetpu_stand_in.c` as a library of libedgetpu's name in `folder`."""
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler for the stand-in: run `apt-get install -y gcc libc6-dev`")
    path, source = folder / "libedgetpu.so.1", Path(__file__).with_name("edgetpu_stand_in.c")
    options = ["-shared", "-fPIC", "-std=c99", "-Wall", "-Wextra", "-Werror", f"-DTENSOR_BYTES={TENSOR_BYTES}"]
    subprocess.run(["gcc", *options, "-o", str(path), str(source)], check=True)
    return path


def compiled_model(bundle: Bundle, classes: int = 3, relu: bool = False) -> bytes:
    """What the compiler makes of a network that it takes whole: one operator of its own, the borders as they were.

    With `relu`, of one whose last operator it leaves to the processor.
    """
    spec, quantization = bundle.frontend, bundle.quantization
    output = ([1, classes], quantization.output_scale, quantization.output_zero_point)
    tensors = []
    for name, shape, scale, zero_point in (
        (b"log_mel", [1, spec.n_mels, spec.n_frames(), 1], quantization.input_scale, quantization.input_zero_point),
        (b"before", *output),
        (b"logits", *output),
    )[:: 1 if relu else 2]:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, schema.TensorType.INT8, 0
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [zero_point]
        tensors.append(tensor)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode, code.version = b"edgetpu-custom-op", 1
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0], [1]
    operator.customOptions = np.frombuffer(b"the TPU's own program", np.uint8)
    activation, rectified = schema.OperatorCodeT(), schema.OperatorT()
    activation.builtinCode = activation.deprecatedBuiltinCode = schema.BuiltinOperator.RELU
    activation.version, rectified.opcodeIndex, rectified.inputs, rectified.outputs = 2, 1, [1], [2]
    graph, model = schema.SubGraphT(), schema.ModelT()
    graph.tensors, graph.inputs, graph.outputs = tensors, [0], [len(tensors) - 1]
    graph.operators = [operator, rectified] if relu else [operator]
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT()]
    model.operatorCodes = [code, activation] if relu else [code]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def run_elsewhere(code: str, folder: Path, *arguments: object, **environment: str) -> str:
    """What `code` prints in the environment with tflite-runtime that `make engines` builds.

    Nothing of tinyscene is installed there but this checkout's runtime, by way of `folder`.
    """
    named = os.environ.get("TINYSCENE_ENGINES")
    places = [Path(named)] if named else [Path("build/engines"), Path.home() / ".cache/tinyscene/engines"]
    pythons = [(place / "tflite-runtime/bin/python").absolute() for place in places]
    python = next((path for path in pythons if path.is_file()), None)
    if python is None:
        pytest.skip("no environment with tflite-runtime: run `make engines ENGINE=tflite-runtime`")
    (folder / "tinyscene").mkdir()
    (folder / "tinyscene" / "runtime").symlink_to(Path(tinyscene.runtime.__path__[0]))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(python), "-c", code, *map(str, arguments)],
        env=inherited | environment | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
