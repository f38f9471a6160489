"""The model card: what a bundle's README.md says to a person who finds the folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..runtime.output import format_table
from ..training.run import Run


def write_card(
    name: str,
    run: Run,
    model: Mapping[str, Any],
    method: str,
    budget: Mapping[str, Any],
    metrics: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> str:
    """The card as Markdown; the arguments are the bundle's manifest entries."""
    spec = run.frontend
    made = {"qat": "quantisation-aware fine-tuning", "ptq": "post-training quantisation"}[method]
    arguments = ", ".join(f"{key}={value}" for key, value in model["arguments"].items())
    sections = [
        f"# {name}",
        f"An int8 acoustic-scene classifier made with tinyscene by {made}: one second of sound in, one of "
        f"{len(run.labels)} scenes out ({', '.join(run.labels)}).",
        "## Use\n"
        "```\ntinyscene listen THIS_FOLDER                 # microphone, or --source FILE\n"
        "tinyscene verify THIS_FOLDER                 # the golden vectors through every engine at hand\n```\n"
        f"Input: log-mel of {spec.clip_samples / spec.sample_rate_hz:g} s at {spec.sample_rate_hz / 1000:g} kHz, "
        f"{spec.n_mels} mels x {spec.n_frames()} frames; every number of the front end is in `bundle.json`. "
        "`model.tflite` takes and gives int8, `model.onnx` and `model_float.onnx` float32.",
        "## Cost\n" + _costs(model, budget),
        "## Scores\n" + _scores(metrics),
        "## Origin\n" + _origin(run, arguments, provenance),
        "## Limits\n"
        "The scores hold for recordings like those above. Other cities, microphones and positions lower them; sounds "
        "of no listed scene still get one. A scene says where a device is: tell the people around it that it listens.",
    ]
    return "\n\n".join(sections) + "\n"


def _costs(model: Mapping[str, Any], budget: Mapping[str, Any]) -> str:
    rows = [
        ["parameters (batch norm unfolded)", f"{model['parameters']:,}"],
        ["multiply-accumulates (batch norm unfolded)", f"{model['macs']:,}"],
        ["parameters of the artefact", f"{model['artefact_parameters']:,}"],
        ["multiply-accumulates of the artefact", f"{model['artefact_macs']:,}"],
        ["int8 weights and int32 biases, bytes", f"{model['weight_bytes']:,}"],
        ["peak activations layer by layer, bytes", f"{model['peak_activation_bytes']:,}"],
        ["ops", model["ops"]],
        ["model.tflite, bytes", f"{model['tflite_bytes']:,}"],
    ]
    kept = "no budget was asked for" if budget["preset"] is None else f"kept budget: {budget['preset']}"
    return f"{format_table(['what', 'value'], rows)}\n\n{kept}"


def _scores(metrics: Mapping[str, Any]) -> str:
    if not metrics:
        return "Not measured: export with `--data DIR` to score every engine."
    rows = [[row["name"], row["accuracy"], row["agreement"]] for row in metrics["rows"]]
    table = format_table(["network", "accuracy", "agreement with float"], rows)
    return f"{table}\n\n{metrics['data']}, fold {metrics['fold']}: {metrics['snippets']:,} snippets."


def _origin(run: Run, arguments: str, provenance: Mapping[str, Any]) -> str:
    training = provenance["training"]
    lines = [
        f"- network: {run.arch} ({arguments})",
        f"- run: {provenance['run']} ({provenance['run_kind']}), data: {training.get('data', 'not known')}",
        f"- calibrated on {provenance['calibration']}",
        f"- exported {provenance['exported']} with "
        + ", ".join(f"{package} {number}" for package, number in provenance["versions"].items()),
    ]
    return "\n".join(lines)
