/* Where the network's input lies: a plain plane, or frames in a ring as the front end leaves them. */
#ifndef TS_INPUT_H
#define TS_INPUT_H

#include <stdint.h>
#include <string.h>

/* Element (row r, column x) lies at data + r * row_step + ((first + x) % columns) * column_step and has as many bytes
 * as the input has channels. A plain (rows, 64, 1) array is {data, 64, 1, 0, 64}; a ring of 64 frames (64, 256), the
 * oldest at `first`, is {data, 1, 256, first, 64}. 0 <= first < columns. */
typedef struct {
    const int8_t *data;
    int32_t row_step, column_step, first, columns;
} ts_input;

/* Row `row` of the input: out (columns, channels). */
static inline void ts_input_row(const ts_input *input, int32_t row, int32_t channels, int8_t *out) {
    const int8_t *const in = input->data + row * input->row_step;
    int32_t from = input->first, until = input->columns;
    for (int32_t piece = 0; piece < 2; ++piece) { /* from the oldest to the ring's end, then what is before it */
        if (input->column_step == channels) {
            const size_t bytes = (size_t)(until - from) * (size_t)channels;
            memcpy(out, in + from * channels, bytes);
            out += bytes;
        } else {
            const int8_t *next = in + from * input->column_step;
            for (int32_t x = from; x < until; ++x, next += input->column_step) {
                for (int32_t channel = 0; channel < channels; ++channel) {
                    *out++ = next[channel];
                }
            }
        }
        from = 0;
        until = input->first;
    }
}

#endif
