/* Helium: dense convolutions.
 *
 * Any of them is gathered into the inputs of a 1x1 convolution, four pixels at a time, and packed as one. With one to
 * sixteen taps (height * kernel * inputs) the moving of so few bytes would cost most, hence another way: the parts of
 * the rows that several pixels read are copied next to each other, so that one load with sixteen offsets gathers all
 * taps of a pixel. The weights of four outputs stay in registers for all pixels, and their sums are finished where they
 * are.
 *
 * The packed header says which: its second word is 0, or the bytes copied of each row at most. Then, with outputs a
 * multiple of 4 and all shifts to the right:
 *   weights (outputs, 16), zeros behind the taps;
 *   requant: the header, offsets (16) of one byte each, bias (outputs), then (outputs / 4, 2, 4): four multipliers,
 *   four shifts. */
#include "ts_kernels_mve.h"

#define TS_MVE_PIXELS 4 /* whose inputs are gathered together */

/* from (n) to to (n). */
TS_MVE_INLINE void ts_mve_copy(const int8_t *from, int8_t *to, int32_t n) {
    for (; n >= 16; n -= 16, from += 16, to += 16) {
        vstrbq_s8(to, vldrbq_s8(from));
    }
    if (n > 0) {
        const mve_pred16_t there = vctp8q((uint32_t)n);
        vstrbq_p_s8(to, vldrbq_z_s8(from, there), there);
    }
}

/* What ts_mve_four_outputs has in registers, in the order of its LDM. */
typedef struct {
    const int8_t *from;     /* r1: a pixel's first tap */
    int32_t from_step;      /* r3: to the next pixel's */
    int8_t *out;            /* r5: four outputs of a pixel */
    int32_t out_step;       /* r7 */
    const int32_t *bias;    /* r8: (4) */
    int32_t zero_point;     /* r9 */
    const int8_t *weights;  /* r10: (4, 16) */
    const int32_t *scales;  /* r11: (2, 4) */
    const int32_t *offsets; /* r12: 16 of one byte, from `from` to the taps */
    int32_t pixels;         /* lr */
} ts_mve_four;

/* Four outputs of `pixels` pixels. Registers that some compilers reserve are saved rather than named as clobbered. */
#define TS_MVE_FOUR_OUTPUTS(four, CORRECT)                                                                \
    do {                                                                                                  \
        register const ts_mve_four *at __asm__("r0") = four;                                              \
        __asm__ volatile(                                                                                 \
            "push {r6, r7, r9, r11}\n"                                                                    \
            "ldm r0, {r1, r3, r5, r7, r8, r9, r10, r11, r12, lr}\n"                                       \
            "vldrw.32 q1, [r11]\n"                                                                        \
            "vldrw.32 q2, [r11, #16]\n"                                                                   \
            "vldrb.8 q3, [r12]\n"                                                                         \
            "vldrb.8 q4, [r10]\n"                                                                         \
            "vldrb.8 q5, [r10, #16]\n"                                                                    \
            "vldrb.8 q6, [r10, #32]\n"                                                                    \
            "vldrb.8 q7, [r10, #48]\n"                                                                    \
            "dls lr, lr\n"                                                                                \
            "1:\n"                                                                                        \
            "vldrb.u8 q0, [r1, q3]\n"                                                                     \
            "ldm r8, {r0, r2, r4, r6}\n"                                                                  \
            "vmladava.s8 r0, q0, q4\n"                                                                    \
            "add r1, r3\n"                                                                                \
            "vmladava.s8 r4, q0, q6\n"                                                                    \
            "vmladava.s8 r2, q0, q5\n"                                                                    \
            "vmladava.s8 r6, q0, q7\n"                                                                    \
            "vmov q0[2], q0[0], r0, r4\n"                                                                 \
            "vmov q0[3], q0[1], r2, r6\n"                                                                 \
            "vqrdmulh.s32 q0, q0, q1\n" CORRECT                                                           \
            "vrshl.s32 q0, q0, q2\n"                                                                      \
            "vqmovnb.s32 q0, q0\n" /* saturating to 16 bits on the way to 8 changes nothing */            \
            "vqadd.s16 q0, q0, r9\n"                                                                      \
            "vqmovnb.s16 q0, q0\n"                                                                        \
            "vstrb.32 q0, [r5]\n"                                                                         \
            "add r5, r7\n"                                                                                \
            "le lr, 1b\n"                                                                                 \
            "pop {r6, r7, r9, r11}\n"                                                                     \
            : "+r"(at)                                                                                    \
            :                                                                                             \
            : "r1", "r2", "r3", "r4", "r5", "r8", "r10", "r12", "lr", "q0", "q1", "q2", "q3", "q4", "q5", \
              "q6", "q7", "memory");                                                                      \
    } while (0)
/* Takes 1 from the negative ones of q0; q7 has the last weights, which are loaded again. */
#define TS_MVE_CORRECT "vshr.s32 q7, q0, #31\nvadd.i32 q0, q0, q7\nvldrb.8 q7, [r10, #48]\n"
#define TS_MVE_NOTHING

/* As ts_conv_row_mve, of few taps; scratch (height, segment). Not inlined, for the other way to need less stack. */
static __attribute__((noinline)) void ts_mve_few_taps(const int8_t *const *rows, int32_t height, int32_t taps,
                                                      int8_t *out, int32_t width, int32_t step,
                                                      const ts_conv *conv, int8_t *scratch) {
    const int32_t segment = conv->requant[1];
    const int32_t most = (segment - taps) / step + 1; /* pixels */
    const ts_mve_way way = ts_mve_way_of(conv);
    for (int32_t x = 0; x < width; x += most) {
        const int32_t pixels = width - x < most ? width - x : most;
        for (int32_t y = 0; y < height; ++y) {
            ts_mve_copy(rows[y] + x * step, scratch + y * segment, (pixels - 1) * step + taps);
        }
        ts_mve_four four = {scratch, step, out + x * conv->outputs, conv->outputs, conv->requant + TS_MVE_HEADER + 4,
                            conv->zero_point, conv->weights, conv->requant + TS_MVE_HEADER + 4 + conv->outputs,
                            conv->requant + TS_MVE_HEADER, pixels};
        for (int32_t left = conv->outputs; left > 0; left -= 4) {
            if (way == TS_MVE_RELU) {
                TS_MVE_FOUR_OUTPUTS(&four, TS_MVE_NOTHING);
            } else {
                TS_MVE_FOUR_OUTPUTS(&four, TS_MVE_CORRECT);
            }
            four.out += 4;
            four.bias += 4;
            four.weights += 4 * 16;
            four.scales += 8;
        }
    }
}

/* scratch: the inputs of a 1x1 convolution, (TS_MVE_PIXELS, height, kernel, inputs), or parts of the rows. */
TS_CONV_ROW(mve) {
    ts_conv dense = *conv;
    const int32_t step = stride * conv->inputs;
    const int32_t taps = kernel * conv->inputs; /* of one row, next to each other */
    const ts_mve_way way = ts_mve_way_of(conv);
    if (conv->requant[1] > 0) {
        ts_mve_few_taps(rows, height, taps, out, width, step, conv, scratch);
        ts_mve_clamp(out, width * conv->outputs, conv);
        return;
    }
    dense.inputs = height * taps;
    for (int32_t x = 0; x < width; x += TS_MVE_PIXELS) {
        const int32_t pixels = width - x < TS_MVE_PIXELS ? width - x : TS_MVE_PIXELS;
        for (int32_t y = 0; y < height; ++y) {
            const int8_t *from = rows[y] + x * step;
            int8_t *to = scratch + y * taps;
            for (int32_t pixel = 0; pixel < pixels; ++pixel) {
                ts_mve_copy(from, to, taps);
                from += step;
                to += dense.inputs;
            }
        }
        ts_mve_dense(scratch, out, pixels, &dense, way);
        out += pixels * conv->outputs;
    }
    ts_mve_clamp(out - width * conv->outputs, width * conv->outputs, conv);
}
