"""`tinyscene listen --web` as a whole: a real stream, its own server, and a browser's messages."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from band_network import LABELS
from processes import PROGRAM
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tinyscene.runtime.bundle import Bundle
from tinyscene.runtime.cli import main


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of noise below 800 Hz at 32 kHz."""
    path = tmp_path_factory.mktemp("recordings") / "low.wav"
    count, rate = 60 * 32_000, 32_000
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(count))
    spectrum[np.fft.rfftfreq(count, 1 / rate) > 800] = 0
    noise = np.fft.irfft(spectrum, count)
    soundfile.write(path, 0.3 * noise / np.abs(noise).max(), rate)
    return path


@pytest.fixture
def listening(bundle: Bundle, recording: Path) -> Iterator[subprocess.Popen[str]]:
    """The program with a page on a free port, listening to the recording as if it were a microphone."""
    arguments = ["--source", str(recording), "--realtime", "--web", "--port", "0", "--json", "--smoothing-s", "0.5"]
    with subprocess.Popen(
        [*PROGRAM, "listen", str(bundle.path), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


def port_of(process: subprocess.Popen[str]) -> int:
    assert process.stderr is not None
    for line in process.stderr:
        found = re.fullmatch(r"live page: http://127\.0\.0\.1:(\d+)/\n", line)
        if found:
            return int(found[1])
    pytest.fail("no address was printed")


def test_what_is_heard_is_sent(listening: subprocess.Popen[str]) -> None:
    with connect(f"ws://127.0.0.1:{port_of(listening)}/live", open_timeout=30) as page:
        hello = json.loads(page.recv(timeout=30))
        assert (hello["type"], hello["labels"]) == ("hello", list(LABELS))
        assert len(hello["colours"]) == len(LABELS)
        assert len(hello["palette"]) == 256
        pictures: list[np.ndarray] = []
        update: dict[str, Any] = {}
        stretches = hello["stretches"]
        while not (update.get("decision") and update["decision"]["scene"] == "low" and update["now_s"] > 2):
            message = page.recv(timeout=30)
            if isinstance(message, bytes):
                pictures.append(np.frombuffer(message, np.uint8).reshape(-1, hello["bands"]))
            else:
                update = json.loads(message)
                stretches += update["stretches"]
        assert len(update["probabilities"]) == len(LABELS)
        assert sum(update["probabilities"]) == pytest.approx(1.0)
        assert stretches[-1][1] == hello["labels"].index("low")
        assert update["vitals"]["dropped_samples"] == 0
        assert update["vitals"]["memory_mib"] > 1
        # The picture shows what was played: something below 800 Hz, nothing above.
        heard = np.concatenate(pictures).astype(float).mean(axis=0)
        places = dict(hello["ticks"])
        assert (
            heard[: int(places[500] * hello["bands"])].mean() > 3 * heard[int(places[2000] * hello["bands"]) :].mean()
        )

        page.send(json.dumps({"type": "settings", "enter": 0.9, "leave": 0.1, "smoothing_s": 1.5}))
        while True:
            message = page.recv(timeout=30)
            if isinstance(message, str) and json.loads(message)["type"] == "settings":
                assert json.loads(message)["smoothing_s"] == 1.5
                break
        listening.send_signal(signal.SIGINT)
        with pytest.raises(ConnectionClosed) as closed:
            until_closed(page)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
    out, _ = listening.communicate(timeout=30)
    assert listening.returncode == 0
    summary = json.loads(out.splitlines()[-1])
    assert summary["dropped_samples"] == 0
    assert summary["observer_errors"] == 0


def until_closed(page: Any) -> None:
    while True:
        page.recv(timeout=30)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--host", "0.0.0.0"), "add --web"),
        (("--port", "80"), "add --web"),
        (("--web",), "--realtime"),
        (("--web", "--realtime", "--host", "no such address", "--port", "0"), "no such address"),
    ],
)
def test_options_that_do_not_fit(
    bundle: Bundle, recording: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], complaint: str
) -> None:
    assert main(["listen", str(bundle.path), "--source", str(recording), *options]) == 2
    assert complaint in capsys.readouterr().err
