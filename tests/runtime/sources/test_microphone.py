"""A real audio server, and what it hears: the microphone source, its losses, and every way it can die.

PortAudio reads the environment once in a process, so each test listens in a process of its own.
"""

from __future__ import annotations

import json
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
from tinyscene.runtime.sources.capture import Backlog, open_input
from tinyscene.runtime.sources.devices import InputDevice, default_inputs, find_input, follow_input
from tinyscene.runtime.sources.microphone import Microphone
from tinyscene.runtime.sources.remembered import recall, remember

# Records until what was played is over, or for so many seconds by the clock; a stall of the consumer on request.
RECORD = """
import json, sys, time
import numpy as np
from tinyscene.runtime.sources import microphone as module

module.DEAD_S = 1.0
seconds, path, stall_s = float(sys.argv[1]), sys.argv[2], float(sys.argv[3])
microphone = module.Microphone("vmic", 48_000, log=lambda text: print(text, file=sys.stderr, flush=True))
taken, positions, position, dropped, down, silent = [], [], 0, 0, [], None
blocks = microphone.blocks()
began = time.perf_counter()
for block in blocks:
    if not taken and not down and len(block.samples):
        print("listening", flush=True)
    position += block.dropped - dropped
    dropped = block.dropped
    if block.down is not None and (not down or down[-1] != block.down):
        down.append(block.down)
        print("down", flush=True)
    if down and down[-1] is not None and block.down is None:
        down.append(None)
        print("up", flush=True)
    if len(block.samples):
        positions.append(position)
        taken.append(block.samples)
        position += len(block.samples)
    if stall_s and position >= 48_000:
        time.sleep(stall_s)
        stall_s = 0.0
    silent = silent if not len(block.samples) else 0 if block.samples.any() else None if silent is None else silent + 1
    if silent == 10 or time.perf_counter() - began >= seconds:
        break
elapsed_s = block.arrived_s - began
blocks.close()
np.savez(path, heard=np.concatenate(taken), lengths=[len(t) for t in taken], positions=positions)
counted = {"dropped": dropped, "losses": microphone.losses, "position": position}
print(json.dumps({**counted, "elapsed_s": elapsed_s, "down": down}))
"""

#: What frames against the clock can tell: blocks of 20 ms, callbacks up to 25 ms late, `ClockLoss.TOLERANCE_S`, and the
#: same again at the other end; on a loaded machine a process may see a block some blocks late.
CLOCK_S = 0.2


def record(microphone: VirtualMicrophone, seconds: float, path: Path, stall_s: float = 0.0) -> subprocess.Popen[str]:
    """Start to record and return when the first samples have come."""
    process = subprocess.Popen(
        [sys.executable, "-c", RECORD, str(seconds), str(path), str(stall_s)],
        env=microphone.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    says(process, "listening")
    return process


def says(process: subprocess.Popen[str], word: str) -> None:
    """Wait for the recording process to say `word`."""
    assert process.stdout is not None
    said = process.stdout.readline()
    assert said == f"{word}\n", said + (process.stderr.read() if process.stderr else "")


def outcome(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What it counted, once it is done."""
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    assert sum(result["losses"].values()) == result["dropped"]
    return result


def account(result: dict[str, Any]) -> None:
    """Received and lost samples together are the time that went by."""
    assert result["position"] / 48_000 == pytest.approx(result["elapsed_s"], abs=CLOCK_S)


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
    recording = record(virtual_microphone, 30.0, tmp_path / "heard.npz")
    player = virtual_microphone.play(write_wav(tmp_path / "noise.wav", played))
    result = outcome(recording)
    player.wait(timeout=30)
    heard = np.load(tmp_path / "heard.npz", allow_pickle=False)["heard"]
    onset = int(np.flatnonzero(heard)[0])
    np.testing.assert_array_equal(heard[onset : onset + len(played)], played.astype(np.float32) / 32768)
    assert result["dropped"] == 0


def test_a_consumer_that_stalls_for_eight_seconds_loses_what_it_is_told(
    virtual_microphone: VirtualMicrophone, tmp_path: Path
) -> None:
    """Every sample of the sound says where it belongs: the loss is where it is said to be, to the sample."""
    count = 14 * 48_000
    n = np.arange(count)
    played = ((n // 251 % 251 + 1) * 100 + n % 97).astype(
        np.int16
    )  # never zero; a stretch of it is found once in 63,000
    recording = record(virtual_microphone, 40.0, tmp_path / "heard.npz", stall_s=8.0)
    player = virtual_microphone.play(write_wav(tmp_path / "ramp.wav", played))
    result = outcome(recording)
    player.wait(timeout=30)
    assert result["losses"]["overrun"] > 5 * 48_000  # eight seconds less the queue of two
    with np.load(tmp_path / "heard.npz", allow_pickle=False) as saved:
        heard, lengths, positions = saved["heard"], saved["lengths"], saved["positions"]
    begins = np.concatenate([[0], np.cumsum(lengths)])
    sounding = [k for k in range(len(lengths)) if heard[begins[k] : begins[k + 1]].all()]
    start = None
    for k in sounding:
        block = np.rint(heard[begins[k] : begins[k + 1]] * 32768).astype(np.int16)
        if start is None:
            matches = [m for m in range(0, 3 * 48_000) if np.array_equal(played[m : m + len(block)], block)]
            start = positions[k] - matches[0]
        where = positions[k] - start
        np.testing.assert_array_equal(block, played[where : where + len(block)])
    assert positions[sounding[-1]] - start > 9 * 48_000  # after the stall it goes on


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


@pytest.mark.parametrize("how", ["unplugged", "suspended", "frozen", "killed"])
def test_a_microphone_that_goes_away_and_comes_back(
    virtual_microphone: VirtualMicrophone, tmp_path: Path, how: str
) -> None:
    recording = record(virtual_microphone, 9.0, tmp_path / "heard.npz")
    vmic = virtual_microphone
    away, back = {
        "unplugged": (vmic.unplug, vmic.plug),
        "suspended": (
            lambda: vmic.pactl("suspend-sink", "vmic", "1"),
            lambda: vmic.pactl("suspend-sink", "vmic", "0"),
        ),
        "frozen": (lambda: vmic.signal(signal.SIGSTOP), lambda: vmic.signal(signal.SIGCONT)),
        "killed": (vmic.kill, vmic.start),
    }[how]
    away()
    says(recording, "down")
    back()
    says(recording, "up")
    result = outcome(recording)
    assert result["losses"]["down"] > 0
    assert result["down"][-1] is None
    account(result)


def test_a_muted_microphone_is_mentioned(virtual_microphone: VirtualMicrophone, tmp_path: Path) -> None:
    recording = record(virtual_microphone, 6.5, tmp_path / "heard.npz")
    _, error = recording.communicate(timeout=30)
    assert error.count("vmic has sent only zeros for 5 s: is it muted?") == 1


# What follows needs no server.


def device(index: int, name: str, channels: int = 1) -> InputDevice:
    return InputDevice(index, name, "ALSA", channels, 48_000, is_default=index == 2)


def test_an_input_is_found_by_index_name_or_part_of_it() -> None:
    inputs = [device(0, "USB mic"), device(2, "HDA Intel"), device(3, "USB mic 2: - (hw:1,0)")]
    for wanted, index in (("0", 0), ("USB mic", 0), ("intel", 2), ("mic 2", 3), ("USB mic 2: -", 3)):
        assert find_input(inputs, wanted).index == index
    with pytest.raises(InputError, match=r"2 inputs match --device 'usb', expected one of: 0: USB mic; 3: USB mic 2"):
        find_input(inputs, "usb")
    with pytest.raises(InputError, match="no input matches --device 'headset'"):
        find_input(inputs, "headset")


def test_an_input_is_followed_to_its_new_number() -> None:
    inputs = [device(4, "default"), device(5, "USB Audio: - (hw:2,0)"), device(6, "USB Audio: - (hw:3,0)")]
    followed = follow_input(inputs, "USB Audio: - (hw:1,0)", "ALSA")
    assert followed is not None
    assert followed.index == 5
    same_place = follow_input(inputs, "USB Audio: - (hw:3,0)", "ALSA")
    assert same_place is not None
    assert same_place.index == 6
    assert follow_input(inputs, "Webcam: - (hw:1,0)", "ALSA") is None
    assert follow_input(inputs, "USB Audio: - (hw:1,0)", "JACK") is None


def test_when_nobody_chose_a_single_card_goes_before_the_default() -> None:
    default, card, other = device(2, "default"), device(1, "USB: - (hw:1,0)"), device(3, "HDA: - (hw:0,0)")
    assert [d.index for d in default_inputs([default, card])] == [1, 2]
    assert [d.index for d in default_inputs([card, default, other])] == [2, 1, 3]
    with pytest.raises(UnavailableError, match="has no audio input"):
        default_inputs([])


def test_the_choice_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    said: list[str] = []
    assert recall(said.append) is None
    remember(device(3, "USB: - (hw:1,0)"), said.append)
    assert recall(said.append) == ("USB: - (hw:1,0)", "ALSA")
    assert said == []
    (tmp_path / "tinyscene/microphone.json").write_text('{"schema": 7}')
    assert recall(said.append) is None
    assert "does not hold a microphone" in said[0]


def test_what_nobody_fetches_is_thrown_away_oldest_first_and_counted() -> None:
    backlog = Backlog(2000)
    for k in range(130):
        backlog.put(bytes([k]), 20, float(k))
    kept = [backlog.get() for _ in range(100)]
    backlog.finish()
    assert backlog.get() is None
    assert kept[0] == (bytes([30]), 30.0, 600)
    assert kept[-1] == (bytes([129]), 129.0, 600)


class PickyCard:
    """In place of sounddevice: a card that takes only some channel counts."""

    class PortAudioError(Exception):
        """As sounddevice's."""

    def __init__(self, accepted: set[int]) -> None:
        self.accepted = accepted
        self.tried: list[int] = []

    def RawInputStream(self, *, channels: int, callback: Any, **options: Any) -> PickyCard:  # noqa: N802
        self.tried.append(channels)
        if channels not in self.accepted:
            raise self.PortAudioError("Invalid number of channels")
        self.callback, self.channels = callback, channels
        return self

    def start(self) -> None:
        self.callback(np.full((20, self.channels), 0.5, np.float32).tobytes(), 20, None, None)


@pytest.mark.parametrize(
    ("most", "accepted", "tried"), [(32, {1, 2}, [2]), (1, {1}, [1]), (2, {1}, [2, 1]), (4, {4}, [2, 1, 4])]
)
def test_a_channel_count_is_found(most: int, accepted: set[int], tried: list[int]) -> None:
    card, heard = PickyCard(accepted), []
    opened = open_input(card, device(2, "array", most), 1000, 20, lambda *block: heard.append(block), lambda: None)
    assert opened == (card, tried[-1])
    assert card.tried == tried
    assert heard[0][:2] == (np.full(20 * tried[-1], 0.5, np.float32).tobytes(), 20)


def test_a_card_that_takes_nothing_is_reported() -> None:
    with pytest.raises(
        UnavailableError, match=r"cannot open microphone 'array' at 1000 Hz \(Invalid number of channels"
    ):
        open_input(PickyCard(set()), device(2, "array", 2), 1000, 20, lambda *block: None, lambda: None)
    with pytest.raises(InputError, match="sample rate is 0 Hz"):
        Microphone(sample_rate_hz=0)
