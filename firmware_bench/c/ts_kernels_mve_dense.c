/* Helium: 1x1 and dense convolutions.
 *
 * Two pixels times three outputs are summed at once, so that five loaded vectors serve six VMLADAVA of 16 products each.
 * VMLADAVA sums into an even core register: the six are r0, r2, r4, r6, r8, r10, and one LDM or STM moves biases in and
 * sums out. The compiler would not keep them there, so these loops are assembly; everything else is intrinsics.
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

/* The same for any number of inputs; the loop's tail predication keeps the last vectors within them. */
TS_MVE_INLINE void ts_mve_sums(const int8_t *in0, const int8_t *in1, int32_t inputs, const int8_t *weights,
                               const int32_t *bias, int32_t *sums, int32_t triples) {
    for (; triples > 0; --triples) {
        const int8_t *a = in0;
        const int8_t *b = in1;
        register int32_t left __asm__("lr") = inputs;
        __asm__ volatile(
            "ldm %[bias]!, {r0, r4, r8}\n"
            "mov r2, r0\n"
            "mov r6, r4\n"
            "mov r10, r8\n"
            "dlstp.8 lr, lr\n"
            "1:\n"
            "vldrb.8 q0, [%[a]], #16\n"
            "vldrb.8 q1, [%[weights]], #48\n"
            "vmladava.s8 r0, q0, q1\n"
            "vldrb.8 q2, [%[weights], #-32]\n"
            "vmladava.s8 r4, q0, q2\n"
            "vldrb.8 q3, [%[weights], #-16]\n"
            "vmladava.s8 r8, q0, q3\n"
            "vldrb.8 q0, [%[b]], #16\n"
            "vmladava.s8 r2, q0, q1\n"
            "vmladava.s8 r6, q0, q2\n"
            "vmladava.s8 r10, q0, q3\n"
            "letp lr, 1b\n"
            "stm %[sums]!, {r0, r2, r4, r6, r8, r10}\n"
            : [weights] "+r"(weights), [bias] "+r"(bias), [sums] "+r"(sums), [a] "+r"(a), [b] "+r"(b), "+r"(left)
            :
            : "r0", "r2", "r4", "r6", "r8", "r10", "q0", "q1", "q2", "q3", "memory");
    }
}

/* sums (count rounded up to 8, 2) to out0 and out1 (count). */
TS_MVE_INLINE void ts_mve_finish(const int32_t *sums, const int32_t *scales, int8_t *out0, int8_t *out1, int32_t count,
                                 const ts_conv *conv, ts_mve_way way) {
    for (; count > 0; count -= 8) {
        const int32x4x2_t even = vld2q_s32(sums); /* four outputs of both pixels */
        const int32x4x2_t odd = vld2q_s32(sums + 8);
        const int32x4_t even_multiplier = vldrwq_s32(scales), even_shift = vldrwq_s32(scales + 4);
        const int32x4_t odd_multiplier = vldrwq_s32(scales + 8), odd_shift = vldrwq_s32(scales + 12);
        const int16x8_t first = ts_mve_narrow(ts_mve_scale(even.val[0], even_multiplier, even_shift, conv, way),
                                              ts_mve_scale(odd.val[0], odd_multiplier, odd_shift, conv, way), conv, way);
        const int16x8_t second = ts_mve_narrow(ts_mve_scale(even.val[1], even_multiplier, even_shift, conv, way),
                                               ts_mve_scale(odd.val[1], odd_multiplier, odd_shift, conv, way), conv, way);
        const int16x8_t bytes0 = vreinterpretq_s16_s8(vqmovnbq_s16(vreinterpretq_s8_s16(first), first));
        const int16x8_t bytes1 = vreinterpretq_s16_s8(vqmovnbq_s16(vreinterpretq_s8_s16(second), second));
        if (count >= 8) {
            vstrbq_s16(out0, bytes0);
            vstrbq_s16(out1, bytes1);
        } else {
            const mve_pred16_t rest = vctp16q((uint32_t)count);
            vstrbq_p_s16(out0, bytes0, rest);
            vstrbq_p_s16(out1, bytes1, rest);
        }
        sums += 16;
        scales += 16;
        out0 += 8;
        out1 += 8;
    }
}

void ts_mve_two_pixels(const int8_t *in0, const int8_t *in1, int8_t *out0, int8_t *out1, const ts_conv *conv,
                       ts_mve_way way) {
    int32_t sums[TS_MVE_CHUNK * 2]; /* (outputs, pixels) */
    const int32_t inputs = conv->inputs;
    const int32_t steps = (inputs + 15) >> 4;
    const int32_t padded = (conv->outputs + 23) / 24 * 24;
    const int8_t *weights = conv->weights;
    const int32_t *bias = conv->requant + TS_MVE_HEADER;
    const int32_t *scales = bias + padded;
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
            ts_mve_sums(in0, in1, inputs, weights, bias, sums, triples);
        }
        if (way == TS_MVE_RELU) {
            ts_mve_finish(sums, scales, out0, out1, count, conv, TS_MVE_RELU);
        } else if (way == TS_MVE_LINEAR) {
            ts_mve_finish(sums, scales, out0, out1, count, conv, TS_MVE_LINEAR);
        } else {
            ts_mve_finish(sums, scales, out0, out1, count, conv, TS_MVE_ANY);
        }
        weights += TS_MVE_CHUNK * steps * 16;
        bias += TS_MVE_CHUNK;
        scales += TS_MVE_CHUNK * 2;
        out0 += count;
        out1 += count;
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
    const int32_t inputs = conv->inputs;
    const int32_t outputs = conv->outputs;
    const ts_mve_way way = ts_mve_way_of(conv);
    for (int32_t pixel = 0; pixel < pixels; pixel += 2) {
        const int32_t other = pixel + 1 < pixels ? pixel + 1 : pixel; /* an odd one is its own neighbour */
        ts_mve_two_pixels(in + pixel * inputs, in + other * inputs, out + pixel * outputs, out + other * outputs, conv,
                          way);
    }
    ts_mve_clamp(out, pixels * outputs, conv);
}

/* The taps of one pixel, next to each other: to (height, taps). */
TS_MVE_INLINE void ts_mve_gather(const int8_t *const *rows, int32_t first, int32_t height, int32_t taps, int8_t *to) {
    for (int32_t y = 0; y < height; ++y) {
        const int8_t *from = rows[y] + first;
        for (int32_t n = taps; n > 0; n -= 16) {
            const mve_pred16_t there = vctp8q((uint32_t)n);
            vstrbq_p_s8(to, vldrbq_z_s8(from, there), there);
            from += 16;
            to += n < 16 ? n : 16;
        }
    }
}

/* scratch (2, height * kernel * inputs): the inputs of a 1x1 convolution. */
TS_CONV_ROW(mve) {
    ts_conv dense = *conv;
    const int32_t step = stride * conv->inputs;
    const int32_t taps = kernel * conv->inputs;
    const int32_t outputs = conv->outputs;
    const ts_mve_way way = ts_mve_way_of(conv);
    dense.inputs = height * taps;
    for (int32_t x = 0; x < width; x += 2) {
        const int32_t other = x + 1 < width ? x + 1 : x;
        ts_mve_gather(rows, x * step, height, taps, scratch);
        ts_mve_gather(rows, other * step, height, taps, scratch + dense.inputs);
        ts_mve_two_pixels(scratch, scratch + dense.inputs, out + x * outputs, out + other * outputs, &dense, way);
    }
    ts_mve_clamp(out, width * outputs, conv);
}
