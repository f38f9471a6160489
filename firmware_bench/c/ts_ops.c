/* Convolution, pools and padding, one row at a time: see ts_ops.h. */
#include "ts_ops.h"

#include <string.h>

#include "ts_requantize.h"

void ts_depthwise_row(const int8_t *const *rows, int32_t height, int32_t kernel, int8_t *out, int32_t width,
                      int32_t stride, const ts_conv *conv) {
    const int32_t multiplier = conv->outputs / conv->inputs;
    for (int32_t x = 0; x < width; ++x) {
        const int8_t *weights = conv->weights; /* (height, kernel, outputs) */
        const int32_t *requant = conv->requant; /* (outputs, 3): bias, multiplier, shift */
        for (int32_t output = 0; output < conv->outputs; ++output) {
            const int32_t first = x * stride * conv->inputs + output / multiplier;
            int32_t sum = 0;
            for (int32_t y = 0; y < height; ++y) {
                for (int32_t tap = 0; tap < kernel; ++tap) {
                    sum += rows[y][first + tap * conv->inputs] * weights[(y * kernel + tap) * conv->outputs + output];
                }
            }
            sum = ts_requantize(sum + requant[0], requant[1], requant[2]);
            *out++ = (int8_t)(ts_clamp(sum, conv->low - conv->zero_point, conv->high - conv->zero_point) +
                              conv->zero_point);
            requant += 3;
        }
    }
}

/* Halves away from zero; beyond +-2^20 int8's clamp decides anyway. */
static int32_t ts_round(double real) {
    if (real > 1048576.0 || real < -1048576.0) {
        return real > 0.0 ? 1 << 20 : -(1 << 20);
    }
    const int32_t whole = (int32_t)real;
    const double rest = real - whole; /* exact */
    return whole + (rest >= 0.5 ? 1 : 0) - (rest <= -0.5 ? 1 : 0);
}

void ts_dense_row(const int8_t *in, int8_t *out, const ts_dense *dense) {
    const int8_t *weights = dense->weights;
    for (int32_t output = 0; output < dense->outputs; ++output) {
        int32_t sum = 0;
        for (int32_t input = 0; input < dense->inputs; ++input) {
            sum += in[input] * *weights++;
        }
        const int32_t scaled = ts_round((sum + dense->bias[output]) * dense->scales[output]);
        out[output] = (int8_t)ts_clamp(scaled + dense->zero_point, dense->low, dense->high);
    }
}

/* The columns that exist of output column x's window: begin up to, not with, end. */
typedef struct {
    int32_t begin, end;
} ts_window;

static ts_window ts_window_of(const ts_pool *pool, int32_t x) {
    const int32_t first = x * pool->stride - pool->before;
    const int32_t last = first + pool->kernel;
    const ts_window window = {first < 0 ? 0 : first, last > pool->columns ? pool->columns : last};
    return window;
}

/* sum / count rounded half away from zero, clamped. */
static int8_t ts_average(int32_t sum, int32_t count, const ts_pool *pool) {
    const int32_t mean = (sum > 0 ? sum + count / 2 : sum - count / 2) / count;
    return (int8_t)ts_clamp(mean, pool->low, pool->high);
}

/* Channels that are summed at a time: a loop over neighbours is one that compilers have vectors for. */
#define TS_POOL_CHANNELS 32

/* Means of sums (channels) of `count` values each, as ts_average. A magnitude n <= 128.5 count is divided exactly by
 * multiplying with ceil(2^24 / count), which is too large by less than 1: n * count < 2^24 keeps the excess below one
 * count's share, and 128.5 * 2^24 fits 32 bits. */
static void ts_average_channels(const int32_t *sums, int32_t count, int8_t *out, int32_t channels,
                                const ts_pool *pool) {
    if (count > 256) {
        for (int32_t channel = 0; channel < channels; ++channel) {
            out[channel] = ts_average(sums[channel], count, pool);
        }
        return;
    }
    const uint32_t reciprocal = ((1u << 24) + (uint32_t)count - 1u) / (uint32_t)count;
    const int32_t half = count / 2;
    for (int32_t channel = 0; channel < channels; ++channel) {
        const int32_t sum = sums[channel];
        const int32_t magnitude = (int32_t)(((uint32_t)((sum < 0 ? -sum : sum) + half) * reciprocal) >> 24);
        out[channel] = (int8_t)ts_clamp(sum < 0 ? -magnitude : magnitude, pool->low, pool->high);
    }
}

void ts_average_pool_row(const int8_t *const *rows, int32_t height, int8_t *out, int32_t width, const ts_pool *pool) {
    for (int32_t x = 0; x < width; ++x) {
        const ts_window window = ts_window_of(pool, x);
        const int32_t count = (window.end - window.begin) * height;
        for (int32_t first = 0; first < pool->channels; first += TS_POOL_CHANNELS) {
            const int32_t left = pool->channels - first;
            const int32_t channels = left < TS_POOL_CHANNELS ? left : TS_POOL_CHANNELS;
            int32_t sums[TS_POOL_CHANNELS] = {0};
            for (int32_t y = 0; y < height; ++y) {
                for (int32_t column = window.begin; column < window.end; ++column) {
                    const int8_t *values = rows[y] + column * pool->channels + first;
                    for (int32_t channel = 0; channel < channels; ++channel) {
                        sums[channel] += values[channel];
                    }
                }
            }
            ts_average_channels(sums, count, out, channels, pool);
            out += channels;
        }
    }
}

void ts_max_pool_row(const int8_t *const *rows, int32_t height, int8_t *out, int32_t width, const ts_pool *pool) {
    for (int32_t x = 0; x < width; ++x) {
        const ts_window window = ts_window_of(pool, x);
        for (int32_t channel = 0; channel < pool->channels; ++channel) {
            int32_t largest = INT8_MIN;
            for (int32_t y = 0; y < height; ++y) {
                for (int32_t column = window.begin; column < window.end; ++column) {
                    const int32_t value = rows[y][column * pool->channels + channel];
                    largest = value > largest ? value : largest;
                }
            }
            *out++ = (int8_t)ts_clamp(largest, pool->low, pool->high);
        }
    }
}

void ts_average_pool_add(const int8_t *in, int32_t *sums, int32_t width, const ts_pool *pool) {
    for (int32_t x = 0; x < width; ++x) {
        const ts_window window = ts_window_of(pool, x);
        for (int32_t column = window.begin; column < window.end; ++column) {
            const int8_t *pixel = in + column * pool->channels;
            for (int32_t channel = 0; channel < pool->channels; ++channel) {
                sums[channel] += pixel[channel];
            }
        }
        sums += pool->channels;
    }
}

void ts_average_pool_finish(const int32_t *sums, int32_t height, int8_t *out, int32_t width, const ts_pool *pool) {
    for (int32_t x = 0; x < width; ++x) {
        const ts_window window = ts_window_of(pool, x);
        const int32_t count = (window.end - window.begin) * height;
        for (int32_t channel = 0; channel < pool->channels; ++channel) {
            *out++ = ts_average(*sums++, count, pool);
        }
    }
}

void ts_pad_row(const int8_t *in, int8_t *out, int32_t columns, int32_t channels, int32_t before, int32_t after,
                int32_t zero_point) {
    memset(out, zero_point, (size_t)(before * channels));
    memcpy(out + before * channels, in, (size_t)(columns * channels));
    memset(out + (before + columns) * channels, zero_point, (size_t)(after * channels));
}
