"""The verb `verify`. Torch is imported only for `--data`."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...runtime.cli import Verb
from ...runtime.errors import InputError, UnavailableError, require
from ...runtime.output import Output
from ...training.verbs import add_data_arguments

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..engines.engine import Engine
    from ..formats.model_file import ModelFile
    from .check import Check

#: Inputs that a bare file is tried on; the reference kernels take 10 ms each.
INPUTS = 48


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL", help="bundle to check, or any int8 .tflite file")
    parser.add_argument(
        "--engine",
        action="append",
        metavar="KEY",
        help="only this engine, repeatable: litert-reference, litert-default, tflite-micro, tflite-runtime, "
        "tensorflow, onnx-qdq, onnx-float, onnx-web, or one of another package (default: all at hand)",
    )
    parser.add_argument(
        "--many",
        type=int,
        metavar="N",
        help="hold the exact engines byte for byte against the reference on N adversarial inputs, and with --data on N "
        "real ones",
    )
    add_data_arguments(parser, required=False)


def _verify(arguments: argparse.Namespace, output: Output) -> int:
    require("flatbuffers", "export")
    from ..engines.catalogue import choose
    from ..formats.model_file import open_model
    from .check import lines, passed

    if arguments.many is not None and arguments.many < 1:
        raise InputError(f"--many is {arguments.many}, expected at least 1")
    engines = choose(arguments.engine)
    model = open_model(arguments.model)
    checks = _many(arguments, model, engines, output) if arguments.many else _checks(arguments, model, engines, output)
    for check in checks:
        output.record("tinyscene.check/1", **asdict(check))
    missing = [check.detail for check in checks if check.passed is None]
    if arguments.engine and missing:
        raise UnavailableError(missing[0])
    ok = passed(checks)
    output.record("tinyscene.verification/1", "\n".join(lines(checks)), bundle=str(model.path), verified=ok)
    return 0 if ok else 1


def _checks(arguments: argparse.Namespace, model: ModelFile, engines: list[Engine], output: Output) -> list[Check]:
    import numpy as np

    from .stimuli import stimuli
    from .verify import verify_bundle
    from .verify_file import verify_file

    if model.bundle is not None and arguments.data is None:
        return verify_bundle(model.bundle, engines if arguments.engine else None)
    graph = model.graph
    inputs = stimuli(graph.tensor[graph.input].shape[1:], graph.input_quant, INPUTS)
    if arguments.data is not None:
        inputs = np.concatenate([_real_inputs(arguments, model, INPUTS, output), inputs])
    checks = [] if model.bundle is None else verify_bundle(model.bundle, engines if arguments.engine else None)
    return checks + verify_file(model.stored, graph, engines, inputs, not arguments.engine)


def _many(arguments: argparse.Namespace, model: ModelFile, engines: list[Engine], output: Output) -> list[Check]:
    from .stimuli import stimuli
    from .verify_file import verify_many

    graph, count = model.graph, arguments.many
    sets = {"adversarial": stimuli(graph.tensor[graph.input].shape[1:], graph.input_quant, count)}
    if arguments.data is not None:
        sets["real"] = _real_inputs(arguments, model, count, output)
    checks: list[Check] = []
    for what, inputs in sets.items():
        output.log(f"{len(inputs):,} {what} inputs through {sum(engine.exact for engine in engines)} exact engines")
        checks += verify_many(model.stored, graph, engines, inputs, what)
    return checks


def _real_inputs(arguments: argparse.Namespace, model: ModelFile, count: int, output: Output) -> NDArray[Any]:
    """Integers of up to `count` snippets of the corpus, evaluation side first, in the shape of the graph's input."""
    import numpy as np

    from ...runtime import frontend_spec
    from ...runtime.frontend_spec import FrontendSpec
    from ...training.batches import open_data
    from ..clips import log_mels
    from .golden import to_integers

    shape = model.graph.tensor[model.graph.input].shape[1:]
    known = [spec for spec in vars(frontend_spec).values() if isinstance(spec, FrontendSpec)]
    fitting = [spec for spec in known if (spec.n_mels, spec.n_frames()) in (shape[:2], shape[-2:])]
    if model.bundle is not None:
        fitting = [model.bundle.frontend]
    elif model.metadata is not None:
        fitting = [model.metadata.frontend]
    if not fitting:
        raise InputError(f"no front end gives an input of {list(shape)}: verify {model.path} without --data")
    data = open_data(arguments.data, arguments.fold, arguments.split, arguments.cache, output)
    order = np.concatenate([data.evaluate, data.train])
    side = order[: max(count, len(data.evaluate))]
    indices = np.sort(side[np.unique(np.linspace(0, len(side) - 1, min(count, len(side))).astype(int))])
    mels = log_mels(np.asarray(data.cache.waves[indices]), fitting[0])
    return to_integers(mels, model.graph.input_quant).reshape(len(mels), *shape)


VERIFY = Verb(
    "replay golden vectors, or inputs that look for trouble, through every engine at hand",
    "tinyscene verify build/bundle",
    _arguments,
    _verify,
)
