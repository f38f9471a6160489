"""The options that say where events go, for every verb that listens. Nothing heavy is imported before they are opened."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .event import Sink


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the file and of MQTT."""
    events = parser.add_argument_group("events for other programs")
    events.add_argument("--events", type=Path, metavar="FILE", help="append events to FILE, one JSON object a line")
    events.add_argument("--events-max-mb", type=float, default=10.0, metavar="MB", help="size at which FILE is rotated")
    events.add_argument("--events-keep", type=int, default=5, metavar="N", help="rotated files kept: FILE.1 ... FILE.N")
    events.add_argument(
        "--mqtt",
        metavar="URL",
        help="publish events to a broker: mqtt://HOST[:1883], or mqtts://HOST[:8883] with TLS; user and password come "
        "from TINYSCENE_MQTT_USER and TINYSCENE_MQTT_PASSWORD in the environment",
    )
    events.add_argument("--mqtt-name", metavar="NAME", help="this listener's name in topics (default: the host's name)")
    events.add_argument("--mqtt-ca", type=Path, metavar="FILE", help="trust this PEM authority, not the system's")
    events.add_argument(
        "--mqtt-allow-plain-password", action="store_true", help="send the password without TLS to another machine"
    )
    events.add_argument("--mqtt-no-discovery", action="store_true", help="do not announce this to Home Assistant")
    events.add_argument(
        "--mqtt-discovery-prefix", default="homeassistant", metavar="TOPIC", help="where Home Assistant looks"
    )


def open_sinks(
    arguments: argparse.Namespace, bundle_name: str, labels: tuple[str, ...], log: Callable[[str], None]
) -> list[Sink]:
    """The sinks that `arguments` ask for, in the order their options are listed, and systemd's where it listens.

    `labels` are the scenes that may be announced; `log` takes one line for a person at a time, from any thread.
    Raises `InputError` for options that cannot be meant and `UnavailableError` without the MQTT package; a disk or a
    broker that is away raises nothing, the events wait for it.
    """
    return []
