/* What the Helium kernels share: from vectors of int32 sums to int8, bit for bit as ts_requantize.h does it.
 *
 * There are three ways to finish a sum; the packed constants and the clamp choose one for a whole call. With all right
 * shifts at least 1, the doubling high multiplication is VQRDMULH, and the shift that rounds halves away from zero is
 * VRSHL (which rounds them up) of x - 1 where x is negative. A ReLU throws all negative results away, so that there the
 * correction is not needed. These two are in assembly where they are used. Any other shift is done the long way, below,
 * and so are the last channels where they do not fill a vector. */
#ifndef TS_KERNELS_MVE_H
#define TS_KERNELS_MVE_H

#if !defined(__ARM_FEATURE_MVE) || !(__ARM_FEATURE_MVE & 1)
#error "the mve kernels need Helium: compile with -mcpu=cortex-m55 (zig: -mcpu=cortex_m55+mve)"
#endif

#include <arm_mve.h>

#include "ts_kernels.h"

#define TS_MVE_INLINE static inline __attribute__((always_inline))

typedef enum { TS_MVE_RELU, TS_MVE_LINEAR, TS_MVE_ANY } ts_mve_way;

/* Words before the constants in `requant`: the first is 1 where only TS_MVE_ANY is right, the second belongs to dense
 * convolutions of few taps. */
#define TS_MVE_HEADER 4

TS_MVE_INLINE ts_mve_way ts_mve_way_of(const ts_conv *conv) {
    if (conv->requant[0] != 0) {
        return TS_MVE_ANY;
    }
    return conv->low >= conv->zero_point ? TS_MVE_RELU : TS_MVE_LINEAR;
}

/* Four sums to clamped results, still of 32 bits, for any shifts in -31..30. */
TS_MVE_INLINE int32x4_t ts_mve_finish_any(int32x4_t sum, int32x4_t multiplier, int32x4_t shift, const ts_conv *conv) {
    const int32x4_t none = vdupq_n_s32(0);
    const int32x4_t right = vminq_s32(shift, none); /* -31..0 */
    const int32x4_t high = vqrdmulhq_s32(vshlq_s32(sum, vmaxq_s32(shift, none)), multiplier);
    const int32x4_t correction = vshrq_n_s32(vandq_s32(high, right), 31); /* -1 where negative and shifted */
    const int32x4_t scaled = vqaddq_n_s32(vrshlq_s32(vaddq_s32(high, correction), right), conv->zero_point);
    return vmaxq_s32(vminq_s32(scaled, vdupq_n_s32(conv->high)), vdupq_n_s32(conv->low));
}

/* Eight results in order, as int16. */
TS_MVE_INLINE int16x8_t ts_mve_join(int32x4_t even, int32x4_t odd) {
    return vmovntq_s32(vreinterpretq_s16_s32(even), odd);
}

/* out (n) clamped to what `conv` says, after a way that saturates to int8 alone. */
void ts_mve_clamp(int8_t *out, int32_t n, const ts_conv *conv);

/* A 1x1 convolution with results that still have to be clamped unless `way` is TS_MVE_ANY. */
void ts_mve_dense(const int8_t *in, int8_t *out, int32_t pixels, const ts_conv *conv, ts_mve_way way);

#endif
