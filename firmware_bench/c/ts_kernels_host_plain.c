/* The host family in C alone, for processors of which no more is known: also the form to read first. */
#include "ts_kernels_host.h"
#include "ts_requantize.h"

static int ts_plain_supported(void) {
    return 1;
}

/* Adds one group of four inputs to 16 sums. */
static void ts_plain_group(int32_t *sums, int32_t word, const int8_t *weights) {
    int8_t x[4];
    memcpy(x, &word, sizeof x);
    for (int32_t lane = 0; lane < TS_HOST_LANES; ++lane) {
        const int8_t *w = weights + 4 * lane;
        sums[lane] += x[0] * w[0] + x[1] * w[1] + x[2] * w[2] + x[3] * w[3];
    }
}

static void ts_plain_dense(
    const int8_t *in, int32_t step, int32_t depth, int8_t *out, int32_t pixels, const ts_conv *conv) {
    const int32_t groups = depth / 4, part = depth % 4;
    for (int32_t pixel = 0; pixel < pixels; ++pixel) {
        const int8_t *weights = conv->weights; /* (blocks, groups, 16, 4) */
        const int32_t *requant = conv->requant + TS_HOST_LANES;
        for (int32_t first = 0; first < conv->outputs; first += TS_HOST_LANES) {
            int32_t sums[TS_HOST_LANES];
            memcpy(sums, requant + TS_HOST_BIAS, sizeof sums);
            for (int32_t group = 0; group < groups; ++group) {
                ts_plain_group(sums, ts_host_word(in + 4 * group), weights);
                weights += 4 * TS_HOST_LANES;
            }
            if (part) {
                ts_plain_group(sums, ts_host_part(in + 4 * groups, part), weights);
                weights += 4 * TS_HOST_LANES;
            }
            ts_host_finish(sums, requant, ts_host_least(TS_HOST_LANES, conv->outputs - first), out + first, conv);
            requant += TS_HOST_BLOCK;
        }
        in += step;
        out += conv->outputs;
    }
}

static void ts_plain_depthwise3(
    const int8_t *const rows[3], int8_t *out, int32_t width, int32_t stride, const ts_conv *conv) {
    const int32_t channels = conv->outputs;
    const int8_t *weights = conv->weights; /* (blocks, 3, 16, 4) */
    const int32_t *requant = conv->requant + TS_HOST_LANES;
    for (int32_t first = 0; first < channels; first += TS_HOST_LANES) {
        const int32_t lanes = ts_host_least(TS_HOST_LANES, channels - first);
        for (int32_t x = 0; x < width; ++x) {
            int32_t sums[TS_HOST_LANES];
            memcpy(sums, requant + TS_HOST_BIAS, sizeof sums);
            for (int32_t tap = 0; tap < 3; ++tap) {
                const int32_t place = (x * stride + tap) * channels + first;
                const int8_t *column = weights + 4 * TS_HOST_LANES * tap;
                for (int32_t lane = 0; lane < lanes; ++lane) {
                    sums[lane] += rows[0][place + lane] * column[4 * lane] +
                                  rows[1][place + lane] * column[4 * lane + 1] +
                                  rows[2][place + lane] * column[4 * lane + 2];
                }
            }
            ts_host_finish(sums, requant, lanes, out + x * channels + first, conv);
        }
        weights += 3 * 4 * TS_HOST_LANES;
        requant += TS_HOST_BLOCK;
    }
}

static void ts_plain_add(const int8_t *a, const int8_t *b, int8_t *out, int32_t n, const ts_add *add) {
    for (int32_t i = 0; i < n; ++i) {
        const int32_t left = (a[i] - add->zero_point_a) * (1 << add->left_shift);
        const int32_t right = (b[i] - add->zero_point_b) * (1 << add->left_shift);
        const int32_t sum = ts_requantize(left, add->multiplier_a, add->shift_a) +
                            ts_requantize(right, add->multiplier_b, add->shift_b);
        const int32_t scaled = ts_requantize(sum, add->multiplier, add->shift);
        out[i] = (int8_t)ts_clamp(scaled + add->zero_point, add->low, add->high);
    }
}

const ts_host_form ts_host_plain = {"plain", ts_plain_supported, ts_plain_dense, ts_plain_depthwise3, ts_plain_add};
