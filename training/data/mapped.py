"""Memory-mapped arrays on their way to another process: as the place in their file, never as their contents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Place:
    """Where in which file an array lies."""

    file: Path
    dtype: str
    offset: int  # bytes
    shape: tuple[int, ...]

    def open(self) -> NDArray[Any]:
        """Map the array again, read-only; raises `OSError` or `ValueError` when the file is gone or shorter."""
        return np.memmap(self.file, dtype=self.dtype, mode="r", offset=self.offset, shape=self.shape)


def packed(state: Mapping[str, Any]) -> dict[str, Any]:
    """`state` with a `Place` for each memory map of a file; other values, parts of a map included, stay as they are."""
    return {name: _place(value) if _is_whole_map(value) else value for name, value in state.items()}


def unpacked(state: Mapping[str, Any]) -> dict[str, Any]:
    """The opposite of `packed`."""
    return {name: value.open() if isinstance(value, Place) else value for name, value in state.items()}


def _is_whole_map(value: Any) -> bool:
    # The view of a part keeps the file's name and the whole's offset: only what lies on the map itself is at its place.
    whole = isinstance(value, np.memmap) and not isinstance(value.base, np.ndarray)
    return whole and value.filename is not None and value.flags.c_contiguous


def _place(array: np.memmap[Any, Any]) -> Place:
    assert array.filename is not None
    return Place(Path(array.filename), array.dtype.str, array.offset, array.shape)
