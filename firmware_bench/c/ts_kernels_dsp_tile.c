/* The inner loop of 1x1 and dense convolutions: sums for 2 outputs x 4 pixels at a time stay in eight registers, so
 * that a word of weights (two inputs of two outputs) is loaded and widened once for four pixels: 13 instructions per 16
 * multiply-accumulates. That takes all 14 registers, and a value kept on the stack would cost what the blocking gains:
 * hence assembly. */
#include <stddef.h>

#include "ts_kernels_dsp.h"

/* The assembly below addresses the fields by number. */
#define TS_AT(field, place) (offsetof(ts_dsp_tile, field) == (place))
typedef char ts_dsp_tile_order[
    TS_AT(weights, 0) && TS_AT(activations, 4) && TS_AT(requant, 8) && TS_AT(requant_end, 12) &&
    TS_AT(outputs, 16) && TS_AT(out, 20) && TS_AT(half_zero, 24) && TS_AT(activations_end, 28) ? 1 : -1];

/* Registers: r4-r7 the first output's sums of pixels 0-3, r8-r11 the second's; r0, r1 their weights; r2, r3
 * activations; r12 next weights, lr next activations. */
#define TS_WEIGHTS                \
    "ldr    r1, [r12], #4     \n" \
    "sxtb16 r0, r1            \n" \
    "sxtb16 r1, r1, ror #8    \n" \
    "ldmia  lr!, {r2, r3}     \n"

/* Two inputs more; all its instructions have four bytes, 52 in all. */
#define TS_PAIR                   \
    TS_WEIGHTS                    \
    "smlad  r4, r0, r2, r4    \n" \
    "smlad  r5, r0, r3, r5    \n" \
    "smlad  r8, r1, r2, r8    \n" \
    "smlad  r9, r1, r3, r9    \n" \
    "ldmia  lr!, {r2, r3}     \n" \
    "smlad  r6, r0, r2, r6    \n" \
    "smlad  r7, r0, r3, r7    \n" \
    "smlad  r10, r1, r2, r10  \n" \
    "smlad  r11, r1, r3, r11  \n"

/* The first two inputs, which need no sums before them. */
#define TS_FIRST_PAIR             \
    TS_WEIGHTS                    \
    "smuad  r4, r0, r2        \n" \
    "smuad  r5, r0, r3        \n" \
    "smuad  r8, r1, r2        \n" \
    "smuad  r9, r1, r3        \n" \
    "ldmia  lr!, {r2, r3}     \n" \
    "smuad  r6, r0, r2        \n" \
    "smuad  r7, r0, r3        \n" \
    "smuad  r10, r1, r2       \n" \
    "smuad  r11, r1, r3       \n"

/* ts_dsp_finish on a register: r0 scratch, r1 multiplier, r2 nudge, r3 right shift - 1. */
#define TS_FINISH(sum)                                \
    "add    r0, r2, " #sum ", asr #31             \n" \
    "smmlar " #sum ", " #sum ", r1, r0            \n" \
    "asr    " #sum ", " #sum ", r3                \n" \
    "ssat   " #sum ", #8, " #sum ", asr #1        \n"

TS_ASSEMBLY void ts_dsp_run_tile(TS_UNUSED ts_dsp_tile *tile) {
    __asm__ volatile(
        "ldr    r1, [r0, #28]            \n"
        "push   {r0, r1, r2, r4-r11, lr} \n" /* [sp] tile, [sp, #4] the activations' end, [sp, #8] way into the loop */
        "ldr    r2, [r0, #4]             \n"
        "sub    r1, r1, r2               \n" /* 16 bytes for two inputs, of which the first are done before the loop: */
        "rsb    r1, r1, #16              \n" /* skip (1 - pairs) mod 8 of its eight */
        "ubfx   r1, r1, #4, #3           \n"
        "movs   r2, #52                  \n"
        "mul    r1, r1, r2               \n"
        "adr    r2, 2f                   \n"
        "add    r1, r1, r2               \n"
        "orr    r1, r1, #1               \n" /* Thumb */
        "str    r1, [sp, #8]             \n"
        "ldrd   r12, lr, [r0]            \n"
        "1:                              \n" /* the next two outputs */
        TS_FIRST_PAIR
        "ldr    r2, [sp, #8]             \n"
        "bx     r2                       \n"
        ".p2align 2                      \n"
        "2:                              \n"
        TS_PAIR TS_PAIR TS_PAIR TS_PAIR TS_PAIR TS_PAIR TS_PAIR TS_PAIR
        "ldr    r2, [sp, #4]             \n"
        "cmp    lr, r2                   \n"
        "bne    2b                       \n"

        "ldr    lr, [sp]                 \n"
        "str    r12, [lr]                \n"
        "ldr    r12, [lr, #8]            \n"
        "ldmia  r12!, {r0, r1, r3}       \n"
        "str    r12, [lr, #8]            \n"
        "ldr    r2, [lr, #24]            \n"
        "ldrd   r12, lr, [lr, #16]       \n" /* r12 from pixel to pixel, lr out */
        "lsl    r2, r2, r3               \n"
        "add    r4, r0, r4, lsl #1       \n"
        "add    r5, r0, r5, lsl #1       \n"
        "add    r6, r0, r6, lsl #1       \n"
        "add    r7, r0, r7, lsl #1       \n"
        TS_FINISH(r4)
        "strb   r4, [lr]                 \n"
        TS_FINISH(r5)
        "strb   r5, [lr, r12]            \n"
        TS_FINISH(r6)
        "strb   r6, [lr, r12, lsl #1]    \n"
        TS_FINISH(r7)
        "add    r4, r12, r12, lsl #1     \n"
        "strb   r7, [lr, r4]             \n"

        "ldr    r5, [sp]                 \n"
        "ldr    r6, [r5, #8]             \n"
        "ldmia  r6!, {r0, r1, r3}        \n"
        "ldr    r2, [r5, #24]            \n"
        "str    r6, [r5, #8]             \n"
        "lsl    r2, r2, r3               \n"
        "add    lr, lr, #1               \n"
        "add    r8, r0, r8, lsl #1       \n"
        "add    r9, r0, r9, lsl #1       \n"
        "add    r10, r0, r10, lsl #1     \n"
        "add    r11, r0, r11, lsl #1     \n"
        TS_FINISH(r8)
        "strb   r8, [lr]                 \n"
        TS_FINISH(r9)
        "strb   r9, [lr, r12]            \n"
        TS_FINISH(r10)
        "strb   r10, [lr, r12, lsl #1]   \n"
        TS_FINISH(r11)
        "strb   r11, [lr, r4]            \n"
        "add    lr, lr, #1               \n"
        "str    lr, [r5, #20]            \n"
        "ldr    r7, [r5, #12]            \n"
        "ldrd   r12, lr, [r5]            \n"
        "cmp    r6, r7                   \n"
        "bne    1b                       \n"
        "pop    {r0, r1, r2, r4-r11, pc} \n");
}
