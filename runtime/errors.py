"""Errors that the command line turns into one line and an exit code.

A message is a lower-case sentence that names the bad value, what was expected and the next command to try.
"""

from __future__ import annotations

import importlib
from types import ModuleType


class TinysceneError(Exception):
    """Base of every error with a message meant for the user; `exit_code` is what the program ends with."""

    exit_code = 2


class InputError(TinysceneError):
    """Wrong usage or input: a file, a value, a key (exit code 2)."""


class GateError(TinysceneError):
    """A limit or a check failed: the budget, a verification (exit code 1)."""

    exit_code = 1


class UnavailableError(TinysceneError):
    """Hardware or a dependency is missing (exit code 3)."""

    exit_code = 3


def require(module: str, extra: str) -> ModuleType:
    """Import `module`, or raise `UnavailableError` with the line that installs `tinyscene[extra]`."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        raise UnavailableError(
            f"this command needs the Python package {missing!r}, which is not installed: "
            f"run `pip install 'tinyscene[{extra}]'`"
        ) from error
