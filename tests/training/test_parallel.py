"""Several processes that train one network, on the CPU over the loopback; mixed precision."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tinyscene.runtime.errors import InputError
from tinyscene.runtime.output import Output
from tinyscene.training.batches import EpochOrder, TrainingData, step_generator
from tinyscene.training.config import load_settings
from tinyscene.training.parallel import Share, Silent, check_processes, voice
from tinyscene.training.run import load_run
from tinyscene.training.session import train_network
from tinyscene.training.settings import StudentSettings

SMALL = ("base_channels=8", "batch_size=8", "threads=1", "lr=3e-3", "device=cpu")
CPU = torch.device("cpu")

#: Trains a network without batch norm (whose statistics are each process's own) and keeps every process's weights.
SCRIPT = """
import sys
from pathlib import Path
import lightning.pytorch as pl
import torch
from safetensors.torch import save_file
from torch import nn
from tinyscene.runtime.output import Output
from tinyscene.training.batches import open_data
from tinyscene.training.config import load_settings
from tinyscene.training.models.build import frontend_for
from tinyscene.training.settings import TrainSettings
from tinyscene.training.trainer import fit

class Keep(pl.Callback):
    def on_train_end(self, trainer, module):
        save_file(module.model.state_dict(), out / f"{trainer.global_rank}.safetensors")

corpus, out = Path(sys.argv[1]), Path(sys.argv[2])
data = open_data(corpus, 1, None, None, None)
out.mkdir(exist_ok=True)
torch.manual_seed(0)
model = nn.Sequential(nn.AvgPool2d(8), nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
model(torch.zeros(1, 1, 256, 64))
settings = load_settings(TrainSettings, "student", None, sys.argv[3:])
fit(model, frontend_for("cpm"), settings, data, out, Output(), callbacks=[Keep()])
"""


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    # gloo looks for the interface of the host's name unless it is told one.
    variables = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", **environment}
    return subprocess.run(command, capture_output=True, text=True, env=variables, check=False)


def tinyscene_command(*arguments: object) -> list[str]:
    # The installed program, as a user calls it: Lightning starts the second process with the same command.
    return [str(Path(sys.executable).with_name("tinyscene")), *map(str, arguments)]


@pytest.mark.parametrize("world", [2, 3])
def test_shares_are_the_whole_batch(world: int) -> None:
    alone = list(EpochOrder(50, 16, seed=1))
    shared = [list(EpochOrder(50, 16, seed=1, share=Share(rank, world))) for rank in range(world)]
    assert all(len(batches) == len(EpochOrder(50, 16, 1, Share(0, world))) for batches in shared)
    for step in range(len(shared[0])):
        parts = [batches[step] for batches in shared]
        assert min(map(len, parts)) >= 2  # Freq-MixStyle needs somebody to mix with
        assert sum(map(len, parts)) == EpochOrder(50, 16, 1, Share(0, world)).total(step)
        if step < len(shared[0]) - 1:
            assert sorted(np.concatenate(parts).tolist()) == sorted(alone[step].tolist())
    everything = [position for batches in shared for batch in batches for position in batch.tolist()]
    assert sorted(everything) == list(range(50))


def test_draws_differ_between_processes_and_the_first_has_those_of_one() -> None:
    def draw(*key: int) -> float:
        return torch.rand((), generator=step_generator(*key), dtype=torch.float64).item()

    assert draw(1, 2, 3, 0) == draw(1, 2, 3)
    assert len({draw(1, 2, 3, rank) for rank in range(4)}) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "16-mixed"}, "needs a GPU: set precision=bf16-mixed"),
        ({"strategy": "fsdp"}, "strategy is 'fsdp', expected one of auto, ddp"),
        ({"devices": 3, "batch_size": 2}, "batch_size is 2, expected at least 1 for each of 3 processes"),
        ({"nodes": 2}, "nothing says which of them this is"),
    ],
)
def test_what_this_machine_cannot_do(changes: dict, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(key, raising=False)
    with pytest.raises(InputError, match=message):
        check_processes(replace(StudentSettings().resolve(), **changes), CPU)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"devices": 2}, r"devices is 2, but this machine has 1 GPU\(s\): set devices=1"),
        ({"precision": "bf16-mixed"}, "which this GPU does not have: set precision=16-mixed"),
    ],
)
def test_what_an_old_gpu_cannot_do(changes: dict, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    with pytest.raises(InputError, match=message):
        check_processes(replace(StudentSettings().resolve(), **changes), torch.device("cuda"))


def test_only_the_first_process_speaks(monkeypatch: pytest.MonkeyPatch, output: Output) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert voice(StudentSettings(), output) is output  # alone, whatever a launcher left in the environment
    assert isinstance(voice(StudentSettings(devices=2), output), Silent)


def test_the_command_line_refuses_in_one_line(
    tiny_folder: Path, tmp_path: Path, tinyscene: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "run"
    assert tinyscene("train", "student", "--data", tiny_folder, "--out", out, *SMALL, "precision=16-mixed") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not out.exists()


def test_bfloat16_trains_as_float32_does(tiny_data: TrainingData, tmp_path: Path, output: Output) -> None:
    plain = ("epochs=3", "device_generalisation=none", "evaluate_every=3")
    weights = []
    for precision in ("32-true", "bf16-mixed"):
        settings = load_settings(StudentSettings, "student", None, [*SMALL, *plain, f"precision={precision}"])
        run = train_network("student", settings, tiny_data, tmp_path / precision, output)
        with (run.path / "logs" / "metrics.csv").open() as handle:
            losses = [float(row["train_loss"]) for row in csv.DictReader(handle)]
        assert losses[-1] < losses[0]
        weights.append(run.weights())
    exact, mixed = weights
    assert all(tensor.dtype == exact[name].dtype for name, tensor in mixed.items())  # kept in float32
    assert not torch.equal(exact["head.conv.weight"], mixed["head.conv.weight"])  # calculated in bfloat16


@pytest.mark.slow
def test_two_processes_do_what_one_does(tiny_folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    plain = ("device_generalisation=none", "roll_samples=0", "fmax_jitter_hz=0", "freq_mask=0", "evaluate_every=2")
    # 24 snippets in batches of 9, 9 and 6: the two processes have 5 and 4 of the first ones.
    settings = ("device=cpu", "threads=1", "epochs=4", "batch_size=9", "lr=1e-3", *plain)
    for name, more in (("one", ()), ("two", ("devices=2", "strategy=ddp"))):
        done = run([sys.executable, str(script), str(tiny_folder), str(tmp_path / name), *settings, *more])
        assert done.returncode == 0, done.stderr
    one, first, second = (
        load_file(tmp_path / name) for name in ("one/0.safetensors", "two/0.safetensors", "two/1.safetensors")
    )
    for key, expected in one.items():
        assert torch.equal(first[key], second[key])
        # Sums in another order differ by 1e-7; Adam's division by small second moments widens that. A step is 1e-3.
        torch.testing.assert_close(first[key], expected, rtol=0, atol=2e-5)
    rows = []
    for name in ("one", "two"):
        with (tmp_path / name / "logs" / "metrics.csv").open() as handle:
            rows.append(list(csv.DictReader(handle)))
    for alone, shared in zip(*rows, strict=True):
        assert alone.keys() == shared.keys()
        for column in alone.keys() - {"seconds"}:
            if alone[column]:
                assert float(alone[column]) == pytest.approx(float(shared[column]), abs=1e-4)


@pytest.mark.slow
def test_two_processes_from_the_command_line_and_on_after_kill_9(tiny_folder: Path, tmp_path: Path) -> None:
    command = tinyscene_command(
        "train", "student", "--data", tiny_folder, *SMALL, "epochs=5", "devices=2", "strategy=ddp"
    )
    whole = run([*command, "--json", "--out", str(tmp_path / "whole")])
    assert whole.returncode == 0, whole.stderr
    (record,) = (json.loads(line) for line in whole.stdout.splitlines())
    assert (record["schema"], record["metrics"]["n"]) == ("tinyscene.trained/1", 12)
    spoken = [line for line in whole.stderr.splitlines() if line.startswith("epoch ")]
    assert len(spoken) == 5  # once each, not once a process
    killed = tmp_path / "killed"
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
    process = subprocess.Popen(
        [*command, "--out", str(killed)], stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch 2 of"):
            os.killpg(process.pid, signal.SIGKILL)
            break
    process.wait()
    process.stderr.close()
    assert not (killed / "run.json").exists()
    resumed = run([*command, "--out", str(killed)])
    assert resumed.returncode == 0, resumed.stderr
    assert "going on from" in resumed.stderr
    expected, found = load_run(tmp_path / "whole").weights(), load_run(killed).weights()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    # What is wrong in every process is said by one.
    (killed / "run.json").unlink()
    (killed / "checkpoints" / "last.ckpt").write_bytes(b"damaged")
    refused = run([*command, "--out", str(killed)])
    assert refused.returncode == 2
    assert refused.stderr.count("is damaged") == 1
