"""One training step: which variations a setting brings, and the losses of mixed items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyscene.runtime.errors import InputError
from tinyscene.runtime.frontend_spec import STUDENT
from tinyscene.runtime.output import Output
from tinyscene.training.augment import DeviceImpulseResponses, Mixup
from tinyscene.training.batches import INT16_SCALE, Batch, TrainingData, step_generator, train_loader
from tinyscene.training.config import load_settings
from tinyscene.training.features import LogMel
from tinyscene.training.module import SceneModule
from tinyscene.training.session import train_network
from tinyscene.training.settings import StudentSettings

PLAIN = ("roll_samples=0", "fmax_jitter_hz=0", "freq_mask=0", "mixstyle_probability=1", "dir_probability=1")
METHODS = ("none", "mixstyle", "fms", "dir", "dirfms")


def settings(*overrides: str) -> StudentSettings:
    return load_settings(StudentSettings, "student", None, [*PLAIN, *overrides])


class LevelModel(nn.Module):
    """Logits from each item's mean level, and the log-mels it was shown."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.linspace(-1.0, 1.0, n_classes))
        self.seen: list[Tensor] = []

    def forward(self, log_mel: Tensor) -> Tensor:
        if self.training:
            self.seen.append(log_mel.detach())
        return log_mel.mean(dim=(1, 2, 3))[:, None] * self.slope


class Record(pl.Callback):
    """The batches of a training and their losses."""

    def __init__(self) -> None:
        self.steps: list[tuple[Batch, float]] = []

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Batch, index: int) -> None:
        self.steps.append((batch, outputs["loss"].item()))


def module_of(data: TrainingData, chosen: StudentSettings, ensemble: Any = None) -> SceneModule:
    responses = None
    if chosen.dir_folder is not None:
        responses = DeviceImpulseResponses([np.array([0.0, 0.5], dtype=np.float32)], 32_000)
    model = LevelModel(len(data.labels))
    return SceneModule(model, STUDENT, chosen, data.labels, data.cache.devices, responses, ensemble)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_varies_what_it_says(method: str, tiny_data: TrainingData) -> None:
    convolves, mixes = method in ("dir", "dirfms"), method in ("mixstyle", "fms", "dirfms")
    folder = ("dir_folder=responses",) if convolves else ()
    module = module_of(tiny_data, settings(f"device_generalisation={method}", *folder))
    batch = next(iter(train_loader(tiny_data, 24, 0)))
    plain = batch.wave.float() * INT16_SCALE
    wave = module.augment(batch, step_generator(0, 0, 0))
    on_device_a = batch.device == tiny_data.cache.devices.index("a")
    assert 0 < on_device_a.sum() < 24
    late = F.pad(0.5 * plain[:, :-1], (1, 0))  # the response: half as loud, a sample later
    expected = torch.where(on_device_a[:, None], late, plain) if convolves else plain
    torch.testing.assert_close(wave, expected, atol=1e-6, rtol=0)
    log_mel, unmixed = module.log_mel(wave, step_generator(0, 0, 1)), LogMel(STUDENT)(wave)
    change = log_mel - unmixed
    if not mixes:
        assert torch.equal(log_mel, unmixed)
    else:
        # An item becomes a multiple of itself plus a constant: over all its values in MixStyle (their correlation
        # stays 1), for each frequency of its own in Freq-MixStyle.
        whole = torch.stack(
            [
                torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]
                for a, b in zip(log_mel, unmixed, strict=True)
            ]
        )
        assert (whole > 1 - 1e-5).all() == (method == "mixstyle")
        assert change.abs().amax(dim=(1, 2, 3)).median() > 0.01


def train_one_epoch(module: SceneModule, data: TrainingData, teacher: Any = None) -> Record:
    record = Record()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", devices=1, callbacks=[record], enable_model_summary=False,
        use_distributed_sampler=False, **quiet,
    )  # fmt: skip
    trainer.fit(module, train_loader(data, 24, 0, teacher))
    return record


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("teachers", ["none", "precomputed", "online"])
def test_mixup_mixes_log_mels_and_losses_alike(
    teachers: str, tiny_data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Mixup] = []
    draw = Mixup.draw

    def remember(*arguments: Any) -> Mixup:
        drawn.append(draw(*arguments))
        return drawn[-1]

    monkeypatch.setattr(Mixup, "draw", remember)

    class Online(nn.Module):
        def forward(self, wave: Tensor) -> Tensor:
            return wave.std(dim=1)[:, None] * torch.tensor([30.0, -10.0, 5.0])

    chosen = settings("device_generalisation=none", "mixup_alpha=0.5", "distill_lambda=0.3", "temperature=3")
    logits = np.random.default_rng(0).standard_normal((24, 3)).astype(np.float32) * 2
    module = module_of(tiny_data, chosen, Online() if teachers == "online" else None)
    slope = module.model.slope.detach().clone()
    record = train_one_epoch(module, tiny_data, logits if teachers == "precomputed" else None)
    ((batch, loss),) = record.steps
    (mixup,) = drawn
    (seen,) = module.model.seen
    weight, partner = mixup.weight.double(), mixup.partner
    wave = batch.wave.float() * INT16_SCALE
    log_mel = LogMel(STUDENT)(wave).double()
    mixed = torch.stack(
        [w * log_mel[i] + (1 - w) * log_mel[j] for i, (w, j) in enumerate(zip(weight, partner, strict=True))]
    )
    torch.testing.assert_close(seen.double(), mixed, atol=1e-5, rtol=0)
    student = mixed.mean(dim=(1, 2, 3))[:, None] * slope.double()
    # Against labels the mix of two losses is the loss against mixed one-hot targets.
    targets = F.one_hot(batch.label, 3).double()
    targets = weight[:, None] * targets + (1 - weight[:, None]) * targets[partner]
    expected = F.cross_entropy(student, targets)
    if teachers != "none":
        teacher = batch.teacher.double() if teachers == "precomputed" else Online()(wave).double()

        def divergence(item: int, other: Tensor) -> Tensor:
            p, q = torch.softmax(teacher[other] / 3, dim=0), torch.softmax(student[item] / 3, dim=0)
            return 9 * (p * (p / q).log()).mean()

        pairs = [w * divergence(i, torch.tensor(i)) + (1 - w) * divergence(i, partner[i]) for i, w in enumerate(weight)]
        expected = 0.3 * expected + 0.7 * torch.stack(pairs).mean()
    assert loss == pytest.approx(expected.item(), rel=1e-4)
    assert (weight - 0.5).abs().max() > 0.1


@pytest.mark.filterwarnings("ignore")
def test_without_mixup_the_loss_is_the_recipe_s(tiny_data: TrainingData) -> None:
    logits = np.random.default_rng(0).standard_normal((24, 3)).astype(np.float32)
    module = module_of(tiny_data, settings("device_generalisation=none"))
    slope = module.model.slope.detach().clone()
    ((batch, loss),) = train_one_epoch(module, tiny_data, logits).steps
    student = LogMel(STUDENT)(batch.wave.float() * INT16_SCALE).mean(dim=(1, 2, 3))[:, None] * slope
    p, log_q = torch.softmax(batch.teacher / 2, dim=1), torch.log_softmax(student / 2, dim=1)
    expected = 0.02 * F.cross_entropy(student, batch.label) + 0.98 * 4 * (p * (p.log() - log_q)).mean()
    assert loss == pytest.approx(expected.item(), rel=1e-4)


def test_mixup_and_mixstyle_train_from_the_command_s_settings(
    tiny_data: TrainingData, tmp_path: Path, output: Output
) -> None:
    overrides = ["base_channels=8", "batch_size=8", "threads=1", "epochs=1", "mixup_alpha=0.3"]
    chosen = load_settings(StudentSettings, "student", None, [*overrides, "device_generalisation=mixstyle"])
    files = {
        train_network("student", chosen, tiny_data, tmp_path / name, output).files["weights.safetensors"]
        for name in ("first", "second")
    }
    assert len(files) == 1  # as repeatable as everything else


def test_clips_of_devices_that_are_not_there(tiny_data: TrainingData, tmp_path: Path, output: Output) -> None:
    (tmp_path / "responses").mkdir()
    soundfile.write(tmp_path / "responses" / "ir.wav", np.array([0.5, 0.25]), 32_000)
    overrides = ["device_generalisation=dir", f"dir_folder={tmp_path / 'responses'}", "dir_devices=[zoom]"]
    chosen = load_settings(StudentSettings, "student", None, [*overrides, "threads=1", "base_channels=8"])
    with pytest.raises(InputError, match=r"dir_devices is zoom, but the clips to train on are of a, b, s1: name some"):
        train_network("student", chosen, tiny_data, tmp_path / "run", output)
    assert not (tmp_path / "run").exists()  # so that the folder takes the mended command


def test_impulse_responses_are_known_by_their_contents(tiny_data: TrainingData, tmp_path: Path, output: Output) -> None:
    for folder, second in (("one", 0.25), ("same", 0.25), ("other", 0.3)):
        (tmp_path / folder).mkdir()
        soundfile.write(tmp_path / folder / "ir.wav", np.array([0.5, second]), 32_000)

    def train(folder: str) -> Any:
        overrides = ["device_generalisation=dir", f"dir_folder={tmp_path / folder}", "threads=1", "base_channels=8"]
        chosen = load_settings(StudentSettings, "student", None, [*overrides, "batch_size=12", "epochs=1"])
        return train_network("student", chosen, tiny_data, tmp_path / "run", output)

    assert train("one").files == train("same").files  # finished already
    with pytest.raises(InputError, match=r"was started with other settings \(dir_folder: "):
        train("other")
