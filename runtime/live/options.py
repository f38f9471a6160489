"""The options that say how listening is shown. Nothing heavy is imported before a view is opened."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..bundle import Bundle
    from ..output import Output
    from ..stream.observer import Observer
    from ..stream.stream import SceneStream


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the live views."""
    live = parser.add_argument_group("what is shown")
    live.add_argument("--plain", action="store_true", help="print lines even on a terminal")


def open_observers(
    arguments: argparse.Namespace, bundle: Bundle, source_name: str, stream: SceneStream, output: Output
) -> list[Observer]:
    """The views that `arguments` ask for: on a terminal one that is redrawn, unless lines or JSON are wanted."""
    if arguments.plain or output.as_json or not sys.stdout.isatty():
        return []
    from .terminal import LiveView

    return [LiveView(f"{bundle.name} - {source_name}", bundle.labels)]
