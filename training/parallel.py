"""Several processes that train one network: which of them this is, its share of a batch, and what they agree on.

Lightning starts the processes (on one machine the command runs itself again) and averages their gradients. All see the
same order of an epoch and take their share of each of its batches, so `batch_size` counts the snippets of all of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..runtime.errors import InputError
from ..runtime.output import Output
from .settings import TrainSettings

if TYPE_CHECKING:
    import lightning.pytorch as pl

#: Lightning's strategies in which every process holds the whole network: checkpoints and runs are written by one.
STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true")

#: What launchers tell a process about its place among the others; the first one has 0 in all of them.
_RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")

#: What Lightning leaves in the environment of the process that started the others.
_LAUNCHED = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE", "OMP_NUM_THREADS")


@dataclass(frozen=True)
class Share:
    """This process's place among those that train: number `rank` of `world`."""

    rank: int = 0
    world: int = 1

    def of(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The positions of one batch that are this process's: every `world`-th."""
        return positions[self.rank :: self.world] if self.world > 1 else positions


#: The share of a process that trains alone: everything.
ALONE = Share()


def check_processes(settings: TrainSettings, device: torch.device) -> None:
    """Raise `InputError` when `device` (a GPU or the CPU) cannot train as the settings ask.

    Checked are `precision`, `devices`, `nodes` and `strategy`, and that each process has part of every batch.
    """
    world = settings.devices * settings.nodes
    if settings.precision == "16-mixed" and device.type == "cpu":
        raise InputError("precision is '16-mixed', which needs a GPU: set precision=bf16-mixed or precision=32-true")
    if settings.precision == "bf16-mixed" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise InputError("precision is 'bf16-mixed', which this GPU does not have: set precision=16-mixed")
    if device.type == "cuda" and settings.devices > torch.cuda.device_count():
        raise InputError(
            f"devices is {settings.devices}, but this machine has {torch.cuda.device_count()} GPU(s): "
            f"set devices={torch.cuda.device_count()}, or device=cpu"
        )
    if settings.strategy not in STRATEGIES:
        raise InputError(
            f"strategy is {settings.strategy!r}, expected one of {', '.join(STRATEGIES)}: "
            "these networks fit whole on every device"
        )
    if settings.batch_size < world:
        raise InputError(f"batch_size is {settings.batch_size}, expected at least 1 for each of {world} processes")
    if settings.nodes > 1 and not any(key in os.environ for key in _RANKS):
        raise InputError(
            f"nodes is {settings.nodes}, but nothing says which of them this is: start the command with srun or "
            "torchrun, or set MASTER_ADDR, MASTER_PORT and NODE_RANK on each node"
        )


def is_first(settings: TrainSettings) -> bool:
    """Whether this process is the one that writes: the only one, or the first of those that were started."""
    return settings.devices * settings.nodes == 1 or all(int(os.environ.get(key, "0")) == 0 for key in _RANKS)


class Silent(Output):
    """The output of every process but the first."""

    def record(self, schema: str, text: str | None = None, **fields: Any) -> None:
        """Say nothing."""

    def log(self, text: str) -> None:
        """Say nothing."""


def voice(settings: TrainSettings, output: Output) -> Output:
    """`output` in the first process, silence in the others."""
    return output if is_first(settings) else Silent(output.as_json)


@contextmanager
def launching(settings: TrainSettings) -> Iterator[None]:
    """Let Lightning start the other processes inside; leaves the environment as it was, for the next training."""
    if settings.devices * settings.nodes == 1:
        yield
        return
    before = {key: os.environ.get(key) for key in _LAUNCHED}
    if settings.threads:
        os.environ["OMP_NUM_THREADS"] = str(settings.threads)  # otherwise Lightning divides the cores
    try:
        yield
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        for key, value in before.items():
            os.environ.pop(key, None)
            if value is not None:
                os.environ[key] = value


def everywhere(trainer: pl.Trainer, holds: bool) -> bool:
    """Whether `holds` is true in every process; each must ask."""
    return holds if trainer.world_size == 1 else trainer.strategy.reduce_boolean_decision(holds, all=True)


def gather_rows(trainer: pl.Trainer, rows: Tensor) -> Tensor:
    """The rows of every process, first process first, on the CPU; (n, ...) with an n of each process's own."""
    if trainer.world_size == 1:
        return rows
    counts = [int(count) for count in _gather(trainer, torch.tensor(len(rows)))]
    # Collectives take equal shapes: fill up to the longest and cut again.
    padded = rows.new_zeros((max(counts), *rows.shape[1:]))
    padded[: len(rows)] = rows
    return torch.cat([part[:count] for part, count in zip(_gather(trainer, padded), counts, strict=True)])


def _gather(trainer: pl.Trainer, tensor: Tensor) -> list[Tensor]:
    mine = tensor.to(trainer.strategy.root_device)
    parts = [torch.empty_like(mine) for _ in range(trainer.world_size)]
    torch.distributed.all_gather(parts, mine)
    return [part.cpu() for part in parts]
