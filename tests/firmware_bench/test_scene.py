"""Audio in, decision out: the ring of frames, against numpy's frames and a network that repeats its input."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tinyscene.firmware_bench.families import LIBRARY
from tinyscene.firmware_bench.frontend import files, library
from tinyscene.firmware_bench.frontend.host import compile_c, host_compiler
from tinyscene.runtime.errors import InputError, UnavailableError
from tinyscene.runtime.frontend import StreamingLogMel
from tinyscene.runtime.frontend_spec import FrontendSpec
from tinyscene.runtime.int8 import quantize

SCALE, ZERO_POINT = 0.0125, -7
SPEC = FrontendSpec(
    sample_rate_hz=8000, clip_samples=400, n_fft=64, win_length=48, hop_length=20, n_mels=8, fmax_hz=4e3
)
CLASSES = 3

MODEL = """
#define TS_MODEL_ARENA_BYTES {arena}
#define TS_MODEL_ROWS {rows}
#define TS_MODEL_COLUMNS {columns}
#define TS_MODEL_CHANNELS 1
#define TS_MODEL_CLASSES 3
#define TS_MODEL_INPUT_ZERO_POINT {zero_point}
#define TS_MODEL_CONTRACT_HASH "{contract}"
#include "ts_input.h"
void ts_model_run(int8_t *arena, const ts_input *input, int8_t *logits);
"""

#: A network that copies its input, (rows, columns), to where the test reads it, and uses all of its arena.
RUN = """
#include <string.h>
#include "ts_scene.h"
int8_t seen[TS_MODEL_ROWS][TS_MODEL_COLUMNS];
void ts_model_run(int8_t *arena, const ts_input *input, int8_t *logits) {
    memset(arena, 0x55, TS_MODEL_ARENA_BYTES);
    for (int32_t r = 0; r < TS_MODEL_ROWS; ++r)
        for (int32_t x = 0; x < TS_MODEL_COLUMNS; ++x)
            seen[r][x] = input->data[r * input->row_step + (input->first + x) % input->columns * input->column_step];
    for (int8_t i = 0; i < TS_MODEL_CLASSES; ++i) logits[i] = (int8_t)(10 * i);
}
int32_t scene_bytes(void) { return (int32_t)sizeof(ts_scene); }
int32_t scene_arena_bytes(void) { return TS_SCENE_ARENA_BYTES; }
int32_t scene_is_aligned(const ts_scene *scene) { return (uintptr_t)scene->arena % 16 == 0; }
"""


class Scene:
    """The C scene through ctypes."""

    def __init__(self, shared_object: Path, spec: FrontendSpec) -> None:
        self.c = ctypes.CDLL(str(shared_object))
        self.spec = spec
        self._memory = ctypes.create_string_buffer(self.c.scene_bytes() + 16)
        start = ctypes.addressof(self._memory)
        self.scene = ctypes.c_void_p(start + -start % 16)
        assert self.c.scene_is_aligned(self.scene)
        self.same_contract = self.c.ts_scene_init(self.scene)

    def feed(self, pcm: NDArray[np.int16]) -> int:
        count: int = self.c.ts_scene_feed(self.scene, pcm.ctypes.data_as(ctypes.c_void_p), len(pcm))
        return count

    def ready(self) -> bool:
        return bool(self.c.ts_scene_ready(self.scene))

    def infer(self) -> tuple[bool, list[int]]:
        logits = (ctypes.c_int8 * CLASSES)(-1, -1, -1)
        return bool(self.c.ts_scene_infer(self.scene, logits)), list(logits)

    def seen(self) -> NDArray[np.int8]:
        """What the network was last given, int8 (mels, frames)."""
        n_mels, n_frames = self.spec.n_mels, self.spec.n_frames()
        flat = (ctypes.c_int8 * (n_mels * n_frames)).in_dll(self.c, "seen")
        return np.frombuffer(flat, np.int8).reshape(n_mels, n_frames).copy()


Make = Callable[..., Scene]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    try:
        compiler = host_compiler()
    except UnavailableError as error:
        pytest.skip(str(error))
    if not (LIBRARY / "ts_input.h").is_file():
        pytest.skip("no ts_input.h in the C library")

    def build(spec: FrontendSpec = SPEC, fixed: bool = False, arena: int = 100, **model: object) -> Scene:
        contents = dict(files(spec, SCALE, ZERO_POINT, fixed))
        contents |= {name: (LIBRARY / name).read_text() for name in (*library(fixed), "ts_input.h")}
        values = {
            "arena": arena,
            "rows": spec.n_mels,
            "columns": spec.n_frames(),
            "zero_point": ZERO_POINT,
            "contract": spec.hash(),
        }
        contents |= {"model.h": MODEL.format_map({**values, **model}), "run.c": RUN}
        for name, text in contents.items():
            (tmp_path / name).write_text(text)
        options = [
            "-std=c99",
            "-O1",
            "-Wall",
            "-Wextra",
            "-Wconversion",
            "-Werror",
            "-shared",
            "-fPIC",
            f"-I{tmp_path}",
        ]
        sources = [tmp_path / name for name in contents if name.endswith(".c")]
        return Scene(compile_c([*compiler, *options], sources, tmp_path / "scene.so"), spec)

    return build


def noise(n: int, seed: int = 0) -> NDArray[np.int16]:
    return np.random.default_rng(seed).normal(0.0, 3000.0, n).astype(np.int16)


def frames_of(pcm: NDArray[np.int16], spec: FrontendSpec) -> NDArray[np.int8]:
    return quantize(StreamingLogMel(spec).push(pcm.astype(np.float32) / np.float32(32768)), SCALE, ZERO_POINT)


@pytest.mark.parametrize("fixed", [False, True], ids=["float", "fixed"])
def test_the_network_sees_the_newest_frames_in_order(make: Make, fixed: bool) -> None:
    """At every frame of a stream that goes round the ring several times."""
    scene = make(fixed=fixed)
    pcm = noise(2000)
    frames = frames_of(pcm, SPEC)
    columns, made = SPEC.n_frames(), 0
    for start in range(0, len(pcm), 13):
        made += scene.feed(pcm[start : start + 13])
        assert scene.ready() == (made >= columns)
        ran, logits = scene.infer()
        assert ran == scene.ready()
        assert logits == ([0, 10, 20] if ran else [-1, -1, -1])
        if ran:
            expected = frames[:, made - columns : made].astype(int)
            assert np.abs(scene.seen() - expected).max() <= 1
            assert np.mean(scene.seen() != expected) <= 0.02
    assert made == frames.shape[1]
    assert made > 3 * columns


def test_any_chunks_make_the_same_ring(make: Make) -> None:
    scene = make()
    pcm = noise(1700, 1)
    rings = []
    for chunk in (1, 7, 20, 333, 1700):
        assert scene.c.ts_scene_init(scene.scene)
        assert not scene.ready()
        made = sum(scene.feed(pcm[start : start + chunk]) for start in range(0, len(pcm), chunk))
        assert made == frames_of(pcm, SPEC).shape[1]
        assert scene.infer()[0]
        rings.append(scene.seen())
    for ring in rings[1:]:
        np.testing.assert_array_equal(ring, rings[0])


def test_a_scene_outlives_its_counters(make: Make) -> None:
    """More frames than 16 bits count, then the newest ones in order."""
    spec = replace(SPEC, n_fft=8, win_length=8, hop_length=4, n_mels=2, clip_samples=40)
    scene = make(spec)
    pcm = noise(4 * 66_000, 2)
    assert scene.feed(pcm) > 2**16
    assert scene.infer()[0]
    frames = frames_of(pcm[-400:], spec)
    np.testing.assert_allclose(scene.seen(), frames[:, -spec.n_frames() :], rtol=0, atol=1)


@pytest.mark.parametrize("arena", [16, 100_000])
def test_the_arena_serves_the_network_and_the_front_end(make: Make, arena: int) -> None:
    scene = make(arena=arena)
    assert scene.c.scene_arena_bytes() == max(arena, 4 * SPEC.n_fft)


def test_decides_for_the_first_of_the_largest(make: Make) -> None:
    scene = make()
    for logits, best in (([1, 5, 5], 1), ([-128, -128, -128], 0), ([-3, -2, -1], 2), ([127, -128, 127], 0)):
        assert scene.c.ts_scene_decide((ctypes.c_int8 * CLASSES)(*logits)) == best


def test_says_when_the_network_was_trained_on_another_front_end(make: Make) -> None:
    assert make().same_contract == 1


@pytest.mark.parametrize("contract", ["", "0" * 64, SPEC.hash()[:-1], SPEC.hash() + "0", SPEC.hash()[:-1] + "x"])
def test_refuses_another_contract(make: Make, contract: str) -> None:
    assert make(contract=contract).same_contract == 0


@pytest.mark.parametrize("model", [{"rows": 9}, {"columns": 99}, {"zero_point": 3}])
def test_another_input_does_not_compile(make: Make, model: dict[str, int]) -> None:
    with pytest.raises(InputError, match=re.escape("model.h and frontend_tables.h do not belong together")):
        make(**model)
