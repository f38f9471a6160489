/* Tiles of four pixels: filled from rows, multiplied block by block, finished to int8. */
#include "ts_kernels_word_tile.h"

static int32_t ts_word_padded(int32_t inputs) {
    return (inputs + 3) & ~3;
}

void ts_word_tile_begin(ts_word_tile *tile, int32_t inputs) {
    for (int32_t i = 2 * inputs; i < 2 * ts_word_padded(inputs); ++i) {
        tile->values[i] = 0;
    }
    for (int32_t lane = 0; lane < TS_WORD_LANES; ++lane) {
        tile->start[lane] = 0;
    }
}

/* Two pixels of a tile from even (n) and odd (n), n at most TS_WORD_MAX_INPUTS; returns the sums of what it wrote, one
 * in each half of a word. */
static uint32_t ts_word_fill_pair(uint32_t *values, const int8_t *even, const int8_t *odd, int32_t n) {
    uint32_t sums = 0;
#define TS_WORD_FILL(k)                                                                                         \
    {                                                                                                           \
        const uint32_t pair = ((uint8_t)even[k] | (uint32_t)(uint8_t)odd[k] << 16) ^ 0x00800080u;               \
        values[2 * (k)] = pair;                                                                                 \
        sums += pair;                                                                                           \
    }
    for (; n >= 4; n -= 4) {
        TS_WORD_FILL(0)
        TS_WORD_FILL(1)
        TS_WORD_FILL(2)
        TS_WORD_FILL(3)
        even += 4;
        odd += 4;
        values += 8;
    }
    for (; n > 0; --n) {
        TS_WORD_FILL(0)
        ++even;
        ++odd;
        values += 2;
    }
#undef TS_WORD_FILL
    return sums;
}

void ts_word_tile_fill(ts_word_tile *tile, int32_t first, const int8_t *const runs[TS_WORD_LANES], int32_t n) {
    for (int32_t lane = 0; lane < TS_WORD_LANES; lane += 2) {
        const uint32_t sums = ts_word_fill_pair(tile->values + 2 * first + lane / 2, runs[lane], runs[lane + 1], n);
        const uint32_t offset = 128u * (uint32_t)n;
        tile->start[lane] -= 128u * ((sums & 0xffffu) - offset);
        tile->start[lane + 1] -= 128u * ((sums >> 16) - offset);
    }
}

void ts_word_tile_outputs(const ts_word_tile *tile, int32_t inputs, int8_t *out, int32_t pixels, const ts_conv *conv) {
    const uint8_t *weights = (const uint8_t *)conv->weights;
    const int32_t padded = ts_word_padded(inputs), outputs = conv->outputs;
    const uint32_t start[TS_WORD_LANES] = {tile->start[0], tile->start[1], tile->start[2], tile->start[3]};
    for (int32_t first = 0; first < outputs; first += TS_WORD_BLOCK) {
        uint32_t sums[TS_WORD_BLOCK * TS_WORD_LANES];
        ts_word_block(tile->values, weights, padded, sums);
        weights += TS_WORD_BLOCK * padded;
        const uint32_t *sum = sums;
        const int32_t last = first + TS_WORD_BLOCK < outputs ? first + TS_WORD_BLOCK : outputs;
        for (int32_t index = first; index < last; ++index) {
            const ts_word_output output = ts_word_output_of(conv, index);
            int8_t *write = out + index;
            if (output.is_short) {
                for (int32_t lane = 0; lane < pixels; ++lane) {
                    *write = ts_word_finish_short((int32_t)(sum[lane] + start[lane] + output.bias), &output);
                    write += outputs;
                }
            } else {
                for (int32_t lane = 0; lane < pixels; ++lane) {
                    *write = ts_word_finish_any((int32_t)(sum[lane] + start[lane] + output.bias), &output);
                    write += outputs;
                }
            }
            sum += TS_WORD_LANES;
        }
    }
}
