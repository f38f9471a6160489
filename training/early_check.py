"""An early look at the accuracy, so that a training that leads nowhere ends while little time is lost."""

from __future__ import annotations

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from ..runtime.errors import GateError
from .module import SceneModule


class EarlyCheck(Callback):
    """Evaluates `epoch` (from 1) whatever else is evaluated, and ends the training there below `accuracy`.

    It raises `GateError` before the epoch's checkpoint is written: the same command trains the epoch again and ends as
    this one did, while a run that has the checkpoint has passed.
    """

    def __init__(self, epoch: int, accuracy: float) -> None:
        self.epoch = epoch
        self.accuracy = accuracy
        self._every: int | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Have the epoch evaluated."""
        if trainer.current_epoch + 1 == self.epoch:
            self._every, trainer.check_val_every_n_epoch = trainer.check_val_every_n_epoch, 1

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare; Lightning calls this after the evaluation, and its checkpoints last."""
        if trainer.current_epoch + 1 != self.epoch:
            return
        trainer.check_val_every_n_epoch = self._every
        assert isinstance(pl_module, SceneModule)
        reached = pl_module.history["evaluate_accuracy"]
        if reached < self.accuracy:
            raise GateError(
                f"accuracy on the evaluation side is {reached:.3f} after epoch {self.epoch}, below the "
                f"{self.accuracy:.3f} of check_accuracy: evaluate the teachers if there are any, then start a new run "
                "with other ones, another lr, or a later check_epoch"
            )
