"""From a run to the two graphs that a bundle is made of: the float network, and the int8 one that stands for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..runtime.budget import Budget
from ..runtime.errors import InputError
from ..training.run import Run
from .clips import Clips
from .explain.twin import float_twin
from .formats.tflite_reader import read_tflite
from .graph import Graph
from .lower import lower
from .quantization.freeze import freeze_norm
from .quantization.ptq import quantize_calibrated
from .quantization.qat import FLOAT_MODEL, MODEL


@dataclass(frozen=True)
class ExportOptions:
    """How to make the bundle."""

    ptq: bool = False
    calibrator: str = "mse"
    norm: str | None = None  # "frozen": freeze the global response normalisation of a `grn` run
    budget: Budget | None = None
    int16: tuple[str, ...] = ()  # layers in 16 bits, as `widen.parse_layers` gives them


@dataclass(frozen=True, eq=False)
class Conversion:
    """The networks that a bundle is made of."""

    run: Run
    model: nn.Module  # the float network the int8 one stands for
    arguments: Mapping[str, Any]
    float_graph: Graph
    graph: Graph
    method: str  # "qat" or "ptq"
    calibration: str


def check_request(run: Run, options: ExportOptions) -> None:
    """Raise `InputError` when `run` cannot be quantised as `options` ask, before any clip is read for it."""
    tuned = run.kind == "qat" and not options.ptq
    if tuned and options.norm is not None:
        raise InputError(f"{run.path} is a qat run, its normalisation is settled: leave out --norm")
    if tuned and options.int16:
        raise InputError(
            f"{run.path} is a qat run, the bits of its layers are settled: fine-tune with `tinyscene train qat RUN "
            f"int16={','.join(options.int16)}`, or add --ptq"
        )
    if not tuned and not options.ptq:
        raise InputError(
            f"{run.path} is a {run.kind} run without int8 scales: fine-tune it with `tinyscene train qat {run.path}`, "
            "or add --ptq to calibrate only"
        )


def convert(run: Run, clips: Clips, options: ExportOptions) -> Conversion:
    """The int8 graph of `run`: the one its fine-tuning left, or with `options.ptq` one calibrated on `clips`."""
    check_request(run, options)
    spec = run.frontend
    shape = (spec.n_mels, spec.n_frames())
    if not options.ptq:
        graph = read_tflite(run.file(MODEL).read_bytes(), str(run.path / MODEL))
        model = run.build()
        calibration = str(run.provenance.get("calibration", "unknown"))
        # The run keeps its float source in the units of the int8 network; one of an older version does not.
        kept = run.file(FLOAT_MODEL).read_bytes() if FLOAT_MODEL in run.files else None
        twin = float_twin(graph, kept)
        float_graph = twin.graph if twin.exact else lower(model, *shape)
        return Conversion(run, model, run.arguments, float_graph, graph, "qat", calibration)
    if options.norm == "frozen":
        model, arguments = freeze_norm(run, clips.log_mel)
    else:
        model, arguments = run.build(), dict(run.arguments)
    float_graph = lower(model, *shape)
    made = quantize_calibrated(float_graph, clips.log_mel, options.calibrator, options.int16)
    return Conversion(run, model, arguments, made.level, made.graph, "ptq", f"{clips.origin}, {options.calibrator}")
