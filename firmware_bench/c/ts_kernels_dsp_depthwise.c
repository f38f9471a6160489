/* 3x3 depthwise convolution for Arm's DSP extension, four channels and a block of up to 16 output columns at a time.
 *
 * First the block's input is widened, two columns x, x+1 and four channels at a time, into pairs of int16:
 *   (row 0, row 1) of x | (row 0, row 1) of x+1 | row 2 of (x, x+1)
 * Nine taps are then five multiplications, for an output that begins in either of the two columns. Then each channel
 * runs along the block with its weights in registers: assembly, because that takes all 14.
 *
 * Packed weights: (channels, 12) bytes; with w[row][column] they are
 *   w00 w01 w10 w11 | w02 w20 w12 w21 | w21 0 w22 0
 * so that SXTB16 gives the pairs (w00, w10), (w01, w11), (w02, w12), (w20, w21) and (w21, w22). */
#include <stddef.h>

#include "ts_kernels_dsp.h"

/* Output columns of one block, a multiple of 4. */
#define TS_BLOCK 16
/* Pairs of columns under it at stride 2. */
#define TS_COLUMN_PAIRS (TS_BLOCK + 1)

/* One block of four channels; the assembly knows the fields' order. */
typedef struct {
    const int32_t *pairs;   /* (column pairs, 3, 4 channels), from the channel on */
    int32_t *sums;          /* (columns) */
    int32_t *sums_end;
    const int8_t *weights;  /* (channels, 12), from the channel on */
    const int32_t *requant; /* (channels, 3), the short way's, from the channel on */
    int8_t *out;            /* (columns, channels), from the channel on */
    int32_t channels;
    int32_t half_zero;      /* 2 * zero_point + 1 */
    int32_t left;           /* channels */
} ts_dsp_block;

typedef char ts_dsp_block_order[offsetof(ts_dsp_block, pairs) == 0 && offsetof(ts_dsp_block, sums) == 4 &&
                                        offsetof(ts_dsp_block, sums_end) == 8 && offsetof(ts_dsp_block, weights) == 12 &&
                                        offsetof(ts_dsp_block, requant) == 16 && offsetof(ts_dsp_block, out) == 20 &&
                                        offsetof(ts_dsp_block, channels) == 24 &&
                                        offsetof(ts_dsp_block, half_zero) == 28 && offsetof(ts_dsp_block, left) == 32
                                    ? 1
                                    : -1];

/* Bytes 0 to 3 of a beside those of b: to (4) pairs (a, b). Moves `to` on. */
#define TS_PAIR_UP(a, b, to)               \
    __asm__ volatile(                      \
        "pkhbt  r4, %1, %2, lsl #16    \n" \
        "pkhtb  r6, %2, %1, asr #16    \n" \
        "sxtb16 r5, r4, ror #8         \n" \
        "sxtb16 r4, r4                 \n" \
        "sxtb16 r8, r6, ror #8         \n" \
        "sxtb16 r6, r6                 \n" \
        "stmia  %0!, {r4, r5, r6, r8}  \n" \
        : "+r"(to)                         \
        : "r"(a), "r"(b)                   \
        : "r4", "r5", "r6", "r8", "memory")

/* to (count, 3, 4): column pairs from `offset` bytes into the rows on; `next` bytes from a pair's first column to its
 * second. Gives where `to` ends. */
static int32_t *ts_dsp_widen_columns(const int8_t *const rows[3], int32_t offset, int32_t next, int32_t count,
                                     int32_t *to) {
    const int8_t *row0 = rows[0] + offset, *row1 = rows[1] + offset, *row2 = rows[2] + offset;
    for (; count; --count, row0 += 2 * next, row1 += 2 * next, row2 += 2 * next) {
        TS_PAIR_UP(ts_dsp_load(row0), ts_dsp_load(row1), to);
        TS_PAIR_UP(ts_dsp_load(row0 + next), ts_dsp_load(row1 + next), to);
        TS_PAIR_UP(ts_dsp_load(row2), ts_dsp_load(row2 + next), to);
    }
    return to;
}

/* Registers while summing: r4-r8 the five pairs of weights in the order above, r0-r2 the column pair's three words,
 * r9-r12 sums, r3 next column pair, lr next sum. */
#define TS_BEGIN                  \
    "push   {r0, r4-r11, lr}  \n" \
    "1:                       \n" \
    "ldrd   r3, lr, [r0]      \n" \
    "ldr    r12, [r0, #12]    \n" \
    "ldmia  r12!, {r0-r2}     \n" \
    "sxtb16 r4, r0            \n" \
    "sxtb16 r5, r0, ror #8    \n" \
    "sxtb16 r6, r1            \n" \
    "sxtb16 r7, r1, ror #8    \n" \
    "sxtb16 r8, r2            \n"

#define TS_NEXT_COLUMNS           \
    "ldr    r1, [r3, #16]     \n" \
    "ldr    r2, [r3, #32]     \n" \
    "ldr    r0, [r3], #48     \n"

/* The output whose first column is the pair's first: its first two columns; then, from the next pair, its last. */
#define TS_FIRST(sum)                                 \
    "smuad  " #sum ", r0, r4                      \n" \
    "smlad  " #sum ", r1, r5, " #sum "            \n" \
    "smlad  " #sum ", r2, r7, " #sum "            \n"
#define TS_FIRST_ENDS(sum)                            \
    "smlad  " #sum ", r0, r6, " #sum "            \n" \
    "smlabt " #sum ", r2, r8, " #sum "            \n"

/* The output whose first column is the pair's second. */
#define TS_SECOND(sum)                                \
    "smuad  " #sum ", r1, r4                      \n" \
    "smlatb " #sum ", r2, r7, " #sum "            \n"
#define TS_SECOND_ENDS(sum)                           \
    "smlad  " #sum ", r0, r5, " #sum "            \n" \
    "smlad  " #sum ", r1, r6, " #sum "            \n" \
    "smlad  " #sum ", r2, r8, " #sum "            \n"

/* ts_dsp_finish on a register: r12 scratch, r1 multiplier, r2 nudge, r3 right shift - 1. */
#define TS_FINISH(sum)                                \
    "add    r12, r2, " #sum ", asr #31            \n" \
    "smmlar " #sum ", " #sum ", r1, r12           \n" \
    "asr    " #sum ", " #sum ", r3                \n" \
    "ssat   " #sum ", #8, " #sum ", asr #1        \n"

/* From sums to outputs, four columns at a time: lr out, r8 from column to column, r9 three times that, r10 sums, r11
 * their end; then the next channel. */
#define TS_END                                        \
    "ldr    r0, [sp]                              \n" \
    "ldr    r1, [r0]                              \n" \
    "add    r1, r1, #4                            \n" \
    "str    r1, [r0]                              \n" \
    "ldrd   r10, r11, [r0, #4]                    \n" \
    "ldrd   r4, r5, [r0, #12]                     \n" \
    "ldr    lr, [r0, #20]                         \n" \
    "ldrd   r8, r2, [r0, #24]                     \n" \
    "add    r4, r4, #12                           \n" \
    "add    r6, lr, #1                            \n" \
    "add    r9, r8, r8, lsl #1                    \n" \
    "add    r12, r5, #12                          \n" \
    "strd   r4, r12, [r0, #12]                    \n" \
    "str    r6, [r0, #20]                         \n" \
    "ldmia  r5, {r0, r1, r3}                      \n" \
    "lsl    r2, r2, r3                            \n" \
    "3:                                           \n" \
    "ldmia  r10!, {r4-r7}                         \n" \
    "add    r4, r0, r4, lsl #1                    \n" \
    "add    r5, r0, r5, lsl #1                    \n" \
    "add    r6, r0, r6, lsl #1                    \n" \
    "add    r7, r0, r7, lsl #1                    \n" \
    TS_FINISH(r4)                                     \
    "strb   r4, [lr]                              \n" \
    TS_FINISH(r5)                                     \
    "strb   r5, [lr, r8]                          \n" \
    TS_FINISH(r6)                                     \
    "strb   r6, [lr, r8, lsl #1]                  \n" \
    TS_FINISH(r7)                                     \
    "strb   r7, [lr, r9]                          \n" \
    "add    lr, lr, r8, lsl #2                    \n" \
    "cmp    r10, r11                              \n" \
    "bne    3b                                    \n" \
    "ldr    r0, [sp]                              \n" \
    "ldr    r1, [r0, #32]                         \n" \
    "subs   r1, r1, #1                            \n" \
    "str    r1, [r0, #32]                         \n" \
    "bne    1b                                    \n" \
    "pop    {r0, r4-r11, pc}                      \n"

/* Stride 1: column pair j begins outputs 2j and 2j + 1 and ends 2j - 2 and 2j - 1. The last pair begins two outputs that
 * nothing ends. Four outputs a turn. */
__attribute__((naked)) static void ts_dsp_run_block1(__attribute__((unused)) ts_dsp_block *block) {
    __asm__ volatile(
        TS_BEGIN
        TS_NEXT_COLUMNS TS_FIRST(r9) TS_SECOND(r10)
        "2:                       \n"
        TS_NEXT_COLUMNS TS_FIRST_ENDS(r9) TS_SECOND_ENDS(r10)
        "strd   r9, r10, [lr], #8 \n"
        TS_FIRST(r11) TS_SECOND(r12)
        TS_NEXT_COLUMNS TS_FIRST_ENDS(r11) TS_SECOND_ENDS(r12)
        "strd   r11, r12, [lr], #8\n"
        TS_FIRST(r9) TS_SECOND(r10)
        "ldr    r0, [sp]          \n"
        "ldr    r0, [r0, #8]      \n"
        "cmp    lr, r0            \n"
        "bne    2b                \n"
        TS_END);
}

/* Stride 2: column pair j begins output j and ends output j - 1. */
__attribute__((naked)) static void ts_dsp_run_block2(__attribute__((unused)) ts_dsp_block *block) {
    __asm__ volatile(
        TS_BEGIN
        "ldr    r11, [sp]         \n"
        "ldr    r11, [r11, #8]    \n"
        TS_NEXT_COLUMNS TS_FIRST(r9)
        "2:                       \n"
        TS_NEXT_COLUMNS TS_FIRST_ENDS(r9)
        TS_FIRST(r10)
        TS_NEXT_COLUMNS TS_FIRST_ENDS(r10)
        "strd   r9, r10, [lr], #8 \n"
        TS_FIRST(r9)
        "cmp    lr, r11           \n"
        "bne    2b                \n"
        TS_END);
}

/* Four channels from `channel` on, output columns `column` to `column + columns`; columns is a multiple of 4, at most
 * TS_BLOCK, stride 1 or 2. */
static void ts_dsp_four_channels(const int8_t *const rows[3], int8_t *out, int32_t channel, int32_t column,
                                 int32_t columns, int32_t stride, const ts_conv *conv) {
    int32_t pairs[12 * TS_COLUMN_PAIRS], sums[TS_BLOCK];
    const int32_t channels = conv->outputs;
    const int32_t offset = column * stride * channels + channel;
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
        (void)ts_dsp_widen_columns(rows, offset, channels, columns / 2 + 1, pairs);
        ts_dsp_run_block1(&block);
    } else { /* nothing needs the last pair's second column, which may lie behind the row */
        int32_t *last = ts_dsp_widen_columns(rows, offset, channels, columns, pairs);
        (void)ts_dsp_widen_columns(rows, offset + 2 * columns * channels, 0, 1, last);
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
    ts_dsp_clamp(out, fast_columns * channels, conv);
    for (int32_t column = 0; column < width; ++column) {
        const int32_t done = column < fast_columns ? fast_channels : 0;
        for (int32_t channel = done; channel < channels; ++channel) {
            ts_dsp_one_output(rows, column * stride * channels + channel, out + column * channels + channel, channel,
                              conv);
        }
    }
}
