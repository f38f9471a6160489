/* 3x3 depthwise convolution for Arm's DSP extension, four channels and a block of up to 16 output columns at a time.
 *
 * First the block's input is widened, two columns x, x+1 and four channels at a time, into pairs of int16:
 *   (row 0, row 1) of x | (row 0, row 1) of x+1 | row 2 of (x, x+1)
 * Nine taps are then five multiplications, for an output that begins in either of the two columns. Then each channel
 * runs along the block with its weights in registers (ts_kernels_dsp_block.c).
 *
 * Packed weights: (channels, 12) bytes; with w[row][column] they are
 *   w00 w01 w10 w11 | w02 w20 w12 w21 | w21 0 w22 0
 * so that SXTB16 gives the pairs (w00, w10), (w01, w11), (w02, w12), (w20, w21) and (w21, w22). */
#include "ts_kernels_dsp.h"

/* Output columns of one block, a multiple of 4. */
#define TS_BLOCK 16
/* Pairs of columns under it at stride 2. */
#define TS_COLUMN_PAIRS (TS_BLOCK + 1)

/* Four channels from `channel` on, output columns `column` to `column + columns`; columns is a multiple of 4, at most
 * TS_BLOCK, stride 1 or 2. */
static void ts_dsp_four_channels(const int8_t *const rows[3], int8_t *out, int32_t channel, int32_t column,
                                 int32_t columns, int32_t stride, const ts_conv *conv) {
    int32_t pairs[12 * TS_COLUMN_PAIRS], sums[TS_BLOCK];
    const int32_t channels = conv->outputs;
    const int32_t offset = column * stride * channels + channel;
    const int8_t *row0 = rows[0] + offset, *row1 = rows[1] + offset, *row2 = rows[2] + offset;
    ts_dsp_block block = {pairs,
                          sums,
                          sums + columns,
                          conv->weights + 12 * channel,
                          conv->requant + 1 + 3 * channel,
                          out + column * channels + channel,
                          channels,
                          2 * conv->zero_point + 1,
                          4};
    if (stride == 1) {
        (void)ts_dsp_widen_columns(row0, row1, row2, channels, pairs, columns / 2 + 1);
        ts_dsp_run_block1(&block);
    } else { /* nothing needs the last pair's second column, which may lie behind the row */
        const int32_t end = 2 * columns * channels;
        int32_t *last = ts_dsp_widen_columns(row0, row1, row2, channels, pairs, columns);
        (void)ts_dsp_widen_columns(row0 + end, row1 + end, row2 + end, 0, last, 1);
        ts_dsp_run_block2(&block);
    }
}

/* out (1): one output whose first taps are `offset` bytes into the rows. */
static void ts_dsp_one_output(const int8_t *const rows[3], int32_t offset, int8_t *out, int32_t channel,
                              const ts_conv *conv) {
    static const uint8_t place[3][3] = {{0, 1, 4}, {2, 3, 6}, {5, 7, 10}}; /* of w[row][column] in the packed weights */
    const int8_t *weights = conv->weights + 12 * channel;
    int32_t sum = 0;
    for (int32_t row = 0; row < 3; ++row) {
        for (int32_t tap = 0; tap < 3; ++tap) {
            sum += rows[row][offset + tap * conv->outputs] * weights[place[row][tap]];
        }
    }
    *out = ts_dsp_finish(conv, channel, sum);
}

TS_DEPTHWISE3(dsp) {
    const int32_t channels = conv->outputs;
    const int fast = conv->requant[0] && stride <= 2;
    const int32_t fast_channels = fast ? channels & ~3 : 0, fast_columns = fast ? width & ~3 : 0;
    for (int32_t column = 0; column < fast_columns; column += TS_BLOCK) {
        const int32_t left = fast_columns - column, columns = left < TS_BLOCK ? left : TS_BLOCK;
        for (int32_t channel = 0; channel < fast_channels; channel += 4) {
            ts_dsp_four_channels(rows, out, channel, column, columns, stride, conv);
        }
    }
    ts_dsp_clamp(out, fast_columns * channels, conv->low, conv->high);
    for (int32_t column = 0; column < width; ++column) {
        const int32_t done = column < fast_columns ? fast_channels : 0;
        for (int32_t channel = done; channel < channels; ++channel) {
            ts_dsp_one_output(rows, column * stride * channels + channel, out + column * channels + channel, channel,
                              conv);
        }
    }
}
