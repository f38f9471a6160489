"""Lost samples, found by counting frames against the clock."""

from __future__ import annotations

from collections.abc import Sequence


class ClockLoss:
    """Finds lost samples by comparing the frames received with the clock.

    Deficit = elapsed time * rate - frames received. Callbacks come late and in bursts, which makes the deficit jump up
    and fall back, so only its minimum over a window of `WINDOW_S` counts: that rises for good when samples are gone. A
    sound card's clock differs from the computer's by up to some hundred parts per million; a rise no faster than that
    is drift, anything above it that adds up to `TOLERANCE_S` is loss.

    `lost` only grows. When a device hands over after all what was already counted as lost, those samples are in
    `surplus`: as many have to be thrown away, because silence has taken their place in the stream.
    """

    WINDOW_S = 1.0
    TOLERANCE_S = 0.04  # callbacks were seen up to 25 ms late
    DRIFT = 500e-6

    def __init__(self, sample_rate_hz: int) -> None:
        self.lost = 0
        self.surplus = 0
        self._declared = 0  # samples in whose place silence stands: `lost` and what `settle` returned
        self._rate = sample_rate_hz
        self._received = 0
        self._start_s: float | None = None
        self._window_start_s = 0.0
        self._lowest_s = 0.0
        self._floor_s: float | None = None

    def update(self, frames: int, now_s: float) -> None:
        """Count `frames` received at `now_s` (any steady clock)."""
        deficit_s = self._deficit(frames, now_s)
        self._lowest_s = min(self._lowest_s, deficit_s)
        span_s = now_s - self._window_start_s
        # A window that a silence stretched began before it, with a low deficit: what the silence cost shows in the
        # next one, after the device has had a second to hand over what it kept.
        if span_s >= self.WINDOW_S:
            self._close(span_s)
            self._begin(now_s, deficit_s)

    def settle(self, arrivals: Sequence[tuple[int, float]], counted: int) -> int:
        """Count the (frames, moment) of a device that is back, and return the samples lost while it was away.

        That is at least `counted`, those already declared lost for this absence (not part of `lost`); frames beyond
        what it has room for are added to `surplus`.
        """
        before_s = self._lowest_s if self._floor_s is None else self._floor_s
        # An absence is no reason to forget how the card drifts, and too long a time to tell the drift from loss.
        deficits_s = [self._deficit(frames, now_s) for frames, now_s in arrivals]
        lowest_s = min(deficits_s)
        away = round((lowest_s - before_s) * self._rate)
        self._declared += max(counted, away)
        self.surplus += max(0, counted - away)
        self._floor_s = lowest_s
        self._begin(arrivals[-1][1], deficits_s[-1])
        return max(counted, away)

    def _deficit(self, frames: int, now_s: float) -> float:
        if self._start_s is None:
            self._start_s = now_s - frames / self._rate
            self._begin(now_s, 0.0)
        self._received += frames
        return now_s - self._start_s - self._received / self._rate

    def _begin(self, now_s: float, deficit_s: float) -> None:
        self._window_start_s, self._lowest_s = now_s, deficit_s

    def _close(self, span_s: float) -> None:
        if self._floor_s is None:
            self._floor_s = self._lowest_s
        rise_s = self._lowest_s - self._floor_s
        if rise_s > self.TOLERANCE_S:
            self.lost += round(rise_s * self._rate)
            self._declared += round(rise_s * self._rate)
            self._floor_s = self._lowest_s
        elif rise_s < -self.TOLERANCE_S and self._declared > self.surplus:
            # What a slow device hands over after more than a window was late, not lost.
            self.surplus += min(round(-rise_s * self._rate), self._declared - self.surplus)
            self._floor_s = self._lowest_s
        else:
            self._floor_s += min(rise_s, self.DRIFT * span_s)
