/* What the Helium kernels share: from vectors of int32 sums to int8, bit for bit as ts_requantize.h does it.
 *
 * Each kernel is compiled for three ways of finishing a sum, chosen once a call by the packed constants and the clamp:
 * with all right shifts at least 1, the doubling high multiplication is VQRDMULH and the shift that rounds halves away
 * from zero is VRSHL (which rounds them up) of x - 1 where x is negative. A ReLU throws all negative results away, so
 * that there the correction is not needed. Any other shift is done the long way. */
#ifndef TS_KERNELS_MVE_H
#define TS_KERNELS_MVE_H

#if !defined(__ARM_FEATURE_MVE) || !(__ARM_FEATURE_MVE & 1)
#error "the mve kernels need Helium: compile with -mcpu=cortex-m55 (zig: -mcpu=cortex_m55+mve)"
#endif

#include <arm_mve.h>

#include "ts_kernels.h"

#define TS_MVE_INLINE static inline __attribute__((always_inline))

typedef enum { TS_MVE_RELU, TS_MVE_LINEAR, TS_MVE_ANY } ts_mve_way;

/* Words before the constants in `requant`; the first is 1 where only TS_MVE_ANY is right. */
#define TS_MVE_HEADER 4

TS_MVE_INLINE ts_mve_way ts_mve_way_of(const ts_conv *conv) {
    if (conv->requant[0] != 0 || conv->low > conv->high) {
        return TS_MVE_ANY;
    }
    return conv->low >= conv->zero_point ? TS_MVE_RELU : TS_MVE_LINEAR;
}

/* round(x / 2^-right), halves away from zero, where right is -31..0, of |x| < 2^31. */
TS_MVE_INLINE int32x4_t ts_mve_rounding_shift(int32x4_t x, int32x4_t right) {
    const int32x4_t correction = vshrq_n_s32(vandq_s32(x, right), 31);
    return vrshlq_s32(vaddq_s32(x, correction), right);
}

/* Four sums times their multipliers and shifts; TS_MVE_ANY adds the zero point and clamps as well, in int32. */
TS_MVE_INLINE int32x4_t ts_mve_scale(int32x4_t sum, int32x4_t multiplier, int32x4_t shift, const ts_conv *conv,
                                     ts_mve_way way) {
    if (way == TS_MVE_ANY) {
        const int32x4_t none = vdupq_n_s32(0);
        sum = vqrdmulhq_s32(vshlq_s32(sum, vmaxq_s32(shift, none)), multiplier);
        sum = vaddq_n_s32(ts_mve_rounding_shift(sum, vminq_s32(shift, none)), conv->zero_point);
        return vmaxq_s32(vminq_s32(sum, vdupq_n_s32(conv->high)), vdupq_n_s32(conv->low));
    }
    sum = vqrdmulhq_s32(sum, multiplier);
    if (way == TS_MVE_LINEAR) {
        sum = vaddq_s32(sum, vshrq_n_s32(sum, 31));
    }
    return vrshlq_s32(sum, shift);
}

/* Eight results as int16, the even ones from `even`, and with the zero point. Saturating to 16 bits on the way to 8
 * changes nothing, since the zero point has 8. */
TS_MVE_INLINE int16x8_t ts_mve_narrow(int32x4_t even, int32x4_t odd, const ts_conv *conv, ts_mve_way way) {
    const int16x8_t both = vqmovntq_s32(vqmovnbq_s32(vuninitializedq_s16(), even), odd);
    return way == TS_MVE_ANY ? both : vqaddq_n_s16(both, (int16_t)conv->zero_point);
}

/* out (n) clamped to what `conv` says, for the ways that saturate to int8 alone. */
void ts_mve_clamp(int8_t *out, int32_t n, const ts_conv *conv);

/* Sums and results of two pixels at once: in0 and in1 (inputs), out0 and out1 (outputs); they may be the same pixel. */
void ts_mve_two_pixels(const int8_t *in0, const int8_t *in1, int8_t *out0, int8_t *out1, const ts_conv *conv,
                       ts_mve_way way);

#endif
