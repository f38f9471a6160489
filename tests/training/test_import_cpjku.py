"""The published student: its logits for the published inputs, and what is refused in its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tinyscene.runtime.errors import InputError
from tinyscene.training.features import LogMel
from tinyscene.training.import_cpjku import TAU_LABELS, import_checkpoint
from tinyscene.training.run import load_run

CLIPS = ("metro_station-paris", "dcase2025_dummy", "dcase_util_acoustic_scene")


@pytest.fixture(scope="module")
def published(shared: Path) -> Path:
    return shared / "weights" / "cp_mobile_tau22" / "c0a7nzin_epoch149.ckpt"


def test_logits_are_the_published_ones(published: Path, shared: Path, tmp_path: Path) -> None:
    import_checkpoint(published, tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert run.kind == "imported"
    assert run.labels == TAU_LABELS
    model, frontend = run.build(), LogMel(run.frontend)
    with np.load(shared / "weights" / "cp_mobile_tau22" / "golden.npz", allow_pickle=False) as golden, torch.no_grad():
        noise = model(torch.from_numpy(golden["randn_in"])).numpy()
        np.testing.assert_allclose(noise, golden["randn_logits"], atol=1e-3)
        for clip in CLIPS:
            logits = model(frontend(torch.from_numpy(golden[f"{clip}_wave32k_0"])[None])).numpy()
            np.testing.assert_allclose(logits, golden[f"{clip}_logits"][:1], atol=1e-3)
            assert np.ptp(logits) > 1  # a comparison of constants would prove nothing


def test_verb(published: Path, tmp_path: Path, tinyscene: Callable[..., int], capsys: pytest.CaptureFixture) -> None:
    assert tinyscene("import", "cpjku", published, "--out", tmp_path / "run") == 0
    assert "126,952 parameters, 28.89 M MACs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("model.feed_forward.0.weight"), "lacks 1 tensors"),
        (lambda state: state.update({"model.extra.weight": torch.zeros(1)}), "'model.extra.weight' is no tensor"),
        (
            lambda state: state.update({"model.in_c.0.0.weight": torch.zeros(4, 1, 3, 3)}),
            r"stem.0.conv.weight is \(4, 1, 3, 3\)",
        ),
    ],
)
def test_other_networks_are_refused(
    published: Path, tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], object], message: str
) -> None:
    state = torch.load(published, map_location="cpu", weights_only=True)["state_dict"]
    change(state)
    torch.save({"state_dict": state}, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match=message):
        import_checkpoint(tmp_path / "other.ckpt", tmp_path / "run")
    assert not (tmp_path / "run").exists()


class _Unsafe:
    """Something that a careless reader would unpickle."""


def test_only_tensors_are_read(tmp_path: Path) -> None:
    torch.save({"state_dict": {"model.x": _Unsafe()}}, tmp_path / "unsafe.ckpt")
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    torch.save({"state_dict": [1, 2]}, tmp_path / "list.ckpt")
    for name, message in (
        ("unsafe.ckpt", "not a checkpoint that can be read safely"),
        ("text.ckpt", "not a checkpoint that can be read safely"),
        ("list.ckpt", "holds no state_dict"),
        ("absent.ckpt", "no checkpoint at"),
    ):
        with pytest.raises(InputError, match=message):
            import_checkpoint(tmp_path / name, tmp_path / "run")
