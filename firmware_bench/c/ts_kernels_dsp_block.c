/* The inner loops of the 3x3 depthwise convolution: widening of column pairs, and runs along a block of output columns.
 * A run has five pairs of weights, three words of inputs and up to four sums in registers, beside two pointers: all 14
 * that there are, hence assembly. */
#include <stddef.h>

#include "ts_kernels_dsp.h"

/* The assembly below addresses the fields by number. */
#define TS_AT(field, place) (offsetof(ts_dsp_block, field) == (place))
typedef char ts_dsp_block_order[
    TS_AT(pairs, 0) && TS_AT(sums, 4) && TS_AT(sums_end, 8) && TS_AT(weights, 12) && TS_AT(requant, 16) &&
    TS_AT(out, 20) && TS_AT(channels, 24) && TS_AT(half_zero, 28) && TS_AT(left, 32) ? 1 : -1];

/* Bytes 0 to 3 of r4 beside those of r5: four pairs at r12, which moves on. */
#define TS_PAIR_UP                    \
    "pkhbt  r6, r4, r5, lsl #16   \n" \
    "pkhtb  r8, r5, r4, asr #16   \n" \
    "sxtb16 r7, r6, ror #8        \n" \
    "sxtb16 r6, r6                \n" \
    "sxtb16 r9, r8, ror #8        \n" \
    "sxtb16 r8, r8                \n" \
    "stmia  r12!, {r6-r9}         \n"

TS_ASSEMBLY int32_t *ts_dsp_widen_columns(TS_UNUSED const int8_t *row0, TS_UNUSED const int8_t *row1,
                                          TS_UNUSED const int8_t *row2, TS_UNUSED int32_t next, TS_UNUSED int32_t *to,
                                          TS_UNUSED int32_t count) {
    __asm__ volatile(
        "push   {r4-r9, lr}           \n"
        "ldrd   r12, lr, [sp, #28]    \n"
        "1:                           \n"
        "ldr    r4, [r0]              \n"
        "ldr    r5, [r1]              \n"
        TS_PAIR_UP
        "ldr    r4, [r0, r3]          \n"
        "ldr    r5, [r1, r3]          \n"
        TS_PAIR_UP
        "ldr    r4, [r2]              \n"
        "ldr    r5, [r2, r3]          \n"
        TS_PAIR_UP
        "add    r0, r0, r3, lsl #1    \n"
        "add    r1, r1, r3, lsl #1    \n"
        "add    r2, r2, r3, lsl #1    \n"
        "subs   lr, lr, #1            \n"
        "bne    1b                    \n"
        "mov    r0, r12               \n"
        "pop    {r4-r9, pc}           \n");
}

/* Registers while summing: r4-r8 the five pairs of weights in ts_kernels_dsp_depthwise.c's order, r0-r2 the column
 * pair's three words, r9-r12 sums, r3 next column pair, lr next sum. */
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

TS_ASSEMBLY void ts_dsp_run_block1(TS_UNUSED ts_dsp_block *block) {
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

TS_ASSEMBLY void ts_dsp_run_block2(TS_UNUSED ts_dsp_block *block) {
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
