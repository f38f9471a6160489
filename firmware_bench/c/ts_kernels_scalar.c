/* The kernels in plain C: what every other family has to equal, written to be read. */
#include "ts_kernels.h"
#include "ts_requantize.h"

static int8_t ts_finish(const ts_conv *conv, int32_t output, int32_t sum) {
    const int32_t *requant = conv->requant + 3 * output; /* bias, multiplier, shift */
    const int32_t scaled = ts_requantize(sum + requant[0], requant[1], requant[2]);
    /* Not scaled + zero_point first: that may leave int32. */
    return (int8_t)(ts_clamp(scaled, conv->low - conv->zero_point, conv->high - conv->zero_point) + conv->zero_point);
}

TS_POINTWISE(scalar) {
    for (int32_t pixel = 0; pixel < pixels; ++pixel) {
        const int8_t *weights = conv->weights; /* (outputs, inputs) */
        for (int32_t output = 0; output < conv->outputs; ++output) {
            int32_t sum = 0;
            for (int32_t input = 0; input < conv->inputs; ++input) {
                sum += in[input] * *weights++;
            }
            *out++ = ts_finish(conv, output, sum);
        }
        in += conv->inputs;
    }
}

TS_DEPTHWISE3(scalar) {
    const int32_t channels = conv->outputs;
    for (int32_t x = 0; x < width; ++x) {
        const int32_t first = x * stride * channels;
        for (int32_t channel = 0; channel < channels; ++channel) {
            const int8_t *weights = conv->weights + channel; /* (3, 3, channels) */
            int32_t sum = 0;
            for (int32_t y = 0; y < 3; ++y) {
                for (int32_t tap = 0; tap < 3; ++tap) {
                    sum += rows[y][first + tap * channels + channel] * *weights;
                    weights += channels;
                }
            }
            *out++ = ts_finish(conv, channel, sum);
        }
    }
}

TS_CONV_ROW(scalar) {
    (void)scratch;
    const int32_t taps = kernel * conv->inputs; /* of one row, next to each other */
    for (int32_t x = 0; x < width; ++x) {
        const int32_t first = x * stride * conv->inputs;
        const int8_t *weights = conv->weights; /* (outputs, height, kernel, inputs) */
        for (int32_t output = 0; output < conv->outputs; ++output) {
            int32_t sum = 0;
            for (int32_t y = 0; y < height; ++y) {
                for (int32_t tap = 0; tap < taps; ++tap) {
                    sum += rows[y][first + tap] * *weights++;
                }
            }
            *out++ = ts_finish(conv, output, sum);
        }
    }
}

TS_ADD(scalar) {
    for (int32_t i = 0; i < n; ++i) {
        const int32_t left = (a[i] - add->zero_point_a) * (1 << add->left_shift);
        const int32_t right = (b[i] - add->zero_point_b) * (1 << add->left_shift);
        const int32_t sum = ts_requantize(left, add->multiplier_a, add->shift_a) +
                            ts_requantize(right, add->multiplier_b, add->shift_b);
        const int32_t scaled = ts_requantize(sum, add->multiplier, add->shift);
        out[i] = (int8_t)(ts_clamp(scaled, add->low - add->zero_point, add->high - add->zero_point) + add->zero_point);
    }
}
