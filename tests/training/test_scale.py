"""A corpus of TAU22's size: its lists, its cache and its batches in little memory."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tinyscene.runtime.errors import InputError
from tinyscene.training import bench_scale
from tinyscene.training.batches import open_data
from tinyscene.training.data.corpus import parse_name, read_corpus
from tinyscene.training.data.tables import read_table


def test_generated_names_are_of_tau22s_form(shared: Path) -> None:
    def form(filename: str) -> str:
        return re.sub(r"\d+", "0", re.sub(r"audio/[a-z_]+-[a-z]+", "audio/SCENE-CITY", filename))

    genuine = read_table(shared / "data" / "tau_lists" / "tau2022_fold1_evaluate.csv")
    assert len(genuine) == bench_scale.EVALUATE
    generated = list(bench_scale.names(20_000))
    assert len({name for name, *_ in generated}) == len(generated)
    forms = {form(row.filename) for row in genuine}
    assert {form(name) for name, *_ in generated} <= forms
    for filename, scene, identifier, device in generated[::97]:
        found = parse_name(filename)
        assert found is not None
        assert (found.scene, found.identifier, found.device) == (scene, identifier, device)
    assert {row.scene for row in genuine} == set(bench_scale.SCENES) == {scene for _, scene, _, _ in generated}


def test_a_genuine_list_is_read_whole(shared: Path, tmp_path: Path) -> None:
    lines = (shared / "data" / "tau_lists" / "tau2022_fold1_evaluate.csv").read_text().splitlines()
    (tmp_path / "evaluation_setup").mkdir()
    (tmp_path / "evaluation_setup" / "fold1_evaluate.csv").write_text("\n".join(lines) + "\n")
    corpus = read_corpus(tmp_path)
    assert [f"{clip.filename}\t{clip.scene}" for clip in corpus.clips] == lines[1:]
    assert corpus.fold(1).evaluate == tuple(range(len(lines) - 1))
    clip = corpus.clips[0]
    assert (clip.identifier, clip.device) == ("barcelona-203", "a")


def test_the_stand_in_cache_is_taken_for_a_real_one(tmp_path: Path) -> None:
    root = bench_scale.write_corpus(tmp_path / "corpus", 2000)
    bench_scale.write_cache(root, tmp_path / "cache")
    data = open_data(root, 1, None, tmp_path / "cache", None)
    assert (len(data.cache), len(data.train), len(data.evaluate)) == (2000, 1212, 257)
    assert data.cache.rows(np.array([1999, 0])).shape == (2, 32000)
    # A file that is cut short under a running training is an error, not a crash.
    (data.cache.path / "waves.i16").open("r+b").truncate(1000)
    with pytest.raises(InputError, match="cut short"):
        data.cache.rows(np.array([5]))


@pytest.mark.slow
def test_the_whole_of_tau22_in_hundreds_of_megabytes(tmp_path: Path) -> None:
    rows = bench_scale.measure_apart(tmp_path, bench_scale.CLIPS)
    assert [row["step"] for row in rows] == [
        "start, torch imported",
        "read the lists",
        "open the cache",
        "order of an epoch",
        "gather 200 batches of 64",
    ]
    # Above what importing torch takes: 82 MB of clips and lists are kept, twice that is needed for a moment. The
    # samples themselves would be 14,742 MB, and the 200 batches alone 819.
    first, last = rows[0], rows[-1]
    assert last["own_mb"] - first["own_mb"] < 250
    assert last["peak_mb"] - first["peak_mb"] < 300
