"""A bundle on a stream of held-out recordings, and what each setting of its smoothing would have made of it.

The network runs once, without smoothing; every setting is then tried on the same probabilities.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.engines.engine import Engine
from ..runtime.frontend_spec import FrontendSpec
from ..runtime.sources.source import Block
from ..runtime.stream.metrics import UNSURE, Follow, StreamScore, Truth, follow
from ..runtime.stream.settings import StreamSettings
from ..runtime.stream.smoothing import Thresholds
from ..runtime.stream.stream import SceneStream
from ..runtime.stream.sweep import averages, decided
from .data.stitch import RATE_HZ

#: What is tried: time constants of the exponential average, and thresholds, of which leave is at most enter.
TIMES_S = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0)
ENTER = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
LEAVE = (0.05, 0.1, 0.15, 0.25, 0.35, 0.45)

#: What a flicker costs: it makes a person or an automation act on what did not happen.
FLICKER_COSTS_S = 10.0

#: What is recommended, in words.
RULE = (
    "the largest share of time right, less the share wrong (unsure counts nothing), less "
    f"{FLICKER_COSTS_S:g} s of the hour for every flicker"
)


@dataclass(frozen=True)
class Setting:
    """One setting of the smoothing."""

    smoothing_s: float
    enter: float
    leave: float


@dataclass(frozen=True, eq=False)
class Heard:
    """What the network made of a stream: probabilities (n, n_classes) at the rising `times_s` (n,), `hop_s` apart."""

    times_s: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    hop_s: float


@dataclass(frozen=True, eq=False)
class Trade:
    """What a setting makes of the stream; on the front when no other is better in one thing and as good in the rest."""

    setting: Setting
    followed: Follow
    shown: NDArray[np.int64]  # (n,)
    score: StreamScore
    on_front: bool = False

    def to_dict(self) -> dict[str, Any]:
        """For JSON: setting and score in one."""
        return {
            **vars(self.setting),
            **score_to_dict(self.score),
            "worth": worth(self.score),
            "on_front": self.on_front,
        }


def default_setting(settings: StreamSettings | None = None) -> Setting:
    """What `listen` starts with."""
    settings = settings or StreamSettings()
    return Setting(settings.smoothing_s, settings.thresholds.enter, settings.thresholds.leave)


def grid() -> list[Setting]:
    """Every setting that is tried, the default among them."""
    tried = {Setting(*values) for values in itertools.product(TIMES_S, ENTER, LEAVE) if values[2] <= values[1]}
    return sorted({*tried, default_setting()}, key=lambda one: (one.smoothing_s, one.enter, one.leave))


def hear(
    spec: FrontendSpec,
    labels: tuple[str, ...],
    engine: Engine,
    audio: Iterable[NDArray[np.float32]],
    hop_ms: float = StreamSettings.hop_ms,
    log: Callable[[str], None] = lambda text: None,
) -> Heard:
    """Run the stream once over `audio` (float32 at 32 kHz, piece by piece) without smoothing."""
    stream = SceneStream(spec, labels, engine, RATE_HZ, StreamSettings(hop_ms=hop_ms, smoothing_s=0.0))
    times: list[float] = []
    vectors: list[list[float]] = []

    def take(decisions: Iterable[Any]) -> None:
        for decision in decisions:
            times.append(decision.t_s)
            vectors.append(list(decision.probabilities.values()))

    for piece in audio:
        # A second at a time, so that no block is longer than a source's would be by much.
        for start in range(0, len(piece), RATE_HZ):
            take(stream.push(Block(piece[start : start + RATE_HZ], 0.0)))
        log(f"{stream.time_s / 60:.1f} min heard")
    take(stream.finish(0.0))
    return Heard(np.array(times), np.array(vectors).reshape(len(times), len(labels)), stream.hop_s)


def weigh(heard: Heard, truth: Truth, settings: Sequence[Setting]) -> list[Trade]:
    """Each setting's trade, in the order of `settings`, with the front marked."""
    # The last windows of a stream end within a hop of its end; none may lie after it.
    times = np.minimum(heard.times_s, truth.end_s)
    trades: list[Trade] = []
    for setting, shown in zip(settings, _shown(heard, settings), strict=True):
        followed = follow(times, shown, truth)
        trades.append(Trade(setting, followed, shown, followed.score()))
    front = _front([trade.score for trade in trades])
    return [
        Trade(trade.setting, trade.followed, trade.shown, trade.score, bool(on))
        for trade, on in zip(trades, front, strict=True)
    ]


def worth(score: StreamScore) -> float:
    """What `RULE` looks at: 1 for a stream that is always right, 0 for one that says nothing."""
    return _gain(score) - score.flicker_per_hour * FLICKER_COSTS_S / 3600.0


def recommend(trades: Sequence[Trade]) -> Trade:
    """The trade that `RULE` chooses; of equals the one that recognises changes sooner."""
    return max(trades, key=lambda trade: (worth(trade.score), -trade.score.delay_p90_s))


def elsewhere(heard: Heard, settings: Sequence[Setting]) -> list[float]:
    """Share of decisions that are unsure, for each setting, where none of the model's scenes is there to be heard."""
    return [float((shown == UNSURE).mean()) for shown in _shown(heard, settings)]


def score_to_dict(score: StreamScore) -> dict[str, Any]:
    """For JSON."""
    return {**vars(score), "wrong": score.wrong, "flicker_per_hour": score.flicker_per_hour}


def _shown(heard: Heard, settings: Sequence[Setting]) -> Iterator[NDArray[np.int64]]:
    """What each setting shows (n,)."""
    for smoothing_s, alike in itertools.groupby(settings, key=lambda one: one.smoothing_s):
        averaged = averages(heard.probabilities, [smoothing_s], heard.hop_s)
        yield from decided(averaged, [Thresholds(one.enter, one.leave) for one in alike])[0]


def _gain(score: StreamScore) -> float:
    return round(score.accuracy - score.wrong, 6)


def _front(scores: Sequence[StreamScore]) -> NDArray[np.bool_]:
    """Which scores no other beats in right less wrong, flicker and median time to recognise."""
    costs = np.array([(-_gain(score), score.flicker_per_hour, score.delay_median_s) for score in scores])
    no_worse = (costs[:, np.newaxis] <= costs).all(axis=2)  # row: is it no worse than the column
    better = (costs[:, np.newaxis] < costs).any(axis=2)
    front: NDArray[np.bool_] = np.logical_not((no_worse & better).any(axis=0))
    return front
