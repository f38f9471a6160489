/* Helium: 1x1 convolutions, and the sums of those that ts_kernels_mve_row.c gathers the inputs for.
 *
 * Two pixels times three outputs are summed at once: five loaded vectors serve six VMLADAVA of 16 products each.
 * VMLADAVA sums into an even core register: the six are r0, r2, r4, r6, r8, r10, and one LDM or STM moves biases in and
 * sums out. The compiler would not keep them there, so these loops are assembly.
 *
 * Packed, outputs come in the order in which they are summed: within each 8 first the even then the odd, which is what
 * VQMOVNB and VQMOVNT put back in order. With `padded` = outputs rounded up to 24:
 *   weights (padded / 3, steps, 3, 16), steps = inputs / 16 rounded up, zeros where there is no output or input;
 *   requant: the header, bias (padded), then (padded / 4, 2, 4): four multipliers, four shifts. */
#include "ts_kernels_mve.h"

#define TS_MVE_CHUNK 48 /* outputs whose sums are on the stack together; a multiple of 3 and of 8 */

/* The sums of `triples` times three outputs and two pixels, to sums (3 * triples, 2), where inputs <= 16. */
TS_MVE_INLINE void ts_mve_sums_16(int8x16_t a, int8x16_t b, const int8_t *weights, const int32_t *bias, int32_t *sums,
                                  int32_t triples) {
    __asm__ volatile(
        "dls lr, %[triples]\n"
        "1:\n"
        "ldm %[bias]!, {r0, r4, r8}\n"
        "mov r2, r0\n"
        "vldrb.8 q5, [%[weights]], #48\n"
        "mov r6, r4\n"
        "vmladava.s8 r0, %q[a], q5\n"
        "vldrb.8 q6, [%[weights], #-32]\n"
        "vmladava.s8 r2, %q[b], q5\n"
        "mov r10, r8\n"
        "vmladava.s8 r4, %q[a], q6\n"
        "vldrb.8 q7, [%[weights], #-16]\n"
        "vmladava.s8 r6, %q[b], q6\n"
        "vmladava.s8 r8, %q[a], q7\n"
        "vmladava.s8 r10, %q[b], q7\n"
        "stm %[sums]!, {r0, r2, r4, r6, r8, r10}\n"
        "le lr, 1b\n"
        : [weights] "+r"(weights), [bias] "+r"(bias), [sums] "+r"(sums)
        : [triples] "r"(triples), [a] "w"(a), [b] "w"(b)
        : "r0", "r2", "r4", "r6", "r8", "r10", "lr", "q5", "q6", "q7", "memory");
}

/* The same where 16 < inputs <= 32: a pixel is two vectors, which stay in registers for all outputs. */
TS_MVE_INLINE void ts_mve_sums_32(int8x16_t a0, int8x16_t a1, int8x16_t b0, int8x16_t b1, const int8_t *weights,
                                  const int32_t *bias, int32_t *sums, int32_t triples) {
    __asm__ volatile(
        "dls lr, %[triples]\n"
        "1:\n"
        "ldm %[bias]!, {r0, r4, r8}\n"
        "vldrb.8 q5, [%[weights]], #96\n"
        "mov r2, r0\n"
        "vmladava.s8 r0, %q[a0], q5\n"
        "vldrb.8 q6, [%[weights], #-80]\n"
        "vmladava.s8 r2, %q[b0], q5\n"
        "vldrb.8 q7, [%[weights], #-64]\n"
        "mov r6, r4\n"
        "vmladava.s8 r4, %q[a0], q6\n"
        "mov r10, r8\n"
        "vmladava.s8 r6, %q[b0], q6\n"
        "vldrb.8 q5, [%[weights], #-48]\n"
        "vmladava.s8 r8, %q[a0], q7\n"
        "vldrb.8 q6, [%[weights], #-32]\n"
        "vmladava.s8 r10, %q[b0], q7\n"
        "vldrb.8 q7, [%[weights], #-16]\n"
        "vmladava.s8 r0, %q[a1], q5\n"
        "vmladava.s8 r2, %q[b1], q5\n"
        "vmladava.s8 r4, %q[a1], q6\n"
        "vmladava.s8 r6, %q[b1], q6\n"
        "vmladava.s8 r8, %q[a1], q7\n"
        "vmladava.s8 r10, %q[b1], q7\n"
        "stm %[sums]!, {r0, r2, r4, r6, r8, r10}\n"
        "le lr, 1b\n"
        : [weights] "+r"(weights), [bias] "+r"(bias), [sums] "+r"(sums)
        : [triples] "r"(triples), [a0] "w"(a0), [a1] "w"(a1), [b0] "w"(b0), [b1] "w"(b1)
        : "r0", "r2", "r4", "r6", "r8", "r10", "lr", "q5", "q6", "q7", "memory");
}

/* What ts_mve_sums has in registers, in the order of its LDM. */
typedef struct {
    const int8_t *in0, *in1; /* r1, r3: two pixels (inputs) */
    const int8_t *weights;   /* r5 */
    const int32_t *bias;     /* r7 */
    int32_t *sums;           /* r9: (3 * triples, 2) */
    int32_t inputs;          /* r11 */
    int32_t triples;         /* r12 */
} ts_mve_summing;

/* The same for any number of inputs; the loop's tail predication keeps the last vectors within them. Registers that
 * some compilers reserve are saved rather than named as clobbered. */
TS_MVE_INLINE void ts_mve_sums(const ts_mve_summing *summing) {
    register const ts_mve_summing *at __asm__("r0") = summing;
    __asm__ volatile(
        "push {r6, r7, r9, r11}\n"
        "ldm r0, {r1, r3, r5, r7, r9, r11, r12}\n"
        "push {r1, r3}\n"
        "1:\n"
        "ldrd r1, r3, [sp]\n"
        "ldm r7!, {r0, r4, r8}\n"
        "mov r2, r0\n"
        "mov r6, r4\n"
        "mov r10, r8\n"
        "dlstp.8 lr, r11\n"
        "2:\n"
        "vldrb.8 q0, [r1], #16\n"
        "vldrb.8 q1, [r5], #48\n"
        "vmladava.s8 r0, q0, q1\n"
        "vldrb.8 q2, [r5, #-32]\n"
        "vmladava.s8 r4, q0, q2\n"
        "vldrb.8 q3, [r5, #-16]\n"
        "vmladava.s8 r8, q0, q3\n"
        "vldrb.8 q0, [r3], #16\n"
        "vmladava.s8 r2, q0, q1\n"
        "vmladava.s8 r6, q0, q2\n"
        "vmladava.s8 r10, q0, q3\n"
        "letp lr, 2b\n"
        "stm r9!, {r0, r2, r4, r6, r8, r10}\n"
        "subs r12, #1\n"
        "bne 1b\n"
        "add sp, #8\n"
        "pop {r6, r7, r9, r11}\n"
        : "+r"(at)
        :
        : "r1", "r2", "r3", "r4", "r5", "r8", "r10", "r12", "lr", "q0", "q1", "q2", "q3", "cc", "memory");
}

/* sums (eights, 8, 2) to out0, out1 (8 * eights); CORRECT(q) takes 1 from the negative ones of q, or does nothing. */
#define TS_MVE_FINISH(CORRECT)                                                                                \
    __asm__ volatile(                                                                                         \
        "dls lr, %[eights]\n"                                                                                 \
        "1:\n"                                                                                                \
        "vld20.32 {q0, q1}, [%[sums]]\n"   /* q0: four even outputs of one pixel, q1: of the other */         \
        "vldrw.32 q4, [%[scales]], #64\n"  /* their multipliers */                                            \
        "vld21.32 {q0, q1}, [%[sums]]!\n"                                                                     \
        "vqrdmulh.s32 q0, q0, q4\n"                                                                           \
        "vld20.32 {q2, q3}, [%[sums]]\n"   /* the odd ones */                                                 \
        "vqrdmulh.s32 q1, q1, q4\n"                                                                           \
        "vld21.32 {q2, q3}, [%[sums]]!\n" CORRECT("q0") CORRECT("q1")                                         \
        "vldrw.32 q4, [%[scales], #-32]\n"                                                                    \
        "vqrdmulh.s32 q2, q2, q4\n"                                                                           \
        "vldrw.32 q5, [%[scales], #-48]\n" /* shifts */                                                       \
        "vqrdmulh.s32 q3, q3, q4\n"                                                                           \
        "vldrw.32 q6, [%[scales], #-16]\n" CORRECT("q2") CORRECT("q3")                                        \
        "vrshl.s32 q0, q0, q5\n"                                                                              \
        "vrshl.s32 q1, q1, q5\n"                                                                              \
        "vrshl.s32 q2, q2, q6\n"                                                                              \
        "vrshl.s32 q3, q3, q6\n"                                                                              \
        "vqmovnb.s32 q0, q0\n" /* saturating to 16 bits on the way to 8 changes nothing */                    \
        "vqmovnb.s32 q1, q1\n"                                                                                \
        "vqmovnt.s32 q0, q2\n"                                                                                \
        "vqmovnt.s32 q1, q3\n"                                                                                \
        "vqadd.s16 q0, q0, %[zero_point]\n"                                                                   \
        "vqadd.s16 q1, q1, %[zero_point]\n"                                                                   \
        "vqmovnb.s16 q0, q0\n"                                                                                \
        "vqmovnb.s16 q1, q1\n"                                                                                \
        "vstrb.16 q0, [%[out0]], #8\n"                                                                        \
        "vstrb.16 q1, [%[out1]], #8\n"                                                                        \
        "le lr, 1b\n"                                                                                         \
        : [sums] "+r"(sums), [scales] "+r"(scales), [out0] "+l"(out0), [out1] "+l"(out1) /* low registers only */ \
        : [eights] "r"(eights), [zero_point] "r"(conv->zero_point)                                            \
        : "lr", "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "memory")
#define TS_MVE_CORRECT(q) "vshr.s32 q7, " q ", #31\nvadd.i32 " q ", " q ", q7\n"
#define TS_MVE_NOTHING(q)

/* sums (count rounded up to 8, 2) to out0 and out1 (count). */
TS_MVE_INLINE void ts_mve_finish(const int32_t *sums, const int32_t *scales, int8_t *out0, int8_t *out1, int32_t count,
                                 const ts_conv *conv, ts_mve_way way) {
    const int32_t eights = count >> 3;
    if (way != TS_MVE_ANY && eights > 0) {
        if (way == TS_MVE_RELU) {
            TS_MVE_FINISH(TS_MVE_NOTHING);
        } else {
            TS_MVE_FINISH(TS_MVE_CORRECT);
        }
        count &= 7;
    }
    for (; count > 0; count -= 8) {
        const mve_pred16_t there = vctp16q((uint32_t)count);
        const int32x4x2_t even = vld2q_s32(sums), odd = vld2q_s32(sums + 8);
        const int32x4_t even_multiplier = vldrwq_s32(scales), even_shift = vldrwq_s32(scales + 4);
        const int32x4_t odd_multiplier = vldrwq_s32(scales + 8), odd_shift = vldrwq_s32(scales + 12);
        const int16x8_t first = ts_mve_join(ts_mve_finish_any(even.val[0], even_multiplier, even_shift, conv),
                                            ts_mve_finish_any(odd.val[0], odd_multiplier, odd_shift, conv));
        const int16x8_t second = ts_mve_join(ts_mve_finish_any(even.val[1], even_multiplier, even_shift, conv),
                                             ts_mve_finish_any(odd.val[1], odd_multiplier, odd_shift, conv));
        vstrbq_p_s16(out0, first, there);
        vstrbq_p_s16(out1, second, there);
        sums += 16;
        scales += 16;
        out0 += 8;
        out1 += 8;
    }
}

/* in0 and in1 (inputs), out0 and out1 (outputs); they may be the same pixel. */
TS_MVE_INLINE void ts_mve_two_pixels(const int8_t *in0, const int8_t *in1, int8_t *out0, int8_t *out1,
                                     const ts_conv *conv, ts_mve_way way) {
    int32_t sums[TS_MVE_CHUNK * 2]; /* (outputs, pixels) */
    const int32_t inputs = conv->inputs;
    const int32_t steps = (inputs + 15) >> 4;
    const int8_t *weights = conv->weights;
    const int32_t *bias = conv->requant + TS_MVE_HEADER;
    const int32_t *scales = bias + (conv->outputs + 23) / 24 * 24;
    for (int32_t left = conv->outputs; left > 0; left -= TS_MVE_CHUNK) {
        const int32_t count = left < TS_MVE_CHUNK ? left : TS_MVE_CHUNK;
        const int32_t triples = ((count + 7) / 8 * 8 + 2) / 3; /* all of the last eight */
        if (steps == 1) {
            const mve_pred16_t there = vctp8q((uint32_t)inputs);
            ts_mve_sums_16(vldrbq_z_s8(in0, there), vldrbq_z_s8(in1, there), weights, bias, sums, triples);
        } else if (steps == 2) {
            const mve_pred16_t there = vctp8q((uint32_t)inputs - 16);
            ts_mve_sums_32(vldrbq_s8(in0), vldrbq_z_s8(in0 + 16, there), vldrbq_s8(in1), vldrbq_z_s8(in1 + 16, there),
                           weights, bias, sums, triples);
        } else {
            const ts_mve_summing summing = {in0, in1, weights, bias, sums, inputs, triples};
            ts_mve_sums(&summing);
        }
        ts_mve_finish(sums, scales, out0, out1, count, conv, way);
        weights += TS_MVE_CHUNK * steps * 16;
        bias += TS_MVE_CHUNK;
        scales += TS_MVE_CHUNK * 2;
        out0 += count;
        out1 += count;
    }
}

void ts_mve_dense(const int8_t *in, int8_t *out, int32_t pixels, const ts_conv *conv, ts_mve_way way) {
    const int32_t inputs = conv->inputs;
    const int32_t outputs = conv->outputs;
    for (int32_t left = pixels; left > 0; left -= 2) {
        const int32_t other = left > 1; /* an odd pixel is its own neighbour */
        ts_mve_two_pixels(in, in + other * inputs, out, out + other * outputs, conv, way);
        in += 2 * inputs;
        out += 2 * outputs;
    }
}

void ts_mve_clamp(int8_t *out, int32_t n, const ts_conv *conv) {
    if (conv->low <= INT8_MIN && conv->high >= INT8_MAX) {
        return;
    }
    const int8x16_t low = vdupq_n_s8((int8_t)conv->low);
    const int8x16_t high = vdupq_n_s8((int8_t)conv->high);
    for (; n > 0; n -= 16, out += 16) {
        const mve_pred16_t there = vctp8q((uint32_t)n);
        vstrbq_p_s8(out, vmaxq_s8(vminq_s8(vldrbq_z_s8(out, there), high), low), there);
    }
}

TS_POINTWISE(mve) {
    ts_mve_dense(in, out, pixels, conv, ts_mve_way_of(conv));
    ts_mve_clamp(out, pixels * conv->outputs, conv);
}
