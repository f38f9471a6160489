"""The network through a converter that we did not write, where its environment is installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from networks import lively, mels
from numpy.typing import NDArray

from tinyscene.export.lower import lower
from tinyscene.export.quantization.freeze import freeze_norm
from tinyscene.export.quantization.ptq import quantize_calibrated
from tinyscene.export.verification.crosscheck import INSTALL, cross_check, cross_python
from tinyscene.runtime.errors import InputError, UnavailableError
from tinyscene.training.run import Run


@pytest.fixture
def python(engine_environments: None) -> Path:
    try:
        return cross_python()
    except UnavailableError as error:
        pytest.skip(f"{error}; or set TINYSCENE_ENGINES to where it is")


def test_a_missing_converter_is_said_with_its_install_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYSCENE_ENGINES", str(tmp_path))
    with pytest.raises(UnavailableError, match=INSTALL):
        cross_python()


@pytest.mark.slow
def test_the_published_student_on_real_clips(python: Path, tau22: Run, real_clips: NDArray[np.float32]) -> None:
    model, _ = freeze_norm(tau22, real_clips[::4])
    graph = quantize_calibrated(lower(model, 256, 64), real_clips[:64]).graph
    found = cross_check(graph, real_clips[-32:], python)
    assert found.worst_lsb <= 1
    assert found.same_answer == 1.0
    assert found.scales == found.equal_scales > 30


def test_what_it_cannot_convert_is_named(python: Path) -> None:
    clips = mels(8)
    graph = quantize_calibrated(lower(lively("grn"), *clips.shape[1:]), clips).graph
    with pytest.raises(InputError, match="RSQRT"):
        cross_check(graph, clips, python)
