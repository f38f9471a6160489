"""The options that say where events go. Nothing heavy is imported before they are opened."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError

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
    """The sinks that `arguments` ask for, and the service manager's if one started this program.

    `labels` are the scenes that may be announced; `log` takes one line for a person at a time, from any thread.
    Raises `InputError` for options that cannot be meant and `UnavailableError` without the MQTT package; a disk or a
    broker that is away raises nothing, the events wait for it.
    """
    import os

    from .systemd import open_systemd

    sinks: list[Sink] = []
    if arguments.events is not None:
        from .background import BackgroundSink
        from .jsonl import JsonlFile

        max_bytes = arguments.events_max_mb * 1e6
        if not 0.0 < max_bytes <= 1e12:
            raise InputError(
                f"events file of at most {arguments.events_max_mb} MB, expected more than 0: set --events-max-mb"
            )
        destination = JsonlFile(arguments.events, max(1, int(max_bytes)), arguments.events_keep)
        sinks.append(BackgroundSink(str(arguments.events), destination, log))
    if arguments.mqtt is not None:
        from .broker import listener_name, parse_broker, topic_prefix
        from .mqtt import MqttSink

        broker = parse_broker(arguments.mqtt, arguments.mqtt_ca, os.environ, arguments.mqtt_allow_plain_password)
        prefix = None if arguments.mqtt_no_discovery else topic_prefix(arguments.mqtt_discovery_prefix)
        sinks.append(MqttSink(broker, listener_name(arguments.mqtt_name), bundle_name, labels, log, prefix))
    systemd = open_systemd()
    if systemd is not None:
        sinks.append(systemd)
    return sinks
