"""What an exported project's self-test replays: inputs, every tensor of the first, logits of all, as one binary file.

The layout is in `templates/selftest.c`. Expected are the bytes of LiteRT's reference kernels.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...export.formats.model_file import ModelFile
from ...export.verification.golden import load_golden, run_layers
from ...runtime.errors import InputError

MAGIC = b"TSGV"
VERSION = 1
_NAME_BYTES = 48


def record(model: ModelFile, tensors: Sequence[str], inputs: NDArray[np.int8] | None = None) -> bytes:
    """The file for `model`, whose generated C shows `tensors` under their place in that list.

    `inputs` (k, rows, columns) default to a bundle's golden inputs, and to four of noise for a bare file. Raises
    `InputError` for inputs of another shape or type.
    """
    graph = model.graph
    shape = graph.tensor[graph.input].shape[1:3]
    planes = _inputs(model, shape) if inputs is None else inputs
    if planes.dtype != np.int8 or not len(planes) or planes.shape[1:] != shape:
        raise InputError(f"inputs are {planes.dtype} {list(planes.shape)}, expected int8 [k, {shape[0]}, {shape[1]}]")
    layers = [run_layers(model.data, plane) for plane in planes]
    logits = [layer[graph.output].reshape(-1).astype(np.int8) for layer in layers]
    shown = [(number, name, layers[0][name]) for number, name in enumerate(tensors) if name in layers[0]]
    parts = [MAGIC, struct.pack("<5I", VERSION, len(planes), planes[0].size, logits[0].size, len(shown))]
    for plane, answer in zip(planes, logits, strict=True):
        parts += [plane.tobytes(), answer.tobytes()]
    for number, name, values in shown:
        rows = values.shape[1] if values.ndim == 4 else 1
        parts.append(struct.pack("<3I", number, rows, values.size // rows))
        parts += [name.encode()[: _NAME_BYTES - 1].ljust(_NAME_BYTES, b"\0"), values.astype(np.int8).tobytes()]
    return b"".join(parts)


def _inputs(model: ModelFile, shape: tuple[int, ...]) -> NDArray[np.int8]:
    if model.bundle is not None:
        return np.asarray(load_golden(model.bundle.file("golden.npz")).input, np.int8)
    return np.random.default_rng(0).integers(-128, 128, (4, *shape), np.int8)
