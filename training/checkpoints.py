"""Checkpoints of a training that a killed run goes on from."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from ..runtime.atomic import write_file
from ..runtime.errors import InputError

#: The last epoch's checkpoint in a run folder.
CHECKPOINT = Path("checkpoints") / "last.ckpt"


class SafeCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are whole or absent, and that load tensors and plain values only."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write `checkpoint` to `path` in one step."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_file(Path(path), buffer.getvalue())

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        """Read the checkpoint at `path`; raises `InputError` when it is damaged."""
        try:
            contents: dict[str, Any] = torch.load(path, map_location=map_location or "cpu", weights_only=True)
        except Exception as error:  # zipfile's, pickle's and torch's own kinds
            reason = " ".join(str(error).split())[:120]
            raise InputError(f"{path} is damaged ({reason}): delete it, the training then starts anew") from error
        return contents
