"""What a browser may change: the thresholds and the smoothing, while the stream runs."""

from __future__ import annotations

import json
import math
from typing import Any

from ..errors import InputError
from ..stream.smoothing import Thresholds
from ..stream.stream import SceneStream

#: The longest average that the page offers, in seconds.
LONGEST_S = 60.0


class Control:
    """Reads and changes the settings of one stream."""

    def __init__(self, stream: SceneStream) -> None:
        self._stream = stream

    def settings(self) -> dict[str, float]:
        """As they are now."""
        thresholds = self._stream.thresholds
        return {"enter": thresholds.enter, "leave": thresholds.leave, "smoothing_s": self._stream.smoothing_s}

    def take(self, message: str | bytes) -> dict[str, Any]:
        """Do what a browser's message asks; returns the answer: the settings now, or why they stay as they are."""
        try:
            self._change(message)
        except InputError as error:
            return {"type": "refused", "message": str(error)}
        return {"type": "settings", **self.settings()}

    def _change(self, message: str | bytes) -> None:
        try:
            asked = json.loads(message)
        except (ValueError, RecursionError) as error:
            raise InputError("the message is no JSON") from error
        if not isinstance(asked, dict) or asked.get("type") != "settings":
            raise InputError('the message is none that is known here, expected {"type": "settings", ...}')
        values = {name: _number(asked, name) for name in ("enter", "leave", "smoothing_s")}
        if values["smoothing_s"] > LONGEST_S:
            raise InputError(f"smoothing is {values['smoothing_s']:g} s, expected {LONGEST_S:g} at most")
        # Both are checked before either is taken.
        thresholds = Thresholds(values["enter"], values["leave"])
        self._stream.smoothing_s = values["smoothing_s"]
        self._stream.thresholds = thresholds


def _number(asked: dict[str, Any], name: str) -> float:
    value = asked.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{name} is {value!r}, expected a number")
    return float(value)
