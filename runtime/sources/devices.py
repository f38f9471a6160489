"""The inputs of a machine, and how one of them is named, found again, and chosen when nobody chose.

An index changes with every plug, and ALSA writes the card's number into the name: "USB Audio: - (hw:1,0)" may come
back as "(hw:2,0)". So an input is followed by its name without that number, and by its host API.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InputError, UnavailableError

_NUMBERING = re.compile(r"\s*\((?:plug)?hw:\d+(?:,\d+)*\)\s*$")


def stable_name(name: str) -> str:
    """`name` without ALSA's numbering."""
    return _NUMBERING.sub("", name)


@dataclass(frozen=True)
class InputDevice:
    """One input that PortAudio offers."""

    index: int
    name: str
    host_api: str
    channels: int
    sample_rate_hz: int
    is_default: bool

    @property
    def stable_name(self) -> str:
        """The name without ALSA's numbering, which another order of plugging changes."""
        return stable_name(self.name)

    @property
    def is_hardware(self) -> bool:
        """Whether this is an ALSA card itself, not one of the plug-ins that stand for whatever card is there."""
        return self.host_api == "ALSA" and _NUMBERING.search(self.name) is not None


def query_inputs(sounddevice: Any) -> list[InputDevice]:
    """Every input that an initialised PortAudio knows; it looks for them only once, when it is initialised."""
    apis = sounddevice.query_hostapis()
    try:
        default = sounddevice.query_devices(kind="input")["index"]
    except (sounddevice.PortAudioError, ValueError):
        default = -1
    return [
        InputDevice(
            index=int(device["index"]),
            name=str(device["name"]),
            host_api=str(apis[device["hostapi"]]["name"]),
            channels=int(device["max_input_channels"]),
            sample_rate_hz=round(device["default_samplerate"]),
            is_default=device["index"] == default,
        )
        for device in sounddevice.query_devices()
        if device["max_input_channels"] > 0
    ]


def find_input(devices: Sequence[InputDevice], wanted: str) -> InputDevice:
    """The one of `devices` with the index, the name or a part of the name `wanted`.

    Raises `InputError` that lists them when none or several match.
    """
    exact = [device for device in devices if wanted in (str(device.index), device.name, device.stable_name)]
    similar = [device for device in devices if wanted.lower() in device.name.lower()]
    found = exact or similar
    if len(found) == 1:
        return found[0]
    names = "; ".join(f"{device.index}: {device.name}" for device in (found or devices))
    problem = f"{len(found)} inputs match" if found else "no input matches"
    raise InputError(f"{problem} --device {wanted!r}, expected one of: {names} (`tinyscene devices` lists them)")


def follow_input(devices: Sequence[InputDevice], name: str, host_api: str) -> InputDevice | None:
    """The input that was called `name` at `host_api` before the machine counted its devices anew, or None.

    Of two microphones of the same make, the one at the old place is taken, else the first.
    """
    wanted = (stable_name(name), host_api)
    same = [device for device in devices if (device.stable_name, device.host_api) == wanted]
    return next((device for device in same if device.name == name), same[0] if same else None)


def default_inputs(devices: Sequence[InputDevice]) -> list[InputDevice]:
    """The inputs to try, best first, when nobody chose.

    With a single ALSA card that records, that card: it has a name to say and to follow, and on a Raspberry Pi without
    a sound server ALSA's "default" is the HDMI output. With several, the system's default knows better. Raises
    `UnavailableError` when there is no input.
    """
    if not devices:
        raise no_input()
    hardware = [device for device in devices if device.is_hardware]
    default = [device for device in devices if device.is_default]
    order = [*hardware, *default] if len(hardware) == 1 else [*default, *hardware]
    return list(dict.fromkeys(order)) or [devices[0]]


def no_input() -> UnavailableError:
    """What to say when there is none."""
    return UnavailableError("this machine has no audio input: plug in a microphone, or listen to --source FILE")


def portaudio() -> Any:
    """The module sounddevice; raises `UnavailableError` when it or PortAudio is missing."""
    try:
        import sounddevice
    except ImportError as error:
        raise UnavailableError(f"a microphone needs sounddevice ({error}): run `pip install sounddevice`") from error
    except OSError as error:  # the Python package is there, the system's library is not
        raise UnavailableError(
            f"a microphone needs the PortAudio library ({error}): run `apt-get install libportaudio2`"
        ) from error
    return sounddevice
