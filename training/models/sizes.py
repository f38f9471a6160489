"""Architectures by name: their arguments with defaults, and their named sizes. No torch here: settings are read first.

A size is named after its parameters with ten scenes; `tests/training/test_zoo.py` holds the names to what is built.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ...runtime.errors import InputError

#: Architecture -> its constructor's arguments with their defaults (n_classes apart).
DEFAULTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "cpm": {"base_channels": 32, "channels_multiplier": 2.3, "expansion_rate": 3.0, "norm": "none"},
        "cpr": {"base_channels": 32, "rho": 8},
    }
)

#: Architecture -> named size -> arguments over the defaults.
SIZES: Mapping[str, Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "cpm": {"128k": {"base_channels": 32}},
        "cpr": {"128k": {"base_channels": 32}},
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
