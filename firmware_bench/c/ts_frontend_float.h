/* Logarithm and rounding in single precision, without a library. */
#ifndef TS_FRONTEND_FLOAT_H
#define TS_FRONTEND_FLOAT_H

#include <stdint.h>

/* Natural logarithm of a positive normal number, to 2e-7 of its value.
 * x = 2^k m with m between the root of one half and that of two; with s = (m - 1) / (m + 1), which is below 0.172,
 * ln m = 2 artanh s = 2 (s + s^3/3 + s^5/5 + ...), and the first term left out is 2e-9 of the first. */
static inline float ts_log(float x) {
    union {
        float value;
        uint32_t bits;
    } m = {x};
    const uint32_t from_root_half = m.bits - 0x3f3504f3u; /* steps of the exponent are then at the roots */
    const int32_t exponent = (int32_t)from_root_half >> 23;
    m.bits = (from_root_half & 0x007fffffu) + 0x3f3504f3u;
    const float s = (m.value - 1.0f) / (m.value + 1.0f), z = s * s;
    const float series = z * (0.333333333f + z * (0.2f + z * (0.142857143f + z * 0.111111111f)));
    const float k = (float)exponent;
    /* ln 2 in two parts, so that the larger times k is exact. */
    return k * 0.693145752f + (2.0f * s + (2.0f * s * series + k * 1.42860677e-6f));
}

/* The nearest whole number, ties to even, of |x| < 2^31. */
static inline int32_t ts_round(float x) {
    const int32_t whole = (int32_t)x; /* towards 0 */
    const float rest = x - (float)whole;
    if (rest > 0.5f || (rest == 0.5f && (whole & 1))) {
        return whole + 1;
    }
    if (rest < -0.5f || (rest == -0.5f && (whole & 1))) {
        return whole - 1;
    }
    return whole;
}

#endif
