"""A graph as ONNX: float, or with the int8 network's own scales as QuantizeLinear/DequantizeLinear pairs (QDQ).

Both models read float32 `log_mel` [1, 1, n_mels, n_frames] (NCHW, unlike the .tflite's NHWC) and give float32 `logits`
[1, n_classes]. The QDQ model holds the same int8 weights, int32 biases and scales as the .tflite; an engine may round a
tie differently, so the two agree within a few steps, not bit for bit. A network with 16-bit activations needs a newer
operator set, and its int64 biases, which ONNX cannot scale, are written as the float32 numbers they stand for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ..graph import Graph, Op, Quant, Tensor, to_nchw
from .metadata import METADATA_NAME, Metadata

#: Old enough for every runtime of the last years, ONNX Runtime Web included.
OPSET = 17
IR_VERSION = 8

#: The first operator set whose QuantizeLinear gives int16.
WIDE_OPSET = 21
WIDE_IR_VERSION = 10


def write_onnx(graph: Graph, metadata: Metadata | None = None) -> bytes:
    """Serialise `graph`: QDQ when it is int8, plain float otherwise, with labels and front end from `metadata`.

    The result has passed onnx's full checker.
    """
    graph.validate()
    writer = _Writer(graph)
    for op in graph.ops:
        writer.add(op)
    model = helper.make_model(
        helper.make_graph(
            writer.nodes,
            graph.name,
            [helper.make_tensor_value_info(graph.input, TensorProto.FLOAT, _nchw(graph.tensor[graph.input].shape))],
            [helper.make_tensor_value_info(graph.output, TensorProto.FLOAT, _nchw(graph.tensor[graph.output].shape))],
            writer.initializers,
        ),
        opset_imports=[helper.make_opsetid("", writer.opset)],
        producer_name="tinyscene",
        ir_version=WIDE_IR_VERSION if graph.wide else IR_VERSION,
    )
    if metadata is not None:
        helper.set_model_props(model, {METADATA_NAME: metadata.to_json()})
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


class _Writer:
    """Nodes and constants written so far; an activation's value is the ONNX tensor of its own name."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.opset = WIDE_OPSET if graph.wide else OPSET
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.value = {name: name for name in graph.tensor}
        # A PAD is not written but handed to the convolution or pool that reads it, as [top, left, bottom, right].
        self.pads: dict[str, tuple[int, int, int, int]] = {}
        quant = graph.tensor[graph.input].quant
        if quant is not None:
            self.value[graph.input] = f"{graph.input}/rounded"
            self._round(graph.input, self.value[graph.input], quant)
        for tensor in graph.tensors:
            if tensor.data is not None:
                self._operand(tensor)

    def add(self, op: Op) -> None:
        """Write one op and, in an int8 graph, the rounding of its result."""
        if op.kind == "PAD":
            self._pad(op)
            return
        quant = self.graph.tensor[op.output].quant
        exact = op.output if quant is None else f"{op.output}/exact"
        clamp = _clamp(op, quant)
        self._compute(op, f"{exact}/linear" if clamp else exact)
        if clamp == "Clip":
            limits = {"floor": 0.0, "ceiling": op.ceiling}
            names = [self._initializer(f"{op.name}/{key}", np.array(at, np.float32)) for key, at in limits.items()]
            self._node("Clip", [f"{exact}/linear", *names], exact)
        elif clamp:
            self._node("Relu", [f"{exact}/linear"], exact)
        if quant is not None:
            self._round(exact, op.output, quant)

    def _pad(self, op: Op) -> None:
        """Leave zeros to the convolutions and pools that read them, or write them out when another op does."""
        (top, bottom), (left, right) = op.pads
        source = self.value[op.inputs[0]]
        readers = [reader for reader in self.graph.ops if op.output in reader.inputs]
        folds = all(reader.weight is not None or reader.kind == "AVERAGE_POOL_2D" for reader in readers)
        if readers and folds:
            self.pads[op.output] = (top, left, bottom, right)
            self.value[op.output] = source
            return
        amounts = self._initializer(f"{op.name}/pads", _all_axes([top, left, bottom, right]))
        self._node("Pad", [source, amounts], op.output)

    def _compute(self, op: Op, output: str) -> None:
        inputs = [self.value[name] for name in op.inputs]
        values: dict[str, Any]
        if op.kind in ("FULLY_CONNECTED", "RESHAPE"):
            self._flat(op, inputs[0], output)
        elif op.kind == "SOFTMAX":
            self._node("Softmax", inputs, output, axis=1 if len(self.graph.tensor[op.output].shape) == 4 else -1)
        elif op.kind == "MAX_POOL_2D":
            kernel = list(op.window)
            values = {"kernel_shape": kernel, "strides": list(op.stride), "pads": self._pads_of(op, kernel)}
            self._node("MaxPool", inputs, output, **values)
        elif op.weight is not None:
            kernel = list(op.weight.shape[1:3])
            group = self.graph.tensor[op.inputs[0]].shape[3] if op.kind == "DEPTHWISE_CONV_2D" else 1
            pads = self._pads_of(op, kernel)
            values = {"kernel_shape": kernel, "strides": list(op.stride), "pads": pads, "group": group}
            self._node("Conv", [inputs[0], *self._constants(op)], output, **values)
        elif op.kind == "AVERAGE_POOL_2D":
            kernel, pads = list(op.window), self._pads_of(op, list(op.window))
            if any(pad >= side for pad, side in zip(pads, kernel * 2, strict=True)):
                # Wider than ONNX allows a pool's own padding to be.
                self._node("Pad", [*inputs, self._initializer(f"{op.name}/pads", _all_axes(pads))], f"{output}/padded")
                inputs, pads = [f"{output}/padded"], [0, 0, 0, 0]
            values = {"kernel_shape": kernel, "strides": list(op.stride), "pads": pads}
            counted = int(op.padding == "VALID")  # what a PAD added is part of the mean, what SAME adds is not
            self._node("AveragePool", inputs, output, count_include_pad=counted, **values)
        elif op.kind == "MEAN":
            self._mean(op, inputs[0], output)
        elif op.kind == "RSQRT":
            floor = self._initializer(f"{op.name}/floor", np.array(1e-12, np.float32))
            self._node("Max", [inputs[0], floor], f"{output}/positive")
            self._node("Sqrt", [f"{output}/positive"], f"{output}/root")
            self._node("Reciprocal", [f"{output}/root"], output)
        else:
            self._node({"ADD": "Add", "MUL": "Mul", "QUANTIZE": "Identity"}[op.kind], inputs, output)

    def _mean(self, op: Op, source: str, output: str) -> None:
        axes = [{1: 2, 2: 3, 3: 1}[axis] for axis in op.axes]
        if self.opset < 18:
            self._node("ReduceMean", [source], output, axes=axes, keepdims=int(op.keep_dims))
            return
        listed = self._initializer(f"{op.name}/axes", np.array(axes, np.int64))
        self._node("ReduceMean", [source, listed], output, keepdims=int(op.keep_dims))

    def _flat(self, op: Op, source: str, output: str) -> None:
        """An op that reads values in the graph's order, channels innermost."""
        if len(self.graph.tensor[op.inputs[0]].shape) == 4:
            self._node("Transpose", [source], f"{output}/nhwc", perm=[0, 2, 3, 1])
            source = f"{output}/nhwc"
        if op.kind == "FULLY_CONNECTED":
            self._node("Flatten", [source], f"{output}/flat")
            self._node("Gemm", [f"{output}/flat", *self._constants(op)], output, transB=1)
            return
        target = f"{output}/reshaped" if len(op.shape) == 4 else output
        self._node("Reshape", [source, self._initializer(f"{op.name}/shape", np.array(op.shape, np.int64))], target)
        if target != output:
            self._node("Transpose", [target], output, perm=[0, 3, 1, 2])

    def _pads_of(self, op: Op, kernel: list[int]) -> list[int]:
        pads = list(self.pads.get(op.inputs[0], (0, 0, 0, 0)))
        if op.padding == "SAME":
            sizes = self.graph.tensor[op.inputs[0]].shape[1:3]
            for axis, (size, taps, step) in enumerate(zip(sizes, kernel, op.stride, strict=True)):
                total = max((-(-size // step) - 1) * step + taps - size, 0)
                pads[axis] += total // 2
                pads[axis + 2] += total - total // 2
        return pads

    def _constants(self, op: Op) -> list[str]:
        assert op.weight is not None
        assert op.bias is not None
        axes = {"DEPTHWISE_CONV_2D": (3, 0, 1, 2), "CONV_2D": (0, 3, 1, 2), "FULLY_CONNECTED": (0, 1)}[op.kind]
        weight, bias = np.ascontiguousarray(op.weight.transpose(axes)), op.bias
        if op.weight_scales is None:
            return [self._initializer(f"{op.name}/weight", weight), self._initializer(f"{op.name}/bias", bias)]
        quant = self.graph.tensor[op.inputs[0]].quant
        assert quant is not None
        weights, scales = self._real(f"{op.name}/weight", weight, op.weight_scales), quant.scale * op.weight_scales
        if bias.dtype == np.int64:
            return [
                weights,
                self._initializer(f"{op.name}/bias", (bias * scales.astype(np.float64)).astype(np.float32)),
            ]
        return [weights, self._real(f"{op.name}/bias", bias, scales)]

    def _operand(self, tensor: Tensor) -> None:
        assert tensor.data is not None
        data = to_nchw(tensor.data)
        if tensor.quant is None:
            self._initializer(tensor.name, data)
            return
        scale, zero_point = self._quant(tensor.name, tensor.quant)
        inputs = [self._initializer(f"{tensor.name}/{tensor.quant.dtype}", data), scale, zero_point]
        self._node("DequantizeLinear", inputs, tensor.name)

    def _real(self, name: str, data: NDArray[Any], scales: NDArray[np.float32]) -> str:
        """Write integer `data` with one scale an output channel and give the name of its real value."""
        stored = self._initializer(f"{name}/int", data)
        scale = self._initializer(f"{name}/scale", scales)
        zero = self._initializer(f"{name}/zero_point", np.zeros(len(scales), data.dtype))
        self._node("DequantizeLinear", [stored, scale, zero], name, axis=0)
        return name

    def _round(self, source: str, target: str, quant: Quant) -> None:
        scale, zero_point = self._quant(target, quant)
        self._node("QuantizeLinear", [source, scale, zero_point], f"{target}/{quant.dtype}")
        self._node("DequantizeLinear", [f"{target}/{quant.dtype}", scale, zero_point], target)

    def _quant(self, name: str, quant: Quant) -> tuple[str, str]:
        return (
            self._initializer(f"{name}/scale", np.array(quant.scale, np.float32)),
            self._initializer(f"{name}/zero_point", np.array(quant.zero_point, quant.dtype)),
        )

    def _initializer(self, name: str, data: NDArray[Any]) -> str:
        self.initializers.append(numpy_helper.from_array(data, name))
        return name

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))


def _clamp(op: Op, quant: Quant | None) -> str:
    """The node that clamps an op's result, none where rounding to its integers clips at the same values by itself.

    Engines fuse a bare convolution best.
    """
    if not op.relu:
        return ""
    if op.ceiling is not None and (
        quant is None or round(op.ceiling / quant.scale) + quant.zero_point < quant.limits[1]
    ):
        return "Clip"
    return "" if quant is not None and quant.zero_point == quant.limits[0] else "Relu"


def _all_axes(pads: list[int]) -> NDArray[np.int64]:
    """[top, left, bottom, right] as the paddings of all four axes, before and after."""
    return np.array([0, 0, *pads[:2], 0, 0, *pads[2:]], np.int64)


def _nchw(shape: tuple[int, ...]) -> list[int]:
    return [shape[0], shape[3], shape[1], shape[2]] if len(shape) == 4 else list(shape)
