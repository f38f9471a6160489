"""The verb `devices`. Nothing heavy is imported before it runs."""

from __future__ import annotations

import argparse

from .cli import Verb
from .output import Output


def _devices_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def _devices(arguments: argparse.Namespace, output: Output) -> int:
    from .errors import UnavailableError
    from .sources.recorder import input_devices

    devices = input_devices()
    if not devices:
        raise UnavailableError("this machine has no audio input: plug in a microphone, or listen to --source FILE")
    for device in devices:
        text = f"{device.index:3}  {device.name}  ({device.host_api}, {device.channels} ch, {device.sample_rate_hz} Hz)"
        output.record("tinyscene.device/1", text + ("  default" if device.is_default else ""), **vars(device))
    return 0


DEVICES = Verb(
    help="list the microphones that `listen --device` takes",
    example="tinyscene devices",
    add_arguments=_devices_arguments,
    run=_devices,
)
