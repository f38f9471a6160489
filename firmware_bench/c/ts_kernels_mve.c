/* Helium: depthwise convolution and addition; 1x1 and dense convolutions are in ts_kernels_mve_dense.c. */
#include "ts_kernels_mve.h"

/* The products of one tap, or of two added in 16 bits, widened and added to the sums of channels 4 * lane + r. */
#define TS_MVE_WIDEN(even, odd)                     \
    sum[0] = vaddq_s32(sum[0], vmovlbq_s16(even)); \
    sum[1] = vaddq_s32(sum[1], vmovlbq_s16(odd));  \
    sum[2] = vaddq_s32(sum[2], vmovltq_s16(even)); \
    sum[3] = vaddq_s32(sum[3], vmovltq_s16(odd))

/* 16 channels of one pixel, or the `count` of them that there are where `partial`: taps[9] point to the inputs,
 * weights (9, 16), requant (4, 3, 4): four biases, multipliers, shifts of channels 4 * lane + r. Two products of
 * int8 fit 16 bits unless both weights are -128, which is packed for TS_MVE_ANY. */
TS_MVE_INLINE void ts_mve_block(const int8_t *const taps[9], int8_t *out, const int8_t *weights, const int32_t *requant,
                                int32_t count, int partial, const ts_conv *conv, ts_mve_way way) {
    const mve_pred16_t there = vctp8q((uint32_t)count);
    int32x4_t sum[4];
    for (int32_t r = 0; r < 4; ++r) {
        sum[r] = vldrwq_s32(requant + 12 * r);
    }
#pragma GCC unroll 9
    for (int32_t tap = 0; tap < 9; ++tap) {
        int8x16_t x = partial ? vldrbq_z_s8(taps[tap], there) : vldrbq_s8(taps[tap]);
        int8x16_t w = vldrbq_s8(weights + 16 * tap);
        int16x8_t even = vmullbq_int_s8(x, w);
        int16x8_t odd = vmulltq_int_s8(x, w);
        if (way != TS_MVE_ANY && tap < 8) {
            ++tap;
            x = partial ? vldrbq_z_s8(taps[tap], there) : vldrbq_s8(taps[tap]);
            w = vldrbq_s8(weights + 16 * tap);
            even = vaddq_s16(even, vmullbq_int_s8(x, w));
            odd = vaddq_s16(odd, vmulltq_int_s8(x, w));
        }
        TS_MVE_WIDEN(even, odd);
    }
#pragma GCC unroll 4
    for (int32_t r = 0; r < 4; ++r) {
        sum[r] = ts_mve_scale(sum[r], vldrwq_s32(requant + 12 * r + 4), vldrwq_s32(requant + 12 * r + 8), conv, way);
    }
    const int16x8_t even = ts_mve_narrow(sum[0], sum[2], conv, way);
    const int16x8_t odd = ts_mve_narrow(sum[1], sum[3], conv, way);
    const int8x16_t bytes = vqmovntq_s16(vqmovnbq_s16(vreinterpretq_s8_s16(even), even), odd);
    if (partial) {
        vstrbq_p_s8(out, bytes, there);
    } else {
        vstrbq_s8(out, bytes);
    }
}

TS_MVE_INLINE void ts_mve_depthwise3(const int8_t *const rows[3], int8_t *out, int32_t width, int32_t stride,
                                     const ts_conv *conv, ts_mve_way way) {
    const int32_t channels = conv->outputs;
    for (int32_t x = 0; x < width; ++x) {
        const int8_t *weights = conv->weights;
        const int32_t *requant = conv->requant + TS_MVE_HEADER;
        const int8_t *taps[9];
        for (int32_t tap = 0; tap < 9; ++tap) {
            taps[tap] = rows[tap / 3] + (x * stride + tap % 3) * channels;
        }
        int32_t left = channels;
        for (; left >= 16 && way != TS_MVE_ANY; left -= 16) {
            ts_mve_block(taps, out, weights, requant, 16, 0, conv, way);
            for (int32_t tap = 0; tap < 9; ++tap) {
                taps[tap] += 16;
            }
            weights += 9 * 16;
            requant += 3 * 16;
            out += 16;
        }
        for (; left > 0; left -= 16) {
            ts_mve_block(taps, out, weights, requant, left, 1, conv, way);
            for (int32_t tap = 0; tap < 9; ++tap) {
                taps[tap] += 16;
            }
            weights += 9 * 16;
            requant += 3 * 16;
            out += left < 16 ? left : 16;
        }
    }
}

TS_DEPTHWISE3(mve) {
    const ts_mve_way way = ts_mve_way_of(conv);
    if (way == TS_MVE_RELU) {
        ts_mve_depthwise3(rows, out, width, stride, conv, TS_MVE_RELU);
    } else if (way == TS_MVE_LINEAR) {
        ts_mve_depthwise3(rows, out, width, stride, conv, TS_MVE_LINEAR);
    } else {
        ts_mve_depthwise3(rows, out, width, stride, conv, TS_MVE_ANY);
    }
    ts_mve_clamp(out, width * conv->outputs, conv);
}

/* Four integers times one multiplier and shift; `up` where the shift may be to the left. */
TS_MVE_INLINE int32x4_t ts_mve_rescale(int32x4_t x, int32_t multiplier, int32_t shift, int up) {
    if (up && shift > 0) {
        x = vshlq_r_s32(x, shift);
        shift = 0;
    }
    x = vqrdmulhq_n_s32(x, multiplier);
    return shift < 0 ? vrshlq_n_s32(vaddq_s32(x, vshrq_n_s32(x, 31)), shift) : x;
}

TS_MVE_INLINE void ts_mve_add(const int8_t *a, const int8_t *b, int8_t *out, int32_t n, const ts_add *add, int up) {
    const int32x4_t unit = vdupq_n_s32(1 << add->left_shift);
    const int32_t zero_a = -(add->zero_point_a * (1 << add->left_shift));
    const int32_t zero_b = -(add->zero_point_b * (1 << add->left_shift));
    const int32x4_t low = vdupq_n_s32(add->low), high = vdupq_n_s32(add->high);
    for (; n > 0; n -= 4) {
        const mve_pred16_t there = vctp32q((uint32_t)n);
        const int32x4_t left = vmlasq_n_s32(vldrbq_z_s32(a, there), unit, zero_a);
        const int32x4_t right = vmlasq_n_s32(vldrbq_z_s32(b, there), unit, zero_b);
        const int32x4_t sum = vaddq_s32(ts_mve_rescale(left, add->multiplier_a, add->shift_a, up),
                                        ts_mve_rescale(right, add->multiplier_b, add->shift_b, up));
        const int32x4_t scaled = ts_mve_rescale(sum, add->multiplier, add->shift, up);
        const int32x4_t clamped = vmaxq_s32(vminq_s32(vaddq_n_s32(scaled, add->zero_point), high), low);
        vstrbq_p_s32(out, clamped, there);
        a += 4;
        b += 4;
        out += 4;
    }
}

TS_ADD(mve) {
    if (add->shift_a > 0 || add->shift_b > 0 || add->shift > 0) {
        ts_mve_add(a, b, out, n, add, 1);
    } else {
        ts_mve_add(a, b, out, n, add, 0);
    }
}
