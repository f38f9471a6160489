"""`tinyscene evaluate` on bare .tflite files: whose labels and front end they get, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tinyscene.export.classifier import open_classifier
from tinyscene.export.formats.metadata import METADATA_NAME, Metadata, parse_metadata
from tinyscene.export.formats.model_file import open_model
from tinyscene.export.formats.tflite_reader import read_network
from tinyscene.export.formats.tflite_writer import write_tflite
from tinyscene.export.graph import Graph, Op, Quant, Tensor
from tinyscene.runtime.bundle import load_bundle
from tinyscene.runtime.errors import InputError
from tinyscene.runtime.frontend_spec import STUDENT

Tinyscene = Callable[..., int]
FOREIGN = Path(__file__).with_name("foreign")


def entries(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_a_bundles_file_scores_as_the_bundle(
    bundle: Path, corpus: Path, tmp_path: Path, tinyscene: Tinyscene, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "alone.tflite"
    file.write_bytes((bundle / "model.tflite").read_bytes())
    anonymous = tmp_path / "anonymous.tflite"
    anonymous.write_bytes(write_tflite(open_model(bundle).graph))
    capsys.readouterr()
    assert tinyscene("evaluate", bundle, file, anonymous, "--data", corpus, "--json") == 0
    whole, alone, nameless = entries(capsys.readouterr().out)
    for entry in (alone, nameless):
        assert entry["agreement"] == 1.0
        assert {key: entry[key] for key in ("accuracy", "macro", "n")} == {
            key: whole[key] for key in ("accuracy", "macro", "n")
        }


def test_where_labels_and_front_end_are_from(bundle: Path, tmp_path: Path) -> None:
    known = load_bundle(bundle)
    scenes = known.labels[::-1]
    named = open_classifier(bundle / "model.tflite", "default", None, scenes)
    assert (named.labels, named.frontend, named.origin) == (known.labels, known.frontend, "its own metadata")
    bare = tmp_path / "bare.tflite"
    bare.write_bytes(write_tflite(open_model(bundle).graph))
    assert open_classifier(bare, "default", bundle, scenes).origin == str(bundle)
    guessed = open_classifier(bare, "default", None, scenes)
    assert (guessed.labels, guessed.frontend, guessed.origin) == (tuple(sorted(scenes)), STUDENT, "the corpus")
    with pytest.raises(InputError, match="3 classes apart, the corpus has 2"):
        open_classifier(bare, "default", None, scenes[:2])
    with pytest.raises(InputError, match="does not say how"):
        open_classifier(FOREIGN / "keras_int8.tflite", "default", None, scenes)
    with pytest.raises(InputError, match=r"reads \[1, 32, 16, 1\]"):
        open_classifier(FOREIGN / "keras_int8.tflite", "default", bundle, scenes)


def test_a_network_that_ends_in_shares_gives_logits(bundle: Path, tmp_path: Path) -> None:
    model = open_model(bundle)
    graph = model.graph
    last = Tensor("shares", graph.tensor[graph.output].shape, Quant(1 / 256, -128))
    ops = (*graph.ops, Op("SOFTMAX", (graph.output,), "shares"))
    file = tmp_path / "shares.tflite"
    file.write_bytes(write_tflite(Graph(graph.name, (*graph.tensors, last), ops, graph.input, "shares")))
    clip = np.random.default_rng(0).normal(-3, 2, (256, 64)).astype(np.float32)
    labels = load_bundle(bundle).labels
    plain = open_classifier(bundle / "model.tflite", "reference", None, labels).engine.logits(clip)
    found = open_classifier(file, "reference", bundle, labels).engine.logits(clip)
    expected = np.exp(plain) / np.exp(plain).sum()
    np.testing.assert_allclose(np.exp(found), np.maximum(expected, 1 / 512), atol=1.5 / 256)


def test_files_of_other_kinds_are_refused(
    corpus: Path, bundle: Path, tinyscene: Tinyscene, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, reason in (("model.onnx", "no model that can be evaluated"), ("nothing.tflite", "no model at")):
        assert tinyscene("evaluate", bundle / name, "--data", corpus) == 2
        assert reason in capsys.readouterr().err


def test_every_file_of_a_bundle_says_what_it_hears(bundle: Path) -> None:
    known = load_bundle(bundle)
    expected = Metadata(known.labels, known.frontend)
    assert read_network((bundle / "model.tflite").read_bytes()).metadata == expected
    for name in ("model.onnx", "model_float.onnx"):
        properties = {entry.key: entry.value for entry in onnx.load(bundle / name).metadata_props}
        assert parse_metadata(properties[METADATA_NAME].encode(), name) == expected


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema": "other/1"}, "schema"),
        ({"labels": ["a", "a"]}, "labels"),
        ({"labels": [1]}, "labels"),
        ({"frontend_hash": "0"}, "does not match its hash"),
        ({"frontend": {}}, "front end"),
        ({"frontend": STUDENT.to_dict() | {"hop_length": 10**400}}, "."),
    ],
)
def test_metadata_that_lies_is_refused(change: dict[str, Any], reason: str) -> None:
    text = json.dumps(json.loads(Metadata(("a", "b"), STUDENT).to_json()) | change)
    with pytest.raises(InputError, match=reason):
        parse_metadata(text.encode(), "it.tflite")
    with pytest.raises(InputError, match="no JSON"):
        parse_metadata(b"[" * 100_000, "it.tflite")


def test_metadata_goes_through_the_file() -> None:
    quant = Quant(float(np.float32(0.5)), 0)
    tensors = (Tensor("x", (1, 4, 4, 1), quant), Tensor("y", (1, 4, 4, 1), quant))
    graph = Graph("one", tensors, (Op("QUANTIZE", ("x",), "y"),), "x", "y").validate()
    metadata = Metadata(("größe", "b"), replace(STUDENT, hop_length=1000))
    network = read_network(write_tflite(graph, metadata))
    assert network.metadata == metadata
    assert network.as_stored
    assert network.graph.differences(graph) == []
