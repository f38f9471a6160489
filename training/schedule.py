"""The learning rate's course: an exponential rise, a plateau, a linear fall, a small rest (all in epochs)."""

from __future__ import annotations

import math


def learning_rate_factor(
    epoch: int, warmup_epochs: float, rampdown_start: float, rampdown_epochs: float, final_factor: float
) -> float:
    """Factor of the learning rate in `epoch` (from 0).

    The rise is exp(-5 (1 - e/w)^2) with e no less than 0.5 (Laine and Aila, arXiv 1610.02242); the fall starts after
    `rampdown_start` and reaches `final_factor` after `rampdown_epochs`.
    """
    factor = 1.0
    if epoch < warmup_epochs:
        missing = 1.0 - min(max(epoch, 0.5), warmup_epochs) / warmup_epochs
        factor = math.exp(-5.0 * missing * missing)
    fallen = epoch - rampdown_start
    if fallen >= rampdown_epochs and fallen > 0:
        return factor * final_factor
    if fallen > 0:
        return factor * (1.0 - (1.0 - final_factor) * fallen / rampdown_epochs)
    return factor
