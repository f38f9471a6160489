/* 1x1 and dense convolutions for Arm's DSP extension. Both are the same sums over a patch: `height` runs of `taps`
 * bytes, each run padded with zeros to groups of four. Four pixels' patches are widened to pairs of int16 once, on the
 * stack, and then used for all outputs; weights stay int8 and are widened while they are used.
 *
 * Packed weights: (pairs of outputs, groups, 8) with, in a group of inputs k, the bytes
 *   a[k] b[k] a[k+2] b[k+2] a[k+1] b[k+1] a[k+3] b[k+3]
 * for outputs a, b of the pair, so that SXTB16 of a word gives two weights of a, and rotated by 8 bits two of b. */
#include "ts_kernels_dsp.h"

/* Groups of four inputs that the stack holds for four pixels; 64 groups take 2048 bytes. Wider convolutions give the
 * same result without it, at about twice the instructions. */
#ifndef TS_DSP_GROUPS
#define TS_DSP_GROUPS 64
#endif

/* Where a pixel's inputs are: runs (height, taps), of pixel p at rows[y] + p * step. */
typedef struct {
    const int8_t *const *rows;
    int32_t height, taps, step;
} ts_patches;

/* to (groups, 2, 4 pixels): of each group the pairs (k, k+2) and (k+1, k+3) of the pixels from `pixel` on. */
static void ts_dsp_widen(const ts_patches *patches, int32_t pixel, int32_t *to) {
    const int32_t step = patches->step;
    const int32_t rest = patches->taps & 3;
    for (int32_t y = 0; y < patches->height; ++y) {
        const int8_t *first = patches->rows[y] + pixel * step;
        const int8_t *third = first + 2 * step;
        for (const int8_t *end = first + (patches->taps - rest); first != end; first += 4, third += 4, to += 8) {
            const int32_t a = ts_dsp_load(first), b = ts_dsp_load(first + step);
            const int32_t c = ts_dsp_load(third), d = ts_dsp_load(third + step);
            to[0] = ts_dsp_even_bytes(a);
            to[1] = ts_dsp_even_bytes(b);
            to[2] = ts_dsp_even_bytes(c);
            to[3] = ts_dsp_even_bytes(d);
            to[4] = ts_dsp_odd_bytes(a);
            to[5] = ts_dsp_odd_bytes(b);
            to[6] = ts_dsp_odd_bytes(c);
            to[7] = ts_dsp_odd_bytes(d);
        }
        if (rest) {
            for (int32_t p = 0; p < 4; ++p, first += step) {
                /* the word that ends with the run, where the row has one */
                const int32_t word = first - patches->rows[y] >= 4 - rest
                                         ? (int32_t)((uint32_t)ts_dsp_load(first + rest - 4) >> (32 - 8 * rest))
                                         : ts_dsp_load_rest(first, rest);
                to[p] = ts_dsp_even_bytes(word);
                to[4 + p] = ts_dsp_odd_bytes(word);
            }
            to += 8;
        }
    }
}

/* out (outputs): outputs from the even `output` on of one pixel, whose runs begin `offset` bytes into the rows. */
static void ts_dsp_direct(const ts_patches *patches, int32_t offset, int8_t *out, int32_t output, const ts_conv *conv) {
    const int32_t groups = patches->height * ((patches->taps + 3) >> 2);
    const int8_t *weights = conv->weights + output * groups * 4;
    for (; output < conv->outputs; output += 2) {
        int32_t a = 0, b = 0;
        for (int32_t y = 0; y < patches->height; ++y) {
            const int8_t *in = patches->rows[y] + offset;
            for (int32_t left = patches->taps; left > 0; left -= 4, in += 4, weights += 8) {
                const int32_t inputs = left >= 4 ? ts_dsp_load(in) : ts_dsp_load_rest(in, left);
                const int32_t even = ts_dsp_even_bytes(inputs), odd = ts_dsp_odd_bytes(inputs);
                const int32_t low = ts_dsp_load(weights), high = ts_dsp_load(weights + 4);
                a = ts_dsp_dot(odd, ts_dsp_even_bytes(high), ts_dsp_dot(even, ts_dsp_even_bytes(low), a));
                b = ts_dsp_dot(odd, ts_dsp_odd_bytes(high), ts_dsp_dot(even, ts_dsp_odd_bytes(low), b));
            }
        }
        out[output] = ts_dsp_finish(conv, output, a);
        if (output + 1 < conv->outputs) {
            out[output + 1] = ts_dsp_finish(conv, output + 1, b);
        }
    }
}

/* out (pixels, outputs). */
static void ts_dsp_convolve(const ts_patches *patches, int8_t *out, int32_t pixels, const ts_conv *conv) {
    const int32_t groups = patches->height * ((patches->taps + 3) >> 2);
    const int32_t even_outputs = conv->outputs & ~1;
    int32_t pixel = 0;
    if (conv->requant[0] && even_outputs > 0 && groups <= TS_DSP_GROUPS) {
        int32_t widened[8 * TS_DSP_GROUPS];
        ts_dsp_tile tile;
        tile.requant_end = conv->requant + 1 + 3 * even_outputs;
        tile.outputs = conv->outputs;
        tile.half_zero = 2 * conv->zero_point + 1;
        tile.activations = widened;
        tile.activations_end = widened + 8 * groups;
        for (; pixel + 4 <= pixels; pixel += 4) {
            ts_dsp_widen(patches, pixel, widened);
            tile.weights = conv->weights;
            tile.requant = conv->requant + 1;
            tile.out = out + pixel * conv->outputs;
            ts_dsp_run_tile(&tile);
        }
        if (even_outputs != conv->outputs) {
            for (int32_t p = 0; p < pixel; ++p) {
                ts_dsp_direct(patches, p * patches->step, out + p * conv->outputs, even_outputs, conv);
            }
        }
        ts_dsp_clamp(out, pixel * conv->outputs, conv->low, conv->high);
    }
    for (; pixel < pixels; ++pixel) {
        ts_dsp_direct(patches, pixel * patches->step, out + pixel * conv->outputs, 0, conv);
    }
}

TS_POINTWISE(dsp) {
    const ts_patches patches = {&in, 1, conv->inputs, conv->inputs};
    ts_dsp_convolve(&patches, out, pixels, conv);
}

TS_CONV_ROW(dsp) {
    (void)scratch;
    const ts_patches patches = {rows, height, kernel * conv->inputs, stride * conv->inputs};
    ts_dsp_convolve(&patches, out, width, conv);
}
