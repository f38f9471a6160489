"""The unit that runs `tinyscene listen` as a service of systemd: `python -m tinyscene.runtime.systemd` prints it."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

#: Where the unit expects the program; replaced by the environment that prints it.
_PREFIX = "/opt/tinyscene"


def unit_text(prefix: Path = Path(sys.prefix)) -> str:
    """The unit's text for a program installed in the virtual environment at `prefix`."""
    text = files(__package__).joinpath("tinyscene.service").read_text(encoding="utf-8")
    return text.replace(f"{_PREFIX}/bin/", f"{prefix}/bin/")
