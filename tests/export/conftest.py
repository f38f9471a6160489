"""What the export tests share: the published student, real clips, a small corpus and a run trained on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from tinyscene.runtime.cli import main
from tinyscene.runtime.frontend import log_mel
from tinyscene.runtime.frontend_spec import STUDENT
from tinyscene.training.import_cpjku import import_checkpoint
from tinyscene.training.run import Run

CHECKPOINT = "weights/cp_mobile_tau22/c0a7nzin_epoch149.ckpt"


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """The networks here are too small to be worth a second thread."""
    torch.set_num_threads(1)


#: Where `make engines` put the side environments, as the person who runs the tests has it set.
ENGINES = os.environ.get("TINYSCENE_ENGINES", str(Path(__file__).resolve().parents[2] / "build" / "engines"))


@pytest.fixture(scope="session", autouse=True)
def no_engine_environments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Every export verifies: without TensorFlow each time, however much is installed here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYSCENE_ENGINES", str(tmp_path_factory.mktemp("engines")))
        yield


@pytest.fixture
def engine_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    """The side environments that are installed here, for tests that are about them."""
    monkeypatch.setenv("TINYSCENE_ENGINES", ENGINES)


@pytest.fixture(scope="session")
def tau22(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The published student as a run."""
    checkpoint = shared / CHECKPOINT
    if not checkpoint.is_file():
        pytest.skip(f"no published weights at {checkpoint}: run with TINYSCENE_SHARED=FOLDER")
    return import_checkpoint(checkpoint, tmp_path_factory.mktemp("runs") / "tau22")


@pytest.fixture(scope="session")
def real_clips(shared: Path) -> NDArray[np.float32]:
    """Log-mels of real scenes, (n, 256, 64): seconds of the TUT 2017 training side, four of each of 40 recordings."""
    from tinyscene.training.data.snippets import cut_file

    files = sorted((shared / "data" / "tut2017" / "audio").iterdir())[::10][:40]
    waves = np.concatenate([cut_file(file, STUDENT.sample_rate_hz, STUDENT.clip_samples)[:8:2] for file in files])
    return np.stack([log_mel(wave.astype(np.float32) / np.float32(32768.0), STUDENT) for wave in waves])


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TAU-layout corpus of three scenes told apart by how fast they pulse: 24 clips to train on, 12 to evaluate."""
    folder = tmp_path_factory.mktemp("corpus") / "pulses"
    (folder / "audio").mkdir(parents=True)
    (folder / "evaluation_setup").mkdir()
    rng = np.random.default_rng(0)
    time_s = np.arange(STUDENT.clip_samples) / STUDENT.sample_rate_hz
    rows = {"train": ["filename\tscene_label"], "evaluate": ["filename\tscene_label"]}
    for scene, pulse_hz in (("bus", 3.0), ("park", 9.0), ("tram", 23.0)):
        for number in range(12):
            name = f"audio/{scene}-paris-{number // 4}-{number}-0-a.wav"
            envelope = 0.5 + 0.5 * np.sign(np.sin(2 * np.pi * pulse_hz * (time_s + rng.random())))
            wave = 0.1 * envelope * rng.standard_normal(STUDENT.clip_samples)
            soundfile.write(folder / name, wave, STUDENT.sample_rate_hz, subtype="PCM_16")
            rows["train" if number < 8 else "evaluate"].append(f"{name}\t{scene}")
    for side, lines in rows.items():
        (folder / "evaluation_setup" / f"fold1_{side}.csv").write_text("\n".join(lines) + "\n")
    listed = [line for side in rows.values() for line in side[1:]]
    meta = [f"{line}\t{scene_of(line)}\ta" for line in listed]
    (folder / "meta.csv").write_text("\n".join(["filename\tscene_label\tidentifier\tsource_label", *meta]) + "\n")
    return folder


def scene_of(line: str) -> str:
    """The recording (scene and location) that a list's line is from, as the corpus' identifier."""
    scene, _, location = Path(line.split("\t")[0]).stem.split("-")[:3]
    return f"{scene}-{location}"


@pytest.fixture
def tinyscene() -> Callable[..., int]:
    """The command line, in this process: `tinyscene("export", RUN, ...)` returns its exit code."""
    return lambda *arguments: main([str(argument) for argument in arguments])


@pytest.fixture(scope="session")
def student(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small student run, a few epochs old."""
    out = tmp_path_factory.mktemp("students") / "student"
    options = ["base_channels=8", "epochs=6", "batch_size=8", "lr=0.005", "evaluate_every=6", "device=cpu", "threads=1"]
    assert main(["train", "student", "--data", str(corpus), "--out", str(out), *options]) == 0
    return out


@pytest.fixture(scope="session")
def qat_run(student: Path, corpus: Path) -> Path:
    """The student fine-tuned as an int8 network."""
    out = student.with_name("qat")
    options = ["epochs=3", "batch_size=8", "evaluate_every=3", "device=cpu", "threads=1"]
    assert main(["train", "qat", str(student), "--data", str(corpus), "--out", str(out), *options]) == 0
    return out


@pytest.fixture(scope="session")
def bundle(qat_run: Path, corpus: Path) -> Path:
    """The fine-tuned student's bundle."""
    out = qat_run.with_name("bundle")
    assert main(["export", str(qat_run), "--data", str(corpus), "--out", str(out)]) == 0
    return out
