"""Proof that a bundle does here what it did where it was made: its golden vectors through every engine at hand.

Exact where arithmetic is exact: the input's quantisation, every layer of the engines that promise it, and the constants
of the QDQ model against those of the .tflite. Within a tolerance, and with the same answer, where an engine may round
otherwise: LiteRT's default kernels (XNNPACK), ONNX Runtime. What is wrong is named: the field of the front end, or the
first tensor that diverges, with both values. An engine that is not installed is listed as not checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime.bundle import Bundle
from ...runtime.errors import InputError, require
from ...runtime.frontend import log_mel
from ...runtime.int8 import dequantize
from ..engines.catalogue import choose
from ..engines.engine import Engine, Replay
from ..formats.metadata import Metadata
from ..formats.tflite_reader import read_network
from ..graph import Graph
from .check import Check, guarded, lines, passed
from .divergence import (
    Divergence,
    compare_layers,
    compare_logits,
    drifting_layer,
    fineness,
    first_difference,
    order_of,
)
from .fingerprint import differing_channel, fingerprint
from .golden import Golden, load_golden, to_integers

__all__ = ["Check", "lines", "passed", "run_onnx", "verify_bundle"]

#: Largest difference of a log-mel value from the recorded one.
FRONTEND_TOLERANCE = 1e-3

#: Steps by which an engine's logits may leave the reference kernels': twice what the rounding of activations does to
#: them anyway, but within these two. Engines round a requantisation once or twice; through all layers of the published
#: network that came to 4 steps, 8 with global response normalisation in ops, and more in very small networks.
LOGIT_STEPS = (8, 10)

#: Largest difference of the float model's logits, relative to the largest logit.
FLOAT_TOLERANCE = 1e-3

#: Engines that need not have every op: what the others run is enough for a bundle.
MAY_REFUSE = ("tflite-micro", "tflite-runtime", "tensorflow", "c")

#: Engines that run at a time: each is a process with one thread.
WORKERS = 2

#: What a check finds: whether it passed, in a line, and where the engine parted from what is recorded.
Found = tuple[bool, str, Divergence | None]


def verify_bundle(bundle: Bundle, engines: Sequence[Engine] | None = None) -> list[Check]:
    """Every check of `bundle`, in the order of the data's way; nothing stops at a failure.

    `engines` are those to replay the golden vectors through, by default all that are known, and then an engine other
    than LiteRT and ONNX Runtime may lack an op of the model without failing.
    """
    golden = load_golden(bundle.file("golden.npz"))
    path = bundle.file("model.tflite")
    network = read_network(path.read_bytes(), str(path))
    graph = network.graph
    checks = [
        check_frontend(bundle, golden, network.metadata),
        check_input(bundle, golden, graph),
        guarded("ONNX constants", None, lambda: _constants(bundle, graph)),
    ]
    with ThreadPoolExecutor(WORKERS) as pool:
        chosen = choose(None) if engines is None else engines
        checks += pool.map(lambda engine: check_engine(bundle, golden, graph, engine, engines is None), chosen)
    return checks


def check_frontend(bundle: Bundle, golden: Golden, metadata: Metadata | None = None) -> Check:
    """The bundle's contract and labels against those recorded with the golden vectors and in the model file, field by
    field, and the runtime's front end against the recorded log-mels."""
    recorded = {"the golden vectors": (golden.frontend, golden.labels)}
    if metadata is not None:
        recorded["model.tflite"] = (metadata.frontend, metadata.labels)
    differing = []
    for where, (frontend, labels) in recorded.items():
        differing += [f"{line} in {where}" for line in bundle.frontend.differences(frontend)]
        if bundle.labels != labels:
            differing.append(f"labels: {list(bundle.labels)} != {list(labels)} in {where}")
    if differing:
        return Check("front end", False, "the contract was changed: " + "; ".join(differing))
    found = np.stack([log_mel(golden.real_wave(clip), bundle.frontend) for clip in range(len(golden.wave))])
    worst = float(np.abs(found - golden.log_mel).max())
    detail = f"largest difference {worst:.1e} of at most {FRONTEND_TOLERANCE:.0e}"
    return Check("front end", worst <= FRONTEND_TOLERANCE, detail)


def check_input(bundle: Bundle, golden: Golden, graph: Graph) -> Check:
    """The recorded int8 inputs against the contract's and the model's quantisation of the recorded log-mels."""
    quant, promised = graph.input_quant, bundle.quantization
    same = np.float32(quant.scale) == np.float32(promised.input_scale) and quant.zero_point == promised.input_zero_point
    output = graph.output_quant
    same &= np.float32(output.scale) == np.float32(promised.output_scale)
    same &= output.zero_point == promised.output_zero_point
    if not same:
        return Check("input quantisation", False, f"the model has {quant} and {output}, the contract {promised}")
    found = to_integers(golden.log_mel, quant)
    wrong = int((found != golden.input).sum())
    return Check("input quantisation", wrong == 0, f"{wrong:,} of {found.size:,} values differ")


def check_engine(bundle: Bundle, golden: Golden, graph: Graph, engine: Engine, may_refuse: bool = False) -> Check:
    """The golden vectors replayed through one engine; `may_refuse` as in `verify_bundle`."""

    # What a target lacks is lint's to say; the engines that every bundle is for have to run it.
    may_refuse = may_refuse and engine.key in MAY_REFUSE

    def run() -> Found:
        model = bundle.file(engine.file).read_bytes()
        if engine.file.endswith(".tflite"):
            return judge_integers(engine, graph, golden, engine.replay(model, golden.input[..., None], layers=True))
        replay = engine.replay(model, golden.log_mel[:, None], layers=True)
        if engine.file == "model_float.onnx":
            return judge_float(graph, golden, replay)
        return judge_tolerant(graph, golden, replay.logits, _nhwc(replay.layers))

    return guarded(engine.name, engine.key, run, may_refuse)


def judge_integers(engine: Engine, graph: Graph, golden: Golden, replay: Replay) -> Found:
    """A .tflite's replay against the reference kernels: bit for bit where the engine promises it."""
    layers = replay.layers or {}
    if not engine.exact_on(graph):
        return judge_tolerant(graph, golden, _real(graph, replay.logits), layers)
    difference = compare_layers(order_of(graph), golden.layers, layers) or first_difference(
        "logits", golden.logits, replay.logits
    )
    if difference:
        return False, str(difference), difference
    values = sum(golden.layers[op.output].size for op in graph.ops)
    detail = f"{len(graph.ops)} layers, {values:,} values and {golden.logits.size} logits are bit for bit equal"
    return True, detail, None


def judge_tolerant(
    graph: Graph, golden: Golden, logits: NDArray[np.float32], layers: Mapping[str, NDArray[Any]]
) -> Found:
    """The real `logits` and integer `layers` of an engine that rounds otherwise, within the two tolerances."""
    ok, detail = against_reference(graph, golden, logits)
    drift = drifting_layer(order_of(graph), golden.layers, layers, golden.noise)
    if drift is None and ok:
        return True, detail, None
    return False, detail if drift is None else f"{drift}; {detail}", drift


def judge_float(graph: Graph, golden: Golden, replay: Replay) -> Found:
    """The float model's logits and the fingerprints of its layers against the float network's."""
    limit = FLOAT_TOLERANCE * float(np.abs(golden.float_logits).max())
    ok, detail = compare_logits(golden.float_logits, replay.logits, limit)
    layers = _nhwc(replay.layers)
    for op in graph.ops:
        expected, values = golden.fingerprints.get(op.output), layers.get(op.output)
        if expected is None or values is None:
            continue
        found = fingerprint(values)
        if found.shape != expected.shape:
            text = f"{op.output} ({op.kind}) diverges first: {found.shape[1]} channels instead of {expected.shape[1]}"
            return False, text, Divergence(op.output, (), None, None, text)
        if place := differing_channel(expected, found):
            kind, pair = ("mean", "signed mean", "peak")[place[0]], (found[place].item(), expected[place].item())
            text = (
                f"{op.output} ({op.kind}) diverges first: {kind} of channel {place[1]} is "
                f"{pair[0]:.6g} instead of {pair[1]:.6g}"
            )
            return False, f"{text}; {detail}", Divergence(op.output, place, *pair, text)
    return ok, detail, None


def against_reference(graph: Graph, golden: Golden, found: NDArray[np.float32]) -> tuple[bool, str]:
    """Whether a fast engine's real logits (clips, n_classes) are near enough to the reference kernels'."""
    expected, scale = _real(graph, golden.logits), graph.output_quant.scale
    rounding = float(np.abs(expected - golden.exact_logits).max()) / scale
    least, most = (limit * fineness(graph.output_quant.dtype) for limit in LOGIT_STEPS)
    steps = min(max(2 * rounding, least), most)
    return compare_logits(expected, found, steps * scale, scale)


def run_onnx(model: bytes, log_mels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits of an ONNX model in ONNX Runtime, in this process, for `log_mels` (clips, n_mels, n_frames)."""
    onnxruntime = require("onnxruntime", "export")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        rows = [session.run(None, {name: values[None, None]})[0] for values in log_mels]
    except Exception as error:  # onnxruntime's kinds are private
        raise InputError(
            f"ONNX Runtime cannot run the model ({str(error).splitlines()[0]}): export it again"
        ) from error
    return np.concatenate(rows)


def _constants(bundle: Bundle, graph: Graph) -> Found:
    """Weights, biases, scales and zero points of model.onnx against those that the .tflite holds."""
    from ..formats.onnx_constants import compare_constants

    count, difference = compare_constants(graph, bundle.file("model.onnx").read_bytes())
    if difference:
        return False, str(difference), difference
    return True, f"{count} constants of model.onnx are those of model.tflite, bit for bit", None


def _nhwc(layers: Mapping[str, NDArray[Any]] | None) -> dict[str, NDArray[Any]]:
    return {name: np.moveaxis(v, 1, -1) if v.ndim == 4 else v for name, v in (layers or {}).items()}


def _real(graph: Graph, logits: NDArray[Any]) -> NDArray[np.float32]:
    return dequantize(logits, graph.output_quant.scale, graph.output_quant.zero_point)
