"""The learning rate's course over the epochs: an exponential rise, then what `schedule` says."""

from __future__ import annotations

import math

from .settings import TrainSettings


def learning_rate_factor(epoch: int, settings: TrainSettings) -> float:
    """Factor of the learning rate in `epoch` (from 0); `settings` come resolved.

    After the common rise, "published" is a plateau, a linear fall and a small rest, "cosine" a half cosine down to
    `final_factor` at the end of the last epoch, and "constant" stays at 1.
    """
    s = settings
    assert s.warmup_epochs is not None, "settings come resolved"
    factor = rise(epoch, s.warmup_epochs)
    if s.schedule == "published":
        assert s.rampdown_start is not None
        assert s.rampdown_epochs is not None, "settings come resolved"
        factor *= linear_fall(epoch, s.rampdown_start, s.rampdown_epochs, s.final_factor)
    elif s.schedule == "cosine":
        factor *= cosine_fall(epoch, s.warmup_epochs, s.epochs, s.final_factor)
    return factor


def rise(epoch: int, epochs: float) -> float:
    """exp(-5 (1 - e/w)^2) with e no less than 0.5, and 1 after w `epochs` (Laine and Aila, arXiv 1610.02242)."""
    if epoch >= epochs:
        return 1.0
    missing = 1.0 - min(max(epoch, 0.5), epochs) / epochs
    return math.exp(-5.0 * missing * missing)


def linear_fall(epoch: int, start: float, epochs: float, final_factor: float) -> float:
    """1 until `start`, then linearly down to `final_factor`, which is reached after further `epochs`."""
    fallen = epoch - start
    if fallen <= 0:
        return 1.0
    return final_factor if fallen >= epochs else 1.0 - (1.0 - final_factor) * fallen / epochs


def cosine_fall(epoch: int, start: float, stop: float, final_factor: float) -> float:
    """Half a cosine from 1 at `start` to `final_factor` at `stop` (Loshchilov and Hutter, arXiv 1608.03983, (5))."""
    if epoch <= start:
        return 1.0
    share = (epoch - start) / (stop - start)
    return final_factor + (1.0 - final_factor) * 0.5 * (1.0 + math.cos(math.pi * share))
