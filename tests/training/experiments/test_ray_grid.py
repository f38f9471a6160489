"""A grid on a Ray cluster that the test starts gives what it gives here."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

FAST = {"epochs": 2, "batch_size": 8, "base_channels": 8, "lr": 1.0e-2, "evaluate_every": 2, "device": "cpu"}
GRID: dict[str, Any] = {
    "question": "Does a teacher help?",
    "seeds": [0],
    "teacher": FAST,
    "student": FAST,
    "teachers": {"cpr": {"arch": "cpr"}},
    "rows": [{"name": "plain"}, {"name": "two", "teachers": ["cpr", "cpr+1"]}],
    "baseline": "plain",
}

# A cluster in a process of its own, which ends with its stdin: `ray stop` would end every one on the machine.
HEAD = """
import sys, ray
context = ray.init(num_cpus=1, include_dashboard=False, object_store_memory=80 * 2**20, _temp_dir=sys.argv[1])
print(context.address_info["gcs_address"], flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """Of processes on the test's own cluster: nobody without its token can use it, and nothing is kept in the home."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    return {**os.environ, **token, "RAY_USAGE_STATS_ENABLED": "0"}


@pytest.fixture(scope="module")
def cluster(environment: dict[str, str], cache_in_temporary_folder: None) -> Iterator[str]:
    """Address of a cluster of one core, which ends with the module."""
    pytest.importorskip("ray")
    folder = tempfile.mkdtemp(prefix="ray")  # sockets need a short path
    process = subprocess.Popen(
        [sys.executable, "-c", HEAD, folder],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    try:
        if not address:
            assert process.stderr is not None
            pytest.fail(f"no Ray head: {process.stderr.read()[-2000:]}")
        yield address
    finally:
        process.communicate()  # closes its stdin
        shutil.rmtree(folder, ignore_errors=True)


def weights(out: Path) -> dict[str, bytes]:
    """The weights of every finished cell by its name."""
    return {path.parent.name: path.read_bytes() for path in (out / "cells").glob("*/weights.safetensors")}


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(GRID, sort_keys=False))
    return file


@pytest.mark.slow
def test_a_cluster_gives_what_this_process_gives(
    cluster: str,
    environment: dict[str, str],
    grid: Path,
    tiny_folder: Path,
    tmp_path: Path,
    tinyscene: Callable[..., int],
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    words = ["experiment", grid, "--data", tiny_folder, "--out"]
    assert tinyscene(*words, here) == 0
    # One more row there, which fails when all others are trained or about to be.
    demanding = {"check_epoch": 1, "check_accuracy": 1.0}
    further = {"name": "demanding", "teachers": ["cpr+1"], "settings": demanding}
    (tmp_path / "more").mkdir()
    more = tmp_path / "more" / "mine.yaml"
    more.write_text(yaml.safe_dump({**GRID, "rows": [*GRID["rows"], further]}))
    threads = f"import torch; torch.set_num_threads({torch.get_num_threads()})"
    call = "import sys; from tinyscene.runtime.cli import main; sys.exit(main())"
    arguments = ["experiment", more, "--data", tiny_folder, "--out", there, "--ray", cluster]
    command = [sys.executable, "-c", f"{threads}; {call}", *map(str, arguments)]
    sent = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert sent.returncode == 1, sent.stderr[-2000:]
    assert "tinyscene: row 'demanding', seed 0 (student 'demanding', seed 0, in " in sent.stderr
    assert "epoch 1 of" not in sent.stderr  # trained elsewhere
    trained = weights(there)
    assert len(trained) >= 3  # the plain student and both teachers at least
    assert trained.items() <= weights(here).items()
    assert tinyscene(*words, there) == 0
    for name in ("results.csv", "table.md"):
        assert (here / "mine" / name).read_bytes() == (there / "mine" / name).read_bytes()


def test_no_cluster(
    grid: Path, tiny_folder: Path, tmp_path: Path, tinyscene: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    pytest.importorskip("ray")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # a port on which nobody listens
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        words = ["experiment", grid, "--data", tiny_folder, "--out", tmp_path / "out", "--ray", address]
        assert tinyscene(*words) == 3
    assert f"no Ray cluster answers at '{address}'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_ray(
    grid: Path,
    tiny_folder: Path,
    tmp_path: Path,
    tinyscene: Callable[..., int],
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert tinyscene("experiment", grid, "--data", tiny_folder, "--out", tmp_path / "out", "--ray", "auto") == 3
    assert "run `pip install 'tinyscene[ray]'`" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
