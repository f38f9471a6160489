"""What the benchmark calls in an emulator: C around the generated model, with memory of its own to compare in."""

from __future__ import annotations

from dataclasses import dataclass

#: Names that are the benchmark's own and not part of a program.
PREFIX = "ts_bench_"


@dataclass(frozen=True)
class Harness:
    """A file of C and the functions in it that an emulator calls."""

    name: str
    text: str
    functions: tuple[str, ...]
    buffers: tuple[str, ...]


MODEL = Harness(
    "ts_bench_model.c",
    """\
#include "model.h"

int8_t ts_bench_arena[TS_MODEL_ARENA_BYTES] __attribute__((aligned(16)));
int8_t ts_bench_input[TS_MODEL_ROWS * TS_MODEL_COLUMNS * TS_MODEL_CHANNELS];
int8_t ts_bench_logits[TS_MODEL_CLASSES];

void ts_bench_run(void);
void ts_bench_run(void) {
    const ts_input input = {ts_bench_input, TS_MODEL_COLUMNS * TS_MODEL_CHANNELS, TS_MODEL_CHANNELS, 0,
                            TS_MODEL_COLUMNS};
    ts_model_run(ts_bench_arena, &input, ts_bench_logits);
}
""",
    ("ts_bench_run",),
    ("ts_bench_arena", "ts_bench_input", "ts_bench_logits"),
)

#: The whole line: PCM in, logits out. Its scene is all the memory that a program needs beside its stack.
SCENE = Harness(
    "ts_bench_scene.c",
    """\
#include "ts_scene.h"

ts_scene ts_bench_scene;
int16_t ts_bench_pcm[TS_FRONTEND_HOP];
int8_t ts_bench_decision[TS_MODEL_CLASSES];

int32_t ts_bench_start(void);
int32_t ts_bench_start(void) {
    return ts_scene_init(&ts_bench_scene);
}

int32_t ts_bench_feed(void);
int32_t ts_bench_feed(void) {
    return ts_scene_feed(&ts_bench_scene, ts_bench_pcm, TS_FRONTEND_HOP);
}

int32_t ts_bench_infer(void);
int32_t ts_bench_infer(void) {
    return ts_scene_infer(&ts_bench_scene, ts_bench_decision);
}
""",
    ("ts_bench_start", "ts_bench_feed", "ts_bench_infer"),
    ("ts_bench_scene", "ts_bench_pcm", "ts_bench_decision"),
)
