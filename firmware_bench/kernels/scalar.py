"""The kernels in plain C: constants as the graph has them."""

from __future__ import annotations

import numpy as np

from ..families import Constants, Family, Packed, plain_requant


def _pack(constants: Constants) -> Packed:
    return Packed(np.ascontiguousarray(constants.weight).reshape(-1), plain_requant(constants))


FAMILY = Family("scalar", ("ts_kernels_scalar.c",), _pack, _pack, _pack, lambda height, kernel, inputs: 0)
