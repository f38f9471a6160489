"""The forms that one network goes through, from its teachers to each engine, as functions from log-mels to logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ...runtime.bundle import Bundle
from ...runtime.engines.litert import Kernels, open_engine
from ...runtime.errors import InputError, UnavailableError, require
from ...runtime.frontend_spec import FrontendSpec
from ...runtime.int8 import dequantize
from ...training.predict import choose_device
from ...training.run import Run
from ..engines.engine import Engine
from ..formats.tflite_reader import read_tflite
from ..graph import Graph
from ..quantization.fake_quant import GraphNet
from ..quantization.qat import MODEL
from ..verification.golden import Predict, to_integers

#: Keys of the two forms whose difference is what quantisation costs.
FOLDED, REFERENCE = "folded", "litert-reference"


@dataclass(frozen=True, eq=False)
class Form:
    """One form of a network. `before` is the key of the form that it was made from, None for a first one.

    `open` loads it and gives the function; it raises `UnavailableError` when its engine is not installed. `batch` is
    how many log-mels it is given at a time, None for all: an engine that starts a process starts one.
    """

    key: str
    name: str
    labels: tuple[str, ...]
    frontend: FrontendSpec
    before: str | None
    open: Callable[[], Predict]
    batch: int | None = 64


def chain(
    bundle: Bundle,
    graph: Graph,
    *,
    teachers: Sequence[Run] = (),
    floats: Sequence[Form] = (),
    qat: Run | None = None,
    engines: Sequence[Engine] = (),
) -> list[Form]:
    """All forms in the order of descent: teachers, float networks, folded, int8 in torch, int8 in each engine.

    `graph` is the int8 graph of `bundle`. The first float network comes from the teachers (the last of them), each
    other from the one before, and the folded one from the last. Engines, those of `engines` last, are all compared with
    LiteRT's reference kernels. Raises `InputError` when `qat` is no qat run.
    """
    forms: list[Form] = []

    def add(key: str, name: str, before: str | None, opener: Callable[[], Predict], like: Bundle | Run | Form) -> None:
        forms.append(Form(key, _unique(name, forms), like.labels, like.frontend, before, opener))

    for number, run in enumerate(teachers, start=1):
        add(f"teacher-{number}", f"teacher {run.arch} ({run.path.name})", None, partial(_network, run), run)
    for form in floats:
        before = forms[-1].key if forms else None
        forms.append(replace(form, name=_unique(form.name, forms), before=before))
    if qat is not None and not floats:  # its weights are those of the float network that it was made from
        forms.append(replace(float_form(qat, "float"), before=forms[-1].key if forms else None))
    before = forms[-1].key if forms else None
    add(FOLDED, "folded, float ONNX", before, partial(_onnx, bundle, "model_float.onnx"), bundle)
    tuned = None if qat is None else _tuned(qat)
    if qat is not None and tuned is not None and tuned.differences(graph):
        add("qat", f"int8 as fine-tuned, torch ({qat.path.name})", FOLDED, lambda: predictor(_emulated(tuned)), qat)
    add("fake-quant", "int8, torch fake-quant", FOLDED, lambda: predictor(_emulated(graph)), bundle)
    add(REFERENCE, "int8, LiteRT reference", "fake-quant", partial(_litert, bundle, "reference"), bundle)
    add("litert-default", "int8, LiteRT default", REFERENCE, partial(_litert, bundle, "default"), bundle)
    add("onnx-qdq", "int8, ONNX QDQ", REFERENCE, partial(_onnx, bundle, "model.onnx"), bundle)
    taken = {form.key for form in forms}
    for engine in engines:
        if engine.key not in taken:
            opener = partial(_replayed, engine, bundle, graph)
            forms.append(Form(engine.key, engine.name, bundle.labels, bundle.frontend, REFERENCE, opener, None))
    return forms


def float_form(run: Run, key: str) -> Form:
    """The float network of a run; of a qat run the one that it started from."""
    name = f"float, torch ({run.path.name})"
    return Form(key, name, run.labels, run.frontend, None, partial(_network, run))


def predictor(model: nn.Module) -> Predict:
    """A torch network, put into evaluation mode, as a function from log-mels (n, n_mels, n_frames) to logits."""
    model.eval()

    def predict(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(model(torch.from_numpy(batch)[:, None]).numpy())

    return predict


def _network(run: Run) -> Predict:
    """A run's network on the fastest device there is."""
    device = choose_device("auto")
    model = run.build().to(device)

    def predict(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(model(torch.from_numpy(batch)[:, None].to(device)).float().cpu().numpy())

    return predict


def _emulated(graph: Graph) -> GraphNet:
    return GraphNet.from_int8(graph)


def _tuned(run: Run) -> Graph:
    if run.kind != "qat":
        raise InputError(f"{run.path} is a {run.kind} run: --qat takes one from `tinyscene train qat`, --float others")
    return read_tflite(run.file(MODEL).read_bytes(), str(run.path / MODEL))


def _replayed(engine: Engine, bundle: Bundle, graph: Graph) -> Predict:
    """An engine of `engines`, in a process of its own."""
    model = bundle.file(engine.file).read_bytes()

    def predict(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        if engine.file.endswith(".onnx"):
            return np.asarray(engine.replay(model, batch[:, None]).logits, np.float32).reshape(len(batch), -1)
        inputs = to_integers(batch, graph.input_quant).reshape(len(batch), *graph.tensor[graph.input].shape[1:])
        logits = engine.replay(model, inputs).logits.reshape(len(batch), -1)
        return dequantize(logits, graph.output_quant.scale, graph.output_quant.zero_point)

    return predict


def _litert(bundle: Bundle, kernels: Kernels) -> Predict:
    """One interpreter a thread: LiteRT lets go of Python's lock while it runs."""
    engines = [open_engine(bundle, kernels) for _ in range(torch.get_num_threads())]

    def share(number: int, batch: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        return map(engines[number].logits, batch[number :: len(engines)])

    def predict(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        logits = np.empty((len(batch), len(bundle.labels)), np.float32)
        with ThreadPoolExecutor(len(engines)) as pool:
            rows = pool.map(lambda number: list(share(number, batch)), range(len(engines)))
            for number, values in enumerate(rows):
                if values:
                    logits[number :: len(engines)] = values
        return logits

    return predict


def _onnx(bundle: Bundle, name: str) -> Predict:
    onnxruntime = require("onnxruntime", "export")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        data = bundle.file(name).read_bytes()
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's kinds are private
        reason = str(error).splitlines()[0]
        raise UnavailableError(f"ONNX Runtime cannot run {name} ({reason}): export the model again") from error
    source = session.get_inputs()[0].name

    def predict(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.concatenate([session.run(None, {source: values[None, None]})[0] for values in batch])

    return predict


def _unique(name: str, forms: Sequence[Form]) -> str:
    taken = {form.name for form in forms}
    names = [name, *(f"{name} {number}" for number in range(2, len(taken) + 3))]
    return next(candidate for candidate in names if candidate not in taken)
