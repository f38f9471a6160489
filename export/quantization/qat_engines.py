"""How the rounding gets into the forward pass of quantisation-aware training: this project's way, or NNCF's.

Both start from the same calibrated network, are trained by the same `fit`, and give the same kind of graph.
"""

from __future__ import annotations

from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ..graph import Graph
from .fake_quant import GraphNet, dequantized
from .ptq import Calibrated

ENGINES = ("own", "nncf")

#: The one that gave the better int8 network on real recordings, see docs/quantisation.md; it also trains twice as fast.
DEFAULT = "own"


class QatNet(Protocol):
    """What training and export need of a network under quantisation-aware training, beside being a module."""

    observing: bool  # whether the ranges may still move

    def to_graph(self) -> Graph:
        """The int8 graph of the present weights and ranges."""


def qat_net(engine: str, start: Calibrated, log_mels: NDArray[np.float32]) -> tuple[nn.Module, QatNet]:
    """The module to train and itself as a `QatNet`; `log_mels` (n, n_mels, n_frames) calibrate engine "nncf".

    Raises `UnavailableError` when NNCF is not installed or cannot build its extension.
    """
    weights = dequantized(start.graph)  # as calibration rounded them
    net: nn.Module
    if engine == "nncf":
        from .nncf_engine import NncfNet

        net = NncfNet(weights, start.ranges, log_mels)
    else:
        net = GraphNet(weights, start.ranges, start.graph.wide)
    return net, cast(QatNet, net)
