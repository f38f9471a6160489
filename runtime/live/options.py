"""The options that say how listening is shown. Nothing heavy is imported before a view is opened."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    from ..bundle import Bundle
    from ..output import Output
    from ..stream.observer import Observer
    from ..stream.stream import SceneStream

#: Where the page is unless --port says otherwise.
PORT = 8737


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the live views."""
    live = parser.add_argument_group("what is shown")
    live.add_argument("--plain", action="store_true", help="print lines even on a terminal")
    live.add_argument("--web", action="store_true", help="serve a live page to browsers on this machine")
    live.add_argument(
        "--host",
        metavar="ADDRESS",
        help="serve the page on this address (0.0.0.0: on all) to browsers that have its token, which is printed once, "
        "or is TINYSCENE_WEB_TOKEN from the environment",
    )
    live.add_argument("--port", type=int, default=PORT, help=f"port of the page (default: {PORT}; 0: any that is free)")


def open_observers(
    arguments: argparse.Namespace, bundle: Bundle, source_name: str, stream: SceneStream, output: Output
) -> list[Observer]:
    """The views that `arguments` ask for: the page, and on a terminal one that is redrawn, unless lines are wanted.

    Raises `InputError` for options that do not go together or an address that cannot be had, `UnavailableError`
    without the packages they need.
    """
    title = f"{bundle.name} - {source_name}"
    observers: list[Observer] = []
    if arguments.web:
        observers.append(_open_page(arguments, bundle, source_name, stream, output))
    elif arguments.host is not None or arguments.port != PORT:
        raise InputError("--host and --port are the page's: add --web")
    if not (arguments.plain or output.as_json) and sys.stdout.isatty():
        from .terminal import LiveView

        observers.append(LiveView(title, bundle.labels, bundle.frontend))
    return observers


def _open_page(
    arguments: argparse.Namespace, bundle: Bundle, source_name: str, stream: SceneStream, output: Output
) -> Observer:
    if arguments.source not in ("mic", "-") and not arguments.realtime:
        raise InputError("a file as fast as possible is over before a page opens: add --realtime to --web")
    import os

    from .web import LivePage

    name = stream.engine.name
    return LivePage(bundle, source_name, name, stream, arguments.host, arguments.port, os.environ, output.log)
