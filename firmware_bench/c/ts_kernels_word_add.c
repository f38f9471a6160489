/* The sum of two tensors for 32-bit processors without SIMD. */
#include "ts_kernels_word.h"

/* One operand's share of the sum. With 20 bits to the left, d * 2^20 * m / 2^31 is d * m / 2^11; d has 9 bits and m 31,
 * so that halves of m give whole words. */
static inline int32_t ts_word_share(int32_t d, uint32_t high, uint32_t low, int32_t shift, int32_t half) {
    const int32_t scaled = d * (int32_t)high * 32 + ((d * (int32_t)low + 1024) >> 11);
    return (scaled + (scaled >> 31) + half) >> shift;
}

/* True where the multiplier is exactly one half: the operand of the larger scale. */
static int ts_word_is_half(int32_t multiplier, int32_t shift) {
    return multiplier == 1 << 30 && shift == 0;
}

/* Any multipliers and shifts. */
static void ts_word_add_any(const int8_t *a, const int8_t *b, int8_t *out, int32_t n, const ts_add *add) {
    for (int32_t i = 0; i < n; ++i) {
        const int32_t left = (a[i] - add->zero_point_a) * (1 << add->left_shift);
        const int32_t right = (b[i] - add->zero_point_b) * (1 << add->left_shift);
        const int32_t sum = ts_requantize(left, add->multiplier_a, add->shift_a) +
                            ts_requantize(right, add->multiplier_b, add->shift_b);
        const int32_t scaled = ts_requantize(sum, add->multiplier, add->shift);
        out[i] = (int8_t)(ts_clamp(scaled, add->low - add->zero_point, add->high - add->zero_point) + add->zero_point);
    }
}

TS_ADD(word) {
    const int half_a = ts_word_is_half(add->multiplier_a, add->shift_a);
    const int half_b = ts_word_is_half(add->multiplier_b, add->shift_b);
    const int32_t right = -add->shift;
    if (add->left_shift != 20 || !(half_a || half_b) || right < 1 || right > 22 || add->multiplier < 0) {
        ts_word_add_any(a, b, out, n, add);
        return;
    }
    /* The sum has 28 bits and a sign: twice the multiplier never saturates. */
    const uint32_t twice = (uint32_t)add->multiplier * 2u;
    const int32_t offset = (1 << (right - 1)) + add->zero_point * (1 << right);
    const int32_t low = add->low, high = add->high;
    if (half_a && half_b) {
        const int32_t zero_points = add->zero_point_a + add->zero_point_b;
        for (int32_t i = 0; i < n; ++i) {
            const int32_t scaled = ts_word_high((a[i] + b[i] - zero_points) * (1 << 19), twice);
            out[i] = ts_word_clamp((scaled + (scaled >> 31) + offset) >> right, low, high);
        }
        return;
    }
    const int8_t *larger = half_a ? a : b, *other = half_a ? b : a;
    const int32_t zero_larger = half_a ? add->zero_point_a : add->zero_point_b;
    const int32_t zero_other = half_a ? add->zero_point_b : add->zero_point_a;
    const int32_t multiplier = half_a ? add->multiplier_b : add->multiplier_a;
    const int32_t shift = half_a ? -add->shift_b : -add->shift_a;
    if (shift < 1 || multiplier < 0) {
        ts_word_add_any(a, b, out, n, add);
        return;
    }
    const uint32_t top = (uint32_t)multiplier >> 16, rest = (uint32_t)multiplier & 0xffffu;
    const int32_t half = (int32_t)(1u << (shift - 1));
    for (int32_t i = 0; i < n; ++i) {
        const int32_t share = ts_word_share(other[i] - zero_other, top, rest, shift, half);
        const int32_t scaled = ts_word_high((larger[i] - zero_larger) * (1 << 19) + share, twice);
        out[i] = ts_word_clamp((scaled + (scaled >> 31) + offset) >> right, low, high);
    }
}
