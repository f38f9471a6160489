"""Published weights of other projects, read by path and renamed to the names of this project's networks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ...runtime.errors import InputError


def read_published(arch: str, arguments: Mapping[str, Any], file: Path) -> dict[str, Tensor]:
    """Weights in `file` for the network `arch` built with `arguments`, head left out, by this project's names.

    Raises `InputError` when nobody publishes weights for `arch`, or the file is not what was published.
    """
    raise InputError(f"no published weights are known for {arch}: init must be a run folder, not {file}")
