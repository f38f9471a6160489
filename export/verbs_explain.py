"""The verbs `waterfall` and `explain`. Torch is imported when one runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..runtime.cli import Verb
from ..runtime.errors import InputError, require
from ..runtime.output import Output
from ..training.verbs import add_data_arguments

if TYPE_CHECKING:
    from .forms import Form


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
    parser.add_argument("--limit", type=int, default=2000, help="evaluation snippets at most, evenly spread")
    parser.add_argument(
        "--label-map", type=Path, metavar="FILE", help="YAML, `CORPUS SCENE: MODEL SCENE` a line, where names differ"
    )
    add_data_arguments(parser)


def _waterfall(arguments: argparse.Namespace, output: Output) -> None:
    require("lightning", "train")
    require("flatbuffers", "export")
    from ..runtime.bundle import load_bundle
    from ..training.batches import open_corpus
    from ..training.data.corpus import read_corpus
    from ..training.label_map import check_label_map, read_label_map
    from ..training.run import load_run
    from .waterfall import measure_waterfall

    if arguments.limit < 1:
        raise InputError(f"--limit is {arguments.limit}, expected at least 1")
    bundle = load_bundle(arguments.bundle)
    teachers = [load_run(path) for path in arguments.teacher]
    floats = _float_forms(arguments.float)
    qat = None if arguments.qat is None else load_run(arguments.qat)
    label_map = None if arguments.label_map is None else read_label_map(arguments.label_map)
    corpus = read_corpus(arguments.data)
    check_label_map(label_map or {}, corpus.labels)
    data = open_corpus(corpus, arguments.fold, arguments.split, arguments.cache, output)
    waterfall = measure_waterfall(
        bundle, data, output, teachers=teachers, floats=floats, qat=qat, label_map=label_map, limit=arguments.limit
    )
    values = waterfall.to_dict()
    text = "\n\n".join(filter(None, (waterfall.table(), waterfall.detail())))
    output.record(values.pop("schema"), text, bundle=str(bundle.path), **values)
    if arguments.max_drop is not None:
        waterfall.check_drop(arguments.max_drop)


def _float_forms(paths: Sequence[Path]) -> list[Form]:
    from ..training.run import load_run
    from .forms import float_form

    keys = ["float", *(f"float-{number}" for number in range(2, len(paths) + 1))]
    return [float_form(load_run(path), key) for path, key in zip(paths, keys, strict=False)]


def _explain_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL", help="bundle or .tflite file")


def _explain(arguments: argparse.Namespace, output: Output) -> None:
    raise InputError("not built yet")


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
