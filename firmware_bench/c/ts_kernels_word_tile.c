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

/* One output of the first `pixels` pixels, from sums (4). */
static void ts_word_finish_lanes(const uint32_t *sums, const uint32_t *start, const ts_word_output *output, int8_t *write,
                                 int32_t step, int32_t pixels) {
    for (int32_t lane = 0; lane < pixels; ++lane) {
        *write = ts_word_finish((int32_t)(sums[lane] + start[lane] + output->bias), output);
        write += step;
    }
}

/* The same of four pixels, the short way. */
static void ts_word_finish_four(const uint32_t *sums, const uint32_t *start, const ts_word_output *output, int8_t *write,
                                int32_t step) {
    const uint32_t bias = output->bias;
    *write = ts_word_finish_short((int32_t)(sums[0] + start[0] + bias), output);
    write += step;
    *write = ts_word_finish_short((int32_t)(sums[1] + start[1] + bias), output);
    write += step;
    *write = ts_word_finish_short((int32_t)(sums[2] + start[2] + bias), output);
    write += step;
    *write = ts_word_finish_short((int32_t)(sums[3] + start[3] + bias), output);
}

void ts_word_tile_outputs(const ts_word_tile *tile, int32_t inputs, int8_t *out, int32_t pixels, const ts_conv *conv) {
    const uint8_t *weights = (const uint8_t *)conv->weights;
    const int32_t padded = ts_word_padded(inputs), outputs = conv->outputs;
    const int four = pixels == TS_WORD_LANES && conv->requant[0] != 0;
    uint32_t sums[TS_WORD_BLOCK * TS_WORD_LANES];
    const uint32_t *sum = sums;
    for (int32_t index = 0; index < outputs; ++index) {
        if (index % TS_WORD_BLOCK == 0) {
            ts_word_block(tile->values, weights, padded, sums);
            weights += TS_WORD_BLOCK * padded;
            sum = sums;
        }
        const ts_word_output output = ts_word_output_of(conv, index);
        if (four) {
            ts_word_finish_four(sum, tile->start, &output, out + index, outputs);
        } else {
            ts_word_finish_lanes(sum, tile->start, &output, out + index, outputs, pixels);
        }
        sum += TS_WORD_LANES;
    }
}
