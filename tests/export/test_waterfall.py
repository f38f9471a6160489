"""The waterfall counts what known answers say, names the largest drop, and its gate ends with exit code 1."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tinyscene.export.explain.forms import REFERENCE, Form
from tinyscene.export.explain.waterfall import Waterfall, compare_forms
from tinyscene.runtime.errors import GateError, InputError, UnavailableError
from tinyscene.runtime.frontend_spec import STUDENT
from tinyscene.runtime.output import Output
from tinyscene.training.batches import TrainingData, open_data

Program = Callable[..., int]

LABELS = ("bus", "park", "tram")


@pytest.fixture(scope="module")
def data(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    """Twelve snippets to evaluate on, four of each scene, of one recording a scene."""
    return open_data(corpus, 1, None, tmp_path_factory.mktemp("cache"), None)


def form(key: str, before: str | None, answers: Sequence[int], labels: tuple[str, ...] = LABELS) -> Form:
    """A form that gives these answers, whatever it hears."""

    def predict(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        assert batch.shape == (len(answers), STUDENT.n_mels, STUDENT.n_frames())
        return np.eye(len(labels), dtype=np.float32)[list(answers)]

    return Form(key, f"form {key}", labels, STUDENT, before, lambda: predict)


def truth(data: TrainingData) -> list[int]:
    return [int(label) for label in data.cache.label[data.evaluate]]


def wrong(answers: Sequence[int], places: Sequence[int]) -> list[int]:
    return [(answer + 1) % 3 if place in places else answer for place, answer in enumerate(answers)]


@pytest.fixture
def falling(data: TrainingData) -> list[Form]:
    """Accuracies 11/12, 12/12, 8/12, 9/12; the engine before the last is not installed."""
    right = truth(data)

    def absent() -> Callable[..., NDArray[np.float32]]:
        raise UnavailableError("the engine is not installed: run `make engines`")

    return [
        form("teacher-1", None, wrong(right, [3])),
        form("folded", "teacher-1", right),
        form(REFERENCE, "folded", wrong(right, [0, 1, 4, 5])),
        Form("away", "form away", LABELS, STUDENT, REFERENCE, absent),
        form("onnx-qdq", REFERENCE, wrong(right, [0, 1, 4])),
    ]


def measure(forms: Sequence[Form], data: TrainingData, **options: object) -> Waterfall:
    return compare_forms(forms, data, Output(), **options)  # type: ignore[arg-type]


def test_known_answers(data: TrainingData, falling: list[Form]) -> None:
    found = measure(falling, data, missing={"C": "not there yet"})
    rows = {row.key: row for row in found.rows}
    assert list(rows) == ["teacher-1", "folded", REFERENCE, "onnx-qdq"]
    assert [row.accuracy for row in found.rows] == pytest.approx([11 / 12, 1.0, 8 / 12, 9 / 12])
    assert [row.drop for row in found.rows][1:] == pytest.approx([-1 / 12, 4 / 12, -1 / 12])
    assert rows["teacher-1"].drop is None
    assert (found.largest, found.reference, found.int8) == (f"form {REFERENCE}", "form folded", f"form {REFERENCE}")
    assert found.loss == pytest.approx(4 / 12)
    assert rows["onnx-qdq"].agreement == pytest.approx(9 / 12)
    assert rows["onnx-qdq"].agreement_before == pytest.approx(11 / 12)
    assert rows["onnx-qdq"].before == f"form {REFERENCE}"
    assert found.missing == {"C": "not there yet", "form away": "the engine is not installed: run `make engines`"}
    assert (found.snippets, found.scored, found.recordings) == (12, 12, 3)
    assert found.scenes == LABELS
    assert np.trace(found.confusion["int8"]) == 8
    assert np.sum(found.confusion["float"]) == 12
    scenes = {name: round(4 * value) for name, value in rows[REFERENCE].per_scene.items()}
    assert sum(scenes.values()) == 8
    assert f"largest drop: form folded -> form {REFERENCE}, +0.3333" in found.table()
    assert "not here: form away (the engine is not installed" in found.table()
    assert "| bus " in found.detail()


def test_limits_come_from_whole_recordings(data: TrainingData, falling: list[Form]) -> None:
    # Three recordings of four snippets, with n of them lost: the bootstrap draws three of them with replacement, and
    # all of one kind comes up in one of 27, so that the limits are the extremes.
    found = next(row for row in measure(falling, data).rows if row.key == REFERENCE)
    lost = {scene: 1.0 - share for scene, share in found.per_scene.items()}
    assert found.drop_interval is not None
    assert found.drop_interval == pytest.approx((min(lost.values()), max(lost.values())))


def test_written_and_read_back(data: TrainingData, falling: list[Form]) -> None:
    values = measure(falling, data).to_dict()
    assert values["schema"] == "tinyscene.waterfall/1"
    assert json.loads(json.dumps(values, allow_nan=False)) == values


def test_the_gate(data: TrainingData, falling: list[Form]) -> None:
    found = measure(falling, data)
    found.check_drop(0.34)
    with pytest.raises(GateError, match=r"int8 loses 0\.3333 .* more than --max-drop 0\.33; .* form litert-reference"):
        found.check_drop(0.33)


def test_other_labels_are_compared_where_they_can_be(data: TrainingData) -> None:
    right = truth(data)
    scenes = ("tram", "harbour", "bus", "garden")
    own = {0: 2, 1: 3, 2: 0}  # bus, park, tram in their numbers
    forms = [form("folded", None, right), form(REFERENCE, "folded", [own[label] for label in right], scenes)]
    found = measure(forms, data)
    assert found.scenes == ("bus", "tram")  # park is a scene that one of them does not know
    assert found.scored == 8
    assert [row.accuracy for row in found.rows] == [1.0, 1.0]
    assert found.rows[1].agreement is None
    mapped = measure(forms[1:], data, label_map={"park": "garden"})
    assert mapped.scored == 12
    assert mapped.rows[0].accuracy == 1.0


def test_nothing_to_score_is_said(data: TrainingData) -> None:
    forms = [form("folded", None, truth(data), ("a", "b", "c")), form(REFERENCE, "folded", [0] * 12, ("a", "b", "c"))]
    found = measure(forms, data)
    assert (found.scored, found.loss, found.largest, found.scenes) == (0, None, None, ())
    assert found.rows[1].agreement == pytest.approx(4 / 12)
    assert found.rows[1].accuracy is None
    json.dumps(found.to_dict(), allow_nan=False)
    with pytest.raises(InputError, match="--max-drop needs labels"):
        found.check_drop(0.5)


def test_every_form_by_command(
    student: Path, qat_run: Path, bundle: Path, corpus: Path, tinyscene: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    options = ["--data", corpus, "--teacher", student, "--float", student, "--qat", qat_run, "--engine", "tflite-micro"]
    assert tinyscene("waterfall", bundle, *options, "--max-drop", 1, "--json") == 0
    (record,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert record["schema"] == "tinyscene.waterfall/1"
    rows = {row["key"]: row for row in record["rows"]}
    wanted = ["teacher-1", "float", "folded", "fake-quant", REFERENCE, "litert-default", "onnx-qdq"]
    assert list(rows)[:7] == wanted  # the bundle's graph is the qat run's, so that has no row of its own
    assert rows["float"]["agreement_before"] == rows["folded"]["agreement_before"] == 1.0
    if "tflite-micro" in rows:
        assert rows["tflite-micro"]["agreement_before"] == 1.0
    else:
        assert "pip install" in record["missing"]["TFLite-Micro"]
    assert tinyscene("evaluate", bundle, "--data", corpus, "--kernels", "reference", "--json") == 0
    evaluated = json.loads(capsys.readouterr().out)
    assert rows[REFERENCE]["accuracy"] == evaluated["accuracy"]
    assert rows[REFERENCE]["per_scene"] == evaluated["per_scene"]
    assert record["confusion"]["int8"] == evaluated["confusion"]


def test_the_gate_by_command(
    student: Path, bundle: Path, corpus: Path, tmp_path: Path, tinyscene: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tinyscene("waterfall", bundle, "--data", corpus, "--limit", 6, "--max-drop", -2) == 1
    captured = capsys.readouterr()
    assert "6 snippets" in captured.out
    assert "more than --max-drop -2" in captured.err
    assert tinyscene("waterfall", bundle, "--data", corpus, "--qat", student) == 2
    assert "is a student run: --qat takes one from" in capsys.readouterr().err
    assert tinyscene("waterfall", bundle, "--data", corpus, "--engine", "onnxqdq") == 2
    assert "did you mean 'onnx-qdq'?" in capsys.readouterr().err
    assert tinyscene("export", student, "--ptq", "--out", tmp_path / "b", "--max-drop", 0.1) == 2
    assert "add --data DIR" in capsys.readouterr().err
    assert tinyscene("export", student, "--ptq", "--data", corpus, "--out", tmp_path / "b", "--max-drop", -2) == 1
    assert "int8 loses" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()
