"""A model that is quick and whose every input byte matters, with the header that the generator writes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ROWS, COLUMNS, CLASSES = 256, 64, 10
LABELS = tuple(f"scene_{i}" for i in range(CLASSES))
CONTRACT = "0123456789abcdef"

HEADER = (
    """#ifndef MODEL_H
#define MODEL_H
#include "ts_input.h"
#ifdef __cplusplus
extern "C" {
#endif
#define TS_MODEL_NAME "stub"
#define TS_MODEL_ARENA_BYTES 1024
#define TS_MODEL_ROWS 256
#define TS_MODEL_COLUMNS 64
#define TS_MODEL_CHANNELS 1
#define TS_MODEL_CLASSES 10
#define TS_MODEL_INPUT_SCALE 0.05f
#define TS_MODEL_INPUT_ZERO_POINT 3
#define TS_MODEL_OUTPUT_SCALE 0.03125f
#define TS_MODEL_OUTPUT_ZERO_POINT (-4)
#define TS_MODEL_CONTRACT_HASH "CONTRACT"
extern const char *const ts_model_labels[TS_MODEL_CLASSES];
void ts_model_run(int8_t *arena, const ts_input *input, int8_t *logits);
#ifdef __cplusplus
}
#endif
#endif
""".replace("CONTRACT_HASH", "\0")
    .replace('"CONTRACT"', f'"{CONTRACT}"')
    .replace("\0", "CONTRACT_HASH")
)

SOURCE = """#include "model.h"
const char *const ts_model_labels[TS_MODEL_CLASSES] = {LABELS};
void ts_model_run(int8_t *arena, const ts_input *input, int8_t *logits) {
    for (int32_t c = 0; c < TS_MODEL_CLASSES; ++c) {
        uint32_t hash = (uint32_t)c + 1u;
        for (int32_t r = c; r < TS_MODEL_ROWS; r += TS_MODEL_CLASSES) {
            for (int32_t x = 0; x < TS_MODEL_COLUMNS; ++x) {
                const int8_t *at = input->data + r * input->row_step;
                at += ((input->first + x) % input->columns) * input->column_step;
                hash = hash * 31u + (uint8_t)*at;
            }
        }
        arena[c] = (int8_t)((int32_t)(hash >> 24) - 128);
    }
    for (int32_t c = 0; c < TS_MODEL_CLASSES; ++c) {
        logits[c] = arena[c];
    }
}
""".replace("LABELS", ", ".join(f'"{label}"' for label in LABELS), 1)

#: Until the library has its own.
INPUT_HEADER = """#ifndef TS_INPUT_H
#define TS_INPUT_H
#include <stdint.h>
typedef struct { const int8_t *data; int32_t row_step, column_step, first, columns; } ts_input;
#endif
"""


def logits(plane: NDArray[np.int8]) -> NDArray[np.int8]:
    """What the stub gives for an int8 plane (256, 64): (10,) int8."""
    result = []
    for c in range(CLASSES):
        value = c + 1
        for byte in plane[c::CLASSES].reshape(-1).view(np.uint8).tolist():
            value = (value * 31 + byte) & 0xFFFFFFFF
        result.append((value >> 24) - 128)
    return np.array(result, np.int8)


def random_plane(seed: int) -> NDArray[np.int8]:
    """An int8 plane (256, 64) of all values."""
    return np.random.default_rng(seed).integers(-128, 128, (ROWS, COLUMNS), np.int8)
