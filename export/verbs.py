"""The verb `export`. Torch is imported when it runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..runtime.budget import PRESETS
from ..runtime.cli import Verb
from ..runtime.errors import InputError, require
from ..runtime.output import Output
from ..training.verbs import add_data_arguments

if TYPE_CHECKING:
    from ..training.batches import TrainingData
    from ..training.run import Run
    from .artefact import Exported
    from .clips import Clips


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="qat run, or with --ptq a student's or an imported one")
    parser.add_argument("--out", type=Path, required=True, metavar="BUNDLE", help="bundle to write")
    parser.add_argument("--ptq", action="store_true", help="quantise by calibration alone")
    parser.add_argument(
        "--calibrator", choices=("minmax", "percentile", "mse"), default="mse", help="how --ptq chooses ranges"
    )
    parser.add_argument(
        "--calibrate", type=Path, nargs="+", metavar="FILE", help="audio files or folders to calibrate on"
    )
    parser.add_argument(
        "--norm", choices=("frozen",), help="freeze the global response normalisation of a 'grn' network first"
    )
    parser.add_argument(
        "--int16",
        default="",
        metavar="LAYERS",
        help="layers that --ptq gives 16-bit activations: names or prefixes with commas (blocks.3,head), all, or "
        "auto for as many as cost no more memory, auto:N for those around the N noisiest activations; "
        "LiteRT, TFLite-Micro and Ethos-U run them, the Edge TPU does not, and XNNPACK leaves them to slow kernels",
    )
    parser.add_argument(
        "--budget", choices=("none", *PRESETS), default="default", help="limits that the artefact has to keep"
    )
    parser.add_argument(
        "--max-drop",
        type=float,
        metavar="FRACTION",
        help="with --data: exit code 1 when int8 loses more accuracy than this against the float network",
    )
    add_data_arguments(parser, required=False)


def _export(arguments: argparse.Namespace, output: Output) -> None:
    require("torch", "train")
    require("onnx", "export")
    require("flatbuffers", "export")
    from ..runtime.budget import preset
    from ..training.run import load_run
    from .artefact import export
    from .conversion import ExportOptions, check_request
    from .quantization.widen import parse_layers

    run = load_run(arguments.run)
    budget = None if arguments.budget == "none" else preset(arguments.budget)
    options = ExportOptions(arguments.ptq, arguments.calibrator, arguments.norm, budget, parse_layers(arguments.int16))
    check_request(run, options)
    if arguments.max_drop is not None and arguments.data is None:
        raise InputError("--max-drop compares accuracies: add --data DIR")
    data = _data(arguments, output)
    clips = _clips(arguments, run, data, output)
    _report_export(export(run, arguments.out, clips, options, output, data, arguments.max_drop), output)


def _data(arguments: argparse.Namespace, output: Output) -> TrainingData | None:
    from ..training.batches import open_data

    if arguments.data is None:
        return None
    return open_data(arguments.data, arguments.fold, arguments.split, arguments.cache, output)


def _clips(arguments: argparse.Namespace, run: Run, data: TrainingData | None, output: Output) -> Clips:
    from .clips import clips_of_data, clips_of_files, generated_clips

    if arguments.calibrate:
        for path in arguments.calibrate:
            if not path.exists():
                raise InputError(f"no audio at {path}: name files or folders after --calibrate")
        return clips_of_files(arguments.calibrate, run.frontend)
    if data is not None:
        return clips_of_data(data, run.frontend)
    return generated_clips(run.frontend, output)


def _report_export(exported: Exported, output: Output) -> None:
    from dataclasses import asdict

    from .lint.verdict import overview
    from .verification.verify import lines

    sizes, bundle = exported.sizes, exported.bundle
    kept = bundle.budget.get("preset")
    text = [
        f"{bundle.path}: int8 by {bundle.quantization.method}, {sizes.ops} ops, "
        f"model.tflite {sizes.tflite_bytes:,} bytes",
        f"as trained:  {sizes.parameters:,} parameters, {sizes.macs:,} MACs",
        f"as deployed: {sizes.artefact_parameters:,} parameters, {sizes.artefact_macs:,} MACs, "
        f"{sizes.weight_bytes:,} bytes of weights, {sizes.peak_activation_bytes:,} bytes of activations at most",
        f"budget: {'none asked for' if kept is None else f'{kept}, kept'}",
    ]
    if exported.waterfall is not None:
        text += ["", exported.waterfall.table()]
    if exported.lints is not None:
        text += ["", overview(exported.lints)]
    text += ["", *lines(exported.checks), f"all of it as a page: `tinyscene report {bundle.path}`"]
    output.record(
        "tinyscene.export/1",
        "\n".join(text),
        bundle=str(bundle.path),
        method=bundle.quantization.method,
        sizes=asdict(sizes),
        budget=kept,
        waterfall=None if exported.waterfall is None else exported.waterfall.to_dict(),
        lint=None if exported.lints is None else {lint.target: lint.whole for lint in exported.lints},
        checks=[asdict(check) for check in exported.checks],
        verified=True,
    )


EXPORT = Verb(
    "turn a run into a verified int8 bundle",
    "tinyscene export runs/qat --data build/synth --out build/bundle",
    _export_arguments,
    _export,
)
