/* From int32 sums to int8, bit for bit as TFLite's reference kernels: a saturating doubling high multiplication that
 * rounds, then a right shift that rounds half away from zero ("double rounding"). */
#ifndef TS_REQUANTIZE_H
#define TS_REQUANTIZE_H

#include <stdint.h>

/* round(a * b / 2^31), halves towards +infinity: the nudge of a negative product is one less than half, and the division
 * truncates. Saturates for a = b = -2^31. */
static inline int32_t ts_doubling_high_multiply(int32_t a, int32_t b) {
    if (a == INT32_MIN && b == INT32_MIN) {
        return INT32_MAX;
    }
    const int64_t product = (int64_t)a * b;
    const int64_t nudge = product >= 0 ? (1 << 30) : 1 - (1 << 30);
    return (int32_t)((product + nudge) / ((int64_t)1 << 31));
}

/* round(x / 2^exponent), halves away from zero; 0 <= exponent <= 31. */
static inline int32_t ts_rounding_shift(int32_t x, int32_t exponent) {
    const int32_t mask = (int32_t)(((int64_t)1 << exponent) - 1);
    const int32_t threshold = (mask >> 1) + (x < 0 ? 1 : 0);
    return (x >> exponent) + ((x & mask) > threshold ? 1 : 0);
}

/* x * multiplier / 2^31 * 2^shift; multiplier is 0 or in [2^30, 2^31), -31 <= shift <= 30. Left shifts wrap. */
static inline int32_t ts_requantize(int32_t x, int32_t multiplier, int32_t shift) {
    const int32_t left = shift > 0 ? shift : 0;
    const int32_t right = shift > 0 ? 0 : -shift;
    return ts_rounding_shift(ts_doubling_high_multiply((int32_t)((uint32_t)x << left), multiplier), right);
}

static inline int32_t ts_clamp(int32_t x, int32_t low, int32_t high) {
    return x < low ? low : (x > high ? high : x);
}

#endif
