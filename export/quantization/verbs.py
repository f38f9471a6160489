"""The verbs `train freeze` and `train qat`. Torch is imported when one of them runs."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ...runtime.cli import Verb
from ...runtime.errors import require
from ...runtime.output import Output
from ...training.verbs import add_training_arguments, report


def _freeze_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="run of a student with norm 'grn', trained or imported")
    add_training_arguments(parser, "freeze", "tinyscene.export.quantization.freeze")


def _train_freeze(arguments: argparse.Namespace, output: Output) -> None:
    require("lightning", "train")
    from ...training.batches import open_data
    from ...training.config import load_settings
    from ...training.run import load_run
    from .freeze import FreezeSettings, train_frozen

    settings = load_settings(FreezeSettings, "freeze", arguments.config, arguments.settings)
    source = load_run(arguments.run)
    labelled = settings.distill_lambda > 0
    data = open_data(
        arguments.data, arguments.fold, arguments.split, arguments.cache, output, settings.holdout, labelled
    )
    report(train_frozen(source, settings, data, arguments.out, output), output)


def _qat_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="run of a student to fine-tune as an int8 network")
    parser.add_argument(
        "--teacher",
        type=Path,
        action="append",
        default=[],
        metavar="RUN",
        help="run to distil from, repeated for an ensemble (default: the float student itself)",
    )
    add_training_arguments(parser, "qat", "tinyscene.export.quantization.qat")


def _train_qat(arguments: argparse.Namespace, output: Output) -> None:
    require("lightning", "train")
    require("flatbuffers", "export")
    require("onnx", "export")
    from ...training.batches import open_data
    from ...training.config import load_settings
    from ...training.run import load_run
    from .qat import QatSettings, train_qat

    settings = load_settings(QatSettings, "qat", arguments.config, arguments.settings)
    if settings.engine == "nncf":
        os.environ.setdefault("NNCF_CI", "1")  # or it reports its use over the network
        require("nncf", "nncf")
    source = load_run(arguments.run)
    teachers = [load_run(path) for path in arguments.teacher]
    labelled = settings.distill_lambda > 0
    data = open_data(
        arguments.data, arguments.fold, arguments.split, arguments.cache, output, settings.holdout, labelled
    )
    report(train_qat(source, settings, data, arguments.out, output, teachers), output)


TRAIN_FREEZE = Verb(
    "freeze the global response normalisation of a student, so that it costs nothing in int8",
    "tinyscene train freeze runs/tau22 --data recordings --out runs/frozen",
    _freeze_arguments,
    _train_freeze,
)

TRAIN_QAT = Verb(
    "fine-tune a student as the int8 network it will be",
    "tinyscene train qat runs/student --data build/synth --out runs/qat",
    _qat_arguments,
    _train_qat,
)
