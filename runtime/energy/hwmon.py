"""Current sensors that the kernel reads: INA219, 220, 226, 230, 231, 260 and the three channels of an INA3221."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, UnavailableError
from .sampler import SamplingMeter
from .sysfs import read_text, whole_number

#: What `name` says of a chip with one channel.
SINGLE = ("ina219", "ina220", "ina226", "ina230", "ina231", "ina238", "ina260")
TRIPLE = ("ina3221",)

PERIOD_S = 0.02


@dataclass(frozen=True)
class Channel:
    """One current sensor: the chip's folder, its name, its address on the bus where known, and the files of a reading.

    `power` in uW where the chip works it out, else `current` in mA times `voltage` in mV.
    """

    folder: Path
    chip: str
    address: str
    number: int | None
    label: str
    power: Path | None
    current: Path
    voltage: Path

    @property
    def selector(self) -> str:
        """What picks exactly this channel: `hwmon:` before it."""
        at = f"@{self.address}" if self.address else ""
        return f"{self.chip}{at}" + ("" if self.number is None else f"/{self.number}")


def channels(root: Path = Path("/sys")) -> list[Channel]:
    """Every channel under `root`/class/hwmon, by chip and address; folders' numbers change from start to start."""
    found = []
    try:
        folders = sorted((root / "class" / "hwmon").iterdir())
    except OSError:
        return []
    for folder in folders:
        chip = _text(folder / "name")
        device = folder / "device"
        address = device.resolve().name if device.exists() else ""
        if chip in SINGLE:
            power = folder / "power1_input"
            found.append(
                Channel(
                    folder,
                    chip,
                    address,
                    None,
                    _text(folder / "in1_label"),
                    power if power.exists() else None,
                    folder / "curr1_input",
                    folder / "in1_input",
                )
            )
        elif chip in TRIPLE:
            for number in (1, 2, 3):
                current, voltage = folder / f"curr{number}_input", folder / f"in{number}_input"
                if current.exists() and voltage.exists():
                    label = _text(folder / f"in{number}_label")
                    found.append(Channel(folder, chip, address, number, label, None, current, voltage))
    return sorted(found, key=lambda channel: (channel.chip, channel.address, channel.number or 0))


def choose(wanted: str, root: Path = Path("/sys")) -> Channel:
    """The one channel that `wanted` names: a chip, chip@address, chip/channel or a label; "" for the only one there is.

    Raises `UnavailableError` when there is none and `InputError` when there are several.
    """
    found = channels(root)
    listed = ", ".join(channel.selector for channel in found)
    if not found:
        raise UnavailableError(
            f"no INA219, 226, 260 or 3221 under {root}/class/hwmon: wire one, then load its driver, such as "
            "`dtoverlay=i2c-sensor,ina219` in config.txt of a Raspberry Pi"
        )
    chip_and_address, _, number = wanted.partition("/")
    chip, _, address = chip_and_address.partition("@")
    matching = [
        channel
        for channel in found
        if wanted == channel.label
        or (
            chip in ("", channel.chip)
            and address in ("", channel.address)
            and number in ("", str(channel.number or ""))
        )
    ]
    if not matching:
        raise InputError(
            f"no sensor {wanted!r}, there are: {listed}: name one, such as --meter hwmon:{found[0].selector}"
        )
    if len(matching) > 1:
        several = ", ".join(channel.selector for channel in matching)
        raise InputError(
            f"{wanted or 'hwmon'!r} fits {several}: name one, such as --meter hwmon:{matching[0].selector}"
        )
    return matching[0]


class HwmonMeter(SamplingMeter):
    """One channel, sampled no faster than the chip makes new values."""

    def __init__(self, channel: Channel, period_s: float = PERIOD_S) -> None:
        update_s = (
            _number(channel.folder / "update_interval") / 1e3 if (channel.folder / "update_interval").exists() else 0
        )
        label = f" ({channel.label})" if channel.label else ""
        super().__init__(
            f"{channel.selector}{label}",
            "measured",
            "what flows through the sensor's shunt; the sensor's own supply only if it is taken behind it",
            max(period_s, update_s),
        )
        self.channel = channel

    def read(self) -> tuple[float, ...]:
        """One reading in watts."""
        if self.channel.power is not None:
            return (_number(self.channel.power) / 1e6,)
        return (_number(self.channel.current) * _number(self.channel.voltage) / 1e6,)


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except OSError:
        return ""


def _number(path: Path) -> int:
    """The whole number in a sensor's file; raises `UnavailableError` for anything else."""
    try:
        text = read_text(path)
    except OSError as error:
        raise UnavailableError(
            f"cannot read {path} ({error.strerror}): check the sensor's wiring with `i2cdetect -y 1`"
        ) from error
    return whole_number(text, path, "a whole number")
