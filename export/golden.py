"""Golden vectors: what a bundle's network does to a few clips, recorded once, to hold every engine against.

`golden.npz` goes from the wave to the logits: `wave` int16 (clips, clip_samples), `log_mel` float32 (clips, n_mels,
n_frames), `input` int8 (clips, n_mels, n_frames), `logits` int8 (clips, n_classes) of LiteRT's reference kernels,
`float_logits` float32 (clips, n_classes) of the float network, `exact_logits` float32 of the int8 network's own weights
in float arithmetic, where no activation is rounded, and for the first clip every activation of the reference kernels as
int8 arrays `layer/NAME`. It is read with `allow_pickle=False` and checked before use.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..runtime.engine import Kernels
from ..runtime.errors import InputError, require
from ..runtime.frontend import log_mel
from ..runtime.frontend_spec import FrontendSpec
from ..runtime.int8 import quantize
from .graph import Graph

#: Clips recorded; the layers of the first alone are most of the file.
CLIPS = 4

MAX_BYTES = 32 << 20

_LAYER = "layer/"

#: Logits (clips, n_classes) float32 for log-mels (clips, n_mels, n_frames).
Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Golden:
    """The arrays of `golden.npz`, see the module."""

    wave: NDArray[np.int16]
    log_mel: NDArray[np.float32]
    input: NDArray[np.int8]
    logits: NDArray[np.int8]
    float_logits: NDArray[np.float32]
    exact_logits: NDArray[np.float32]
    layers: Mapping[str, NDArray[np.int8]]

    def real_wave(self, clip: int) -> NDArray[np.float32]:
        """One clip's samples in [-1, 1), float32."""
        return self.wave[clip].astype(np.float32) / np.float32(32768.0)


def choose_clips(float_logits: NDArray[np.float32], count: int = CLIPS) -> list[int]:
    """Indices of up to `count` clips whose answers differ as much as possible: one a scene, then the rest."""
    answers = float_logits.argmax(axis=1)
    firsts = [int(index) for index in np.unique(answers, return_index=True)[1]]
    rest = [index for index in range(len(answers)) if index not in firsts]
    return (sorted(firsts) + rest)[:count]


def make_golden(
    waves: NDArray[np.int16],
    spec: FrontendSpec,
    graph: Graph,
    model: bytes,
    float_logits: Predict,
    exact_logits: Predict,
) -> Golden:
    """Record `waves` (clips, clip_samples) through `model`, the .tflite of `graph`.

    `float_logits` is the float network, `exact_logits` the graph with nothing rounded.
    """
    log_mels = np.stack([log_mel(wave.astype(np.float32) / np.float32(32768.0), spec) for wave in waves])
    quant = graph.input_quant
    inputs = quantize(log_mels, quant.scale, quant.zero_point)
    outputs = [run_layers(model, values) for values in inputs]
    logits = np.stack([layers[graph.output][0] for layers in outputs])
    layers = {op.output: outputs[0][op.output] for op in graph.ops}
    return Golden(waves, log_mels, inputs, logits, float_logits(log_mels), exact_logits(log_mels), layers)


def run_layers(model: bytes, inputs: NDArray[np.int8], kernels: Kernels = "reference") -> dict[str, NDArray[np.int8]]:
    """Every int8 tensor of a .tflite in LiteRT for one input (n_mels, n_frames), by name."""
    litert = require("ai_edge_litert.interpreter", "export")
    resolver = litert.OpResolverType.BUILTIN_REF if kernels == "reference" else litert.OpResolverType.AUTO
    try:
        interpreter = litert.Interpreter(
            model_content=model,
            num_threads=1,
            experimental_op_resolver_type=resolver,
            experimental_preserve_all_tensors=True,
        )
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise InputError(f"LiteRT cannot run the model ({str(error).splitlines()[0]}): export it again") from error
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], inputs[None, :, :, None])
    interpreter.invoke()
    return {
        details["name"]: interpreter.get_tensor(details["index"]).copy()
        for details in interpreter.get_tensor_details()
        if details["dtype"] is np.int8 and details["name"]
    }


def dump_golden(golden: Golden) -> bytes:
    """The bytes of `golden.npz`: compressed, and the same for the same vectors."""
    arrays = {
        "wave": golden.wave,
        "log_mel": golden.log_mel,
        "input": golden.input,
        "logits": golden.logits,
        "float_logits": golden.float_logits,
        "exact_logits": golden.exact_logits,
        **{f"{_LAYER}{name}": values for name, values in golden.layers.items()},
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, values in arrays.items():
            # np.savez would stamp the time of day into the file.
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_DEFLATED
            data = io.BytesIO()
            np.lib.format.write_array(data, np.ascontiguousarray(values), allow_pickle=False)
            archive.writestr(member, data.getvalue())
    return buffer.getvalue()


def load_golden(path: Path, spec: FrontendSpec, n_classes: int) -> Golden:
    """Read the golden vectors at `path`; raises `InputError` when they are damaged or not of this front end."""
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        raise InputError(f"no golden vectors at {path} (or far too large): export the model again")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        raise InputError(f"{path} is damaged ({error}): export the model again") from error
    clips = len(arrays["wave"]) if arrays.get("wave") is not None and arrays["wave"].ndim else 0
    shapes = {
        "wave": (np.int16, (clips, spec.clip_samples)),
        "log_mel": (np.float32, (clips, spec.n_mels, spec.n_frames())),
        "input": (np.int8, (clips, spec.n_mels, spec.n_frames())),
        "logits": (np.int8, (clips, n_classes)),
        "float_logits": (np.float32, (clips, n_classes)),
        "exact_logits": (np.float32, (clips, n_classes)),
    }
    for name, (dtype, shape) in shapes.items():
        found = arrays.get(name)
        if found is None or not clips or found.dtype != dtype or found.shape != shape:
            have = "missing" if found is None else f"{found.dtype} {found.shape}"
            raise InputError(f"{path}: {name} is {have}, expected {np.dtype(dtype)} {shape}: export the model again")
    layers = {name.removeprefix(_LAYER): values for name, values in arrays.items() if name.startswith(_LAYER)}
    if not layers or any(values.dtype != np.int8 for values in layers.values()):
        raise InputError(f"{path} holds no int8 layers: export the model again")
    return Golden(
        wave=arrays["wave"],
        log_mel=arrays["log_mel"],
        input=arrays["input"],
        logits=arrays["logits"],
        float_logits=arrays["float_logits"],
        exact_logits=arrays["exact_logits"],
        layers=layers,
    )
