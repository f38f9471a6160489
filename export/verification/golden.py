"""Golden vectors: what a bundle's network does to a few clips, recorded once, to hold every engine against.

`golden.npz` goes from the wave to the logits: `wave` int16 (clips, clip_samples), `log_mel` float32 (clips, n_mels,
n_frames), `input` (clips, n_mels, n_frames) and `logits` (clips, n_classes) of LiteRT's reference kernels in the
network's integers, `float_logits` float32 (clips, n_classes) of the float network, `exact_logits` float32 of the int8
network's own weights in float arithmetic, where no activation is rounded. For the first clip there is every activation
of the reference kernels, `layer/NAME`, and a fingerprint of every activation of the float network, `float/NAME`.
`contract` is JSON: the front-end contract, the labels, and for each activation how far rounding once instead of twice
moves it. The file is read with bounds on every size and never unpickled.
"""

from __future__ import annotations

import io
import json
import math
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime.engines.litert import Kernels
from ...runtime.errors import InputError, require
from ...runtime.frontend import log_mel
from ...runtime.frontend_spec import FrontendSpec
from ..graph import Graph, Quant
from .fingerprint import fingerprint

#: Clips recorded; the layers of the first alone are most of the file.
CLIPS = 4

MAX_BYTES = 32 << 20
MAX_UNPACKED_BYTES = 64 << 20
MAX_ARRAYS = 4096

_LAYER, _FLOAT, _CONTRACT = "layer/", "float/", "contract"

_DTYPES = ("|i1", "|u1", "<i2", "<f4")

#: The header of an array's member: its dtype, and its sizes with commas between.
_HEADER = re.compile(r"\{'descr': '(\S{3})', 'fortran_order': False, 'shape': \(((?:\d{1,10}, ?)*\d{0,10})\), \} *\n")

#: Logits (clips, n_classes) float32 for log-mels (clips, n_mels, n_frames).
Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]

#: Activations by name, (1, ..., channels), for log-mels (1, n_mels, n_frames).
Trace = Callable[[NDArray[np.float32]], Mapping[str, NDArray[Any]]]


@dataclass(frozen=True, eq=False)
class Golden:
    """The arrays of `golden.npz`, see the module."""

    frontend: FrontendSpec
    labels: tuple[str, ...]
    wave: NDArray[np.int16]
    log_mel: NDArray[np.float32]
    input: NDArray[Any]
    logits: NDArray[Any]
    float_logits: NDArray[np.float32]
    exact_logits: NDArray[np.float32]
    layers: Mapping[str, NDArray[Any]]
    fingerprints: Mapping[str, NDArray[np.float32]]  # of the float network's activations, (3, channels)
    noise: Mapping[str, float]  # largest mean difference of a channel, in steps, between rounding once and twice

    def real_wave(self, clip: int) -> NDArray[np.float32]:
        """One clip's samples in [-1, 1), float32."""
        return self.wave[clip].astype(np.float32) / np.float32(32768.0)


def choose_clips(float_logits: NDArray[np.float32], count: int = CLIPS) -> list[int]:
    """Indices of up to `count` clips whose answers differ as much as possible: one a scene, then the rest."""
    answers = float_logits.argmax(axis=1)
    firsts = [int(index) for index in np.unique(answers, return_index=True)[1]]
    rest = [index for index in range(len(answers)) if index not in firsts]
    return (sorted(firsts) + rest)[:count]


@dataclass(frozen=True)
class Twins:
    """The same network in other arithmetic, none of it an engine's."""

    float_logits: Predict  # the float network
    exact_logits: Predict  # the int8 graph with nothing rounded
    float_layers: Trace  # the float graph
    rounded_layers: Trace  # the int8 graph with each activation rounded once, as integers


def make_golden(
    waves: NDArray[np.int16], spec: FrontendSpec, labels: tuple[str, ...], graph: Graph, model: bytes, twins: Twins
) -> Golden:
    """Record `waves` (clips, clip_samples) through `model`, the .tflite of `graph`, and through its `twins`."""
    log_mels = np.stack([log_mel(wave.astype(np.float32) / np.float32(32768.0), spec) for wave in waves])
    inputs = to_integers(log_mels, graph.input_quant)
    outputs = [run_layers(model, values) for values in inputs]
    rounded = twins.rounded_layers(log_mels[:1])
    layers = {op.output: outputs[0][op.output] for op in graph.ops}
    return Golden(
        frontend=spec,
        labels=tuple(labels),
        wave=waves,
        log_mel=log_mels,
        input=inputs,
        logits=np.stack([layers[graph.output][0] for layers in outputs]),
        float_logits=twins.float_logits(log_mels),
        exact_logits=twins.exact_logits(log_mels),
        layers=layers,
        fingerprints={name: fingerprint(values) for name, values in twins.float_layers(log_mels[:1]).items()},
        noise={name: round(channel_steps(values, rounded[name]), 3) for name, values in layers.items()},
    )


def to_integers(values: NDArray[np.float32], quant: Quant) -> NDArray[Any]:
    """Real `values` as the integers of `quant`, to the nearest, clamped."""
    low, high = quant.limits
    return np.clip(np.rint(values / np.float32(quant.scale)) + quant.zero_point, low, high).astype(quant.dtype)


def channel_steps(expected: NDArray[Any], found: NDArray[Any]) -> float:
    """Mean difference, in steps, of the channel (last axis) in which two integer tensors differ most."""
    difference = np.abs(expected.astype(np.float64) - found.astype(np.float64))
    return float(difference.reshape(-1, difference.shape[-1]).mean(axis=0).max())


def run_layers(model: bytes, inputs: NDArray[Any], kernels: Kernels = "reference") -> dict[str, NDArray[Any]]:
    """Every int8 and int16 tensor of a .tflite in LiteRT for one input (n_mels, n_frames), by name."""
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
        if details["dtype"] in (np.int8, np.int16) and details["name"]
    }


def dump_golden(golden: Golden) -> bytes:
    """The bytes of `golden.npz`: compressed, and the same for the same vectors."""
    contract = {"frontend": golden.frontend.to_dict(), "labels": golden.labels, "noise": golden.noise}
    arrays: dict[str, NDArray[Any]] = {
        _CONTRACT: np.frombuffer(json.dumps(contract, allow_nan=False).encode(), np.uint8),
        "wave": golden.wave,
        "log_mel": golden.log_mel,
        "input": golden.input,
        "logits": golden.logits,
        "float_logits": golden.float_logits,
        "exact_logits": golden.exact_logits,
        **{f"{_LAYER}{name}": values for name, values in golden.layers.items()},
        **{f"{_FLOAT}{name}": values for name, values in golden.fingerprints.items()},
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


def load_golden(path: Path) -> Golden:
    """Read the golden vectors at `path`; raises `InputError` when they are damaged or do not fit each other."""
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        raise InputError(f"no golden vectors at {path} (or far too large): export the model again")
    try:
        arrays = _read_arrays(path)
        contract = json.loads(arrays.pop(_CONTRACT).tobytes())
        spec = FrontendSpec.from_dict(contract["frontend"])
        labels = tuple(str(label) for label in contract["labels"])
        noise = {str(name): float(value) for name, value in contract["noise"].items()}
    except (InputError, OSError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise InputError(f"{path} is damaged ({reason:.200}): export the model again") from error
    except (zipfile.BadZipFile, zlib.error, RecursionError, MemoryError, NotImplementedError, RuntimeError) as error:
        reason = str(error) or type(error).__name__  # which may quote a member's name of any length
        raise InputError(f"{path} is damaged ({reason:.200}): export the model again") from error
    clips = len(arrays["wave"]) if arrays.get("wave") is not None and arrays["wave"].ndim else 0
    shapes: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
        "wave": (("int16",), (clips, spec.clip_samples)),
        "log_mel": (("float32",), (clips, spec.n_mels, spec.n_frames())),
        "input": (("int8", "int16"), (clips, spec.n_mels, spec.n_frames())),
        "logits": (("int8", "int16"), (clips, len(labels))),
        "float_logits": (("float32",), (clips, len(labels))),
        "exact_logits": (("float32",), (clips, len(labels))),
    }
    for name, (dtypes, shape) in shapes.items():
        found = arrays.get(name)
        if found is None or not clips or found.dtype.name not in dtypes or found.shape != shape:
            have = "missing" if found is None else f"{found.dtype} {found.shape}"
            raise InputError(f"{path}: {name} is {have}, expected {dtypes[0]} {shape}: export the model again")
        if found.dtype == np.float32 and not np.isfinite(found).all():
            raise InputError(f"{path}: {name} holds values that are not finite: export the model again")
    layers = {name.removeprefix(_LAYER): values for name, values in arrays.items() if name.startswith(_LAYER)}
    prints = {name.removeprefix(_FLOAT): values for name, values in arrays.items() if name.startswith(_FLOAT)}
    if not layers or any(values.dtype.name not in ("int8", "int16") or not values.ndim for values in layers.values()):
        raise InputError(f"{path} holds no int8 layers: export the model again")
    if any(values.dtype != np.float32 or values.ndim != 2 or len(values) != 3 for values in prints.values()):
        raise InputError(f"{path} holds fingerprints of another form: export the model again")
    vectors = {name: arrays[name] for name in shapes}
    return Golden(spec, labels, **vectors, layers=layers, fingerprints=prints, noise=noise)


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz. Unlike numpy's own reader this one believes no size that the file states."""
    arrays: dict[str, NDArray[Any]] = {}
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > MAX_ARRAYS:
            raise ValueError(f"{len(members)} arrays")
        room = MAX_UNPACKED_BYTES
        for member in members:
            with archive.open(member) as handle:
                data = handle.read(room + 1)
            room -= len(data)
            if room < 0:
                raise ValueError(f"it unpacks to more than {MAX_UNPACKED_BYTES} bytes")
            arrays[member.filename.removesuffix(".npy")] = _array(member.filename, data)
    return arrays


def _array(name: str, data: bytes) -> NDArray[Any]:
    """An array in numpy's format 1.0, little-endian, by rows; numpy's own reader parses the header as Python."""
    start = 10 + int.from_bytes(data[8:10], "little")
    header = _HEADER.fullmatch(data[10:start].decode("latin-1")) if data[:8] == b"\x93NUMPY\x01\x00" else None
    if header is None or header[1] not in _DTYPES:
        raise ValueError(f"{name:.80} is no plain array")
    dtype = np.dtype(header[1])
    shape = tuple(int(size) for size in header[2].split(",") if size.strip())
    if math.prod(shape) * dtype.itemsize != len(data) - start:
        raise ValueError(f"{name:.80} is not of its stated shape")
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))
