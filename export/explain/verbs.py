"""The verbs `waterfall` and `explain`. Torch is imported when one runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...runtime.cli import Verb
from ...runtime.errors import InputError, require
from ...runtime.output import Output
from ...training.verbs import add_data_arguments

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..formats.model_file import ModelFile
    from .forms import Form

#: A float network of 128 K parameters has half a megabyte.
MAX_FLOAT_BYTES = 64 << 20


def _waterfall_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle whose network to score in every form")
    parser.add_argument(
        "--teacher", type=Path, action="append", default=[], metavar="RUN", help="run it was distilled from, repeatable"
    )
    parser.add_argument(
        "--float",
        type=Path,
        action="append",
        default=[],
        metavar="RUN",
        help="run of the float student; repeated, in the order in which they were made (GRN first, then frozen)",
    )
    parser.add_argument(
        "--qat", type=Path, metavar="RUN", help="qat run: its float network and its fine-tuned int8 one"
    )
    parser.add_argument(
        "--max-drop",
        type=float,
        metavar="FRACTION",
        help="exit code 1 when int8 loses more accuracy than this against the float network (0.01: one point)",
    )
    parser.add_argument(
        "--engine",
        action="append",
        default=[],
        metavar="KEY",
        help="also in this engine, as `tinyscene verify` names them, repeatable: tflite-micro, tensorflow, ...",
    )
    parser.add_argument("--limit", type=int, default=2000, help="evaluation snippets at most, evenly spread")
    parser.add_argument(
        "--label-map", type=Path, metavar="FILE", help="YAML, `CORPUS SCENE: MODEL SCENE` a line, where names differ"
    )
    add_data_arguments(parser)


def _waterfall(arguments: argparse.Namespace, output: Output) -> None:
    require("lightning", "train")
    require("flatbuffers", "export")
    from ...runtime.bundle import load_bundle
    from ...training.batches import open_corpus
    from ...training.data.corpus import read_corpus
    from ...training.label_map import check_label_map, read_label_map
    from ...training.run import load_run
    from ..engines.catalogue import choose
    from .waterfall import measure_waterfall

    if arguments.limit < 1:
        raise InputError(f"--limit is {arguments.limit}, expected at least 1")
    choose(arguments.engine)  # an unknown key shows before anything is read
    bundle = load_bundle(arguments.bundle)
    teachers = [load_run(path) for path in arguments.teacher]
    floats = _float_forms(arguments.float)
    qat = None if arguments.qat is None else load_run(arguments.qat)
    label_map = None if arguments.label_map is None else read_label_map(arguments.label_map)
    corpus = read_corpus(arguments.data)
    check_label_map(label_map or {}, corpus.labels)
    data = open_corpus(corpus, arguments.fold, arguments.split, arguments.cache, output)
    waterfall = measure_waterfall(
        bundle,
        data,
        output,
        teachers=teachers,
        floats=floats,
        qat=qat,
        engines=arguments.engine,
        label_map=label_map,
        limit=arguments.limit,
    )
    values = waterfall.to_dict()
    text = "\n\n".join(filter(None, (waterfall.table(), waterfall.detail())))
    output.record(values.pop("schema"), text, bundle=str(bundle.path), **values)
    if arguments.max_drop is not None:
        waterfall.check_drop(arguments.max_drop)


def _float_forms(paths: Sequence[Path]) -> list[Form]:
    from ...training.run import load_run
    from .forms import float_form

    keys = ["float", *(f"float-{number}" for number in range(2, len(paths) + 1))]
    return [float_form(load_run(path), key) for path, key in zip(paths, keys, strict=False)]


def _explain_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL", help="bundle, qat run or any int8 .tflite file")
    parser.add_argument(
        "--clips", type=Path, nargs="+", metavar="FILE", help="audio files or folders to measure on, instead of --data"
    )
    parser.add_argument("--count", type=int, default=128, help="clips to measure on, evenly spread")
    parser.add_argument(
        "--float",
        type=Path,
        metavar="MODEL",
        help="bundle, qat run or model_float.onnx with the float weights (default: the model's own)",
    )
    parser.add_argument("--like", type=Path, metavar="BUNDLE", help="bundle with the front end of a bare .tflite")
    add_data_arguments(parser, required=False)


def _explain(arguments: argparse.Namespace, output: Output) -> None:
    require("torch", "train")
    require("flatbuffers", "export")
    from ..formats.model_file import open_model
    from .explain import explain
    from .twin import float_twin

    if arguments.count < 1:
        raise InputError(f"--count is {arguments.count}, expected at least 1")
    model = open_model(arguments.model)
    clips, origin = _clips(arguments, model, output)
    twin = float_twin(model.graph, _float_model(arguments.float or arguments.model, arguments.float is not None))
    method = None if model.bundle is None else model.bundle.quantization.method
    name = str(arguments.model)
    explanation = explain(model.graph, twin, clips, output, model=name, method=method, origin=origin)
    values = explanation.to_dict()
    output.record(values.pop("schema"), explanation.table(), **values)


def _clips(arguments: argparse.Namespace, model: ModelFile, output: Output) -> tuple[NDArray[np.float32], str]:
    """Log-mels to explain with, (n, n_mels, n_frames), and where they are from."""
    from ..classifier import meaning_of
    from ..clips import clips_of_files, clips_to_evaluate
    from ..verification.golden import load_golden

    bundle = model.bundle
    if bundle is not None and arguments.data is None and arguments.clips is None:
        golden = load_golden(bundle.file("golden.npz"))
        output.log("explaining with the few golden vectors alone: --data DIR or --clips FILE say more")
        return golden.log_mel, f"{len(golden.log_mel)} golden vectors"
    if arguments.data is None and arguments.clips is None:
        raise InputError(f"{model.path} has no recordings beside it: name some with --data DIR or --clips FILE")
    spec = meaning_of(model, arguments.like, ())[0].frontend if bundle is None else bundle.frontend
    if arguments.clips is not None:
        for path in arguments.clips:
            if not path.exists():
                raise InputError(f"no audio at {path}: name files or folders after --clips")
        clips = clips_of_files(arguments.clips, spec, arguments.count)
    else:
        from ...training.batches import open_data

        data = open_data(arguments.data, arguments.fold, arguments.split, arguments.cache, output)
        clips = clips_to_evaluate(data, spec, arguments.count)
    return clips.log_mel, clips.origin


def _float_model(path: Path, named: bool) -> bytes | None:
    """The bytes of the float network beside or at `path`; None where the user named none and there is none."""
    from ...runtime.bundle import MANIFEST, load_bundle
    from ...training.run import MANIFEST as RUN_MANIFEST
    from ...training.run import load_run

    name = "model_float.onnx"
    if (path / MANIFEST).is_file():
        return load_bundle(path).file(name).read_bytes()
    if (path / RUN_MANIFEST).is_file():
        run = load_run(path)
        if named or name in run.files:
            return run.file(name).read_bytes()
    if not named:
        return None
    if not path.is_file() or path.stat().st_size > MAX_FLOAT_BYTES:
        raise InputError(f"no float network at {path} (or far too large): name a bundle, a qat run or {name}")
    return path.read_bytes()


WATERFALL = Verb(
    "accuracy from the teacher to each engine, and which step costs most",
    "tinyscene waterfall build/bundle --data build/synth --float runs/student --max-drop 0.01",
    _waterfall_arguments,
    _waterfall,
)

EXPLAIN = Verb(
    "where quantisation loses accuracy, layer by layer, and what to do about it",
    "tinyscene explain build/bundle --data build/synth",
    _explain_arguments,
    _explain,
)
