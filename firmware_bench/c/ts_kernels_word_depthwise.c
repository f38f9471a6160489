/* The 3x3 depthwise convolution for 32-bit processors without SIMD: one channel at a time, its nine weights held while
 * the row's columns pass. A column is read once and added to the outputs that it belongs to. The sums wait in memory:
 * weights and what finishing needs do not fit the registers together. */
#include "ts_kernels_word.h"

#define TS_WORD_RUN 32 /* outputs of a channel whose sums wait */

/* The compiler takes a pointer as it is: on RISC-V clang would keep one for each place that is read from it. */
#if defined(__GNUC__) && defined(__riscv)
#define TS_WORD_KEEP(pointer) __asm__("" : "+r"(pointer))
#else
#define TS_WORD_KEEP(pointer)
#endif

/* A channel's rows at one column. */
typedef struct {
    int32_t top, middle, bottom;
} ts_word_column;

static inline ts_word_column ts_word_read(const int8_t **rows, int32_t step) {
    const ts_word_column x = {*rows[0], *rows[1], *rows[2]};
    rows[0] += step;
    rows[1] += step;
    rows[2] += step;
    TS_WORD_KEEP(rows[0]);
    TS_WORD_KEEP(rows[1]);
    TS_WORD_KEEP(rows[2]);
    return x;
}

static inline int32_t ts_word_dot3(int32_t sum, ts_word_column x, const int32_t *weights) {
    sum += x.top * weights[0];
    sum += x.middle * weights[1];
    return sum + x.bottom * weights[2];
}

/* sums (n > 0) of one channel from its packed weights (columns 2, 1, 0; rows), the bias in them. */
static void ts_word_sums(const int8_t *const rows[3], int32_t offset, int32_t channels, int32_t stride, int32_t bias,
                         const int8_t *packed, int32_t *sums, int32_t n) {
    const int32_t weights[9] = {packed[0], packed[1], packed[2], packed[3], packed[4],
                                packed[5], packed[6], packed[7], packed[8]};
    const int8_t *read[3] = {rows[0] + offset, rows[1] + offset, rows[2] + offset};
    int32_t *const end = sums + n;
    if (stride == 1) {
        /* What the columns so far give to the output that ends with the next one, and to the one after. */
        ts_word_column x = ts_word_read(read, channels);
        int32_t ending = ts_word_dot3(bias, x, weights + 6);
        x = ts_word_read(read, channels);
        ending = ts_word_dot3(ending, x, weights + 3);
        int32_t next = ts_word_dot3(bias, x, weights + 6);
        do {
            x = ts_word_read(read, channels);
            *sums++ = ts_word_dot3(ending, x, weights);
            ending = ts_word_dot3(next, x, weights + 3);
            next = ts_word_dot3(bias, x, weights + 6);
        } while (sums != end);
    } else if (stride == 2) {
        ts_word_column x = ts_word_read(read, channels);
        int32_t ending = ts_word_dot3(bias, x, weights + 6);
        do {
            x = ts_word_read(read, channels);
            ending = ts_word_dot3(ending, x, weights + 3);
            x = ts_word_read(read, channels);
            *sums++ = ts_word_dot3(ending, x, weights);
            ending = ts_word_dot3(bias, x, weights + 6);
        } while (sums != end);
    } else {
        do {
            int32_t sum = bias;
            for (int32_t column = 2; column >= 0; --column) {
                sum = ts_word_dot3(sum, ts_word_read(read, channels), weights + 3 * column);
            }
            *sums++ = sum;
            for (int32_t k = 0; k < 3; ++k) {
                read[k] += (stride - 3) * channels;
            }
        } while (sums != end);
    }
}

/* out[i * step] from sums (n). */
static void ts_word_finish_run(const int32_t *sums, int32_t n, const ts_word_output *output, int8_t *out,
                               int32_t step) {
    const int32_t *const end = sums + n;
    if (output->is_short) {
        for (; sums != end; ++sums) {
            *out = ts_word_finish_short(*sums, output);
            out += step;
        }
    } else {
        for (; sums != end; ++sums) {
            *out = ts_word_finish_any(*sums, output);
            out += step;
        }
    }
}

TS_DEPTHWISE3(word) {
    const int32_t channels = conv->outputs;
    for (int32_t x = 0; x < width; x += TS_WORD_RUN) {
        const int32_t n = width - x < TS_WORD_RUN ? width - x : TS_WORD_RUN;
        for (int32_t channel = 0; channel < channels; ++channel) {
            const ts_word_output output = ts_word_output_of(conv, channel);
            int32_t sums[TS_WORD_RUN];
            ts_word_sums(rows, x * stride * channels + channel, channels, stride, (int32_t)output.bias,
                         conv->weights + 9 * channel, sums, n);
            ts_word_finish_run(sums, n, &output, out + x * channels + channel, channels);
        }
    }
}
