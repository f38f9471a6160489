"""The accuracy waterfall: the same snippets through every form of a network, and what each step costs.

Accuracies come with bootstrap intervals over whole recordings (`training.experiments.intervals`), and the drop from one
form to the next with the interval of the paired difference, so that a drop which is chance shows as one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime.bundle import Bundle
from ...runtime.errors import UnavailableError
from ...runtime.frontend_spec import FrontendSpec
from ...runtime.output import Output
from ...training.batches import TrainingData
from ...training.data.progress import track
from ...training.experiments.intervals import interval, replicates, tally
from ...training.label_map import translate
from ...training.metrics import evaluate_logits
from ...training.run import Run
from ..clips import log_mels
from ..engines.catalogue import catalogue, choose
from ..formats.tflite_reader import read_tflite
from ..graph import Graph
from ..verification.golden import Predict
from .forms import REFERENCE, Form, chain
from .steps import Step, Waterfall

#: The reference kernels take up to a tenth of a second a snippet; more snippets than this hardly move a figure.
MAX_SNIPPETS = 2000

#: Key under which the engine of the generated C registers.
GENERATED = "c"

_CHUNK = 64


def measure_waterfall(
    bundle: Bundle,
    data: TrainingData,
    output: Output,
    *,
    graph: Graph | None = None,
    teachers: Sequence[Run] = (),
    floats: Sequence[Form] = (),
    qat: Run | None = None,
    engines: Sequence[str] = (),
    label_map: Mapping[str, str] | None = None,
    limit: int = MAX_SNIPPETS,
) -> Waterfall:
    """The waterfall of `bundle` on at most `limit` evaluation snippets of `data`, evenly spread.

    `teachers`, `floats` (see `forms.float_form`) and `qat` add the steps that the bundle does not hold, `engines` (keys
    of the catalogue) further engines; C is there whenever its engine is. `graph` is the bundle's int8 graph where the
    caller has it. A corpus scene is the model's of that name, or the one `label_map` says.
    """
    if graph is None:
        graph = read_tflite(bundle.file("model.tflite").read_bytes(), str(bundle.path))
    missing = {}
    if not teachers:
        missing["teachers"] = "--teacher RUN adds one"
    if not floats and qat is None:
        missing["float network in torch"] = "--float RUN adds it"
    chosen = choose(engines) if engines else []
    generated = catalogue().get(GENERATED)
    if generated is None:
        missing["C"] = "its engine is not registered: run `pip install 'tinyscene[firmware]'`"
    else:
        chosen.append(generated)
    forms = chain(bundle, graph, teachers=teachers, floats=floats, qat=qat, engines=chosen)
    return compare_forms(forms, data, output, label_map=label_map, limit=limit, missing=missing)


def compare_forms(
    forms: Sequence[Form],
    data: TrainingData,
    output: Output,
    *,
    label_map: Mapping[str, str] | None = None,
    limit: int = MAX_SNIPPETS,
    missing: Mapping[str, str] | None = None,
) -> Waterfall:
    """The waterfall of any `forms`, see `measure_waterfall`.

    Agreement is counted with the first form that is no teacher. Forms whose engine is not installed end in `missing`,
    beside what the caller says is missing.
    """
    indices = data.evaluate
    if len(indices) > limit:
        indices = indices[np.linspace(0, len(indices) - 1, limit).astype(int)]
    absent = dict(missing or {})
    logits = _predict(forms, data, indices, absent, output)
    forms = [form for form in forms if form.key in logits]
    truths = {form.key: _truth(form.labels, data, label_map)[data.cache.label[indices]] for form in forms}
    known = np.all([truth >= 0 for truth in truths.values()], axis=0)
    recordings, recording = _recordings(data, indices)
    tallies = {}
    if known.any():
        right = {form.key: (logits[form.key].argmax(axis=1) == truths[form.key])[known] for form in forms}
        tallies = {key: tally(row[None], recording[known], recordings) for key, row in right.items()}
    draws = dict(zip(tallies, replicates(list(tallies.values())), strict=True)) if tallies else {}

    def drop(key: str, before: str) -> tuple[float, tuple[float, float]] | None:
        if key not in tallies or before not in tallies:
            return None
        return tallies[before].value() - tallies[key].value(), interval(draws[before] - draws[key])

    reference = next((form for form in forms if not form.key.startswith("teacher")), forms[0])
    int8 = next((form for form in forms if form.key == REFERENCE), forms[-1])
    by_key = {form.key: form for form in forms}
    steps, matrices = [], {}
    for form in forms:
        before = by_key.get(form.before or "")
        lost = None if before is None else drop(form.key, before.key)
        metrics = _metrics(form, logits[form.key], truths[form.key], known, data, indices)
        if metrics and form in (reference, int8):
            matrices["float" if form is reference else "int8"] = metrics["confusion"]
        steps.append(
            Step(
                key=form.key,
                name=form.name,
                before=None if before is None else before.name,
                accuracy=metrics.get("accuracy"),
                interval=interval(draws[form.key]) if form.key in draws else None,
                agreement=_agreement(form, reference, logits),
                agreement_before=None if before is None else _agreement(form, before, logits),
                drop=None if lost is None else lost[0],
                drop_interval=None if lost is None else lost[1],
                macro=metrics.get("macro"),
                clip_accuracy=metrics.get("clip_accuracy"),
                per_scene=metrics.get("per_scene", {}),
                per_device=metrics.get("per_device", {}),
            )
        )
    loss = drop(int8.key, reference.key)
    dropping = [step for step in steps if step.drop is not None and step.drop > 0]
    return Waterfall(
        data=data.corpus.root.resolve().name,
        fold=data.fold_number,
        snippets=len(indices),
        scored=int(known.sum()),
        recordings=recordings,
        labels=reference.labels,
        scenes=tuple(data.labels[i] for i in np.unique(data.cache.label[indices[known]])),
        reference=reference.name,
        int8=int8.name,
        rows=tuple(steps),
        largest=max(dropping, key=lambda step: step.drop or 0.0).name if dropping else None,
        loss=None if loss is None else loss[0],
        loss_interval=None if loss is None else loss[1],
        confusion=matrices,
        missing=absent,
    )


def _predict(
    forms: Sequence[Form], data: TrainingData, indices: NDArray[np.int64], absent: dict[str, str], output: Output
) -> dict[str, NDArray[np.float32]]:
    """Logits of each form whose engine is there, (n, n_classes) by key; the others join `absent`."""
    predicts: dict[str, Predict] = {}
    for form in forms:
        try:
            predicts[form.key] = form.open()
        except UnavailableError as error:
            absent[form.name] = str(error)
    output.log(f"scoring {len(indices):,} evaluation snippets in {len(predicts)} forms")
    heard: dict[str, NDArray[np.float32]] = {}
    logits: dict[str, NDArray[np.float32]] = {}
    for form in forms:
        if form.key not in predicts:
            continue
        contract = form.frontend.hash()
        if contract not in heard:
            heard[contract] = _hear(form.frontend, data, indices)
        size = form.batch or len(indices)
        batches = [heard[contract][start : start + size] for start in range(0, len(indices), size)]
        shown = track(batches, f"{form.name}, batches of {size}", len(batches), output)
        try:
            logits[form.key] = np.concatenate([predicts[form.key](batch) for batch in shown])
        except UnavailableError as error:
            absent[form.name] = str(error)
    return logits


def _hear(spec: FrontendSpec, data: TrainingData, indices: NDArray[np.int64]) -> NDArray[np.float32]:
    """Log-mels of the snippets, (n, n_mels, n_frames): 64 KB each, 131 MB for as many as are scored."""
    chunks = (data.cache.rows(indices[start : start + _CHUNK]) for start in range(0, len(indices), _CHUNK))
    return np.concatenate([log_mels(waves, spec) for waves in chunks])


def _truth(labels: Sequence[str], data: TrainingData, label_map: Mapping[str, str] | None) -> NDArray[np.int64]:
    """The class of each of the corpus' scenes in a network with these `labels`, -1 for one it does not know."""
    meanings = translate(data.labels, labels, label_map)
    numbers = {label: index for index, label in enumerate(labels)}
    # A snippet without a label counts as -1, which picks the entry behind the last.
    return np.array([*(numbers.get(meanings.get(label, ""), -1) for label in data.labels), -1], np.int64)


def _recordings(data: TrainingData, indices: NDArray[np.int64]) -> tuple[int, NDArray[np.int64]]:
    """How many recordings the snippets are of, and the number of each one's, (n,)."""
    identifiers = np.array([clip.identifier for clip in data.corpus.clips])[data.cache.clip[indices]]
    names, numbers = np.unique(identifiers, return_inverse=True)
    return len(names), numbers.astype(np.int64)


def _metrics(
    form: Form,
    logits: NDArray[np.float32],
    truth: NDArray[np.int64],
    known: NDArray[np.bool_],
    data: TrainingData,
    indices: NDArray[np.int64],
) -> dict[str, Any]:
    if not known.any():
        return {}
    kept = indices[known]
    return evaluate_logits(
        logits[known],
        truth[known],
        form.labels,
        device=data.cache.device[kept],
        device_names=data.cache.devices,
        seen_devices=data.seen_devices,
        clip=data.cache.clip[kept],
    )


def _agreement(form: Form, other: Form, logits: Mapping[str, NDArray[np.float32]]) -> float | None:
    if form.labels != other.labels:
        return None
    return float((logits[form.key].argmax(axis=1) == logits[other.key].argmax(axis=1)).mean())
