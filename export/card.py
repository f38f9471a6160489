"""The model card: what a bundle's README.md says to a person who finds the folder, from the same dict as its report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..runtime.output import format_table
from .report.summary import limits, percent, points, summarise


def write_card(report: Mapping[str, Any]) -> str:
    """The card of a `tinyscene.report/1` as Markdown."""
    bundle = report["bundle"]
    labels, spec = bundle["labels"], bundle["frontend"]
    made = {"qat": "quantisation-aware fine-tuning", "ptq": "post-training quantisation"}[bundle["method"]]
    seconds, rate_khz = spec["clip_samples"] / spec["sample_rate_hz"], spec["sample_rate_hz"] / 1000
    sections = [
        f"# {bundle['name']}",
        f"An int8 acoustic-scene classifier made with tinyscene by {made}: {seconds:g} s of sound in, one of "
        f"{len(labels)} scenes out ({', '.join(labels)}).",
        "\n".join(f"- {sentence.text}" for sentence in summarise(report)),
        "## Use\n"
        "```\ntinyscene listen THIS_FOLDER                 # microphone, or --source FILE\n"
        "tinyscene verify THIS_FOLDER                 # the golden vectors through every engine at hand\n"
        "tinyscene report THIS_FOLDER                 # a page with everything that was measured\n```\n"
        f"Input: log-mel of {seconds:g} s at {rate_khz:g} kHz, {spec['n_mels']} mels; every number of the front end is "
        "in `bundle.json`. `model.tflite` takes and gives int8, `model.onnx` and `model_float.onnx` float32.",
        "## Cost\n" + _costs(report),
        "## Scores\n" + _scores(report["waterfall"]),
        "## Targets\n" + _targets(report),
        "## Origin\n" + _origin(bundle),
        "## Limits\n"
        "The scores hold for recordings like those above. Other cities, microphones and positions lower them; sounds "
        "of no listed scene still get one. A scene says where a device is: tell the people around it that it listens.",
    ]
    return "\n\n".join(sections) + "\n"


def _costs(report: Mapping[str, Any]) -> str:
    sizes, budget = report["sizes"], report["budget"]
    rows = [
        ["parameters (batch norm unfolded)", sizes["parameters"]],
        ["multiply-accumulates (batch norm unfolded)", sizes["macs"]],
        ["parameters of the artefact", sizes["artefact_parameters"]],
        ["multiply-accumulates of the artefact", sizes["artefact_macs"]],
        ["int8 weights and biases, bytes", sizes["weight_bytes"]],
        ["peak activations layer by layer, bytes", sizes["peak_activation_bytes"]],
        ["ops", sizes["ops"]],
        ["model.tflite, bytes", sizes["tflite_bytes"]],
    ]
    kept = "no budget was asked for" if budget["preset"] is None else f"kept budget: {budget['preset']}"
    return f"{format_table(['what', 'value'], rows)}\n\n{kept}"


def _scores(waterfall: Mapping[str, Any] | None) -> str:
    if waterfall is None:
        return "Not measured: export with `--data DIR` to score every engine."
    rows = [
        [
            row["name"],
            percent(row["accuracy"]),
            limits(row["interval"]),
            "–" if row["drop"] is None else points(-row["drop"], 2),
            percent(row["agreement"]),
        ]
        for row in waterfall["rows"]
    ]
    table = format_table(["network", "accuracy", "95 %", "change, points", "agrees with float"], rows)
    counted = f"{waterfall['data']}, fold {waterfall['fold']}: {waterfall['snippets']:,} snippets"
    if waterfall["scored"] < waterfall["snippets"]:
        counted += f", accuracy on the {waterfall['scored']:,} whose scene every form knows"
    return f"{table}\n\n{counted}. Intervals are bootstraps over {waterfall['recordings']:,} recordings."


def _targets(report: Mapping[str, Any]) -> str:
    if not report["lint"]:
        return "Not asked: `tinyscene lint THIS_FOLDER`."
    rows = []
    for target in report["lint"]:
        tool = target["tool"]
        asked = "rules alone" if tool is None or tool["state"] != "run" else f"{tool['name']}: {tool['detail']}"
        counts = target["counts"]
        rows.append([target["title"], target["whole"], f"{counts['runs']} of {len(target['ops'])}", asked])
    return format_table(["target", "runs all of it", "ops", "asked"], rows)


def _origin(bundle: Mapping[str, Any]) -> str:
    provenance = bundle["provenance"]
    training = provenance["training"]
    arguments = ", ".join(f"{key}={value}" for key, value in bundle["arguments"].items())
    lines = [
        f"- network: {bundle['arch']} ({arguments})",
        f"- run: {provenance['run']} ({provenance['run_kind']}), data: {training.get('data', 'not known')}",
        f"- calibrated on {provenance['calibration']}",
        f"- exported {provenance['exported']} with "
        + ", ".join(f"{package} {number}" for package, number in provenance["versions"].items()),
    ]
    return "\n".join(lines)
