"""The same network through a converter that is not ours: litert-torch and ai-edge-quantizer with our ranges.

`python -m tinyscene.export.verification.crosscheck BUNDLE [--clips FILE ...]` gives the float network that the int8 one
stands for to both packages, in an environment of their own (`make engines ENGINE=cross`), has them quantise it with the
ranges and weight scales of our graph, and compares the logits of the two files in LiteRT's reference kernels.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import InputError, TinysceneError, UnavailableError
from ...runtime.int8 import quantize
from ..engines.catalogue import catalogue
from ..engines.places import folders
from ..formats.model_file import open_model
from ..formats.tflite_structure import parse_model
from ..formats.tflite_writer import write_tflite
from ..graph import Graph, Op, Quant, to_nchw
from ..quantization.fake_quant import dequantized, oihw

INSTALL = "make engines ENGINE=cross"

TIMEOUT_S = 600


@dataclass(frozen=True)
class CrossCheck:
    """How far the other converter's file is from ours, on `clips` clips."""

    clips: int
    worst_lsb: int  # largest difference of a logit, in steps of the output
    equal: float  # share of the logits that are equal
    same_answer: float  # share of the clips with the same largest logit
    ops: int
    their_ops: int
    scales: int  # activations that both files have
    equal_scales: int  # of them, those of the same scale (to float32's rounding) and zero point

    def line(self) -> str:
        """For a person."""
        return (
            f"logits of {self.clips} clips differ by at most {self.worst_lsb} LSB, {self.equal:.1%} are equal, "
            f"same answer for {self.same_answer:.1%}; {self.their_ops} ops there, {self.ops} here; "
            f"{self.equal_scales} of {self.scales} activations have the same scale and zero point"
        )


def cross_python() -> Path:
    """The Python with the other converter; raises `UnavailableError` with the line that installs it."""
    for folder in folders():
        python = folder / "cross" / "bin" / "python"
        if python.is_file():
            return python
    raise UnavailableError(f"litert-torch and ai-edge-quantizer are not installed: run `{INSTALL}`")


def cross_check(graph: Graph, log_mels: NDArray[np.float32], python: Path) -> CrossCheck:
    """Compare int8 `graph` with what the packages of `python` make of it, on `log_mels` (n, n_mels, n_frames).

    Raises `InputError` when they cannot convert it or fail.
    """
    quant = graph.input_quant
    inputs = quantize(log_mels, quant.scale, quant.zero_point)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _describe(graph, folder)
        np.save(folder / "clip.npy", log_mels[0].astype(np.float32))
        _convert(folder, python)
        theirs, names = (folder / "cross.tflite").read_bytes(), json.loads((folder / "cross.json").read_text())
    subgraph = parse_model(theirs, "the other converter's file").subgraphs[0]
    reference = catalogue()["litert-reference"]
    ours = reference.replay(write_tflite(graph), inputs[..., None]).logits.astype(np.int64)
    # Their file reads NCHW: with one channel the same bytes.
    found = reference.replay(theirs, inputs[:, None]).logits.astype(np.int64)
    pairs = [
        (graph.tensor[names[name]].quant, t.quantization)
        for t in subgraph.tensors
        if (name := t.name.decode()) in names
    ]
    return CrossCheck(
        clips=len(inputs),
        worst_lsb=int(np.abs(ours - found).max()),
        equal=float((ours == found).mean()),
        same_answer=float((ours.argmax(axis=1) == found.argmax(axis=1)).mean()),
        ops=len(graph.ops),
        their_ops=len(subgraph.operators),
        scales=len(pairs),
        equal_scales=sum(_same(*pair) for pair in pairs),
    )


def _same(mine: Quant | None, theirs: Any) -> bool:
    """Whether two quantisations are equal, the scale up to float32's rounding."""
    scale, zero = np.ravel(theirs.scale), np.ravel(theirs.zeroPoint)
    return mine is not None and zero[0] == mine.zero_point and bool(np.isclose(scale[0], mine.scale, rtol=3e-7, atol=0))


def _describe(graph: Graph, folder: Path) -> None:
    """Write the float network with int8's own weights, and each activation's range."""
    plain = dequantized(graph)
    arrays: dict[str, Any] = {t.name: to_nchw(t.data) for t in plain.tensors if t.data is not None}
    constants = sorted(arrays)
    for op in plain.ops:
        if op.weight is not None:
            arrays |= {f"{op.name}/weight": oihw(op.weight, op), f"{op.name}/bias": op.bias}
    ranges = {}
    for tensor in graph.tensors:
        assert tensor.quant is not None
        low, high = tensor.quant.limits
        scale, zero = tensor.quant.scale, tensor.quant.zero_point
        ranges[tensor.name] = [(low - zero) * scale, (high - zero) * scale]
    content = {
        "input": graph.input,
        "output": graph.output,
        "constants": constants,
        "ops": [_op(graph, op) for op in graph.ops],
        "ranges": ranges,
        "weight_scales": {op.name: op.weight_scales.tolist() for op in graph.ops if op.weight_scales is not None},
    }
    (folder / "graph.json").write_text(json.dumps(content))
    np.savez(folder / "weights.npz", **arrays)


def _op(graph: Graph, op: Op) -> dict[str, Any]:
    if op.kind not in ("PAD", "CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MUL", "AVERAGE_POOL_2D", "MEAN") or op.ceiling:
        raise InputError(f"{op.name} ({op.kind}) is not part of the cross-check: compare a network without it")
    if op.padding == "SAME" and op.weight is None:
        raise InputError(f"{op.name} ({op.kind}) pads by itself, which is not part of the cross-check")
    pads = _same_pads(op, graph.tensor[op.inputs[0]].shape) if op.padding == "SAME" else op.pads
    axes = [{1: 2, 2: 3, 3: 1}[axis] for axis in op.axes]
    return {
        "name": op.name, "kind": op.kind, "inputs": op.inputs, "pads": pads, "stride": op.stride, "window": op.window,
        "axes": axes, "keep_dims": op.keep_dims, "relu": op.relu,
    }  # fmt: skip


def _same_pads(op: Op, shape: tuple[int, ...]) -> list[tuple[int, int]]:
    assert op.weight is not None
    pads = []
    for size, taps, step in zip(shape[1:3], op.weight.shape[1:3], op.stride, strict=True):
        total = max((-(-size // step) - 1) * step + taps - size, 0)
        pads.append((total // 2, total - total // 2))
    return pads


def _convert(folder: Path, python: Path) -> None:
    child = Path(__file__).with_name("cross_child.py")
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        result = subprocess.run(
            [python, child, folder], capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"the other converter did not end within {TIMEOUT_S} s") from error
    if result.returncode:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"the other converter failed with status {result.returncode}: {last}")


def main() -> int:
    """The command line of the module."""
    from ..clips import clips_of_files
    from .golden import load_golden

    parser = argparse.ArgumentParser(prog="python -m tinyscene.export.verification.crosscheck", description=__doc__)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--clips", type=Path, nargs="+", metavar="FILE", help="audio (default: the golden vectors)")
    parser.add_argument("--count", type=int, default=256, help="most clips that are compared (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    arguments = parser.parse_args()
    try:
        model = open_model(arguments.bundle)
        if model.bundle is None:
            raise InputError(f"{arguments.bundle} is no bundle: the cross-check needs its front end")
        if arguments.clips:
            log_mels = clips_of_files(arguments.clips, model.bundle.frontend, arguments.count).log_mel
        else:
            log_mels = load_golden(model.bundle.file("golden.npz")).log_mel
        found = cross_check(model.graph, log_mels, cross_python())
    except TinysceneError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps({"schema": "tinyscene.crosscheck/1", **asdict(found)}) if arguments.json else found.line())
    return 0 if found.worst_lsb <= 1 else 1


if __name__ == "__main__":
    sys.exit(main())
