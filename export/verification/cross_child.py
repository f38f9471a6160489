"""Run by `crosscheck` in an environment of its own: `python cross_child.py FOLDER`, with litert-torch and
ai-edge-quantizer and without tinyscene.

Reads the float network (`graph.json`, `weights.npz`) with the range of each tensor and the scales of the weights, and
one clip; has the two packages convert and quantise it with those; leaves `cross.tflite` and, in `cross.json`, which
tensor of it is which of ours.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import litert_torch
import numpy as np
import torch
import torch.nn.functional as F
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe
from numpy.typing import NDArray
from torch import nn

#: How far a converted network's tensor may be from ours, of the largest value, to be the same one.
RTOL = 1e-4


class Net(nn.Module):
    """The graph's ops in torch, (1, 1, n_mels, n_frames) -> (1, n_classes)."""

    def __init__(self, graph: dict[str, Any], weights: Any) -> None:
        super().__init__()
        self.graph = graph
        self.arrays = {name: torch.from_numpy(weights[name]) for name in weights.files}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.values(x)[self.graph["output"]]

    def values(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        values = {self.graph["input"]: x, **{name: self.arrays[name] for name in self.graph["constants"]}}
        for op in self.graph["ops"]:
            values[op["name"]] = self.op(op, *(values[name] for name in op["inputs"]))
        return values

    def op(self, op: dict[str, Any], x: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
        kind = op["kind"]
        (top, bottom), (left, right) = op["pads"]
        if kind == "PAD":
            return F.pad(x, (left, right, top, bottom))
        if kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            groups = x.shape[1] if kind == "DEPTHWISE_CONV_2D" else 1
            if any((top, bottom, left, right)):  # what SAME adds
                x = F.pad(x, (left, right, top, bottom))
            name = op["name"]
            y = F.conv2d(x, self.arrays[f"{name}/weight"], self.arrays[f"{name}/bias"], op["stride"], groups=groups)
        elif other is not None and kind in ("ADD", "MUL"):
            y = x + other if kind == "ADD" else x * other
        elif kind == "AVERAGE_POOL_2D":
            y = F.avg_pool2d(x, op["window"], op["stride"])
        elif kind == "MEAN":
            y = x.mean(op["axes"], keepdim=op["keep_dims"])
        else:
            raise SystemExit(f"{op['name']}: {kind} is not converted here")
        return F.relu(y) if op["relu"] else y


def main(folder: Path) -> None:
    graph = json.loads((folder / "graph.json").read_text())
    net = Net(graph, np.load(folder / "weights.npz")).eval()
    clip = torch.from_numpy(np.load(folder / "clip.npy"))[None, None]
    file = str(folder / "cross.tflite")
    litert_torch.convert(net, (clip,)).export(file)
    with torch.inference_mode():
        ours = net.values(clip)
    names = same_tensors(file, clip.numpy(), {key: value.numpy() for key, value in ours.items()})
    worker = quantizer.Quantizer(file, recipe.static_wi8_ai8())
    found = worker.calibrate({"serving_default": [{"args_0": clip.numpy()}]})
    missing = sorted(set(found) - set(names))
    if missing:
        raise SystemExit(f"tensors that are none of ours: {', '.join(missing)}")
    for name, entry in found.items():
        low, high = graph["ranges"][names[name]]
        entry["min"], entry["max"] = np.full_like(entry["min"], low), np.full_like(entry["max"], high)
    for name, axis, shape, op in weights_of(file, names):
        scales = np.array(graph["weight_scales"][op], np.float32)
        limits = 127 * scales.reshape([len(scales) if number == axis else 1 for number in range(len(shape))])
        found[name] = {"min": -limits, "max": limits}
    worker.quantize(found).export_model(file, overwrite=True)
    (folder / "cross.json").write_text(json.dumps(names))


def same_tensors(file: str, clip: NDArray[np.float32], ours: dict[str, NDArray[np.float32]]) -> dict[str, str]:
    """Our name of each activation of the converted network, found by its values."""
    interpreter = Interpreter(file, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    first = interpreter.get_input_details()[0]
    interpreter.set_tensor(first["index"], clip.reshape(first["shape"]))
    interpreter.invoke()
    layouts = {
        name: [value.ravel(), np.moveaxis(value, 1, -1).ravel() if value.ndim == 4 else value.ravel()]
        for name, value in ours.items()
    }
    names = {}
    for details in interpreter.get_tensor_details():
        try:
            value = interpreter.get_tensor(details["index"]).ravel()
        except ValueError:
            continue
        if value.dtype != np.float32 or not value.size:
            continue
        limit = RTOL * np.abs(value).max()
        for name, candidates in layouts.items():
            if any(len(c) == len(value) and np.abs(c - value).max() <= limit for c in candidates):
                names[details["name"]] = name
                break
    return names


def weights_of(file: str, names: dict[str, str]) -> Iterator[tuple[str, int, Sequence[int], str]]:
    """Name, channel axis and shape of each weight of the converted network, and our op that it belongs to."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(Path(file).read_bytes(), 0))
    subgraph = model.subgraphs[0]
    for operator in subgraph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        kind = max(code.builtinCode, code.deprecatedBuiltinCode)
        if kind in (schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.DEPTHWISE_CONV_2D):
            weight = subgraph.tensors[operator.inputs[1]]
            axis = 0 if kind == schema.BuiltinOperator.CONV_2D else 3
            yield weight.name.decode(), axis, weight.shape, names[subgraph.tensors[operator.outputs[0]].name.decode()]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
