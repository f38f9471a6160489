"""The verb `lint`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...runtime.cli import Verb
from ...runtime.errors import InputError, require
from ...runtime.output import Output

if TYPE_CHECKING:
    from .operators import ModelView
    from .verdict import TargetLint

#: Rows of operators that a person is shown of one target without --ops.
MAX_ROWS = 12


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", nargs="*", metavar="MODEL", help="bundle, run, or any .tflite file; or key=value below"
    )
    parser.add_argument(
        "--target",
        action="append",
        default=[],
        metavar="NAME",
        help="edgetpu, tflite-micro, ethos-u, cortex-m, pi or all; repeated for several. A target that is named is a "
        "gate: exit code 1 when it does not run the whole model. Without it all are shown",
    )
    parser.add_argument(
        "--student",
        action="store_true",
        help="the untrained network of `train student`, with its settings as key=value, in place of MODEL",
    )
    parser.add_argument("--scenes", type=int, default=10, metavar="N", help="scenes of the untrained network")
    parser.add_argument(
        "--accelerator", default="ethos-u55-128", metavar="NAME", help="which Ethos-U Vela compiles for"
    )
    parser.add_argument("--rules-only", action="store_true", help="run no compiler and no interpreter")
    parser.add_argument("--ops", action="store_true", help="show every operator, not only those that do not run")


def _run(arguments: argparse.Namespace, output: Output) -> int:
    require("flatbuffers", "export")
    from .ethos_u import ACCELERATORS
    from .targets import TARGETS, lint_view, target_names

    targets = target_names(arguments.target or TARGETS)
    if arguments.accelerator not in ACCELERATORS:
        raise InputError(f"unknown accelerator {arguments.accelerator!r}: expected one of {', '.join(ACCELERATORS)}")
    whole = True
    for view in _views(arguments):
        lints = lint_view(view, targets, arguments.accelerator, ask=not arguments.rules_only)
        for lint in lints:
            fields = lint.to_dict()
            output.record(fields.pop("schema"), model=view.name, **fields)
        if not output.as_json:
            print(_text(view, lints, arguments.ops), flush=True)
        whole = whole and all(lint.whole for lint in lints)
    return 0 if whole or not arguments.target else 1


def _views(arguments: argparse.Namespace) -> Sequence[ModelView]:
    if arguments.student:
        from .student import untrained

        return [untrained(arguments.model, arguments.scenes)]
    settings = [word for word in arguments.model if "=" in word and not Path(word).exists()]
    if settings:
        raise InputError(f"{settings[0]!r} is a setting of an untrained network: add --student")
    if not arguments.model:
        raise InputError("nothing to judge: name a bundle, a run or a .tflite file, or add --student")
    return [view_of(Path(word)) for word in arguments.model]


def view_of(path: Path) -> ModelView:
    """The operators of the bundle, run or .tflite file at `path`; of a run without int8 scales, of its network."""
    from .operators import read_operators

    if path.is_file():
        return read_operators(path.read_bytes(), str(path))
    if (path / "run.json").is_file():
        require("torch", "train")
        from .student import trained

        return trained(path)
    if path.is_dir():
        from ...runtime.bundle import load_bundle

        return read_operators(load_bundle(path).file("model.tflite").read_bytes(), str(path))
    raise InputError(f"no model at {path}: name a bundle, a run or a .tflite file")


def _text(view: ModelView, lints: Sequence[TargetLint], every: bool) -> str:
    from .verdict import overview

    lines = [f"{view.name}: {len(view.operators)} operators, {view.macs / 1e6:.2f} M MACs", "", overview(lints)]
    for lint in lints:
        said = [f"- {note}" for note in lint.notes if note not in view.notes]
        if lint.tool is not None and lint.tool.install:
            said.append(f"- {lint.tool.name} is not installed, so the rules stand alone: {lint.tool.install}")
        shown = lint.ops if every else lint.problems
        if not said and not shown:
            continue
        lines += ["", f"{lint.target} ({lint.title})", *said]
        if shown:
            table = lint.table(every).splitlines()
            kept = table if every else table[: 2 + MAX_ROWS]
            lines += ["", *kept]
            if len(kept) < len(table):
                lines.append(f"... and {len(table) - len(kept)} more: add --ops")
    lines += [f"- {note}" for note in view.notes]
    return "\n".join([*lines, ""])


LINT = Verb(
    "what each target runs of a network, and where it would fall back or fail",
    "tinyscene lint build/bundle --target edgetpu --target cortex-m",
    _arguments,
    _run,
)
