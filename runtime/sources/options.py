"""The options that say what to listen to, and the source they describe."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    from .source import Source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of a source and how long to listen to it."""
    group = add_source_arguments(parser)
    group.add_argument("--duration-s", type=float, help="stop after this much audio")


def add_source_arguments(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the options that `open_source` reads and return their group."""
    group = parser.add_argument_group("source")
    group.add_argument(
        "--source", default="mic", help="mic, an audio FILE or FOLDER, or - for raw s16le samples on stdin"
    )
    group.add_argument(
        "--device",
        help="microphone by index or (part of) its name; remembered for the next time",
    )
    group.add_argument("--wait", action="store_true", help="wait for the microphone when it is not there at the start")
    group.add_argument("--rate", type=int, metavar="HZ", help="rate of raw samples, or to open the microphone at")
    group.add_argument("--channels", type=int, default=1, help="channels of raw samples")
    group.add_argument("--realtime", action="store_true", help="play files at the pace of a microphone")
    return group


def open_source(arguments: argparse.Namespace, bundle_rate_hz: int, log: Callable[[str], None]) -> Source:
    """The source that `arguments` describe; `log` takes its warnings.

    Raw samples are taken to be at `bundle_rate_hz` unless --rate is given. Raises `InputError` for options that do not
    go together or a file that cannot be read, `UnavailableError` when there is no microphone.
    """
    from .files import FileSource, FolderSource
    from .pcm import PcmSource

    wanted = arguments.source
    if arguments.realtime and wanted in ("mic", "-"):
        raise InputError(f"--realtime paces a file, but the source is {wanted}: leave it out")
    if arguments.device is not None and wanted != "mic":
        raise InputError(f"--device chooses a microphone, but the source is {wanted}: use --source mic")
    if wanted == "mic":
        from .microphone import Microphone

        return Microphone(arguments.device, arguments.rate, log, arguments.wait)
    if arguments.wait:
        raise InputError(f"--wait is for a microphone, but the source is {wanted}: leave it out")
    if wanted == "-":
        if sys.stdin.isatty():
            raise InputError(
                "standard input is a terminal, expected raw s16le samples: "
                "`arecord -t raw -f S16_LE -r 48000 | tinyscene listen --source - --rate 48000`"
            )
        rate = bundle_rate_hz if arguments.rate is None else arguments.rate
        return PcmSource(sys.stdin.buffer, rate, arguments.channels, log)
    if arguments.rate is not None:
        raise InputError(f"--rate is for raw samples and microphones, {wanted} says its own: leave it out")
    path = Path(wanted)
    if path.is_dir():
        return FolderSource(path, bundle_rate_hz, arguments.realtime, log)
    return FileSource(path, arguments.realtime)
