"""The verbs `train teacher`, `train student` and `import cpjku`. Torch is imported when one runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..runtime.cli import Verb
from ..runtime.errors import require
from ..runtime.output import Output
from .metric_tables import models_table, scenes_table
from .models.sizes import SIZES

if TYPE_CHECKING:
    from .run import Run


def add_data_arguments(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Options that choose a corpus, a fold of it, and where its cache lies."""
    parser.add_argument(
        "--data", type=Path, required=required, metavar="DIR", help="corpus in TAU layout, or a folder a scene"
    )
    parser.add_argument("--fold", type=int, default=1, help="fold of evaluation_setup")
    parser.add_argument(
        "--split", type=int, choices=(5, 10, 25, 50, 100), help="per cent of the training side (DCASE 2024's lists)"
    )
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="folder of snippet caches (default: $TINYSCENE_CACHE, else ~/.cache/tinyscene)",
    )


class ListSettings(argparse.Action):
    """An option that prints a verb's settings with their defaults, as YAML that `--config` reads, and ends."""

    def __init__(self, option_strings: Sequence[str], dest: str, section: str, module: str, **_: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help="print all settings and exit")
        self.section, self.module = section, module

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Print the settings and end the program."""
        yaml = require("yaml", "train")
        settings = getattr(require(self.module, "train"), f"{self.section.capitalize()}Settings")()
        print(yaml.safe_dump({self.section: settings.to_dict()}, sort_keys=False), end="")
        parser.exit()


def add_training_arguments(
    parser: argparse.ArgumentParser, section: str, module: str = "tinyscene.training.settings"
) -> None:
    """Options of every training verb, whose settings are the `section` of a configuration, a class in `module`."""
    add_data_arguments(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="RUN", help="run folder; one that was interrupted is gone on with"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML with sections teacher, student, freeze, qat")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings over the configuration's")
    parser.add_argument("--list-settings", action=ListSettings, section=section, module=module)


def _teacher_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--arch", choices=tuple(SIZES), help="network (default: the configuration's, else cpr)")
    _init_argument(parser)
    add_training_arguments(parser, "teacher")


def _init_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--init", metavar="RUN", help="start from a trained run (a new head for other scenes) or published weights"
    )


def _overrides(arguments: argparse.Namespace) -> list[str]:
    """Settings that options of their own give, then the `key=value` ones."""
    named = [f"{key}={getattr(arguments, key)}" for key in ("arch", "init") if getattr(arguments, key, None)]
    return [*named, *arguments.settings]


def _student_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--teacher",
        type=Path,
        action="append",
        default=[],
        metavar="RUN",
        help="run to distil from, repeated for an ensemble; without one the student learns from the labels alone",
    )
    _init_argument(parser)
    add_training_arguments(parser, "student")


def _train_teacher(arguments: argparse.Namespace, output: Output) -> None:
    require("lightning", "train")
    from .config import load_settings
    from .settings import TeacherSettings

    settings = load_settings(TeacherSettings, "teacher", arguments.config, _overrides(arguments))
    _train("teacher", settings, arguments, output)


def _train_student(arguments: argparse.Namespace, output: Output) -> None:
    require("lightning", "train")
    from .config import load_settings
    from .settings import StudentSettings

    settings = load_settings(StudentSettings, "student", arguments.config, _overrides(arguments))
    _train("student", settings, arguments, output)


def _train(kind: str, settings: Any, arguments: argparse.Namespace, output: Output) -> None:
    from .batches import open_corpus
    from .data.corpus import read_corpus
    from .run import load_run
    from .session import check_request, train_network

    teachers = [load_run(path) for path in getattr(arguments, "teacher", [])]
    corpus = read_corpus(arguments.data)
    check_request(settings, corpus.labels, teachers)
    data = open_corpus(corpus, arguments.fold, arguments.split, arguments.cache, output, settings.holdout)
    report(train_network(kind, settings, data, arguments.out, output, teachers), output)


def report(run: Run, output: Output) -> None:
    """Print a finished run: what it is and what it scores."""
    metrics = run.metrics
    text = (
        f"{run.path}: {run.kind} {run.arch}, {metrics['parameters']:,} parameters, {metrics['macs'] / 1e6:.2f} M MACs"
    )
    output.record(
        "tinyscene.trained/1",
        f"{text}\n\n{models_table({str(run.path): metrics})}\n\n{scenes_table(metrics)}",
        run=str(run.path),
        kind=run.kind,
        arch=run.arch,
        arguments=dict(run.arguments),
        metrics=dict(metrics),
    )


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, metavar="CKPT", help="Lightning checkpoint of the published student")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="run folder to write")


def _import_cpjku(arguments: argparse.Namespace, output: Output) -> None:
    require("safetensors", "train")
    from .import_cpjku import import_checkpoint
    from .session import network_size

    run = import_checkpoint(arguments.checkpoint, arguments.out)
    parameters, macs = network_size(run.build(), run.arch)
    output.record(
        "tinyscene.imported/1",
        f"{run.path}: {run.arch}, {len(run.labels)} scenes, {parameters:,} parameters, {macs / 1e6:.2f} M MACs",
        run=str(run.path),
        labels=list(run.labels),
        parameters=parameters,
        macs=macs,
    )


TRAIN_TEACHER = Verb(
    "train a teacher on a corpus",
    "tinyscene train teacher --arch cpr --data build/synth --out runs/teacher epochs=20 batch_size=64",
    _teacher_arguments,
    _train_teacher,
)

TRAIN_STUDENT = Verb(
    "train a student that fits a microcontroller, distilled from teachers when there are any",
    "tinyscene train student --teacher runs/teacher --data build/synth --out runs/student base_channels=16",
    _student_arguments,
    _train_student,
)

IMPORT_CPJKU = Verb(
    "turn the published CP-Mobile checkpoint into a run",
    "tinyscene import cpjku c0a7nzin_epoch149.ckpt --out runs/tau22",
    _import_arguments,
    _import_cpjku,
)
