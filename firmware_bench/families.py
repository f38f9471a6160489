"""Families of kernels: which C files they are, and how each wants its constants packed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import InputError

#: The C library that generated code calls.
LIBRARY = Path(__file__).parent / "c"

#: Where each family is described; a module defines FAMILY.
_MODULES = ("scalar", "word", "dsp", "mve", "host")


@dataclass(frozen=True, eq=False)
class Constants:
    """One convolution's numbers before they are packed.

    `weight` is int8: (outputs, inputs) of a 1x1, (3, 3, channels) of a depthwise, (outputs, height, kernel, inputs) of
    a dense convolution. `bias` (outputs,) int32 has the input's zero point folded in, `multiplier` (outputs,) int32 and
    `shift` (outputs,) int32 are TFLite's.
    """

    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    multiplier: NDArray[np.int32]
    shift: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Packed:
    """What the C struct `ts_conv` points at: flat arrays in the family's own layout."""

    weights: NDArray[np.int8]
    requant: NDArray[np.int32]


Pack = Callable[[Constants], Packed]


@dataclass(frozen=True)
class Family:
    """One family; `sources` are files of `LIBRARY`. `conv_scratch_bytes(height, kernel, inputs)` sizes a dense
    convolution's scratch memory."""

    key: str  # the suffix of its functions
    sources: tuple[str, ...]
    pack_pointwise: Pack
    pack_depthwise3: Pack
    pack_conv: Pack
    conv_scratch_bytes: Callable[[int, int, int], int]


def family(key: str) -> Family:
    """The family of that name; raises `InputError` for another."""
    if key not in _MODULES:
        raise InputError(f"unknown kernel family {key!r}, expected one of {', '.join(_MODULES)}")
    found = import_module(f".kernels.{key}", __package__).FAMILY
    assert isinstance(found, Family)
    return found


def plain_requant(constants: Constants) -> NDArray[np.int32]:
    """(outputs, 3) flat: bias, multiplier, shift of each output."""
    rows = np.stack([constants.bias, constants.multiplier, constants.shift], axis=1)
    return np.ascontiguousarray(rows, np.int32).reshape(-1)
