"""Models side by side: float against an engine, and models that know other scenes than the corpus."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from test_distill import make_teacher

from tinyscene.runtime.errors import InputError
from tinyscene.training.batches import TrainingData
from tinyscene.training.evaluate import Predictions, score
from tinyscene.training.predict import choose_device, predict, predict_engine, predict_run
from tinyscene.training.run import Run


class TorchEngine:
    """An engine that is a run's own network: what differs from `predict_run` is the front end alone."""

    name = "torch"

    def __init__(self, run: Run) -> None:
        self.model = run.build()

    def logits(self, log_mel: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            return self.model(torch.from_numpy(log_mel)[None, None])[0].numpy()

    def run_int8(self, inputs: NDArray[np.int8]) -> NDArray[np.int8]:
        raise NotImplementedError


def test_runtime_front_end_gives_the_same_logits(tiny_data: TrainingData, tmp_path: Path) -> None:
    run = make_teacher(tmp_path / "run", "cpm", 3)
    batched = predict_run(run, tiny_data.cache, tiny_data.evaluate)
    single = predict_engine(TorchEngine(run), run.frontend, tiny_data.cache, tiny_data.evaluate)
    np.testing.assert_allclose(single, batched, atol=1e-4)
    assert np.ptp(batched, axis=0).min() > 5e-3


def test_scores_on_shared_scenes_only(tiny_data: TrainingData) -> None:
    # The model has another order, lacks "park" and knows "airport".
    labels = ("tram", "airport", "bus")
    truth = [tiny_data.labels[i] for i in tiny_data.cache.label[tiny_data.evaluate]]
    answers = ["bus" if scene == "bus" else "airport" for scene in truth]
    logits = np.eye(3, dtype=np.float32)[[labels.index(answer) for answer in answers]]
    metrics = score(Predictions("model", labels, logits), tiny_data)
    assert metrics["n"] == 8
    assert metrics["per_scene"] == {"tram": 0.0, "bus": 1.0}
    assert metrics["accuracy"] == 0.5
    assert metrics["groups"].keys() == {"real", "seen", "unseen"}
    with pytest.raises(InputError, match="knows none of the scenes"):
        score(Predictions("model", ("airport", "metro", "beach"), logits), tiny_data)


def test_verb_compares_with_the_first(
    tiny_folder: Path, tmp_path: Path, tinyscene: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    first, second = make_teacher(tmp_path / "a", "cpm", 1), make_teacher(tmp_path / "b", "cpr", 2)
    other = make_teacher(tmp_path / "c", "cpm", 3, labels=("bus", "car", "tram"))
    models = [run.path for run in (first, second, other)]
    assert tinyscene("evaluate", *models, "--data", tiny_folder, "--json") == 0
    captured = capsys.readouterr()
    records = [json.loads(line) for line in captured.out.splitlines()]
    assert [record["schema"] for record in records] == ["tinyscene.evaluation/1"] * 3
    assert records[0]["agreement"] == 1.0
    assert 0 <= records[1]["agreement"] <= 1
    assert records[2]["agreement"] is None
    assert records[2]["n"] == 8
    assert "knows 2 of the corpus' 3 scenes (bus, tram): park left out" in captured.err
    assert "accuracy is on the others' 8 snippets, agreement on all 12" in captured.err
    assert tinyscene("evaluate", first.path, "--data", tiny_folder) == 0
    assert "| park " in capsys.readouterr().out


def test_missing_models_and_devices(
    tiny_folder: Path, tmp_path: Path, tinyscene: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    assert tinyscene("evaluate", tmp_path / "absent", "--data", tiny_folder) == 2
    assert "no run at" in capsys.readouterr().err
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="torch sees no GPU"):
            choose_device("cuda")
    assert choose_device("cpu").type == "cpu"


def test_scenes_by_a_label_map(tiny_data: TrainingData) -> None:
    # The model calls the park "forest", knows no bus, and answers "forest" and "tram" in turn.
    labels = ("forest", "tram")
    logits = np.eye(2, dtype=np.float32)[np.arange(12) % 2]
    truth = np.array([tiny_data.labels[i] for i in tiny_data.cache.label[tiny_data.evaluate]])
    metrics = score(Predictions("model", labels, logits), tiny_data, {"park": "forest"})
    assert metrics["n"] == 8
    said = np.array(labels)[logits.argmax(axis=1)]
    for scene, meant in (("park", "forest"), ("tram", "tram")):
        assert metrics["per_scene"][meant] == np.mean(said[truth == scene] == meant)
    with pytest.raises(InputError, match="did you mean 'forest'"):
        score(Predictions("model", labels, logits), tiny_data, {"park": "forrest"})


def test_verb_with_a_label_map(
    tiny_folder: Path, tmp_path: Path, tinyscene: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    run = make_teacher(tmp_path / "run", "cpm", 1, labels=("forest", "tram"))
    file = tmp_path / "map.yaml"
    file.write_text("park: forest\n")
    command = ("evaluate", run.path, "--data", tiny_folder, "--label-map", file)
    assert tinyscene(*command, "--json") == 0
    captured = capsys.readouterr()
    record = json.loads(captured.out)
    assert record["shared_scenes"] == ["park", "tram"]
    assert record["label_map"] == {"park": "forest"}
    assert record["n"] == 8
    assert "knows 2 of the corpus' 3 scenes (park, tram): bus left out" in captured.err
    for text, message in (
        ("prak: forest\n", "the corpus has no scene 'prak': did you mean 'park'"),
        ("park: forst\n", "'park' is to be 'forst', which the model does not know: did you mean 'forest'"),
    ):
        file.write_text(text)
        assert tinyscene(*command) == 2
        assert message in capsys.readouterr().err


def test_unseen_microphones(
    tiny_folder: Path,
    tiny_data: TrainingData,
    tmp_path: Path,
    tinyscene: Callable[..., int],
    capsys: pytest.CaptureFixture,
) -> None:
    folder = tmp_path / "responses"
    folder.mkdir()
    response = np.zeros(400, dtype=np.float32)
    response[7] = 1.0  # a microphone that is only late
    soundfile.write(folder / "late.wav", response, 32_000, subtype="FLOAT")
    run = make_teacher(tmp_path / "run", "cpm", 1)
    assert tinyscene("evaluate", run.path, "--data", tiny_folder, "--unseen", folder, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["unseen"]["groups"].keys() == {"unseen"}
    assert record["unseen"]["per_device"].keys() == {"unseen:late.wav"}
    assert record["unseen"]["n"] == record["n"] == 12
    assert record["groups"].keys() == {"real", "seen", "unseen"}
    late = np.pad(tiny_data.cache.waves[tiny_data.evaluate], ((0, 0), (7, 0)))[:, :32_000]
    heard = replace(tiny_data.cache, waves=late)
    answers = predict(run.build(), run.frontend, heard, np.arange(12)).argmax(axis=1)
    assert record["unseen"]["accuracy"] == np.mean(answers == tiny_data.cache.label[tiny_data.evaluate])
    assert tinyscene("evaluate", run.path, "--data", tiny_folder, "--unseen", folder) == 0
    assert "the same snippets through the microphones of" in capsys.readouterr().out
    empty = tmp_path / "empty"
    empty.mkdir()
    assert tinyscene("evaluate", run.path, "--data", tiny_folder, "--unseen", empty) == 2
    assert str(empty) in capsys.readouterr().err
