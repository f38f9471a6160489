"""The command that says how far the C front end is from numpy."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from tinyscene.firmware_bench.frontend import error, host
from tinyscene.firmware_bench.frontend.signals import SIGNALS, to_pcm
from tinyscene.runtime.errors import InputError, UnavailableError
from tinyscene.runtime.frontend_spec import FrontendSpec

SPEC = FrontendSpec(
    sample_rate_hz=8000, clip_samples=400, n_fft=64, win_length=48, hop_length=20, n_mels=8, fmax_hz=4e3
)
BUNDLE: Any = SimpleNamespace(
    frontend=SPEC, quantization=SimpleNamespace(input_scale=0.0125, input_zero_point=-7), path=Path("b")
)


class Loudest:
    """A network whose classes are its mels: the loudest wins."""

    name = "loudest"

    def logits(self, log_mel: NDArray[np.float32]) -> NDArray[np.float32]:
        raise NotImplementedError

    def run_int8(self, inputs: NDArray[np.int8]) -> NDArray[np.int8]:
        assert inputs.shape == (1, SPEC.n_mels, SPEC.n_frames(), 1)
        return inputs.max(axis=2)[:, :, 0]


@pytest.fixture(autouse=True)
def compiler() -> None:
    try:
        host.host_compiler()
    except UnavailableError as missing:
        pytest.skip(str(missing))


def noise(n: int) -> NDArray[np.int16]:
    return SIGNALS["noise at full scale"](n, SPEC.sample_rate_hz)


def test_measures_every_arithmetic_and_signal() -> None:
    found = list(error.measure(BUNDLE, {"noise": [noise(4000), noise(900)], "short": [noise(10)]}, Loudest()))
    assert [(one.signal, one.arithmetic) for one in found] == [
        (signal, arithmetic) for signal in ("noise", "short") for arithmetic in error.ARITHMETICS
    ]
    frames = sum(1 + (n - 1 - 24) // 20 for n in (4000, 900))
    for one in found[:3]:
        assert one.cells == frames * SPEC.n_mels
        assert 0.0 < one.mean_steps <= one.largest_steps < 0.2
        assert one.largest_cell <= 1
        assert one.decisions == 6 + 1
        assert one.changed_decisions <= one.decisions
    assert found[0].mean_steps < found[1].mean_steps
    for one in found[3:]:
        assert (one.cells, one.decisions, one.largest_steps, one.differing_share) == (0, 0, 0.0, 0.0)


def test_sees_a_front_end_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    push = host.HostFrontend.push

    def wrong(self: host.HostFrontend, pcm: NDArray[np.int16]) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
        frames, steps = push(self, pcm)
        return frames[::-1], steps[::-1]

    monkeypatch.setattr(host.HostFrontend, "push", wrong)
    (one, *_) = error.measure(BUNDLE, {"noise": [noise(4000)]}, Loudest())
    assert one.differing_share > 0.5
    assert one.largest_steps > 5
    assert one.changed_decisions > 0


def test_the_command_prints_a_table_or_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "clip.wav", noise(3000), SPEC.sample_rate_hz)
    monkeypatch.setattr(error, "load_bundle", lambda path: BUNDLE)
    monkeypatch.setattr(error, "open_engine", lambda bundle: Loudest())
    monkeypatch.setattr(sys, "argv", ["error", "b", "--data", str(tmp_path)])
    assert error.main() == 0
    text = capsys.readouterr().out
    assert text.count("\n") == 2 + 3 * (len(SIGNALS) + 1)
    assert "| recordings " in text
    monkeypatch.setattr(sys, "argv", ["error", "b", "--json"])
    assert error.main() == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 3 * len(SIGNALS)
    assert {line["schema"] for line in lines} == {"tinyscene.frontend_error/1"}


def test_the_command_refuses_a_folder_without_recordings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(error, "load_bundle", lambda path: BUNDLE)
    monkeypatch.setattr(error, "open_engine", lambda bundle: Loudest())
    monkeypatch.setattr(sys, "argv", ["error", "b", "--data", str(tmp_path)])
    assert error.main() == 2
    assert "no recordings under" in capsys.readouterr().err


def test_recordings_are_spread_over_the_folder(tmp_path: Path) -> None:
    for index in range(5):
        soundfile.write(tmp_path / f"{index}.wav", np.full(800, index, np.int16), SPEC.sample_rate_hz)
    assert [int(pcm[0]) for pcm in error.recordings(tmp_path, SPEC.sample_rate_hz, 3)] == [0, 2, 4]
    assert len(list(error.recordings(tmp_path, SPEC.sample_rate_hz, 99))) == 5


def test_full_scale_is_clipped() -> None:
    assert to_pcm(np.array([-2.0, -1.0, 0.5 / 32768, 1.5 / 32768, 1.0])).tolist() == [-32768, -32768, 0, 2, 32767]


def test_without_a_compiler_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UnavailableError, match="apt-get install gcc"):
        host.host_compiler()


def test_a_compiler_that_fails_is_quoted(tmp_path: Path) -> None:
    (tmp_path / "x.c").write_text("#error nothing works today\n")
    with pytest.raises(InputError, match="nothing works today"):
        host.compile_c([*host.host_compiler(), "-c"], [tmp_path / "x.c"], tmp_path / "x.o")
