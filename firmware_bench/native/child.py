"""Runs one model as compiled C in this process: `python -m tinyscene.firmware_bench.native.child FOLDER`.

A foreign model may be damaged and C does not look back, so this is a process of its own. The job is that of
`export/engines/process.py`: `names` of the inner tensors in order, `layers`, `digests` and `inputs`.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...export.engines import child
from ...export.formats.tflite_reader import read_network
from ...runtime.errors import InputError, UnavailableError
from ..generator import generate
from .model import NativeModel, TappedModel


def answer(folder: Path, job: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """The arrays asked for, by name; raises `child.UnavailableError` without a compiler."""
    network = read_network((folder / "model.tflite").read_bytes(), "model.tflite")
    graph, given = network.graph, job["inputs"]
    inputs = np.fromfile(folder / "inputs.bin", np.dtype(given["dtype"]).newbyteorder("<")).reshape(given["shape"])
    if not network.as_stored or inputs.dtype != np.int8 or graph.wide:
        raise InputError("the C takes networks that are int8 from end to end")
    generated = generate(graph, "host")
    try:
        model = NativeModel(generated, graph)
        tapped = TappedModel(generated, graph) if job["layers"] or job["digests"] else None
    except UnavailableError as error:
        raise child.UnavailableError(str(error)) from error
    arrays = {"logits": np.stack([model.run(row).reshape(graph.tensor[graph.output].shape[1:]) for row in inputs])}
    digests = []
    for number, row in enumerate(inputs if job["digests"] else inputs[:1]):
        if tapped is None:
            break
        logits, layers = tapped.run(row)
        if logits.tobytes() != arrays["logits"][number].tobytes():
            raise InputError(f"input {number}: the debug build gives other logits than the one without taps")
        if job["layers"] and number == 0:
            arrays |= {f"layer/{place}": layers[name] for place, name in enumerate(job["names"])}
        digest = hashlib.sha256()
        for name in job["names"]:
            digest.update(np.ascontiguousarray(layers[name]).tobytes())
        digests.append(np.frombuffer(digest.digest(), np.uint8))
    if job["digests"]:
        arrays["digests"] = np.stack(digests)
    return arrays


if __name__ == "__main__":
    child.main(Path(sys.argv[1]), answer)
