"""Windows around snippets against a literal walk through each recording's samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_data import clip_named, memory_data
from test_distill import make_teacher

from tinyscene.runtime.errors import InputError
from tinyscene.training.context import check_context, windows_around
from tinyscene.training.data.cache import SNIPPET_SAMPLES as N

ANYWHERE = Path("nowhere")


def numbered(n: int) -> np.ndarray:
    """Waves that say which snippet they are, and which half of it."""
    return (np.arange(n)[:, None] * 2 + (np.arange(N) >= N // 2)).astype(np.int16)


@given(lengths=st.lists(st.integers(1, 7), min_size=1, max_size=6), context_s=st.floats(1.0, 9.0))
def test_windows_are_centred_and_moved_inward_at_the_ends(lengths: list[int], context_s: float) -> None:
    clips = [clip_named(f"{i}.wav", "park") for i in range(len(lengths))]
    data = memory_data(clips, lengths, ANYWHERE, waves=numbered(sum(lengths)))
    windows = windows_around(data, context_s)
    for snippet, clip in enumerate(data.cache.clip):
        inside = np.flatnonzero(data.cache.clip == clip)
        recording = data.cache.waves[inside].reshape(-1)
        length = min(round(context_s * 32_000), len(recording))
        middle = (snippet - inside[0]) * N + N // 2
        start = min(max(middle - length // 2, 0), len(recording) - length)
        number = windows.of_snippet[snippet]
        heard = windows.waves(data.cache, np.array([number]))[0]
        # Half a sample of a second's middle may be rounded either way.
        assert len(heard) == length
        assert abs(int(windows.start[number]) - (inside[0] * N + start)) <= 1
        assert np.array_equal(heard, data.cache.waves.reshape(-1)[windows.start[number] :][:length])
        assert inside[0] * N <= windows.start[number] <= (inside[-1] + 1) * N - length


def test_equal_windows_are_one() -> None:
    data = memory_data([clip_named(f"{i}.wav", "park") for i in range(3)], [10, 10, 4], ANYWHERE)
    windows = windows_around(data, 10.0)
    assert len(windows) == 3
    assert sorted(windows.length.tolist()) == [4 * N, 10 * N, 10 * N]
    snippets, place = windows.snippets(np.array([1, 0]))
    assert [sorted(snippets[place == i].tolist()) for i in (0, 1)] == [list(range(10)), list(range(20, 24))]
    assert len(windows_around(data, 1.0)) == 24


def test_tau_chunks_are_joined_by_name_in_the_order_of_their_numbers() -> None:
    names = [f"audio/park-paris-7-70-{chunk}-{device}.wav" for chunk in range(10) for device in "ab"]
    order = np.random.default_rng(0).permutation(len(names))
    data = memory_data([clip_named(names[i]) for i in order], [1] * 20, ANYWHERE, waves=numbered(20))
    windows = windows_around(data, 10.0)
    assert len(windows) == 2
    for device in "ab":
        row = {names[i]: place for place, i in enumerate(order)}
        expected = np.concatenate([data.cache.waves[row[f"audio/park-paris-7-70-{c}-{device}.wav"]] for c in range(10)])
        window = windows.of_snippet[row[f"audio/park-paris-7-70-4-{device}.wav"]]
        assert np.array_equal(windows.waves(data.cache, np.array([window]))[0], expected)


@pytest.mark.parametrize(
    "names",
    [
        ("park-paris-7-70-0-a.wav", "park-paris-7-70-2-a.wav"),  # a chunk is missing between them
        ("park-paris-7-70-0-a.wav", "park-paris-7-71-1-a.wav"),  # another segment
        ("park-paris-7-70-0-a.wav", "park-paris-7-70-1-b.wav"),  # another device
        ("park-paris-7-70-0-a.wav", "park-paris-8-70-1-a.wav"),  # another location
        ("one/park-paris-7-70-0-a.wav", "two/park-paris-7-70-1-a.wav"),
        ("park-paris-7-70-a.wav", "park-paris-7-71-a.wav"),  # 10-s names of 2020: no chunks
        ("a001_0_1.wav", "a001_1_2.wav"),
    ],
)
def test_other_files_are_not_joined(names: tuple[str, str]) -> None:
    data = memory_data([clip_named(name, "park") for name in names], [1, 1], ANYWHERE)
    assert windows_around(data, 10.0).length.tolist() == [N, N]


def test_windows_stay_on_their_side_of_the_fold() -> None:
    clips = [clip_named(f"park-paris-7-70-{chunk}-a.wav") for chunk in range(4)]
    data = memory_data(clips, [1] * 4, ANYWHERE, train=[0, 1])
    assert windows_around(data, 10.0).length.tolist() == [2 * N, 2 * N]


def test_genuine_tau_names_give_segments_of_ten_seconds(shared: Path) -> None:
    lines = (shared / "data" / "tau_lists" / "tau2022_split5.csv").read_text().splitlines()[1:501]
    clips = [clip_named(line.split("\t")[0]) for line in lines]
    windows = windows_around(memory_data(clips, [1] * 500, ANYWHERE, waves=np.zeros((500, N), np.int16)), 10.0)
    assert len(windows) == 50
    assert set(windows.length.tolist()) == {10 * N}


def test_networks_that_cannot_hear_so_long_are_refused(tmp_path: Path) -> None:
    check_context(make_teacher(tmp_path / "cpr", "cpr", 0), 10.0)
    transformer = make_teacher(tmp_path / "passt", "passt", 0, arguments={"dim": 8, "depth": 1, "heads": 1})
    check_context(transformer, 10.0)  # it has positions for ten seconds
    with pytest.raises(InputError, match=r"passt\) cannot hear 12 s at once .*: set teacher_context_s=1"):
        check_context(transformer, 12.0)
