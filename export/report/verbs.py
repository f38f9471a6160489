"""The verb `report`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...runtime.cli import Verb
from ...runtime.errors import InputError
from ...runtime.output import Output


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL")


def _run(arguments: argparse.Namespace, output: Output) -> int:
    raise InputError("not built yet")


REPORT = Verb("one page on a bundle", "tinyscene report build/bundle", _arguments, _run)
