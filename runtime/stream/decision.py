"""What a stream says at one moment."""

from __future__ import annotations

from dataclasses import dataclass

from .smoothing import State

#: Of the JSON lines that decisions are printed as.
SCHEMA = "tinyscene.decision/2"


@dataclass(frozen=True, eq=False)
class Decision:
    """What the stream says at one moment."""

    t_s: float  # end of the window in the source's time, lost samples included
    scene: str | None  # the scene decided on; None while none is certain enough
    state: State
    top: str  # the likeliest scene, decided on or not
    probability: float  # averaged probability of `scene`, or of `top` while there is none
    probabilities: dict[str, float]  # averaged, by label
    latency_ms: float  # from the arrival of the window's last sample to this decision
    dropped_samples: int  # lost by the source so far, at its rate
    level_dbfs: float  # loudness of the audio since the last decision (RMS; a full-scale sine is -3)
    lost_share: float = 0.0  # of the window's samples: lost by the source, silence in their place
