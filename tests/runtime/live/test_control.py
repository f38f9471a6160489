"""What a browser may change."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyscene.runtime.live.control import Control
from tinyscene.runtime.stream.smoothing import Thresholds
from tinyscene.runtime.stream.stream import SceneStream


def controlled() -> tuple[Control, Any]:
    stream = SimpleNamespace(thresholds=Thresholds(0.5, 0.3), smoothing_s=2.0)
    return Control(cast(SceneStream, stream)), stream


def test_settings_are_taken_and_told() -> None:
    control, stream = controlled()
    asked = {"type": "settings", "enter": 0.8, "leave": 0.2, "smoothing_s": 5}
    assert control.take(json.dumps(asked)) == asked
    assert stream.thresholds == Thresholds(0.8, 0.2)
    assert stream.smoothing_s == 5.0


@pytest.mark.parametrize(
    "change",
    [
        {"enter": 0.1, "leave": 0.2},
        {"enter": 1.5},
        {"leave": 0},
        {"enter": "0.5"},
        {"enter": True},
        {"smoothing_s": 61},
        {"smoothing_s": None},
        {"type": "shutdown"},
    ],
)
def test_what_does_not_fit_changes_nothing(change: dict[str, Any]) -> None:
    control, stream = controlled()
    answer = control.take(json.dumps({"type": "settings", "enter": 0.9, "leave": 0.8, "smoothing_s": 1.0, **change}))
    assert answer["type"] == "refused"
    assert answer["message"]
    assert stream.thresholds == Thresholds(0.5, 0.3)
    assert stream.smoothing_s == 2.0


@given(st.one_of(st.text(), st.binary(), st.recursive(st.floats() | st.text(), st.lists).map(json.dumps)))
def test_any_message_is_answered(message: str | bytes) -> None:
    assert controlled()[0].take(message)["type"] == "refused"


def test_deeply_nested_json_is_refused() -> None:
    assert controlled()[0].take("[" * 4000)["type"] == "refused"
