"""One operator of a .tflite as an op of the graph: its options, its constants, and what of them is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from ...runtime.errors import InputError
from ..graph import KINDS, Op

if TYPE_CHECKING:
    from .tflite_reader import _Reader

#: Operators that are one of the graph's under another name.
ALIASES = {"SQUEEZE": "RESHAPE", "EXPAND_DIMS": "RESHAPE", "RELU": "QUANTIZE", "RELU6": "QUANTIZE"}

#: The graph's kind for a builtin operator's name.
KIND_OF = {**{kind: kind for kind in KINDS}, **ALIASES}

#: Operators that may only give the same values another shape.
NO_MOVE = ("RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS")

_NAMES = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
_ACTIVATIONS = {
    schema.ActivationFunctionType.NONE: (False, None),
    schema.ActivationFunctionType.RELU: (True, None),
    schema.ActivationFunctionType.RELU6: (True, 6.0),
}

#: How far a bias's scale may be from input scale * weight scale: the rounding of one float32 product, and of scales
#: that were written in decimals. Kernels do not read it.
_BIAS_RTOL = 1e-5


def builtin_name(code: Any) -> str:
    """The builtin operator of an operator code, which old files give in another field."""
    number = max(code.builtinCode or 0, code.deprecatedBuiltinCode or 0)
    custom = code.customCode
    if number == schema.BuiltinOperator.CUSTOM and custom:
        return f"CUSTOM {custom.decode(errors='replace') if isinstance(custom, bytes) else custom}"
    return _NAMES.get(number, f"number {number}")


class OpReader:
    """One operator beside the file that it is in."""

    def __init__(self, file: _Reader, builtin: str, kind: str, operator: Any) -> None:
        self.file, self.builtin, self.kind = file, builtin, kind
        self.options = operator.builtinOptions
        self.inputs = [int(index) for index in operator.inputs]
        self.output = int(operator.outputs[0])
        self.name = file.names[self.output]

    def op(self) -> Op:
        """The graph's op; raises `InputError` with the reason when it has none."""
        count = 2 if self.kind in ("ADD", "MUL") else 1
        if len(self.inputs) < count or min(self.inputs[:count]) < 0:
            self._refuse(f"has {len(self.inputs)} inputs, expected {count}")
        values = self._values()
        activation = getattr(self.options, "fusedActivationFunction", schema.ActivationFunctionType.NONE)
        if self.builtin in ("RELU", "RELU6"):
            activation = getattr(schema.ActivationFunctionType, self.builtin)
        if activation not in _ACTIVATIONS:
            self._refuse(f"has activation {activation}, expected none, ReLU or ReLU6")
        relu, ceiling = _ACTIVATIONS[activation]
        names = tuple(self.file.names[index] for index in self.inputs[:count])
        return Op(self.kind, names, self.name, relu=relu, ceiling=ceiling, **values)

    def _values(self) -> dict[str, Any]:
        if self.kind == "PAD":
            return self._pad()
        if self.kind == "MEAN":
            return self._mean()
        if self.kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            return self._convolution()
        if self.kind == "FULLY_CONNECTED":
            return self._dense()
        if self.kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
            options = self._options()
            window, stride = (options.filterHeight, options.filterWidth), (options.strideH, options.strideW)
            return {"window": window, "stride": stride, "padding": self._padding()}
        if self.kind == "RESHAPE":
            if self.file.is_constant(self.inputs[0]):
                self._refuse("gives a constant another shape")
            shape = self.file.shape(self.output)
            if not shape or shape[0] != self.file.shape(self.inputs[0])[0]:
                self._refuse(f"changes the number of clips: {self.file.shape(self.inputs[0])} to {shape}")
            return {"shape": shape}
        if self.kind == "SOFTMAX" and self._options().beta != 1.0:
            self._refuse(f"has beta {self.options.beta}, expected 1")
        return {}

    def _pad(self) -> dict[str, Any]:
        pads = self.file.constant(self._input(1))
        if pads.shape != (4, 2) or pads[[0, 3]].any() or pads.min() < 0:
            self._refuse("pads more than frequency and time")
        return {"pads": tuple((int(before), int(after)) for before, after in pads[1:3])}

    def _mean(self) -> dict[str, Any]:
        rank = len(self.file.shape(self.inputs[0]))
        axes = [int(axis) for axis in self.file.constant(self._input(1)).ravel()]
        if not axes or any(not -rank <= axis < rank for axis in axes):
            self._refuse(f"has axes {axes} of {rank}")
        return {"axes": tuple(axis % rank for axis in axes), "keep_dims": bool(self._options().keepDims)}

    def _convolution(self) -> dict[str, Any]:
        options = self._options()
        if (options.dilationHFactor, options.dilationWFactor) != (1, 1):
            self._refuse("is dilated")
        axis = 0 if self.kind == "CONV_2D" else 3
        return {
            **self._weights(axis, 4),
            "stride": (int(options.strideH), int(options.strideW)),
            "padding": self._padding(),
        }

    def _dense(self) -> dict[str, Any]:
        if self._options().weightsFormat != schema.FullyConnectedOptionsWeightsFormat.DEFAULT:
            self._refuse("has shuffled weights")
        return self._weights(0, 2)

    def _weights(self, axis: int, rank: int) -> dict[str, Any]:
        """Weight, bias and scales; one scale for all weights becomes one a channel, which is the same arithmetic."""
        weight = self.file.constant(self._input(1))
        if weight.ndim != rank or weight.dtype != np.int8 or not weight.size:
            self._refuse(f"has {weight.dtype} weights of shape {weight.shape}")
        scales, along = self.file.quantization(self.inputs[1])
        channels = weight.shape[axis]
        if len(scales) > 1 and along != axis:
            self._refuse(f"has weights that are not quantised per output channel (axis {along}, expected {axis})")
        if len(scales) == 1:
            scales = np.repeat(scales, channels)
        return {"weight": weight, "bias": self._bias(scales), "weight_scales": scales}

    def _bias(self, scales: NDArray[np.float32]) -> NDArray[Any]:
        quant = self.file.tensor(self.inputs[0]).quant
        assert quant is not None
        dtype = np.int64 if quant.bits == 16 else np.int32
        if len(self.inputs) < 3 or self.inputs[2] < 0:
            return np.zeros(len(scales), dtype)
        # The graph keeps no bias scales: they are the product of these two, and must be that in the file.
        found, _ = self.file.quantization(self.inputs[2])
        if not np.allclose(found, np.float32(quant.scale) * scales, rtol=_BIAS_RTOL, atol=0):
            self._refuse("has a bias that is not at input scale * weight scale")
        return self.file.constant(self.inputs[2]).astype(dtype, casting="safe")

    def _padding(self) -> str:
        padding = self._options().padding
        if padding not in (schema.Padding.SAME, schema.Padding.VALID):
            self._refuse(f"has padding {padding}, expected SAME or VALID")
        return "SAME" if padding == schema.Padding.SAME else "VALID"

    def _options(self) -> Any:
        if self.options is None:
            self._refuse("lacks its options")
        return self.options

    def _input(self, number: int) -> int:
        if len(self.inputs) <= number or self.inputs[number] < 0:
            self._refuse(f"has {len(self.inputs)} inputs, expected {number + 1}")
        return self.inputs[number]

    def _refuse(self, reason: str) -> NoReturn:
        raise InputError(f"{self.file.source}: {self.name} ({self.builtin}) {reason}")
