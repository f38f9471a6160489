"""A real audio server, and what it hears: the microphone source, its losses, and every way it can die.

PortAudio reads the environment once in a process, so each test listens in a process of its own.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from processes import PROGRAM, VirtualMicrophone, json_lines, poll_until

from tinyscene.runtime.bundle import Bundle
from tinyscene.runtime.errors import InputError, UnavailableError
from tinyscene.runtime.sources import devices
from tinyscene.runtime.sources import microphone as sources_microphone
from tinyscene.runtime.sources.devices import InputDevice, find_input
from tinyscene.runtime.sources.microphone import Microphone

# Records until what was played is over, or for so many seconds.
RECORD = """
import sys
import numpy as np
from tinyscene.runtime.sources import devices, microphone as sources_microphone
from tinyscene.runtime.errors import TinysceneError

sources_microphone.DEAD_S = 1.0
seconds, path = float(sys.argv[1]), sys.argv[2]
microphone = sources_microphone.Microphone("vmic", 48_000, log=lambda text: print(text, file=sys.stderr))
taken, dropped, silent = [], 0, None  # blocks of silence since the last sound, None before any
try:
    for block in microphone.blocks():
        if not taken:
            print("listening", flush=True)
        taken.append(block.samples)
        dropped = block.dropped
        silent = 0 if block.samples.any() else None if silent is None else silent + 1
        if silent == 10 or sum(map(len, taken)) >= seconds * 48_000:
            break
except TinysceneError as error:
    print(f"{type(error).__name__}: {error}", flush=True)
np.save(path, np.concatenate(taken), allow_pickle=False)
print(f"dropped {dropped}", flush=True)
"""


def record(microphone: VirtualMicrophone, seconds: float, path: Path) -> subprocess.Popen[str]:
    """Start to record and return when the first samples have come."""
    process = subprocess.Popen(
        [sys.executable, "-c", RECORD, str(seconds), str(path)],
        env=microphone.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first == "listening\n", first + (process.stderr.read() if process.stderr else "")
    return process


def write_wav(path: Path, samples: NDArray[np.int16], rate: int = 48_000) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def test_what_is_heard_is_what_was_played(virtual_microphone: VirtualMicrophone, tmp_path: Path) -> None:
    """Bit for bit, in order, with nothing missing in between."""
    played = np.random.default_rng(0).integers(-20_000, 20_000, 48_000).astype(np.int16)
    played[0] = 12_345  # not zero, so that the onset can be found
    recording = record(virtual_microphone, 30.0, tmp_path / "heard.npy")
    player = virtual_microphone.play(write_wav(tmp_path / "noise.wav", played))
    out, _ = recording.communicate(timeout=30)
    player.wait(timeout=30)
    heard = np.load(tmp_path / "heard.npy", allow_pickle=False)
    onset = int(np.flatnonzero(heard)[0])
    np.testing.assert_array_equal(heard[onset : onset + len(played)], played.astype(np.float32) / 32768)
    assert out == "dropped 0\n"


def test_listen_decides_on_what_the_microphone_hears(
    virtual_microphone: VirtualMicrophone, bundle: Bundle, tmp_path: Path
) -> None:
    """Low, then high noise is played for two seconds each; the decisions follow."""
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(96_000))
    frequencies = np.fft.rfftfreq(96_000, 1 / 48_000)
    parts = [np.fft.irfft(np.where(keep, spectrum, 0)) for keep in (frequencies < 800, frequencies > 7000)]
    samples = np.concatenate([0.3 * part / np.abs(part).max() for part in parts])
    played = write_wav(tmp_path / "low_high.wav", (32767 * samples).astype(np.int16))
    command = [*PROGRAM, "listen", str(bundle.path), "--source", "mic"]
    command += ["--device", "vmic", "--rate", "48000", "--smoothing-s", "0", "--json"]
    environment = virtual_microphone.environment
    listener = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    poll_until(lambda: virtual_microphone.pactl("list", "short", "source-outputs") != "")
    assert virtual_microphone.play(played).wait(timeout=60) == 0
    listener.send_signal(signal.SIGINT)
    out, error = listener.communicate(timeout=60)
    assert listener.returncode == 0, error
    *said, summary = json_lines(out)
    scenes = [decision["scene"] for decision in said]
    assert scenes.count("low") >= 3
    assert scenes.count("high") >= 3
    assert scenes.index("low") < scenes.index("high")
    assert summary["schema"] == "tinyscene.listen_summary/1"
    assert summary["audio_s"] > 3.9
    assert summary["dropped_samples"] == 0


def test_devices_lists_the_microphone(virtual_microphone: VirtualMicrophone) -> None:
    done = subprocess.run(
        [*PROGRAM, "devices", "--json"],
        env=virtual_microphone.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    devices = {device["name"]: device for device in json_lines(done.stdout)}
    assert "vmic" in devices
    assert devices["vmic"]["schema"] == "tinyscene.device/1"


def test_interrupting_listen_prints_its_summary(virtual_microphone: VirtualMicrophone, bundle: Bundle) -> None:
    command = [*PROGRAM, "listen", str(bundle.path), "--device", "vmic", "--json"]
    listener = subprocess.Popen(
        command, env=virtual_microphone.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert listener.stdout is not None
    first = listener.stdout.readline()  # the first decision: it is listening
    listener.send_signal(signal.SIGINT)
    rest = listener.stdout.read()
    assert listener.wait(timeout=30) == 0
    assert json_lines(first + rest)[-1]["interrupted"] is True


def test_a_killed_server_ends_in_an_error(virtual_microphone: VirtualMicrophone, tmp_path: Path) -> None:
    recording = record(virtual_microphone, 60.0, tmp_path / "heard.npy")
    virtual_microphone.server.kill()
    out, _ = recording.communicate(timeout=30)
    assert out.startswith("UnavailableError: microphone 'vmic' stopped (unplugged?)")


@pytest.mark.parametrize("how", ["suspended", "frozen"])
def test_a_microphone_that_falls_silent_ends_in_an_error(
    virtual_microphone: VirtualMicrophone, tmp_path: Path, how: str
) -> None:
    """Here PortAudio reports nothing at all, and its `stop` would wait for ever."""
    recording = record(virtual_microphone, 60.0, tmp_path / "heard.npy")
    if how == "suspended":
        virtual_microphone.pactl("suspend-sink", "vmic", "1")
    else:
        virtual_microphone.server.send_signal(signal.SIGSTOP)
    out, _ = recording.communicate(timeout=30)
    assert out.startswith("UnavailableError: microphone 'vmic' has sent nothing for 1 s")


def test_a_muted_microphone_is_mentioned(virtual_microphone: VirtualMicrophone, tmp_path: Path) -> None:
    recording = record(virtual_microphone, 5.5, tmp_path / "heard.npy")
    _, error = recording.communicate(timeout=30)
    assert error.count("vmic has sent only zeros for 5 s: is it muted?") == 1


# What follows needs no server.


def device(index: int, name: str, channels: int = 1) -> InputDevice:
    return InputDevice(index, name, "ALSA", channels, 48_000, is_default=index == 2)


def test_an_input_is_found_by_index_name_or_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = [device(0, "USB mic"), device(2, "HDA Intel"), device(3, "USB mic 2")]
    monkeypatch.setattr(devices, "input_devices", lambda: inputs)
    for wanted, index in ((None, 2), ("0", 0), ("USB mic", 0), ("intel", 2), ("mic 2", 3)):
        assert find_input(wanted).index == index
    with pytest.raises(InputError, match=r"2 inputs match --device 'usb', expected one of: 0: USB mic; 3: USB mic 2"):
        find_input("usb")
    with pytest.raises(InputError, match="no input matches --device 'headset'"):
        find_input("headset")
    monkeypatch.setattr(devices, "input_devices", list)
    with pytest.raises(UnavailableError, match="has no audio input"):
        find_input(None)


def test_a_consumer_that_is_too_slow_loses_the_oldest_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "input_devices", lambda: [device(2, "mic")])
    microphone = Microphone(sample_rate_hz=1000)
    blocks = 130  # of 20 samples: 2.6 s into a queue of 2 s
    for k in range(blocks):
        microphone._receive(np.full((20, 2), [k, k + 2], np.float32), 20, None, None)
    first = microphone._next()
    assert first.samples.tolist() == [31.0] * 20  # block 30 is the oldest left, its channels averaged
    waiting = [microphone._queue.get_nowait() for _ in range(microphone._queue.qsize())]
    assert len(waiting) == 99
    assert waiting[-1].samples[0] == 130.0
    assert waiting[-1].dropped == 30 * 20


class PickyCard:
    """In place of sounddevice: a card that takes only some channel counts."""

    class PortAudioError(Exception):
        """As sounddevice's."""

    def __init__(self, accepted: set[int]) -> None:
        self.accepted = accepted
        self.tried: list[int] = []

    def InputStream(self, *, channels: int, callback: Any, **options: Any) -> PickyCard:  # noqa: N802
        self.tried.append(channels)
        if channels not in self.accepted:
            raise self.PortAudioError("Invalid number of channels")
        self.callback, self.channels = callback, channels
        return self

    def start(self) -> None:
        self.callback(np.full((20, self.channels), 0.5, np.float32), 20, None, None)

    def abort(self, ignore_errors: bool) -> None:
        pass

    close = abort


@pytest.mark.parametrize(
    ("most", "accepted", "tried"), [(32, {1, 2}, [2]), (1, {1}, [1]), (2, {1}, [2, 1]), (4, {4}, [2, 1, 4])]
)
def test_a_channel_count_is_found(
    monkeypatch: pytest.MonkeyPatch, most: int, accepted: set[int], tried: list[int]
) -> None:
    card = PickyCard(accepted)
    monkeypatch.setattr(sources_microphone, "portaudio", lambda: card)
    monkeypatch.setattr(devices, "input_devices", lambda: [device(2, "array", most)])
    blocks = Microphone(sample_rate_hz=1000).blocks()
    assert next(blocks).samples.tolist() == [0.5] * 20
    blocks.close()
    assert card.tried == tried


def test_a_card_that_takes_nothing_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources_microphone, "portaudio", lambda: PickyCard(set()))
    monkeypatch.setattr(devices, "input_devices", lambda: [device(2, "array", 2)])
    with pytest.raises(
        UnavailableError, match=r"cannot open microphone 'array' at 1000 Hz \(Invalid number of channels"
    ):
        next(Microphone(sample_rate_hz=1000).blocks())
    with pytest.raises(InputError, match="sample rate is 0 Hz"):
        Microphone(sample_rate_hz=0)
