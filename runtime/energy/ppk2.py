"""Nordic's Power Profiler Kit II on its serial port, through the package `ppk2-api`.

The kit measures current only, 100,000 times a second and up to 1 A. As a source meter it supplies a voltage that is
set; as an ampere meter it sits in the supply line and the voltage is what the user says. Power is current times that
number: a supply that sags makes it too high.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, UnavailableError, require
from .meter import Kind, PowerTrace, step_trace

SAMPLE_RATE_HZ = 100_000
MAX_CURRENT_A = 1.0

#: Samples averaged into one of the trace: 1 ms.
BIN = 100

#: How often the port is emptied. A system's buffer for a serial port holds 4 KB and more, the USB one of the kit more.
POLL_S = 0.005

#: A sudden delay longer than this is samples that were lost, not ones that came late.
LATE_S = 0.02

Mode = Literal["source", "ampere"]


class Decoder:
    """Turns the kit's words into amperes with its calibration.

    A word has 4 bytes, the least significant first: 14 bits of the converter, 3 bits of the measuring range, a bit
    unused, a 6-bit counter, 8 logic inputs. With r = (4 * converter - O) * 1.8 / 163840 / R, a current is
    UG * (r * (GS * r + GI) + S * volts + I), each letter a number of the range from the kit's memory; the form is that
    of the maker's program. Its smoothing of the samples after a change of range is left out: a mean hardly sees it.
    """

    def __init__(self, modifiers: dict[str, Any], millivolts: int) -> None:
        table = {
            key: np.array([float(modifiers[key][str(i)]) for i in range(5)])
            for key in ("R", "GS", "GI", "O", "S", "I", "UG")
        }
        self._table, self._volts = table, millivolts / 1e3
        self._rest = b""
        self._counter: int | None = None
        self.words = 0
        self.breaks = 0  # words that did not follow the one before them by 1
        self.lost = 0  # samples missing by the counter, which sees up to 63 in a row
        self.over_range = 0

    def push(self, data: bytes) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Amperes (n,) of the whole words in `data`, and the number (n,) of each since the first, lost ones counted."""
        data = self._rest + data
        whole = len(data) // 4 * 4
        self._rest = data[whole:]
        words = np.frombuffer(data[:whole], "<u4").astype(np.int64)
        if not len(words):
            return np.zeros(0), np.zeros(0, np.int64)
        counter = words >> 18 & 63
        before = (counter[0] - 1) % 64 if self._counter is None else self._counter
        steps = np.diff(counter, prepend=before) % 64
        steps[steps == 0] = 64
        numbers = self.words + self.lost + np.cumsum(steps) - 1
        self._counter = int(counter[-1])
        self.words += len(words)
        self.breaks += int((steps != 1).sum())
        self.lost += int((steps - 1).sum())
        level = np.minimum(words >> 14 & 7, 4)
        t = {key: values[level] for key, values in self._table.items()}
        r = ((words & 0x3FFF) * 4 - t["O"]) * (1.8 / 163840) / t["R"]
        amperes = t["UG"] * (r * (t["GS"] * r + t["GI"]) + t["S"] * self._volts + t["I"])
        self.over_range += int((amperes >= MAX_CURRENT_A).sum())
        return amperes, numbers


class Ppk2Meter:
    """A kit on `port`, as "source" of `millivolts` or as "ampere" meter in a supply of `millivolts`.

    Source switches the supply on at `start` and leaves it on after `stop`: the device would lose its state.
    """

    live = True
    kind: Kind = "measured"

    def __init__(self, port: str, mode: Mode, millivolts: int, clock: Callable[[], float] = time.monotonic) -> None:
        if not 800 <= millivolts <= 5000:
            raise InputError(
                f"the PPK2 is set to {millivolts} mV, expected 800 to 5000: such as --meter ppk2:{port},{mode},3300"
            )
        self.name = f"PPK2 on {port}"
        self.covers = (
            f"everything that the kit supplies with {millivolts} mV"
            if mode == "source"
            else f"the current through the kit, times {millivolts} mV that were stated and not measured"
        )
        self._port, self._mode, self._millivolts, self._clock = port, mode, millivolts, clock
        self._api: Any = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Set up the kit and let it measure; raises `UnavailableError` where that fails."""
        module = require("ppk2_api.ppk2_api", "meters")
        try:
            if self._api is None:
                self._api = module.PPK2_API(self._port, timeout=1)
            api = self._api
            # A program that ended badly leaves the kit measuring, and its samples in front of the answer.
            api.stop_measuring()
            time.sleep(0.05)
            while api.get_data():
                time.sleep(0.01)
            if not api.get_modifiers():
                raise UnavailableError(
                    f"{self._port} did not send a PPK2's calibration: name its port, `ls /dev/ttyACM*`"
                )
            if self._mode == "source":
                api.use_source_meter()
            else:
                api.use_ampere_meter()
            api.set_source_voltage(self._millivolts)
            if self._mode == "source":
                api.toggle_DUT_power("ON")
            self._decoder = Decoder(api.modifiers, self._millivolts)
            self._chunks: list[tuple[float, int]] = []  # arrival, number of the chunk's last sample
            self._bins: list[tuple[float, int, int]] = []  # mean A, first and last number
            self._open: list[tuple[NDArray[np.float64], NDArray[np.int64]]] = []
            self._error: str | None = None
            self._cpu_s = 0.0
            self._started_s = self._clock()
            api.start_measuring()
        except UnavailableError:
            self._close()
            raise
        except Exception as error:  # the serial port and the package raise a dozen different ones
            self._close()
            raise UnavailableError(
                f"cannot use the PPK2 on {self._port} ({error}): check `ls /dev/ttyACM*`, that no other program has it "
                "open, and that you are in the group 'dialout'"
            ) from error
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="PPK2", daemon=True)
        self._thread.start()

    def stop(self) -> PowerTrace:
        """Everything since `start`, in steps of a millisecond."""
        if self._thread is None:
            raise RuntimeError("stop() of a meter that was not started")
        self._stop.set()
        self._thread.join()
        self._thread = None
        decoder = self._decoder
        if self._error is not None:
            self._close()
            raise UnavailableError(
                f"the PPK2 on {self._port} went away ({self._error}): check its cable and start again"
            )
        if decoder.breaks > 0.1 * decoder.words:
            raise UnavailableError(
                f"{decoder.breaks} of {decoder.words} samples of the PPK2 came out of step: plug it into the computer "
                "directly, or run less beside it"
            )
        if not self._bins:
            raise UnavailableError(
                f"the PPK2 on {self._port} sent {decoder.words} samples, expected some 100,000 a second"
            )
        arrivals = np.array([arrived for arrived, _ in self._chunks])
        numbers = np.array([number for _, number in self._chunks], np.float64)
        # A chunk may come late; what is still late in the chunk that comes with the least delay of all later ones is
        # not lateness, but samples lost, or a clock that differs.
        late_s = arrivals - (numbers + 1) / SAMPLE_RATE_HZ
        late_s = np.minimum.accumulate(late_s[::-1])[::-1]
        jumps = np.diff(late_s)
        lost = decoder.lost + int(jumps[jumps > LATE_S].sum() * SAMPLE_RATE_HZ)
        means = np.array([mean for mean, _, _ in self._bins])
        first = np.array([number for _, number, _ in self._bins])
        last = np.array([number for _, _, number in self._bins])
        shift_s = late_s[np.searchsorted(numbers, last)]
        warnings = (
            (f"{decoder.over_range} samples were at {MAX_CURRENT_A} A or more, where the PPK2 ends",)
            if decoder.over_range
            else ()
        )
        return step_trace(
            first / SAMPLE_RATE_HZ + shift_s,
            (last + 1) / SAMPLE_RATE_HZ + shift_s,
            means * self._millivolts / 1e3,
            name=self.name,
            kind=self.kind,
            covers=self.covers,
            period_s=BIN / SAMPLE_RATE_HZ,
            missed=lost,
            cpu_share=self._cpu_s / max(1e-9, self._clock() - self._started_s),
            warnings=warnings,
        )

    def close(self) -> None:
        """Give the port back; the next `start` opens it again."""
        self._close()

    def _run(self) -> None:
        began_s = time.thread_time()
        try:
            while not self._stop.wait(POLL_S):
                self._take()
            self._api.stop_measuring()
            self._take()
        except Exception as error:  # unplugged: whatever the serial port raises
            self._error = str(error)
        self._cpu_s = time.thread_time() - began_s

    def _take(self) -> None:
        """Empty the port and close the bins that are full."""
        data = self._api.get_data()
        arrived = self._clock()
        amperes, numbers = self._decoder.push(data)
        if not len(amperes):
            return
        self._chunks.append((arrived, int(numbers[-1])))
        self._open.append((amperes, numbers))
        if sum(len(values) for values, _ in self._open) < BIN:
            return
        values, at = (np.concatenate(parts) for parts in zip(*self._open, strict=True))
        full = len(values) // BIN * BIN
        for i in range(0, full, BIN):
            self._bins.append((float(values[i : i + BIN].mean()), int(at[i]), int(at[i + BIN - 1])))
        self._open = [(values[full:], at[full:])]

    def _close(self) -> None:
        api, self._api = self._api, None
        if api is not None and api.ser is not None:
            api.ser.close()
