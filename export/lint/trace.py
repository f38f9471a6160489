"""Torch's operators as a network runs them, each with the path of the module that called it.

Recorded below the modules, at torch's dispatcher, so that nothing hides in a `forward`: a functional call is named by
the module it stands in. Only what depends on the input counts; arithmetic on weights alone folds away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from .operators import Operand, Operator, multiply_accumulates
from .torch_ops import LOWERED, SILENT, fix_for, kind_of, short_name

#: Modules that stand for one operator, however many torch runs for them.
WHOLE = (nn.RNNBase, nn.MultiheadAttention)

#: Number and name of the network's input, and the number of whatever is constant.
INPUT = (-1, "log_mel")
CONSTANT = -2


@dataclass(frozen=True)
class Call:
    """One operator that torch ran: its short name, the path of the module around it, and its tensors' identities."""

    base: str
    path: str
    inputs: tuple[Tensor, ...]  # that depend on the network's input
    constants: tuple[Tensor, ...]
    output: Tensor


def trace(model: nn.Module, n_mels: int, n_frames: int, opaque: tuple[type[nn.Module], ...] = ()) -> list[Call]:
    """The operators of one forward pass on zeros (1, 1, n_mels, n_frames), in evaluation mode, in running order.

    Nothing is recorded inside modules of the types `opaque`. Running statistics and modes are left as they were.
    """
    modes = {module: module.training for module in model.modules()}
    parameter = next(model.parameters(), torch.zeros(1))
    log_mel = torch.zeros(1, 1, n_mels, n_frames, device=parameter.device, dtype=parameter.dtype)
    recorder = _Recorder(log_mel)
    try:
        model.eval()
        with torch.no_grad(), _paths(model, recorder, opaque), recorder:
            model(log_mel)
    finally:
        for module, mode in modes.items():
            module.training = mode
    return recorder.calls


class _Recorder(TorchDispatchMode):
    def __init__(self, log_mel: Tensor) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.path: list[str] = [""]
        self.hidden = 0
        # Tensors are kept: an identity must not be given out twice.
        self.live: dict[int, Tensor] = {id(log_mel): log_mel}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = _tensors((args, kwargs or {}))
        inputs = tuple(tensor for tensor in given if id(tensor) in self.live)
        outputs = _tensors(result)
        if inputs and outputs:
            self.live |= {id(tensor): tensor for tensor in outputs}
            if not self.hidden:
                constants = tuple(tensor for tensor in given if id(tensor) not in self.live)
                base = short_name(func._schema.name)
                self.calls.append(Call(base, self.path[-1], inputs, constants, outputs[0]))
        return result


@contextmanager
def _paths(model: nn.Module, recorder: _Recorder, opaque: tuple[type[nn.Module], ...]) -> Iterator[None]:
    """While this lasts, the recorder knows in which module it is."""
    handles = []

    def enter(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any) -> None:
            recorder.path.append(name)
            recorder.hidden += isinstance(module, (*opaque, *WHOLE))

        return hook

    def leave(module: nn.Module, inputs: Any, output: Any) -> None:
        path = recorder.path.pop()
        recorder.hidden -= isinstance(module, (*opaque, *WHOLE))
        live = tuple(tensor for tensor in _tensors(inputs) if id(tensor) in recorder.live)
        if isinstance(module, WHOLE) and live and not recorder.hidden:
            base = type(module).__name__.lower()
            recorder.calls.append(Call(base, path, live, (), _tensors(output)[0]))

    for name, module in model.named_modules():
        handles += [module.register_forward_pre_hook(enter(name)), module.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def as_operators(calls: list[Call]) -> tuple[Operator, ...]:
    """The calls as int8 operators, NHWC; with the rule it breaks where this toolkit has no int8 form of one.

    Batch norm and ReLU disappear into the convolution or the sum before them, as they do on the way to int8.
    """
    operators: list[Operator] = []
    origin: dict[int, tuple[int, str]] = {}  # number and name of the operand that a tensor is
    made_by: dict[int, str] = {}
    for call in calls:
        before = made_by.get(id(call.inputs[0]), "")
        folds = call.base == "batch_norm" and before == "convolution"
        folds = folds or (call.base == "relu" and before in ("convolution", "add", "batch_norm"))
        if call.base in SILENT or folds:
            origin[id(call.output)] = origin.get(id(call.inputs[0]), INPUT)
            made_by[id(call.output)] = "convolution" if folds else before
            continue
        operator = _operator(len(operators), call, origin)
        operators.append(operator)
        origin[id(call.output)], made_by[id(call.output)] = (operator.index, operator.name), call.base
    return tuple(operators)


def _operator(index: int, call: Call, origin: dict[int, tuple[int, str]]) -> Operator:
    kind = kind_of(call.base)
    path = call.path or "the network's own forward"
    name = f"{path}: {call.base}"
    activations = tuple(
        Operand(*origin.get(id(tensor), INPUT), _nhwc(tensor), "int8", quantised=True) for tensor in call.inputs
    )
    constants: tuple[Operand, ...] = tuple(
        Operand(CONSTANT, f"{name}/{number}", tuple(tensor.shape), "int8", constant=True, quantised=True)
        for number, tensor in enumerate(call.constants)
    )
    if kind == "CONV_2D" and constants:
        out, inside, height, width = (*call.constants[0].shape, 1, 1)[:4]
        depthwise = inside == 1 and out == call.inputs[0].shape[1] and out > 1
        kind = "DEPTHWISE_CONV_2D" if depthwise else kind
        shape = (1, height, width, out) if depthwise else (out, height, width, inside)
        constants = (Operand(CONSTANT, f"{name}/weight", shape, "int8", constant=True, quantised=True), *constants[1:])
    elif kind == "MEAN":
        axes = (1, 2) if call.inputs[0].ndim == 4 else (1,)
        constants = (Operand(CONSTANT, f"{name}/axes", (len(axes),), "int32", constant=True, values=axes),)
    output = Operand(index, name, _nhwc(call.output), "int8", quantised=True)
    trouble = None
    if call.base not in LOWERED:
        trouble = (f"this toolkit has no int8 form of {kind}", fix_for(kind))
    inputs = (*activations, *constants)
    macs = multiply_accumulates(kind, inputs, (output,))
    return Operator(index, name, kind, inputs, (output,), macs=macs, trouble=trouble)


def _nhwc(tensor: Tensor) -> tuple[int, ...]:
    shape = tuple(tensor.shape)
    return (shape[0], shape[2], shape[3], shape[1]) if len(shape) == 4 else shape


def _tensors(value: Any) -> tuple[Tensor, ...]:
    if isinstance(value, Tensor):
        return (value,)
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return ()
    return tuple(tensor for item in value for tensor in _tensors(item))
