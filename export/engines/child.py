"""Runs one model in one interpreter, in this process: `PYTHON child.py FOLDER`.

A script on its own: numpy and the interpreter are all it needs, so that environments without tinyscene can run it.
`FOLDER/job.json` names the `interpreter`, the `model` file, the `inputs` (dtype and shape of `inputs.bin`), and for
inner tensors the model to read them from (`tapped`) and their `tensors`: indices of a .tflite, names of an ONNX file.
The answer is `reply.json` with `reply.bin`, see `process.py`.
"""

import hashlib
import json
import resource
import sys
from pathlib import Path

import numpy as np

#: No engine here needs more; a broken model that asks for more gets an error instead of the machine.
MAX_MEMORY_BYTES = 16 << 30


class UnavailableError(Exception):
    """The interpreter cannot be imported."""


class Lite:
    """LiteRT, tflite-runtime or TensorFlow's interpreter: the three have one interface."""

    def __init__(self, module, resolver, model):
        self.interpreter = module.Interpreter(
            model_path=str(model), num_threads=1, experimental_op_resolver_type=resolver
        )
        self.interpreter.allocate_tensors()
        inputs, outputs = self.interpreter.get_input_details(), self.interpreter.get_output_details()
        self.input, self.output = inputs[0]["index"], outputs[0]["index"]

    def run(self, values):
        self.interpreter.set_tensor(self.input, values)
        self.interpreter.invoke()
        return self.interpreter.get_tensor(self.output)

    def tensor(self, index):
        return self.interpreter.get_tensor(index)


class Micro:
    """TFLite-Micro's interpreter."""

    def __init__(self, runtime, model, preserve, arena_bytes):
        config = runtime.InterpreterConfig
        self.interpreter = runtime.Interpreter.from_bytes(
            model.read_bytes(),
            arena_size=arena_bytes,
            intrepreter_config=config.kPreserveAllTensors if preserve else config.kAllocationRecording,
        )

    def run(self, values):
        self.interpreter.set_input(values, 0)
        self.interpreter.invoke()
        return self.interpreter.get_output(0)

    def tensor(self, index):
        return self.interpreter.GetTensor(index, 0)["tensor_data"]


class Onnx:
    """ONNX Runtime on the CPU. The model's first output is the answer, inner tensors are further outputs."""

    def __init__(self, onnxruntime, model):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name
        self.outputs = [output.name for output in self.session.get_outputs()]

    def run(self, values):
        self.found = self.session.run(self.outputs, {self.input: values})
        return self.found[0]

    def tensor(self, name):
        return self.found[self.outputs.index(name)]


def opener(name, kernels, arena_bytes):
    """A function that opens (model file, whether inner tensors are to be read) in the interpreter called `name`."""
    try:
        if name == "tflite-micro":
            from tflite_micro import runtime

            return lambda model, preserve: Micro(runtime, model, preserve, arena_bytes)
        if name == "onnxruntime":
            import onnxruntime

            return lambda model, preserve: Onnx(onnxruntime, model)
        if name == "tensorflow":
            from tensorflow import lite

            module, resolvers = lite, lite.experimental.OpResolverType
        elif name == "tflite-runtime":
            from tflite_runtime import interpreter as module

            resolvers = module.OpResolverType
        else:
            from ai_edge_litert import interpreter as module

            resolvers = module.OpResolverType
    except Exception as error:  # whatever a broken installation raises
        raise UnavailableError(f"{type(error).__name__}: {error}") from error
    resolver = resolvers.BUILTIN_REF if kernels == "reference" else resolvers.AUTO
    # Inner tensors are outputs of the model here: the option that keeps them all turns the fastest kernels off, and in
    # tflite-runtime 2.14 does not keep them.
    return lambda model, preserve: Lite(module, resolver, model)


def answer(folder, job):
    """The arrays asked for, by name."""
    shape = job["inputs"]["shape"]
    dtype = np.dtype(job["inputs"]["dtype"]).newbyteorder("<")
    inputs = np.fromfile(folder / "inputs.bin", dtype).reshape(shape).astype(dtype.newbyteorder("="))
    open_model = opener(job["interpreter"], job.get("kernels"), job.get("arena_bytes"))
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


def main(folder):
    """Answer the job in `folder`."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
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
