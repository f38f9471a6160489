"""One training step: waveforms in, augmented, as log-mels through the network, against labels and teachers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from ..runtime.errors import GateError
from ..runtime.frontend_spec import FrontendSpec
from .augment import (
    DeviceImpulseResponses,
    Mixup,
    convolved_devices,
    freq_mixstyle,
    mix_clips,
    mixstyle,
    random_gain,
    roll,
)
from .batches import INT16_SCALE, Batch, step_generator
from .distill import TeacherEnsemble, distillation_loss
from .features import LogMel
from .metrics import evaluate_logits
from .parallel import everywhere, gather_rows
from .schedule import learning_rate_factor
from .settings import TrainSettings

#: Which `device_generalisation` mixes which statistics of log-mels.
STATISTICS = {"mixstyle": mixstyle, "fms": freq_mixstyle, "dirfms": freq_mixstyle}


class SceneModule(pl.LightningModule):
    """A network under training; nothing in it depends on what happened before but the weights and the optimiser.

    Every draw of a step comes from a generator seeded by (seed, epoch, step), and the learning rate from the epoch.
    """

    def __init__(
        self,
        model: nn.Module,
        frontend: FrontendSpec,
        settings: TrainSettings,
        labels: tuple[str, ...],
        devices: tuple[str, ...],
        responses: DeviceImpulseResponses | None = None,
        ensemble: TeacherEnsemble | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.settings = settings
        self.labels = labels
        self.features = LogMel(frontend, settings.fmax_jitter_hz, settings.freq_mask, settings.time_mask)
        self.responses = responses
        # In a tuple, where torch does not look: the teachers' weights do not belong into the student's checkpoints.
        self._ensemble = (ensemble,)
        self._convolved = torch.tensor(convolved_devices(settings.dir_devices, devices))
        self._sums = torch.zeros(5)
        self._logits: list[Tensor] = []
        self._truth: list[Tensor] = []
        self.history: dict[str, float] = {}  # the last epoch's figures, for the log

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam; its rate is set at each epoch's start."""
        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        return torch.optim.Adam(parameters, lr=self.settings.lr, weight_decay=self.settings.weight_decay)

    def on_fit_start(self) -> None:
        """Bring what is not part of the module to its device."""
        if self.responses is not None:
            self.responses.to(self.device)
        if self._ensemble[0] is not None:
            self._ensemble[0].to(self.device)

    def on_train_epoch_start(self) -> None:
        """Set the epoch's learning rate."""
        s = self.settings
        factor = learning_rate_factor(self.current_epoch, s)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = s.lr * factor
        self.history = {"epoch": self.current_epoch, "lr": s.lr * factor}
        self._sums = torch.zeros(5, device=self.device)

    def augment(self, batch: Batch, generator: Generator) -> Tensor:
        """The batch's waveforms, varied, (batch, n_samples) float32."""
        s = self.settings
        wave = batch.wave.float().mul_(INT16_SCALE)
        if self.responses is not None:
            wave = self.responses(wave, self._convolved[batch.device.cpu()], s.dir_probability, generator)
        if s.roll_samples:
            wave = roll(wave, s.roll_samples, generator)
        if s.gain_db:
            wave = random_gain(wave, s.gain_db, generator)
        if s.clip_mix:
            wave = mix_clips(wave, s.clip_mix, generator)
        return wave

    def log_mel(self, wave: Tensor, generator: Generator) -> Tensor:
        """Log-mels of varied waveforms, themselves varied: (batch, n_samples) -> (batch, 1, n_mels, n_frames)."""
        s = self.settings
        with torch.no_grad():
            log_mel = self.features(wave, generator)
            if (mix := STATISTICS.get(s.device_generalisation)) is not None and s.mixstyle_probability:
                log_mel = mix(log_mel, s.mixstyle_probability, s.mixstyle_alpha, generator)
        return log_mel

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one batch; raises `GateError` when it is no number."""
        s = self.settings
        generator = step_generator(s.seed, self.current_epoch, batch_idx, self.global_rank)
        wave = self.augment(batch, generator)
        log_mel = self.log_mel(wave, generator)
        mixup = Mixup.draw(len(wave), s.mixup_alpha, generator, wave.device) if s.mixup_alpha else None
        if mixup is not None:
            log_mel = mixup.mix(log_mel, log_mel[mixup.partner])
        # Dropout and its like draw from torch's global generator, which is thereby as repeatable as the others.
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        logits = self.model(log_mel.contiguous(memory_format=torch.channels_last)).float()
        teacher = self._teacher_logits(batch, wave)
        label_loss, distill_loss = self._losses(logits, batch.label, teacher, mixup)
        loss = label_loss
        if teacher is not None:
            loss = s.distill_lambda * label_loss + (1 - s.distill_lambda) * distill_loss
        if not everywhere(self.trainer, bool(torch.isfinite(loss))):
            rate = self.trainer.optimizers[0].param_groups[0]["lr"]
            raise GateError(
                f"the loss became {loss.item()} in epoch {self.current_epoch + 1}, step {batch_idx + 1} "
                f"(learning rate {rate:.2g}): start a new run with a smaller lr"
            )
        with torch.no_grad():
            label = batch.label if mixup is None else mixup.larger(batch.label)
            correct = (logits.argmax(dim=1) == label).sum()
            n = len(label)
            self._sums += torch.stack([loss * n, label_loss * n, distill_loss * n, correct, (label >= 0).sum()])
        self.log("loss", loss, prog_bar=True, logger=False, on_step=True, on_epoch=False)
        if self.trainer.world_size > 1:
            # The gradients' mean over processes is then that of the whole batch, however it was shared out.
            loader = self.trainer.train_dataloader
            assert loader is not None
            loss = loss * (n * self.trainer.world_size / loader.sampler.total(batch_idx))
        return loss

    def _losses(
        self, logits: Tensor, label: Tensor, teacher: Tensor | None, mixup: Mixup | None
    ) -> tuple[Tensor, Tensor]:
        """The batch's mean losses against labels and teachers (0 without them); a mixed item's targets are mixed too.

        The mix is of the losses, not of the targets: for the labels that is the same, and for teachers each is asked
        about a clip that it has heard.
        """

        def mean_loss(against: Callable[[Tensor], Tensor], targets: Tensor) -> Tensor:
            losses = against(targets)
            return (losses if mixup is None else mixup.mix(losses, against(targets[mixup.partner]))).mean()

        cross_entropy = partial(F.cross_entropy, ignore_index=-1, reduction="none")  # -1: a scene it does not know
        label_loss = mean_loss(lambda targets: cross_entropy(logits, targets), label)
        if teacher is None:
            return label_loss, torch.zeros_like(label_loss)
        temperature = self.settings.temperature
        return label_loss, mean_loss(lambda targets: distillation_loss(logits, targets, temperature), teacher)

    def _teacher_logits(self, batch: Batch, wave: Tensor) -> Tensor | None:
        if batch.teacher.shape[1]:
            return batch.teacher
        if self._ensemble[0] is not None:
            with torch.no_grad():
                return self._ensemble[0](wave).float()
        return None

    def on_validation_epoch_start(self) -> None:
        """Forget the last evaluation's logits."""
        self._logits, self._truth = [torch.zeros(0, len(self.labels))], [torch.zeros(0, dtype=torch.int64)]

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect the logits of one batch of the evaluation side."""
        if not len(batch.label):  # less was left than there are processes
            return
        log_mel = self.features(batch.wave.float().mul_(INT16_SCALE))
        self._logits.append(self.model(log_mel.contiguous(memory_format=torch.channels_last)).float().cpu())
        self._truth.append(batch.label.cpu())

    def on_validation_epoch_end(self) -> None:
        """Score what was collected."""
        logits = gather_rows(self.trainer, torch.cat(self._logits))
        truth = gather_rows(self.trainer, torch.cat(self._truth))
        metrics = evaluate_logits(logits.numpy(), truth.numpy(), self.labels)
        if not metrics["n"]:  # no snippet of a scene that the network knows
            return
        self.history["evaluate_loss"] = F.cross_entropy(logits, truth, ignore_index=-1).item()
        self.history["evaluate_accuracy"] = metrics["accuracy"]
        self.history["evaluate_macro"] = metrics["macro"]
        self.log("accuracy", metrics["accuracy"], prog_bar=True, logger=False)

    def close_epoch(self) -> dict[str, Any]:
        """The epoch's figures by name, handed to the loggers too."""
        loader = self.trainer.train_dataloader
        assert loader is not None
        n = float(len(loader.dataset))
        sums = self.trainer.strategy.reduce(self._sums, reduce_op="sum")
        assert isinstance(sums, Tensor)
        loss, label_loss, distill_loss, correct, known = (float(value) for value in sums.cpu() / n)
        self.history["train_loss"] = loss
        if distill_loss:
            self.history |= {"train_label_loss": label_loss, "train_distill_loss": distill_loss}
        if known:
            self.history["train_accuracy"] = correct / known
        for logger in self.loggers:
            figures = {key: value for key, value in self.history.items() if key != "epoch"}
            logger.log_metrics(figures, step=self.current_epoch)
        return dict(self.history)
