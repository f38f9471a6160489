"""Stored logits: the same whatever was asked for in which order, and never of other recordings or damaged."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_data import clip_named, memory_data
from numpy.typing import NDArray
from test_distill import make_teacher
from torch import Tensor, nn

from tinyscene.runtime.errors import InputError
from tinyscene.runtime.output import Output
from tinyscene.training import logits as module
from tinyscene.training.batches import INT16_SCALE, TrainingData
from tinyscene.training.data.cache import SNIPPET_SAMPLES as N
from tinyscene.training.features import LogMel
from tinyscene.training.logits import teacher_logits
from tinyscene.training.predict import predict
from tinyscene.training.run import Run

CPU = torch.device("cpu")
SCENES = ("bus", "park", "tram")


class Loudness(nn.Module):
    """A network as cheap as can be: the mean log-mel, thrice; it counts the clips it heard."""

    heard = 0
    fail_after: int | None = None

    def forward(self, log_mel: Tensor) -> Tensor:
        Loudness.heard += len(log_mel)
        if Loudness.fail_after is not None and Loudness.heard > Loudness.fail_after:
            raise KeyboardInterrupt
        return log_mel.mean(dim=(1, 2, 3))[:, None] * torch.tensor([1.0, 2.0, 3.0])


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "build", lambda self: Loudness())
    monkeypatch.setattr(Loudness, "heard", 0)
    monkeypatch.setattr(Loudness, "fail_after", None)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_teacher(tmp_path / "run", "cpr", 1, labels=SCENES)


def data_of(folder: Path, n: int = 6, snippets: int = 3) -> TrainingData:
    return memory_data([clip_named(f"{i}.wav", SCENES[i % 3]) for i in range(n)], [snippets] * n, folder)


def ask(run: Run, data: TrainingData, indices: list[int], context_s: float = 1.0) -> NDArray[np.float32]:
    return teacher_logits(run, data, np.array(indices), context_s=context_s, device=CPU, output=Output())


def test_stored_logits_are_fresh_predictions(run: Run, tmp_path: Path) -> None:
    data = data_of(tmp_path)
    wanted = [4, 0, 17]
    stored = ask(run, data, wanted)[wanted]
    fresh = predict(run.build(), run.frontend, data.cache, np.array(wanted))
    np.testing.assert_allclose(stored, fresh, atol=2e-5)  # float32 sums of another batch
    assert np.ptp(fresh, axis=0).min() > 1e-3  # they depend on the clip


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(requests=st.lists(st.lists(st.integers(0, 19), min_size=1, max_size=5), min_size=1, max_size=4))
@pytest.mark.usefixtures("cheap")
def test_rows_never_depend_on_what_was_asked_for_before(
    run: Run,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    requests: list[list[int]],
) -> None:
    monkeypatch.setattr(module, "BLOCK", 4)
    folder = tmp_path_factory.mktemp("requests")
    at_once = ask(run, data_of(folder / "whole", 5, 4), list(range(20)))
    piecewise = data_of(folder / "pieces", 5, 4)
    for request in requests:
        answers = ask(run, piecewise, request)
        assert np.array_equal(answers[request], at_once[request])
    assert np.array_equal(ask(run, piecewise, list(range(20))), at_once)


@pytest.mark.usefixtures("cheap")
def test_only_what_is_missing_is_computed(run: Run, tmp_path: Path) -> None:
    data = data_of(tmp_path, 200, 1)
    first = ask(run, data, [3, 70])
    assert Loudness.heard == 128  # two blocks of 64: rows 0 to 127
    assert np.isnan(first[128:]).all()
    assert not np.isnan(first[:128]).any()
    ask(run, data, list(range(128)))
    assert Loudness.heard == 128
    ask(run, data, [127, 130])
    assert Loudness.heard == 192
    ask(run, replace(data, fold=replace(data.fold, train=(1,), evaluate=(2,))), [5, 180])  # another fold
    assert Loudness.heard == 192


@pytest.mark.usefixtures("cheap")
def test_a_killed_computation_goes_on_where_it_last_saved(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCKS_A_SAVE", 1)
    whole = np.array(ask(run, data_of(tmp_path / "whole", 300, 1), list(range(300))))
    data = data_of(tmp_path / "killed", 300, 1)
    Loudness.heard, Loudness.fail_after = 0, 128
    with pytest.raises(KeyboardInterrupt):
        ask(run, data, list(range(300)))
    Loudness.heard, Loudness.fail_after = 0, None
    assert np.array_equal(ask(run, data, list(range(300))), whole)
    assert Loudness.heard == 300 - 128


@pytest.mark.usefixtures("cheap")
def test_logits_of_another_version_or_damaged_are_computed_anew(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    data = data_of(tmp_path)
    rows = list(range(18))
    first = np.array(ask(run, data, rows))
    (folder,) = (tmp_path / "logits").iterdir()
    capsys.readouterr()

    louder = replace(data.cache, waves=data.cache.waves // 2, data_hash="1" * 64)
    second = ask(run, replace(data, cache=louder), rows)
    assert "holds logits of another version of the recordings" in capsys.readouterr().err
    assert not np.isclose(first, second).any()
    assert np.array_equal(ask(run, data, rows), first)  # and back again

    index = json.loads((folder / "index.json").read_text())
    file = folder / index["file"]
    changed = bytearray(file.read_bytes())
    changed[-1] ^= 1
    for damage in (bytes(changed), file.read_bytes()[:-4], b""):
        file.write_bytes(damage)
        capsys.readouterr()
        assert np.array_equal(ask(run, data, rows), first)
        assert "is damaged: its logits are computed anew" in capsys.readouterr().err
    for text in ("{", "[]", "{}", json.dumps({**index, "file": "../../../etc/passwd"})):
        (folder / "index.json").write_text(text)
        assert np.array_equal(ask(run, data, rows), first)
    assert sorted(path.name for path in folder.iterdir()) == sorted(["index.json", "lock", file.name])


def test_each_teacher_has_its_own(run: Run, tmp_path: Path) -> None:
    other = make_teacher(tmp_path / "other", "cpr", 2, labels=SCENES)
    data = data_of(tmp_path)
    assert not np.allclose(ask(run, data, [0])[0], ask(other, data, [0])[0], atol=1e-4)
    assert len(list((tmp_path / "logits").iterdir())) == 2


def test_cropped_targets_are_the_teacher_s_answer_to_the_whole_segment(run: Run, tmp_path: Path) -> None:
    # Three one-second files in a shuffled order, one of three seconds, one of another segment.
    names = ["park-paris-7-70-2-a.wav", "park-paris-7-70-0-a.wav", "long.wav", "park-paris-7-70-1-a.wav"]
    names.append("park-paris-7-71-3-a.wav")
    data = memory_data([clip_named(name, "park") for name in names], [1, 1, 3, 1, 1], tmp_path)
    rows = list(range(7))
    answers = ask(run, data, rows, context_s=10.0)

    def literally(snippets: list[int]) -> NDArray[np.float32]:
        wave = np.concatenate([data.cache.waves[i] for i in snippets]).astype(np.float32) * INT16_SCALE
        with torch.no_grad():
            return run.build()(LogMel(run.frontend)(torch.from_numpy(wave)[None]))[0].numpy()

    expected = {0: [1, 5, 0], 1: [1, 5, 0], 5: [1, 5, 0], 2: [2, 3, 4], 3: [2, 3, 4], 4: [2, 3, 4], 6: [6]}
    for row, snippets in expected.items():
        np.testing.assert_allclose(answers[row], literally(snippets), atol=2e-5)
    assert not np.allclose(answers[0], ask(run, data, rows)[0], atol=1e-3)  # one second alone sounds different
    # Two seconds around the middle of three: half a second at each side.
    centred = ask(run, data, rows, context_s=2.0)[3]
    wave = data.cache.waves[2:5].reshape(-1)[N // 2 : N // 2 + 2 * N].astype(np.float32) * INT16_SCALE
    with torch.no_grad():
        direct = run.build()(LogMel(run.frontend)(torch.from_numpy(wave)[None]))[0].numpy()
    np.testing.assert_allclose(centred, direct, atol=2e-5)


@pytest.mark.usefixtures("cheap")
def test_one_prediction_for_the_snippets_of_a_window(run: Run, tmp_path: Path) -> None:
    data = data_of(tmp_path, n=5, snippets=10)
    answers = ask(run, data, list(range(50)), context_s=10.0)
    assert Loudness.heard == 5
    assert all(len(np.unique(answers[10 * clip : 10 * clip + 10], axis=0)) == 1 for clip in range(5))
    assert len(np.unique(answers, axis=0)) == 5


def test_answers_that_are_no_numbers_are_refused(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(nn.Module):
        def forward(self, log_mel: Tensor) -> Tensor:
            return torch.full((len(log_mel), 3), torch.nan)

    monkeypatch.setattr(Run, "build", lambda self: Broken())
    with pytest.raises(InputError, match="answers with logits that are no numbers: train it again"):
        ask(run, data_of(tmp_path), [0])


@pytest.mark.usefixtures("cheap")
def test_two_at_once_share_one_computation(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    data = data_of(tmp_path, 20, 1)
    # A lock is an open file's, so two threads stand for two processes.
    barrier = threading.Barrier(2)

    def compute() -> NDArray[np.float32]:
        barrier.wait()
        return ask(run, data, list(range(20)))

    with ThreadPoolExecutor(2) as pool:
        first, second = (future.result() for future in [pool.submit(compute) for _ in range(2)])
    assert np.array_equal(first, second)
    assert Loudness.heard == 20
    assert capsys.readouterr().err.count("logits of 20 snippets") == 1
