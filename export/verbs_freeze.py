"""The verb `train freeze`. Torch is imported when it runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..runtime.cli import Verb
from ..runtime.errors import require
from ..runtime.output import Output
from ..training.verbs import add_training_arguments, report


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="run of a student with norm 'grn', trained or imported")
    add_training_arguments(parser, "freeze", "tinyscene.export.freeze")


def _run(arguments: argparse.Namespace, output: Output) -> None:
    require("lightning", "train")
    from ..training.batches import open_data
    from ..training.config import load_settings
    from ..training.run import load_run
    from .freeze import FreezeSettings, train_frozen

    settings = load_settings(FreezeSettings, "freeze", arguments.config, arguments.settings)
    source = load_run(arguments.run)
    labelled = settings.distill_lambda > 0
    data = open_data(
        arguments.data, arguments.fold, arguments.split, arguments.cache, output, settings.holdout, labelled
    )
    report(train_frozen(source, settings, data, arguments.out, output), output)


TRAIN_FREEZE = Verb(
    "freeze the global response normalisation of a student, so that it costs nothing in int8",
    "tinyscene train freeze runs/tau22 --data recordings --out runs/frozen",
    _arguments,
    _run,
)
