"""The verb `evaluate`. Torch is imported when it runs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..runtime.cli import Verb
from ..runtime.errors import require
from ..runtime.output import Output
from .metric_tables import models_table, scenes_table
from .verbs import add_data_arguments
from .verbs_stream import add_stream_arguments, check_stream_arguments, evaluate_stream

if TYPE_CHECKING:
    from .evaluate import Comparison


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models", type=Path, nargs="+", metavar="MODEL", help="run, bundle or .tflite; the first is compared with"
    )
    add_data_arguments(parser)
    parser.add_argument(
        "--kernels", choices=("default", "reference"), default="default", help="LiteRT's kernels for int8 models"
    )
    parser.add_argument(
        "--like",
        type=Path,
        metavar="BUNDLE",
        help="whose labels and front end a bare .tflite has (default: its own metadata, else the corpus' scenes)",
    )
    parser.add_argument(
        "--unseen",
        type=Path,
        metavar="DIR",
        help="impulse responses of microphones that were never trained with: also score what they would have heard",
    )
    parser.add_argument(
        "--label-map",
        type=Path,
        metavar="FILE",
        help="YAML, `CORPUS SCENE: MODEL SCENE` a line, where the two have different names",
    )
    parser.add_argument(
        "--ensemble",
        choices=("mean", "validation", "learnt"),
        help="also score all models together, and say how far they disagree; weights other than equal ones need "
        "teachers trained with a holdout",
    )
    add_stream_arguments(parser)


def _evaluate(arguments: argparse.Namespace, output: Output) -> None:
    check_stream_arguments(arguments)
    if arguments.stream:
        evaluate_stream(arguments, output)
        return
    require("lightning", "train")
    from .batches import open_corpus
    from .data.corpus import read_corpus
    from .evaluate import Request, compare
    from .label_map import check_label_map, read_label_map

    label_map = None if arguments.label_map is None else read_label_map(arguments.label_map)
    corpus = read_corpus(arguments.data)
    check_label_map(label_map or {}, corpus.labels)
    data = open_corpus(corpus, arguments.fold, arguments.split, arguments.cache, output)
    request = Request(arguments.kernels, label_map, arguments.unseen, arguments.like, arguments.ensemble)
    comparison = compare(arguments.models, data, request, output)
    for entry in comparison.entries:
        output.record("tinyscene.evaluation/1", data=str(arguments.data), fold=arguments.fold, **entry)
        _say_what_is_left_out(entry, data.labels, output)
    if comparison.disagreement is not None:
        output.record("tinyscene.disagreement/1", data=str(arguments.data), **comparison.disagreement)
        if comparison.disagreement["warning"]:
            output.log(f"warning: {comparison.disagreement['warning']}")
    if not output.as_json:
        print(_text(comparison, arguments.unseen))


def _say_what_is_left_out(entry: Mapping[str, Any], labels: tuple[str, ...], output: Output) -> None:
    shared = entry["shared_scenes"]
    if len(shared) == len(labels):
        return
    out = [label for label in labels if label not in shared]
    output.log(
        f"{entry['model']} knows {len(shared)} of the corpus' {len(labels)} scenes ({', '.join(shared)}): "
        f"{', '.join(out)} left out, accuracy is on the others' {entry['n']:,} snippets, "
        f"agreement on all {entry['agreement_n']:,}"
    )


def _text(comparison: Comparison, unseen: Path | None) -> str:
    from .disagreement import disagreement_tables

    entries = comparison.entries
    parts = [models_table({entry["model"]: entry for entry in entries})]
    if unseen is not None:
        heard = models_table({entry["model"]: entry["unseen"] for entry in entries})
        parts.append(f"the same snippets through the microphones of {unseen}:\n\n{heard}")
    if len(entries) == 1:
        parts.append(scenes_table(entries[0]))
    if comparison.disagreement is not None:
        parts.append(disagreement_tables(comparison.disagreement))
    return "\n\n".join(parts)


EVALUATE = Verb(
    "accuracy of runs, bundles and .tflite files side by side, alone or as an ensemble, and how often they agree",
    "tinyscene evaluate runs/student build/bundle --data build/synth --fold 1",
    _arguments,
    _evaluate,
)
