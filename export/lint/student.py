"""A network that no file holds yet: the lint of a student before it is trained, and of a run without int8 scales.

Where this toolkit can lower it, the network is lowered and written as the .tflite that it will be, with ranges from
noise in place of trained ones, and judged as any file is, compilers included. Where it cannot, torch's operators are
judged as they stand, and each that has no int8 form is named with the module it is called in.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ...runtime.errors import GateError, InputError, require
from ...runtime.frontend_spec import FrontendSpec
from ...training.config import load_settings
from ...training.models.build import build_model, frontend_for
from ...training.models.cp_mobile import CPMobile
from ...training.models.norm import GRN, FrozenGRN
from ...training.models.padding import SameAvgPool2d, SameConv2d
from ...training.run import load_run
from ...training.settings import StudentSettings
from ..formats.tflite_writer import write_tflite
from ..graph import Graph
from ..lower import lower
from ..quantization.fake_quant import GraphNet
from ..quantization.ptq import calibrate
from ..quantization.quantize import quantize
from .operators import ModelView, Operator, read_operators
from .targets import lint_view, target_names
from .trace import as_operators, trace
from .verdict import TargetLint

#: Modules that are lowered whole; torch's operators inside them are no concern.
OPAQUE: tuple[type[nn.Module], ...] = (GRN, FrozenGRN, SameConv2d, SameAvgPool2d)

#: Largest difference between a network and its lowered form, as a share of the largest logit: float rounding.
SAME = 1e-3

#: Clips of noise whose ranges stand in for trained ones.
CLIPS = 2


def untrained(settings: Sequence[str], n_classes: int) -> ModelView:
    """The network that `train student` would train with these `key=value` settings, for `n_classes` scenes."""
    chosen = load_settings(StudentSettings, "student", None, settings)
    if n_classes < 2:
        raise InputError(f"--scenes is {n_classes}, expected at least 2")
    torch.manual_seed(chosen.seed)
    model = build_model(chosen.arch, chosen.network_arguments(), n_classes)
    given = " ".join(settings) or "default settings"
    return network_view(model, frontend_for(chosen.arch), f"untrained {chosen.arch} ({given})")


def trained(path: Path) -> ModelView:
    """The network of the run at `path`; of a qat run, the int8 model that it left."""
    run = load_run(path)
    if run.kind == "qat":
        return read_operators(run.file("model.tflite").read_bytes(), str(path))
    return network_view(run.build(), run.frontend, str(path))


def network_view(model: nn.Module, frontend: FrontendSpec, name: str) -> ModelView:
    """The int8 operators that `model` becomes for log-mels of `frontend`, each named after its module."""
    require("flatbuffers", "export")
    shape = (frontend.n_mels, frontend.n_frames())
    operators = as_operators(trace(model, *shape, opaque=OPAQUE))
    if any(operator.trouble for operator in operators):
        return ModelView(name, operators)
    if not isinstance(model, CPMobile):
        return ModelView(name, (_refusal(operators, f"{type(model).__name__} is not lowered", "arch=cpm"), *operators))
    lively = _with_lively_norms(model)
    try:
        graph = lower(lively, *shape)
    except (InputError, AttributeError, AssertionError) as error:  # modules where the lowering expects others
        rule = str(error) or "it is not put together as a CP-Mobile is"
        return ModelView(name, (_refusal(operators, rule, "build it of CP-Mobile's own modules"), *operators))
    noise = np.random.default_rng(0).standard_normal((CLIPS, *shape)).astype(np.float32)
    if not _same(lively, graph, noise):
        rule = "its forward computes something else than the CP-Mobile that is lowered"
        fix = "change the modules (or lower.py with them), not what is done between them"
        return ModelView(name, (_refusal(operators, rule, fix), *operators))
    view = read_operators(write_tflite(quantize(graph, calibrate(graph, noise, "minmax"))), name)
    note = "judged on the int8 model that it will be, with ranges of noise: the operators are final, the scales are not"
    return ModelView(name, view.operators, view.data, (note,))


def gate(model: nn.Module, frontend: FrontendSpec, target: str) -> None:
    """Refuse a network before it is trained: the hook `tinyscene.gates`, asked when `target` is set.

    Judged by rules alone, so that the answer does not hang on what is installed. Raises `GateError` naming the modules
    that the target does not run, `InputError` for an unknown target.
    """
    targets = target_names([target])
    view = network_view(model, frontend, "the network")
    lines = [_line(lint) for lint in lint_view(view, targets, ask=False) if not lint.whole]
    if lines:
        raise GateError("; ".join(lines))


def _line(lint: TargetLint) -> str:
    groups = lint.grouped()
    shown = []
    for ops in groups[:4]:
        names = ", ".join(op.name for op in ops[:3]) + (f" and {len(ops) - 3} more" if len(ops) > 3 else "")
        shown.append(f"{names} ({ops[0].rule}{': ' + ops[0].fix if ops[0].fix else ''})")
    rest = f"; and {len(groups) - 4} more rules broken" if len(groups) > 4 else ""
    return (
        f"{lint.target} does not run this network whole: {'; '.join(shown)}{rest}; `tinyscene lint --student` has all"
    )


def _refusal(operators: tuple[Operator, ...], rule: str, fix: str) -> Operator:
    first = operators[0].inputs if operators else ()
    last = operators[-1].outputs if operators else ()
    return Operator(-1, "the network", "NETWORK", first, last, trouble=(rule, fix))


def _with_lively_norms(model: CPMobile) -> CPMobile:
    """A copy whose response normalisation does something: untrained its gain is zero, and all of its scales with it."""
    lively = copy.deepcopy(model).eval()
    with torch.no_grad():
        for module in lively.modules():
            if isinstance(module, (GRN, FrozenGRN)) and not module.gamma.any():
                module.gamma.fill_(0.5)
    return lively


def _same(model: nn.Module, graph: Graph, log_mels: NDArray[np.float32]) -> bool:
    clips = torch.from_numpy(log_mels)[:, None]
    with torch.no_grad():
        expected, lowered = model(clips), GraphNet(graph).eval()(clips)
    return bool((expected - lowered).abs().max() <= SAME * max(float(expected.abs().max()), 1e-6))
