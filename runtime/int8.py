"""The one definition of how real numbers become int8 and back: engine, golden vectors and verification share it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def quantize(x: NDArray[np.float32], scale: float, zero_point: int) -> NDArray[np.int8]:
    """clip(rint(x / scale) + zero_point, -128, 127), in float32, for finite `x` of any shape.

    Ties go to the even number (IEEE 754, `rint`), as in LiteRT's and ONNX's QUANTIZE.
    """
    q = np.asarray(x, np.float32) / np.float32(scale)
    np.rint(q, out=q)
    q += np.float32(zero_point)
    np.clip(q, np.float32(-128), np.float32(127), out=q)
    return q.astype(np.int8)


def dequantize(q: NDArray[np.int8], scale: float, zero_point: int) -> NDArray[np.float32]:
    """scale * (q - zero_point), in float32, for `q` of any shape."""
    return (np.asarray(q, np.float32) - np.float32(zero_point)) * np.float32(scale)
