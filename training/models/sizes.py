"""Architectures by name: their arguments with defaults, and their named sizes. No torch here: settings are read first.

A size is named after its parameters with ten scenes; `tests/training/test_zoo.py` holds the names to what is built.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ...runtime.errors import InputError

#: Architecture -> its constructor's arguments with their defaults; n_classes apart, and what no setting changes.
DEFAULTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "cpm": {
            "base_channels": 32,
            "channels_multiplier": 2.3,
            "expansion_rate": 3.0,
            "norm": "none",
            "padding": "same",
        },
        "cpr": {"base_channels": 32, "rho": 8},
        "passt": {
            "dim": 64,
            "depth": 2,
            "heads": 2,
            "patch_stride": 10,
            "patchout_frequency": 6,
            "patchout_time": 0,
        },
        "vit": {"dim": 64, "depth": 2, "heads": 2, "patch_stride": 16},
        "crnn": {"base_channels": 16, "hidden": 48},
        "mn": {"width": 0.4},
    }
)

#: Sizes of the transformers; a head is 32 wide, in the published PaSST 64.
_TRANSFORMERS: Mapping[str, Mapping[str, Any]] = {
    "128k": {"dim": 64, "depth": 2, "heads": 2},
    "350k": {"dim": 96, "depth": 3, "heads": 3},
    "1m": {"dim": 128, "depth": 5, "heads": 4},
    "3m": {"dim": 192, "depth": 7, "heads": 6},
    "10m": {"dim": 320, "depth": 8, "heads": 10},
}

#: Architecture -> named size -> arguments over the defaults, smallest first. What has published weights is named after
#: them: PaSST's "published" (86 M), EfficientAT's "mn04".
SIZES: Mapping[str, Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "cpm": {
            "128k": {"base_channels": 32},
            "350k": {"base_channels": 56},
            "1m": {"base_channels": 88},
            "3m": {"base_channels": 160},
            "10m": {"base_channels": 288},
        },
        "cpr": {
            "128k": {"base_channels": 32},
            "350k": {"base_channels": 52},
            "1m": {"base_channels": 90},
            "3m": {"base_channels": 156},
            "10m": {"base_channels": 284},
        },
        "passt": {**_TRANSFORMERS, "published": {"dim": 768, "depth": 12, "heads": 12}},
        "vit": _TRANSFORMERS,
        "crnn": {
            "128k": {"base_channels": 16, "hidden": 48},
            "350k": {"base_channels": 24, "hidden": 96},
            "1m": {"base_channels": 40, "hidden": 176},
            "3m": {"base_channels": 72, "hidden": 288},
            "10m": {"base_channels": 128, "hidden": 560},
        },
        "mn": {
            "128k": {"width": 0.15},
            "350k": {"width": 0.28},
            "mn04": {"width": 0.4},
            "1m": {"width": 0.48},
            "3m": {"width": 0.85},
            "10m": {"width": 1.55},
        },
    }
)

#: Every argument that some architecture takes.
ARGUMENTS: tuple[str, ...] = tuple(dict.fromkeys(name for defaults in DEFAULTS.values() for name in defaults))


def network_arguments(arch: str, size: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of `arch`: the defaults, over them those of `size`, over them the `given` ones.

    Raises `InputError` for an unknown size, and for an argument that the architecture does not take.
    """
    if size is not None and size not in SIZES[arch]:
        raise InputError(f"{arch} has no size {size!r}, expected one of {', '.join(SIZES[arch])}")
    for name in given:
        if name not in DEFAULTS[arch]:
            close = difflib.get_close_matches(name, DEFAULTS[arch], n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(DEFAULTS[arch])}"
            raise InputError(f"{arch} has no {name}: {hint}")
    return {**DEFAULTS[arch], **(SIZES[arch][size] if size is not None else {}), **given}
