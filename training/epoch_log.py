"""What a training says of its epochs: a row each in a file, a line each or a progress bar on stderr."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, RichProgressBar

from ..runtime.atomic import write_file
from ..runtime.output import Output
from .module import SceneModule

#: The rows of a run's epochs in its folder.
METRICS_LOG = Path("logs") / "metrics.csv"


class StderrBar(RichProgressBar):
    """Lightning's bar on stderr, without the logger's version."""

    def __init__(self) -> None:
        super().__init__(console_kwargs={"stderr": True})

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """What stands behind the bar: loss, and the last evaluation's accuracy."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics


class EpochLog(Callback):
    """Keeps `logs/metrics.csv`, one row an epoch, and says each epoch in a line where there is no progress bar."""

    def __init__(self, file: Path, output: Output, speak: bool) -> None:
        self.file = file
        self.output = output
        self.speak = speak
        self.rows: list[dict[str, Any]] = []
        self.started = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take up the rows of the epochs that the checkpoint already has behind it."""
        if trainer.is_global_zero and self.file.exists():
            with self.file.open(newline="") as handle:
                rows = list(csv.DictReader(handle))
            self.rows = [dict(row) for row in rows if row["epoch"] and int(row["epoch"]) < trainer.current_epoch]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the epoch's clock."""
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the row of the epoch that ends (Lightning calls this before the module closes its sums)."""
        assert isinstance(pl_module, SceneModule)
        row: dict[str, Any] = {**pl_module.close_epoch(), "seconds": round(time.perf_counter() - self.started, 3)}
        if not trainer.is_global_zero:
            return
        self.rows.append(row)
        columns = list(dict.fromkeys(key for entry in self.rows for key in entry))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_file(self.file, text.getvalue().encode())
        if self.speak:
            scores = {"training accuracy": "train_accuracy", "evaluation": "evaluate_accuracy"}
            scored = "".join(f", {name} {row[key]:.3f}" for name, key in scores.items() if key in row)
            self.output.log(
                f"epoch {row['epoch'] + 1} of {trainer.max_epochs}: loss {row['train_loss']:.4f}{scored}, "
                f"{row['seconds']:.1f} s"
            )
