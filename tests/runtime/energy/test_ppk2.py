"""Nordic's PPK2, simulated on a pseudo-terminal that speaks its bytes; the real package `ppk2-api` talks to it."""

from __future__ import annotations

import os
import select
import threading
import time
import tty
from collections.abc import Iterator

import numpy as np
import pytest

from tinyscene.runtime.energy.ppk2 import SAMPLE_RATE_HZ, Decoder, Ppk2Meter
from tinyscene.runtime.errors import InputError, UnavailableError

ppk2_api = pytest.importorskip("ppk2_api.ppk2_api", reason="no ppk2-api: run `pip install 'tinyscene[meters]'`")

#: A made-up kit's calibration, in the form of the answer to the command 0x19.
CALIBRATION = {
    "R": [1003.35, 101.1, 10.08, 0.95, 0.044],
    "GS": [0.0, 0.9, 0.2, 0.1, 0.01],
    "GI": [1.0, 0.99, 0.98, 0.97, 0.96],
    "O": [112.0, 78.0, 80.0, 70.0, 60.0],
    "S": [0.0, 1e-9, 1e-8, 2e-7, 3e-6],
    "I": [-1e-9, 2e-9, 3e-8, 4e-7, 5e-6],
    "UG": [1.0, 1.0, 1.01, 1.02, 0.99],
}
METADATA = "Calibrated: 1\n" + "".join(
    f"{key}{i}: {value}\n" for key, values in CALIBRATION.items() for i, value in enumerate(values)
)


def amperes_of(level: int, converter: int, volts: float) -> float:
    """The current of one sample, written out on its own."""
    at = {key: values[level] for key, values in CALIBRATION.items()}
    r = (4 * converter - at["O"]) * (1.8 / 163840) / at["R"]
    return at["UG"] * (r * (at["GS"] * r + at["GI"]) + (at["S"] * volts + at["I"]))


class Kit(threading.Thread):
    """A simulated PPK2: answers commands and, while measuring, sends 100,000 words a second by the clock."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._end, self._port = os.openpty()
        tty.setraw(self._end)
        tty.setraw(self._port)
        self.path = os.ttyname(self._port)
        self.commands: list[bytes] = []
        self.level, self.converter = 3, 5000
        self.skip = 0  # samples to leave out, once
        self.sent = 0
        self.answers = True
        self._counter = 0
        self._measuring_since: float | None = None
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.is_set():
            if select.select([self._end], [], [], 0.002)[0]:
                self._command(os.read(self._end, 1))
            self._send()

    def close(self) -> None:
        self._done.set()
        self.join()
        os.close(self._end)
        os.close(self._port)

    def _command(self, code: bytes) -> None:
        length = {0x0D: 2, 0x0C: 1, 0x11: 1}.get(code[0], 0)
        self.commands.append(code + (os.read(self._end, length) if length else b""))
        if code[0] == 0x19 and self.answers:
            os.write(self._end, (METADATA + "END").encode())
        elif code[0] == 0x06:
            self._measuring_since, self.sent = time.monotonic(), 0
        elif code[0] == 0x07:
            self._measuring_since = None

    def _send(self) -> None:
        if self._measuring_since is None:
            return
        if self.skip:
            self._counter += self.skip
            self.sent += self.skip
            self.skip = 0
        due = int((time.monotonic() - self._measuring_since) * SAMPLE_RATE_HZ) - self.sent
        # No more at once than the terminal holds: a blocked write would keep the commands waiting.
        for _ in range(min(due, 1000) // 250):
            if not select.select([], [self._end], [], 0)[1]:
                return
            numbers = np.arange(self._counter, self._counter + 250)
            words = (numbers % 64 << 18) | (self.level << 14) | self.converter
            os.write(self._end, words.astype("<u4").tobytes())
            self._counter += 250
            self.sent += 250


@pytest.fixture
def kit() -> Iterator[Kit]:
    kit = Kit()
    kit.start()
    yield kit
    kit.close()


def run_until(kit: Kit, meter: Ppk2Meter, samples: int) -> None:
    """Wait until the simulated kit has sent `samples`, and the meter has them."""
    end = time.monotonic() + 30
    while kit.sent < samples or meter._decoder.words < samples:
        assert time.monotonic() < end, "the simulated kit or its meter stopped"
        time.sleep(0.005)


def test_the_meter_through_the_real_package(kit: Kit) -> None:
    meter = Ppk2Meter(kit.path, "source", 3300)
    meter.start()
    run_until(kit, meter, 20_000)
    trace = meter.stop()
    meter.close()
    watts = amperes_of(3, 5000, 3.3) * 3.3
    assert 0.5 < watts < 2.0
    assert trace.power_w == pytest.approx(watts, rel=1e-9)
    assert (trace.kind, trace.missed, trace.warnings) == ("measured", 0, ())
    # The words' number says the time, to the lateness of the chunks.
    assert trace.t_s[-1] - trace.t_s[0] >= 0.19
    assert kit.commands[:2] == [b"\x07", b"\x19"]
    # Source meter, 3,300 mV as the kit counts them (800 mV are 3, 32), supply on, measure, stop.
    high, low = divmod(3300 - 800 + 32, 256)
    assert kit.commands[2:] == [b"\x11\x02", bytes([0x0D, 3 + high, low]), b"\x0c\x01", b"\x06", b"\x07"]


def test_an_ampere_meter_leaves_the_supply_alone_and_says_that_the_voltage_is_not_measured(kit: Kit) -> None:
    meter = Ppk2Meter(kit.path, "ampere", 5000)
    meter.start()
    run_until(kit, meter, 2_000)
    trace = meter.stop()
    meter.start()  # again on the port that is still open
    run_until(kit, meter, 2_000)
    assert meter.stop().power_w == pytest.approx(amperes_of(3, 5000, 5.0) * 5, rel=1e-9)
    meter.close()
    assert b"\x11\x01" in kit.commands
    assert not any(command[0] == 0x0C for command in kit.commands)
    assert "5000 mV that were stated and not measured" in trace.covers


def test_samples_lost_on_the_way_are_counted(kit: Kit) -> None:
    meter = Ppk2Meter(kit.path, "source", 3300)
    meter.start()
    run_until(kit, meter, 2_000)
    kit.skip = 40
    run_until(kit, meter, kit.sent + 2_000)
    assert meter.stop().missed >= 40
    assert meter._decoder.lost == 40
    meter.close()


def test_a_port_that_is_no_kit_and_no_port(kit: Kit) -> None:
    kit.answers = False
    with pytest.raises(UnavailableError, match="did not send a PPK2's calibration"):
        Ppk2Meter(kit.path, "source", 3300).start()
    with pytest.raises(UnavailableError, match=r"cannot use the PPK2 on /dev/none .*dialout"):
        Ppk2Meter("/dev/none", "source", 3300).start()
    with pytest.raises(InputError, match="set to 9000 mV, expected 800 to 5000"):
        Ppk2Meter("/dev/none", "source", 9000)


def test_more_than_an_ampere_is_warned_of(kit: Kit) -> None:
    kit.level, kit.converter = 4, 0x3FFF
    assert amperes_of(4, 0x3FFF, 3.3) > 1.0
    meter = Ppk2Meter(kit.path, "source", 3300)
    meter.start()
    run_until(kit, meter, 1_000)
    assert "at 1.0 A or more" in meter.stop().warnings[0]
    meter.close()


@pytest.mark.parametrize("level", range(5))
def test_the_decoder_equals_the_package_and_the_formula(level: int) -> None:
    """Random words of one range, pushed in chunks of any length: the package's smoothing only acts on a change."""
    api = object.__new__(ppk2_api.PPK2_API)
    api.ser = None
    modifiers = {key: {str(i): value for i, value in enumerate(values)} for key, values in CALIBRATION.items()}
    random = np.random.default_rng(level)
    converter = random.integers(0, 1 << 14, 500)
    words = (np.arange(500) % 64 << 18) | (level << 14) | converter | (random.integers(0, 256, 500) << 24)
    data = words.astype("<u4").tobytes()
    decoder, amperes, numbers = Decoder(modifiers, 3300), [], []
    cuts = np.sort(random.integers(0, len(data), 40)).tolist()
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        values, at = decoder.push(data[start:end])
        amperes += values.tolist()
        numbers += at.tolist()
    assert numbers == list(range(500))
    assert (decoder.lost, decoder.breaks) == (0, 0)
    assert amperes == pytest.approx([amperes_of(level, int(value), 3.3) for value in converter], rel=1e-12, abs=1e-15)
    for name, value in ppk2_api_attributes(modifiers).items():
        setattr(api, name, value)
    micro, _ = api.get_samples(data)
    assert np.array(micro) / 1e6 == pytest.approx(amperes, rel=1e-9, abs=1e-15)


def ppk2_api_attributes(modifiers: dict[str, dict[str, float]]) -> dict[str, object]:
    """What the package's constructor sets, without its opening a port."""
    mask = ppk2_api.PPK2_API._generate_mask
    helper = object.__new__(ppk2_api.PPK2_API)
    helper.ser = None
    return {
        "modifiers": modifiers,
        "current_vdd": 3300,
        "adc_mult": 1.8 / 163840,
        "MEAS_ADC": mask(helper, 14, 0),
        "MEAS_RANGE": mask(helper, 3, 14),
        "MEAS_LOGIC": mask(helper, 8, 24),
        "rolling_avg": None,
        "rolling_avg4": None,
        "prev_range": None,
        "consecutive_range_samples": 0,
        "spike_filter_alpha": 0.18,
        "spike_filter_alpha5": 0.06,
        "spike_filter_samples": 3,
        "after_spike": 0,
        "remainder": {"sequence": b"", "len": 0},
    }


def test_any_bytes_are_decoded_without_an_error() -> None:
    modifiers = {key: {str(i): value for i, value in enumerate(values)} for key, values in CALIBRATION.items()}
    decoder = Decoder(modifiers, 3300)
    random = np.random.default_rng(0)
    total = 0
    for length in random.integers(0, 50, 200):
        values, numbers = decoder.push(random.bytes(int(length)))
        assert np.isfinite(values).all()
        assert (np.diff(numbers) > 0).all()
        total += int(length)
    assert decoder.words == total // 4
    # Noise is out of step nearly always, which is what the meter refuses.
    assert decoder.breaks > 0.9 * decoder.words
