/* The 3x3 depthwise convolution for 32-bit processors without SIMD: one channel at a time, its nine weights held while
 * the row's columns pass. Each column is read once and added to the outputs that it belongs to. */
#include "ts_kernels_word.h"

/* A channel's rows at one column. */
typedef struct {
    int32_t top, middle, bottom;
} ts_word_column;

static inline int32_t ts_word_dot3(ts_word_column x, const int32_t *weights) {
    return x.top * weights[0] + x.middle * weights[1] + x.bottom * weights[2];
}

static inline ts_word_column ts_word_read(const int8_t **rows, int32_t step) {
    const ts_word_column x = {*rows[0], *rows[1], *rows[2]};
    rows[0] += step;
    rows[1] += step;
    rows[2] += step;
    return x;
}

TS_DEPTHWISE3(word) {
    const int32_t channels = conv->outputs;
    if (width <= 0) {
        return;
    }
    for (int32_t channel = 0; channel < channels; ++channel) {
        const int8_t *packed = conv->weights + 9 * channel; /* (column 2, 1, 0; row) */
        int32_t weights[9];
        for (int32_t i = 0; i < 9; ++i) {
            weights[i] = packed[i];
        }
        const ts_word_output output = ts_word_output_of(conv, channel);
        const int32_t bias = (int32_t)output.bias;
        const int8_t *read[3] = {rows[0] + channel, rows[1] + channel, rows[2] + channel};
        int8_t *write = out + channel;
        int8_t *const end = write + width * channels;
        if (stride == 1) {
            /* What the columns so far give to the output that ends here, and to the next. */
            ts_word_column x = ts_word_read(read, channels);
            int32_t ending = bias + ts_word_dot3(x, weights + 6);
            x = ts_word_read(read, channels);
            ending += ts_word_dot3(x, weights + 3);
            int32_t next = bias + ts_word_dot3(x, weights + 6);
            do {
                x = ts_word_read(read, channels);
                *write = ts_word_finish(ending + ts_word_dot3(x, weights), &output);
                ending = next + ts_word_dot3(x, weights + 3);
                next = bias + ts_word_dot3(x, weights + 6);
                write += channels;
            } while (write != end);
        } else if (stride == 2) {
            ts_word_column x = ts_word_read(read, channels);
            int32_t ending = bias + ts_word_dot3(x, weights + 6);
            do {
                x = ts_word_read(read, channels);
                ending += ts_word_dot3(x, weights + 3);
                x = ts_word_read(read, channels);
                *write = ts_word_finish(ending + ts_word_dot3(x, weights), &output);
                ending = bias + ts_word_dot3(x, weights + 6);
                write += channels;
            } while (write != end);
        } else {
            do {
                int32_t sum = bias;
                for (int32_t column = 2; column >= 0; --column) {
                    sum += ts_word_dot3(ts_word_read(read, channels), weights + 3 * column);
                }
                *write = ts_word_finish(sum, &output);
                for (int32_t k = 0; k < 3; ++k) {
                    read[k] += (stride - 3) * channels;
                }
                write += channels;
            } while (write != end);
        }
    }
}
