/* 1x1 and dense convolutions for 32-bit processors without SIMD: the pixels go through tiles of four, see
 * ts_kernels_word_tile.h. */
#include "ts_kernels_word.h"

#include "ts_kernels_word_tile.h"

/* One pixel with more inputs than a tile holds, its taps in `height` runs of `taps` at rows[k] + first. */
static void ts_word_long_pixel(const int8_t *const *rows, int32_t height, int32_t taps, int32_t first, int8_t *out,
                               const ts_conv *conv) {
    const uint8_t *weights = (const uint8_t *)conv->weights;
    const int32_t inputs = height * taps;
    for (int32_t index = 0; index < conv->outputs; ++index) {
        /* A block of four outputs, (inputs padded to 4, 4). */
        const uint8_t *weight = weights + (index >> 2) * (((inputs + 3) & ~3) * 4) + (index & 3);
        const ts_word_output output = ts_word_output_of(conv, index);
        /* The bias expects activations plus 128 less their sum: 128 * inputs weights' worth is left. */
        uint32_t sum = output.bias;
        for (int32_t y = 0; y < height; ++y) {
            const int8_t *run = rows[y] + first;
            for (int32_t tap = 0; tap < taps; ++tap) {
                sum += (uint32_t)((run[tap] + 128) * *weight - 128 * run[tap]);
                weight += 4;
            }
        }
        out[index] = ts_word_finish((int32_t)sum, &output);
    }
}

TS_POINTWISE(word) {
    const int32_t inputs = conv->inputs, outputs = conv->outputs;
    if (inputs > TS_WORD_MAX_INPUTS) {
        for (int32_t pixel = 0; pixel < pixels; ++pixel) {
            ts_word_long_pixel(&in, 1, inputs, pixel * inputs, out + pixel * outputs, conv);
        }
        return;
    }
    ts_word_tile tile;
    for (int32_t pixel = 0; pixel < pixels; pixel += TS_WORD_LANES) {
        const int32_t count = pixels - pixel < TS_WORD_LANES ? pixels - pixel : TS_WORD_LANES;
        const int8_t *runs[TS_WORD_LANES];
        for (int32_t lane = 0; lane < TS_WORD_LANES; ++lane) {
            /* Pixels that do not exist repeat the first; nobody asks for their outputs. */
            runs[lane] = in + (pixel + (lane < count ? lane : 0)) * inputs;
        }
        ts_word_tile_begin(&tile, inputs);
        ts_word_tile_fill(&tile, 0, runs, inputs);
        ts_word_tile_outputs(&tile, inputs, out + pixel * outputs, count, conv);
    }
}

TS_CONV_ROW(word) {
    (void)scratch;
    const int32_t taps = kernel * conv->inputs, inputs = height * taps, outputs = conv->outputs;
    const int32_t step = stride * conv->inputs;
    if (inputs > TS_WORD_MAX_INPUTS) {
        for (int32_t x = 0; x < width; ++x) {
            ts_word_long_pixel(rows, height, taps, x * step, out + x * outputs, conv);
        }
        return;
    }
    ts_word_tile tile;
    for (int32_t x = 0; x < width; x += TS_WORD_LANES) {
        const int32_t count = width - x < TS_WORD_LANES ? width - x : TS_WORD_LANES;
        ts_word_tile_begin(&tile, inputs);
        for (int32_t y = 0; y < height; ++y) {
            const int8_t *runs[TS_WORD_LANES];
            for (int32_t lane = 0; lane < TS_WORD_LANES; ++lane) {
                runs[lane] = rows[y] + (x + (lane < count ? lane : 0)) * step;
            }
            ts_word_tile_fill(&tile, y * taps, runs, taps);
        }
        ts_word_tile_outputs(&tile, inputs, out + x * outputs, count, conv);
    }
}
