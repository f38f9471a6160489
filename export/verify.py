"""Proof that a bundle does here what it did where it was made: its golden vectors through every engine at hand.

Exact where arithmetic is exact: the input's quantisation and every layer of LiteRT's reference kernels. Within a
tolerance, and with the same answer, where an engine may round otherwise: LiteRT's default kernels (XNNPACK),
ONNX Runtime on the QDQ and on the float model. An engine that is not installed is listed as not checked.
`compare_layers` and `compare_logits` know nothing of engines, for those that later speak C.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..runtime.bundle import Bundle
from ..runtime.engine import Kernels, open_engine
from ..runtime.errors import InputError, UnavailableError, require
from ..runtime.frontend import log_mel
from ..runtime.int8 import dequantize, quantize
from .golden import Golden, load_golden, run_layers
from .graph import Graph
from .tflite_reader import read_tflite

#: Largest difference of a log-mel value from the recorded one.
FRONTEND_TOLERANCE = 1e-3

#: Steps by which an engine's logits may leave the reference kernels': twice what the rounding of activations does to
#: them anyway, but within these two. Engines round a requantisation once or twice; through all layers of the published
#: network that came to 4 steps, 8 with global response normalisation in ops, and more in very small networks.
LOGIT_STEPS = (8, 10)

#: Largest difference of the float model's logits, relative to the largest logit.
FLOAT_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Check:
    """One comparison: `passed` is None when its engine is missing; `detail` says what was found, in a line."""

    name: str
    passed: bool | None
    detail: str


def verify_bundle(bundle: Bundle) -> list[Check]:
    """Every check of `bundle`, in the order of the data's way; nothing stops at a failure."""
    golden = load_golden(bundle.file("golden.npz"), bundle.frontend, len(bundle.labels))
    path = bundle.file("model.tflite")
    graph = read_tflite(path.read_bytes(), str(path))
    return [
        check_frontend(bundle, golden),
        check_input(bundle, golden, graph),
        check_reference(path.read_bytes(), golden, graph),
        _guarded("LiteRT default kernels", lambda: _litert(bundle, "default", golden, graph)),
        _guarded("ONNX Runtime, QDQ", lambda: _onnx_qdq(bundle, golden, graph)),
        _guarded("ONNX Runtime, float", lambda: _onnx_float(bundle, golden)),
    ]


def passed(checks: list[Check]) -> bool:
    """Whether no check failed; what could not be checked does not count."""
    return all(check.passed is not False for check in checks)


def check_frontend(bundle: Bundle, golden: Golden) -> Check:
    """The runtime's front end against the recorded log-mels."""
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
    found = quantize(golden.log_mel, quant.scale, quant.zero_point)
    wrong = int((found != golden.input).sum())
    return Check("input quantisation", wrong == 0, f"{wrong:,} of {found.size:,} values differ")


def check_reference(model: bytes, golden: Golden, graph: Graph) -> Check:
    """Every layer of the first clip and the logits of all in LiteRT's reference kernels, bit for bit."""
    name = "LiteRT reference kernels"
    layers = run_layers(model, golden.input[0])
    if line := compare_layers(graph, golden.layers, layers):
        return Check(name, False, line)
    logits = np.stack([run_layers(model, values)[graph.output][0] for values in golden.input])
    if line := first_difference("logits", golden.logits, logits):
        return Check(name, False, line)
    values = sum(golden.layers[op.output].size for op in graph.ops)
    return Check(
        name, True, f"{len(graph.ops)} layers, {values:,} values and {logits.size} logits are bit for bit equal"
    )


def compare_layers(
    graph: Graph, expected: Mapping[str, NDArray[np.int8]], found: Mapping[str, NDArray[np.int8]]
) -> str | None:
    """Name the first layer, in running order, in which an engine's int8 activations differ; None when none does."""
    for op in graph.ops:
        if op.output not in expected or op.output not in found:
            return f"{op.output} was not {'recorded' if op.output not in expected else 'given by the engine'}"
        if line := first_difference(f"{op.output} ({op.kind})", expected[op.output], found[op.output]):
            return line
    return None


def first_difference(name: str, expected: NDArray[np.int8], found: NDArray[np.int8]) -> str | None:
    """A line on the first of the differing values, with both of them; None when all are equal."""
    if expected.shape != found.shape:
        return f"{name}: shape {found.shape}, recorded {expected.shape}"
    wrong = np.argwhere(expected != found)
    if not len(wrong):
        return None
    place = tuple(int(index) for index in wrong[0])
    return (
        f"{name} diverges first: {len(wrong):,} of {expected.size:,} values, "
        f"at {list(place)} {int(found[place])} instead of {int(expected[place])}"
    )


def compare_logits(
    expected: NDArray[np.float32], found: NDArray[np.float32], tolerance: float, step: float = 0.0
) -> tuple[bool, str]:
    """Whether two sets of logits (clips, n_classes) agree: within `tolerance`, and in the answer wherever it is clear.

    An answer is clear when it leads by more than twice the tolerance. With `step` the line counts in steps.
    """
    if found.shape != expected.shape or not np.isfinite(found).all():
        return False, f"logits are {found.shape} (or not finite), recorded {expected.shape}"
    worst = float(np.abs(expected - found).max())
    ranked = np.sort(expected, axis=1)
    clear = ranked[:, -1] - ranked[:, -2] > 2 * tolerance
    flipped = int((clear & (expected.argmax(axis=1) != found.argmax(axis=1))).sum())
    same = int((expected.argmax(axis=1) == found.argmax(axis=1)).sum())
    size = f"{worst / step:.0f} steps of at most {tolerance / step:.0f}" if step else f"{worst:.1e} of {tolerance:.1e}"
    detail = f"logits differ by {size}, same answer for {same} of {len(expected)} clips"
    return bool(worst <= tolerance * (1 + 1e-6) and not flipped), detail


def _litert(bundle: Bundle, kernels: Kernels, golden: Golden, graph: Graph) -> tuple[bool, str]:
    engine = open_engine(bundle, kernels)
    logits = np.concatenate([engine.run_int8(values[None, :, :, None]) for values in golden.input])
    return against_reference(graph, golden, _real(graph, logits))


def _onnx_qdq(bundle: Bundle, golden: Golden, graph: Graph) -> tuple[bool, str]:
    return against_reference(graph, golden, run_onnx(bundle.file("model.onnx").read_bytes(), golden.log_mel))


def _onnx_float(bundle: Bundle, golden: Golden) -> tuple[bool, str]:
    found = run_onnx(bundle.file("model_float.onnx").read_bytes(), golden.log_mel)
    return compare_logits(golden.float_logits, found, FLOAT_TOLERANCE * float(np.abs(golden.float_logits).max()))


def run_onnx(model: bytes, log_mels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits of an ONNX model in ONNX Runtime for `log_mels` (clips, n_mels, n_frames)."""
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


def against_reference(graph: Graph, golden: Golden, found: NDArray[np.float32]) -> tuple[bool, str]:
    """Whether a fast engine's real logits (clips, n_classes) are near enough to the reference kernels'."""
    expected, scale = _real(graph, golden.logits), graph.output_quant.scale
    rounding = float(np.abs(expected - golden.exact_logits).max()) / scale
    steps = min(max(2 * rounding, LOGIT_STEPS[0]), LOGIT_STEPS[1])
    return compare_logits(expected, found, steps * scale, scale)


def _real(graph: Graph, logits: NDArray[np.int8]) -> NDArray[np.float32]:
    return dequantize(logits, graph.output_quant.scale, graph.output_quant.zero_point)


def _guarded(name: str, run: Callable[[], tuple[bool, str]]) -> Check:
    try:
        ok, detail = run()
    except UnavailableError as error:
        return Check(name, None, str(error))
    except InputError as error:
        return Check(name, False, str(error))
    return Check(name, ok, detail)


def lines(checks: list[Check]) -> Iterator[str]:
    """The checks for a person, one a line, and the verdict."""
    width = max(len(check.name) for check in checks)
    for check in checks:
        word = {True: "ok", False: "FAILED", None: "not checked"}[check.passed]
        yield f"{check.name:<{width}}  {word}: {check.detail}"
    failed = [check.name for check in checks if check.passed is False]
    yield f"verdict: FAILED ({', '.join(failed)})" if failed else "verdict: verified"
