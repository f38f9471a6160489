"""The inputs that PortAudio offers, and how one of them is named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import InputError, UnavailableError


@dataclass(frozen=True)
class InputDevice:
    """One input that PortAudio offers."""

    index: int
    name: str
    host_api: str
    channels: int
    sample_rate_hz: int
    is_default: bool


def input_devices() -> list[InputDevice]:
    """Every input of this machine; raises `UnavailableError` when PortAudio is missing."""
    sounddevice = portaudio()
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


def find_input(wanted: str | None) -> InputDevice:
    """The default input, or the one with the index or (part of) the name `wanted`.

    Raises `UnavailableError` when the machine has no input, `InputError` that lists the inputs when none or several
    match.
    """
    devices = input_devices()
    if not devices:
        raise UnavailableError("this machine has no audio input: plug in a microphone, or listen to --source FILE")
    if wanted is None:
        return next((device for device in devices if device.is_default), devices[0])
    exact = [device for device in devices if wanted in (str(device.index), device.name)]
    similar = [device for device in devices if wanted.lower() in device.name.lower()]
    found = exact or similar
    if len(found) == 1:
        return found[0]
    names = "; ".join(f"{device.index}: {device.name}" for device in (found or devices))
    problem = f"{len(found)} inputs match" if found else "no input matches"
    raise InputError(f"{problem} --device {wanted!r}, expected one of: {names} (`tinyscene devices` lists them)")


def portaudio() -> Any:
    try:
        import sounddevice
    except OSError as error:  # the Python package is there, the system's library is not
        raise UnavailableError(
            f"a microphone needs the PortAudio library ({error}): run `apt-get install libportaudio2`"
        ) from error
    return sounddevice
