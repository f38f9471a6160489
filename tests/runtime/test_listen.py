"""`tinyscene listen` as its user runs it: files, pipes, lines, JSON, and one clear line for each mistake."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from band_network import LABELS
from numpy.typing import NDArray
from processes import PROGRAM, json_lines

from tinyscene.runtime.bundle import Bundle
from tinyscene.runtime.cli import main


def band_noise(low_hz: float, high_hz: float, seconds: float, rate: int) -> NDArray[np.float32]:
    count = round(seconds * rate)
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(count))
    frequencies = np.fft.rfftfreq(count, 1 / rate)
    noise = np.fft.irfft(np.where((frequencies > low_hz) & (frequencies < high_hz), spectrum, 0), count)
    return (0.3 * noise / np.abs(noise).max()).astype(np.float32)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of low noise, then three of high, 44.1 kHz stereo."""
    path = tmp_path_factory.mktemp("recordings") / "low_high.flac"
    wave = np.concatenate([band_noise(50, 800, 3, 44_100), band_noise(7000, 15_000, 3, 44_100)])
    soundfile.write(path, np.stack([wave, wave], axis=1), 44_100)
    return path


def listen(*arguments: object) -> int:
    return main(["listen", *map(str, arguments)])


def test_a_file_as_json(bundle: Bundle, recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert listen(bundle.path, "--source", recording, "--json", "--smoothing-s", 0.5) == 0
    out, error = capsys.readouterr()
    *said, summary = json_lines(out)
    assert {decision["schema"] for decision in said} == {"tinyscene.decision/2"}
    assert [decision["t_s"] for decision in said] == [1.0 + 0.25 * k for k in range(21)]
    assert said[0]["scene"] == "low"
    assert said[-1]["scene"] == "high"
    assert [decision["scene"] for decision in said if decision["state"] == "entered"] == ["low", "high"]
    for decision in said:
        assert list(decision["probabilities"]) == list(LABELS)
        assert sum(decision["probabilities"].values()) == pytest.approx(1.0)
        assert decision["dropped_samples"] == 0
        assert decision["latency_ms"] > 0
    assert summary["schema"] == "tinyscene.listen_summary/1"
    assert summary["audio_s"] == 6.0
    assert summary["decisions"] == 21
    assert summary["interrupted"] is False
    assert set(summary["stages"]["engine"]) == {"count", "p50_ms", "p90_ms", "p95_ms", "p99_ms", "max_ms"}
    assert summary["stages"]["engine"]["p50_ms"] <= summary["stages"]["engine"]["p99_ms"]
    assert "one decision every 250 ms" in error


def test_a_file_as_lines(bundle: Bundle, recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert listen(bundle.path, "--source", recording, "--hop-ms", 1000) == 0
    out = capsys.readouterr().out
    assert re.search(r"^ +1\.00 s  low +[01]\.\d\d  entered +\d+\.\d ms$", out, re.MULTILINE)
    assert re.search(r"^\| engine +\| +6 \|", out, re.MULTILINE)
    assert "6.00 s of audio, 6 decisions, 0 samples dropped" in out


def test_both_kernels_agree(bundle: Bundle, recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for kernels in ("default", "reference"):
        assert listen(bundle.path, "--source", recording, "--json", "--kernels", kernels) == 0
        said.append([decision["top"] for decision in json_lines(capsys.readouterr().out)[:-1]])
    assert said[0] == said[1]


@pytest.mark.parametrize(("rate", "channels"), [(48_000, 1), (16_000, 2)])
def test_raw_samples_through_a_pipe(bundle: Bundle, rate: int, channels: int) -> None:
    high_hz = min(15_000, rate / 2)
    wave = np.concatenate([band_noise(50, 800, 2, rate), band_noise(high_hz / 2, high_hz, 2, rate)])
    raw = (32767 * np.repeat(wave[:, None], channels, axis=1)).astype("<i2").tobytes()
    command = [*PROGRAM, "listen", str(bundle.path), "--source", "-", "--smoothing-s", "0", "--json"]
    command += ["--rate", str(rate), "--channels", str(channels)]
    done = subprocess.run(command, input=raw, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    *said, summary = json_lines(done.stdout.decode())
    assert summary["audio_s"] == 4.0
    assert said[0]["top"] == "low"
    assert said[-1]["top"] != "low"


def test_changes_alone(bundle: Bundle, recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--source", recording, "--changes", "--smoothing-s", 0.5)
    assert listen(bundle.path, *options, "--json") == 0
    *events, summary = json_lines(capsys.readouterr().out)
    assert {event["schema"] for event in events} == {"tinyscene.event/1"}
    assert [event["kind"] for event in events] == ["started", "scene", "scene", "stopped"]
    assert events[0] | {"at": ""} == {
        "schema": "tinyscene.event/1",
        "kind": "started",
        "t_s": 0.0,
        "at": "",
        "bundle": "bands",
        "source": "low_high.flac",
        "engine": "LiteRT default",
        "hop_ms": 250.0,
    }
    assert [(event["previous"], event["scene"]) for event in events[1:3]] == [(None, "low"), ("low", "high")]
    assert events[3]["decisions"] == summary["decisions"] == 21
    assert listen(bundle.path, *options) == 0
    out = capsys.readouterr().out
    assert re.search(r"^ +1\.00 s  low \([01]\.\d\d\), before: unsure$", out, re.MULTILINE)
    assert "entered" not in out


def test_events_go_to_a_file_as_well(bundle: Bundle, recording: Path, tmp_path: Path) -> None:
    assert listen(bundle.path, "--source", recording, "--events", tmp_path / "events.jsonl") == 0
    kinds = [event["kind"] for event in json_lines((tmp_path / "events.jsonl").read_text())]
    assert kinds[0] == "started"
    assert kinds[-1] == "stopped"
    assert "scene" in kinds


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_the_summary(bundle: Bundle, recording: Path, tmp_path: Path, signum: int) -> None:
    """What a service manager and Ctrl-C do."""
    events = tmp_path / "events.jsonl"
    command = [*PROGRAM, "listen", str(bundle.path), "--source", str(recording), "--realtime", "--json"]
    command += ["--events", str(events)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith('{"schema": "tinyscene.decision/2"')
        process.send_signal(signum)
        rest, error = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in error
    summary = json_lines(rest)[-1]
    assert summary["schema"] == "tinyscene.listen_summary/1"
    assert summary["interrupted"] is True
    assert 1.0 <= summary["audio_s"] < 6.0
    assert json_lines(events.read_text())[-1]["kind"] == "stopped"


def test_the_summary_splits_the_processors_time(
    bundle: Bundle, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert listen(bundle.path, "--source", recording, "--json") == 0
    summary = json_lines(capsys.readouterr().out)[-1]
    parts = summary["cpu_parts"]
    assert list(parts) == ["resample", "features", "engine", "smoothing", "rest"]
    # The parts are timed by the wall clock: on a busy machine they may exceed what the process was given.
    assert sum(parts.values()) >= summary["cpu_share"] * (1 - 1e-9) > 0
    assert summary["observer_errors"] == 0
    assert listen(bundle.path, "--source", recording) == 0
    assert re.search(r"^CPU \d+\.\d\d % of one core: resample \d", capsys.readouterr().out, re.MULTILINE)


def test_a_closed_reader_is_no_crash(bundle: Bundle, recording: Path) -> None:
    """`tinyscene listen ... | head -1`."""
    command = [*PROGRAM, "listen", str(bundle.path), "--source", str(recording), "--hop-ms", "16"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    assert "low" in process.stdout.readline()
    process.stdout.close()
    error = process.stderr.read()
    process.wait(timeout=60)
    assert "Traceback" not in error
    assert "BrokenPipe" not in error


def test_on_a_terminal_it_draws(bundle: Bundle, recording: Path) -> None:
    leader, follower = pty.openpty()
    command = [*PROGRAM, "listen", str(bundle.path), "--source", str(recording)]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "90", "LINES": "30"}
    process = subprocess.Popen(command, stdout=follower, stderr=subprocess.DEVNULL, env=environment)
    os.close(follower)
    drawn = b""
    try:
        while part := os.read(leader, 65536):
            drawn += part
    except OSError:  # Linux says EIO when the other end is closed
        pass
    os.close(leader)
    assert process.wait(timeout=60) == 0
    text = drawn.decode()
    assert "bands - low_high.flac" in text
    assert "high" in text
    assert "█" in text
    assert "dropped 0" in text
    assert "6.00 s of audio" in text


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit code, and the one line on stderr; nothing may be on stdout."""
    code = listen(*arguments)
    out, error = capsys.readouterr()
    assert out == ""
    lines = [line for line in error.splitlines() if line.startswith("tinyscene: ")]
    assert len(lines) == 1
    assert "Traceback" not in error
    return code, lines[0]


def test_mistakes_are_refused_in_one_line(
    bundle: Bundle, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corrupt.wav").write_bytes(b"RIFF....WAVE")
    soundfile.write(tmp_path / "short.wav", np.zeros(8000, np.float32), 32_000)
    path, file = bundle.path, ("--source", recording)
    for arguments, reason in (
        ((), "no bundle given and none at build/bundle: run `make export-tflite`"),
        ((tmp_path / "nothing",), "no bundle at"),
        ((tmp_path,), "is not a bundle: it has no bundle.json"),
        ((path, "--source", "nothing.wav"), "no audio file at nothing.wav"),
        ((path, "--source", "corrupt.wav"), "corrupt.wav is not audio"),
        ((path, "--source", "short.wav"), "0.25 s of audio are too short: a decision needs 1.00 s"),
        ((path, *file, "--rate", 8000), "--rate is for raw samples and microphones"),
        ((path, *file, "--device", "usb"), "--device chooses a microphone"),
        ((path, "--source", "mic", "--realtime"), "--realtime paces a file"),
        ((path, *file, "--hop-ms", 0), "hop is 0.0 ms"),
        ((path, *file, "--enter", 0.1), "0 < leave <= enter <= 1"),
        ((path, *file, "--smoothing-s", -1), "smoothing over -1.0 s"),
        ((path, *file, "--threads", 0), "threads is 0"),
        ((path, *file, "--duration-s", 0), "duration is 0.0 s"),
    ):
        code, line = refusal(capsys, *arguments)
        assert code == 2, line
        assert reason in line


def test_the_default_bundle_is_found(
    bundle: Bundle, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "build").mkdir()
    (tmp_path / "build/bundle").symlink_to(bundle.path)
    monkeypatch.chdir(tmp_path)
    assert listen("--source", recording, "--json") == 0
    assert json_lines(capsys.readouterr().out)[-1]["decisions"] == 21


def test_without_the_portaudio_library_the_install_line_is_shown(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The process that records finds this sounddevice, which fails as the real one does without its library."""
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    code, line = refusal(capsys, bundle.path)
    assert code == 3
    assert "run `apt-get install libportaudio2`" in line


def test_a_file_is_listened_to_without_importing_what_it_does_not_need(bundle: Bundle, recording: Path) -> None:
    """What is imported is most of the time from the start to the first decision."""
    code = (
        "import sys; from tinyscene.runtime.cli import main; main(sys.argv[1:]); "
        "print([name for name in ('rich', 'websockets', 'paho', 'sounddevice', 'asyncio', 'ssl', 'multiprocessing', "
        "'onnxruntime', 'scipy') if name in sys.modules], file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "listen", str(bundle.path), "--source", str(recording), "--plain"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "[]"
