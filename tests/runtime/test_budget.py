"""The gate names what breaks it."""

from __future__ import annotations

import pytest

from tinyscene.runtime.budget import DCASE, DEFAULT, LayerCost, preset
from tinyscene.runtime.errors import GateError, InputError


def layers(parameters: int, macs: int) -> list[LayerCost]:
    return [LayerCost("stem", 100, 1_000, 100), LayerCost("blocks.5", parameters, macs, parameters)]


def test_a_network_at_the_limit_passes() -> None:
    assert DEFAULT.exceeded(layers(127_900, 31_999_000)) == []


@pytest.mark.parametrize(
    ("budget", "parameters", "macs", "unit"),
    [
        (DEFAULT, 127_901, 1_000, "parameters"),
        (DEFAULT, 1_000, 31_999_001, "MACs"),
        (DCASE, 1_000, 29_999_001, "MACs"),
    ],
)
def test_one_too_many_is_named(budget, parameters: int, macs: int, unit: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(GateError, match=rf"{unit} exceed .*blocks\.5.*cheapest fix: base_channels=32") as caught:
        budget.check(layers(parameters, macs), fix="base_channels=32")
    assert caught.value.exit_code == 1


def test_an_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="default, dcase"):
        preset("dcsae")
