"""What the firmware tests share: small trained-like int8 networks, and real bundles where there are any."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

# Small networks and random graphs are the export tests'.
sys.path.append(str(Path(__file__).resolve().parents[1] / "export"))

from tinyscene.export.graph import Graph


def small_graph(norm: str, padding: str = "symmetric", seed: int = 3) -> Graph:
    """A CP-Mobile of base width 8 on 64 mels, 32 frames, four classes, calibrated; norm none, frozen or grn."""
    import torch
    from networks import lively, mels

    from tinyscene.export.lower import lower
    from tinyscene.export.quantization.ptq import quantize_calibrated

    torch.set_num_threads(1)
    clips = mels(24)
    return quantize_calibrated(lower(lively(norm, seed=seed, padding=padding), *clips.shape[1:]), clips).graph


@pytest.fixture(scope="session", autouse=True)
def zig_cache() -> Iterator[None]:
    """zig's C libraries take a minute to build: they are kept beside the checkout's other caches."""
    with pytest.MonkeyPatch.context() as patch:
        if "ZIG_GLOBAL_CACHE_DIR" not in os.environ:
            patch.setenv("ZIG_GLOBAL_CACHE_DIR", str(Path(__file__).resolve().parents[2] / "build" / "cache" / "zig"))
        yield


@pytest.fixture(scope="session")
def frozen_graph() -> Graph:
    """Explicit PADs, as networks have that were trained with torch's padding."""
    return small_graph("frozen")


@pytest.fixture(scope="session")
def same_graph() -> Graph:
    """Padded as TFLite does."""
    return small_graph("none", padding="same")


@pytest.fixture(scope="session")
def grn_graph() -> Graph:
    """With global response normalisation: every block is read twice."""
    return small_graph("grn")


@pytest.fixture(scope="session")
def small_inputs() -> NDArray[np.float32]:
    """Log-mels for the small networks, (12, 64, 32)."""
    from networks import mels

    return mels(12, seed=5)


@pytest.fixture(scope="session")
def real_log_mels(shared: Path) -> NDArray[np.float32]:
    """100 seconds of real scenes, log-mels (100, 256, 64)."""
    from tinyscene.runtime.frontend import log_mel
    from tinyscene.runtime.frontend_spec import STUDENT
    from tinyscene.training.data.snippets import cut_file

    files = sorted((shared / "data" / "tut2017" / "audio").iterdir())[::10][:25]
    waves = np.concatenate([cut_file(file, STUDENT.sample_rate_hz, STUDENT.clip_samples)[:8:2] for file in files])
    return np.stack([log_mel(wave.astype(np.float32) / np.float32(32768.0), STUDENT) for wave in waves])


@pytest.fixture(scope="session")
def published_graph(
    shared: Path, tmp_path_factory: pytest.TempPathFactory, real_log_mels: NDArray[np.float32]
) -> Graph:
    """The published student of base width 32 (trained weights), normalisation frozen, calibrated: 256 x 64 input."""
    from tinyscene.export.lower import lower
    from tinyscene.export.quantization.freeze import freeze_norm
    from tinyscene.export.quantization.ptq import quantize_calibrated
    from tinyscene.training.import_cpjku import import_checkpoint

    checkpoint = shared / "weights" / "cp_mobile_tau22" / "c0a7nzin_epoch149.ckpt"
    if not checkpoint.is_file():
        pytest.skip(f"no published weights at {checkpoint}: run with TINYSCENE_SHARED=FOLDER")
    run = import_checkpoint(checkpoint, tmp_path_factory.mktemp("runs") / "tau22")
    model, _ = freeze_norm(run, real_log_mels[:40])
    return quantize_calibrated(lower(model, 256, 64), real_log_mels[:32]).graph
