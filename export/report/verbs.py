"""The verb `report`: a page from what a bundle's export measured, at once, or from what is measured anew."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...runtime.cli import Verb
from ...runtime.errors import InputError, require
from ...runtime.output import Output
from ...training.verbs import add_data_arguments

if TYPE_CHECKING:
    from ...runtime.bundle import Bundle


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle to report on")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="page to write (default: BUNDLE.html beside the bundle)"
    )
    parser.add_argument(
        "--teacher", type=Path, action="append", default=[], metavar="RUN", help="with --data: a row of the waterfall"
    )
    parser.add_argument(
        "--float", type=Path, action="append", default=[], metavar="RUN", help="with --data: run of the float student"
    )
    parser.add_argument("--qat", type=Path, metavar="RUN", help="with --data: the qat run it was exported from")
    parser.add_argument(
        "--label-map", type=Path, metavar="FILE", help="YAML, `CORPUS SCENE: MODEL SCENE` a line, where names differ"
    )
    add_data_arguments(parser, required=False)


def _run(arguments: argparse.Namespace, output: Output) -> None:
    require("jinja2", "export")
    require("flatbuffers", "export")
    from ...runtime.atomic import write_file
    from ...runtime.bundle import load_bundle
    from .document import report_of
    from .page import render
    from .summary import summarise

    bundle = load_bundle(arguments.bundle)
    page = arguments.out or bundle.path.resolve().with_name(f"{bundle.path.resolve().name}.html")
    if page.is_dir() or page.resolve().parent == bundle.path.resolve():
        raise InputError(f"--out {page} is a folder or in the bundle, expected a file beside it: name another")
    measured = None if arguments.data is None else _measure(arguments, bundle, output)
    if measured is None and (arguments.teacher or arguments.float or arguments.qat or arguments.label_map):
        raise InputError("--teacher, --float, --qat and --label-map add to a measurement: add --data DIR")
    report = report_of(bundle, measured)
    html = render(report).encode()
    write_file(page, html)
    lines = [f"{page}: {len(html) / 1024:,.0f} KiB", *(f"- {sentence.text}" for sentence in summarise(report))]
    output.record(report.pop("schema"), "\n".join(lines), page=str(page), **report)


def _measure(arguments: argparse.Namespace, bundle: Bundle, output: Output) -> dict[str, Any]:
    require("lightning", "train")
    from ...training.batches import open_corpus
    from ...training.data.corpus import read_corpus
    from ...training.label_map import check_label_map, read_label_map
    from ...training.run import load_run
    from ..explain.forms import float_form
    from ..explain.waterfall import measure_waterfall
    from ..formats.tflite_reader import read_tflite
    from ..verification.verify import verify_bundle
    from .measure import explain_on, gather, lint_of

    teachers = [load_run(path) for path in arguments.teacher]
    floats = [float_form(load_run(path), f"float-{number}") for number, path in enumerate(arguments.float, start=1)]
    qat = None if arguments.qat is None else load_run(arguments.qat)
    label_map = None if arguments.label_map is None else read_label_map(arguments.label_map)
    corpus = read_corpus(arguments.data)
    check_label_map(label_map or {}, corpus.labels)
    data = open_corpus(corpus, arguments.fold, arguments.split, arguments.cache, output)
    path = bundle.file("model.tflite")
    model = path.read_bytes()
    graph = read_tflite(model, str(path))
    output.log("replaying the golden vectors through every engine")
    checks = verify_bundle(bundle)
    waterfall = measure_waterfall(
        bundle, data, output, graph=graph, teachers=teachers, floats=floats, qat=qat, label_map=label_map
    )
    return gather(checks, waterfall, explain_on(bundle, graph, data, output), lint_of(model, output))


REPORT = Verb(
    "one page on a bundle: accuracy step by step, cost, layers, targets, verification",
    "tinyscene report build/bundle",
    _arguments,
    _run,
)
