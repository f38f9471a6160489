"""Runs one model in one interpreter, in this process: `PYTHON child.py FOLDER`.

A script on its own: numpy and the interpreter are all it needs, so that environments without tinyscene can run it.
`FOLDER/job.json` names the `interpreter`, the `model` file, the `inputs` (dtype and shape of `inputs.bin`), and for
inner tensors the model to read them from (`tapped`) and their `tensors`: indices of a .tflite, names of an ONNX file.
The answer is `reply.json` with `reply.bin`, see `process.py`.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

Array = Any  # numpy's own name for it differs between the versions that this runs with

#: No engine here needs more; a broken model that asks for more gets an error instead of the machine.
MAX_MEMORY_BYTES = 16 << 30


#: Where each interpreter is imported from.
MODULES = {
    "litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
    "tensorflow": "tensorflow",
    "tflite-micro": "tflite_micro",
    "onnxruntime": "onnxruntime",
}


class UnavailableError(Exception):
    """The interpreter cannot be imported."""


class Interpreter(Protocol):
    """A model that was opened."""

    def run(self, values: Array) -> Array:
        """The answer (1, ...) for one input (1, ...)."""
        ...

    def tensor(self, handle: Any) -> Array:
        """An inner tensor of the last run."""
        ...


class Lite:
    """LiteRT, tflite-runtime or TensorFlow's interpreter: the three have one interface."""

    def __init__(self, module: Any, resolver: Any, model: Path) -> None:
        self.interpreter = module.Interpreter(
            model_path=str(model), num_threads=1, experimental_op_resolver_type=resolver
        )
        self.interpreter.allocate_tensors()
        inputs, outputs = self.interpreter.get_input_details(), self.interpreter.get_output_details()
        self.input, self.output = inputs[0]["index"], outputs[0]["index"]

    def run(self, values: Array) -> Array:
        self.interpreter.set_tensor(self.input, values)
        self.interpreter.invoke()
        return self.interpreter.get_tensor(self.output)

    def tensor(self, handle: Any) -> Array:
        return self.interpreter.get_tensor(handle)


class Micro:
    """TFLite-Micro's interpreter."""

    def __init__(self, runtime: Any, model: Path, preserve: bool, arena_bytes: int) -> None:
        config = runtime.InterpreterConfig
        self.interpreter = runtime.Interpreter.from_bytes(
            model.read_bytes(),
            arena_size=arena_bytes,
            intrepreter_config=config.kPreserveAllTensors if preserve else config.kAllocationRecording,
        )

    def run(self, values: Array) -> Array:
        self.interpreter.set_input(values, 0)
        self.interpreter.invoke()
        return self.interpreter.get_output(0)

    def tensor(self, handle: Any) -> Array:
        return self.interpreter.GetTensor(handle, 0)["tensor_data"]


class Onnx:
    """ONNX Runtime on the CPU. The model's first output is the answer, inner tensors are further outputs."""

    def __init__(self, onnxruntime: Any, model: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name
        self.outputs = [output.name for output in self.session.get_outputs()]

    def run(self, values: Array) -> Array:
        self.found = self.session.run(self.outputs, {self.input: values})
        return self.found[0]

    def tensor(self, handle: Any) -> Array:
        return self.found[self.outputs.index(handle)]


def opener(name: str, kernels: str | None, arena_bytes: int) -> Callable[[Path, bool], Interpreter]:
    """A function that opens (model file, whether inner tensors are to be read) in the interpreter called `name`."""
    try:
        module = importlib.import_module(MODULES[name])
        if name == "tflite-micro":
            module = module.runtime
        elif name == "tensorflow":
            module = module.lite
            resolvers = module.experimental.OpResolverType
        elif name in ("litert", "tflite-runtime"):
            resolvers = module.OpResolverType
    except Exception as error:  # whatever a broken installation raises
        raise UnavailableError(f"{type(error).__name__}: {error}") from error
    if name == "tflite-micro":
        return lambda model, preserve: Micro(module, model, preserve, arena_bytes)
    if name == "onnxruntime":
        return lambda model, preserve: Onnx(module, model)
    resolver = resolvers.BUILTIN_REF if kernels == "reference" else resolvers.AUTO
    # Inner tensors are outputs of the model here: the option that keeps them all turns the fastest kernels off, and in
    # tflite-runtime 2.14 does not keep them.
    return lambda model, preserve: Lite(module, resolver, model)


def answer(folder: Path, job: dict[str, Any]) -> dict[str, Array]:
    """The arrays asked for, by name."""
    shape = job["inputs"]["shape"]
    dtype = np.dtype(job["inputs"]["dtype"]).newbyteorder("<")
    inputs = np.fromfile(folder / "inputs.bin", dtype).reshape(shape).astype(dtype.newbyteorder("="))
    open_model = opener(job["interpreter"], job.get("kernels"), job.get("arena_bytes", 0))
    engine = open_model(folder / job["model"], False)
    arrays = {"logits": np.concatenate([np.array(engine.run(row[None])) for row in inputs])}
    if job["layers"] or job["digests"]:
        engine = open_model(folder / job["tapped"], True)
        digests = []
        for number, row in enumerate(inputs if job["digests"] else inputs[:1]):
            engine.run(row[None])
            if job["layers"] and number == 0:
                for place, handle in enumerate(job["tensors"]):
                    arrays[f"layer/{place}"] = np.array(engine.tensor(handle))
            if job["digests"]:
                digest = hashlib.sha256()
                for handle in job["tensors"]:
                    digest.update(np.ascontiguousarray(engine.tensor(handle)).tobytes())
                digests.append(np.frombuffer(digest.digest(), np.uint8))
        if job["digests"]:
            arrays["digests"] = np.stack(digests)
    return arrays


def main(folder: Path, answer: Callable[[Path, dict[str, Any]], dict[str, Array]] = answer) -> None:
    """Answer the job in `folder`; packages that bring engines of their own have an `answer` of theirs."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    reply: dict[str, Any]
    try:
        arrays = answer(folder, json.loads((folder / "job.json").read_text()))
        entries = [{"name": k, "dtype": v.dtype.name, "shape": v.shape} for k, v in arrays.items()]
        with (folder / "reply.bin").open("wb") as data:
            for values in arrays.values():
                data.write(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes())
        reply = {"arrays": entries}
    except UnavailableError as error:
        reply = {"error": str(error), "unavailable": True}
    except Exception as error:  # an interpreter's errors are of any kind
        reply = {"error": str(error) or type(error).__name__}
    (folder / "reply.json").write_text(json.dumps(reply))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
