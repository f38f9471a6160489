"""Networks that the export tests share: small ones with lively statistics, and the published student."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tinyscene.runtime.frontend import log_mel
from tinyscene.runtime.frontend_spec import STUDENT
from tinyscene.training.import_cpjku import import_checkpoint
from tinyscene.training.models.cp_mobile import CPMobile
from tinyscene.training.models.norm import GRN, FrozenGRN
from tinyscene.training.run import Run

CHECKPOINT = "weights/cp_mobile_tau22/c0a7nzin_epoch149.ckpt"


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """The networks here are too small to be worth a second thread."""
    torch.set_num_threads(1)


def lively(norm: str = "none", seed: int = 0, gamma: float = 0.7, **arguments: object) -> CPMobile:
    """A small CP-Mobile whose batch norms and block norms are far from the identity, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = CPMobile(n_classes=4, base_channels=8, norm=norm, **arguments)  # type: ignore[arg-type]

    def uniform(tensor: torch.Tensor, low: float, high: float) -> None:
        with torch.no_grad():
            tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))

    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # running statistics become the plain mean over what follows
            uniform(module.weight, 0.5, 1.5)
            uniform(module.bias, -0.3, 0.5)
        elif isinstance(module, (GRN, FrozenGRN)):
            uniform(module.gamma, gamma, gamma + 0.1)
            uniform(module.beta, -0.3, 0.3)
            if isinstance(module, FrozenGRN):
                uniform(module.n, 0.3, 2.0)
    model.train()
    for block in model.blocks:
        block.norm.eval()
    with torch.no_grad():  # statistics of log-mels, or the network would answer the same to all of them
        model(torch.from_numpy(mels(32, seed=9))[:, None])
    return model.eval()


def mels(count: int, n_mels: int = 64, n_frames: int = 32, seed: int = 1) -> NDArray[np.float32]:
    """Random log-mels with bands and events, (count, n_mels, n_frames) float32 of about the front end's range."""
    rng = np.random.default_rng(seed)
    level = rng.normal(0, 0.5, (count, 1, 1))
    tilt = rng.normal(0, 0.5, (count, 1, 1)) * np.linspace(-1, 1, n_mels)[None, :, None]
    events = rng.normal(0, 0.3, (count, 1, n_frames))
    return (level + tilt + events + rng.normal(0, 0.3, (count, n_mels, n_frames))).astype(np.float32)


@pytest.fixture(scope="session")
def tau22(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The published student as a run."""
    checkpoint = shared / CHECKPOINT
    if not checkpoint.is_file():
        pytest.skip(f"no published weights at {checkpoint}: run with TINYSCENE_SHARED=FOLDER")
    return import_checkpoint(checkpoint, tmp_path_factory.mktemp("runs") / "tau22")


@pytest.fixture(scope="session")
def real_clips(shared: Path) -> NDArray[np.float32]:
    """Log-mels of real scenes, (n, 256, 64): seconds of the TUT 2017 training side, four of each of 40 recordings."""
    from tinyscene.training.data.snippets import cut_file

    files = sorted((shared / "data" / "tut2017" / "audio").iterdir())[::10][:40]
    waves = np.concatenate([cut_file(file, STUDENT.sample_rate_hz, STUDENT.clip_samples)[:8:2] for file in files])
    return np.stack([log_mel(wave.astype(np.float32) / np.float32(32768.0), STUDENT) for wave in waves])
