/* 32-bit whole numbers that stand for larger and finer ones. */
#ifndef TS_FRONTEND_FIXED_H
#define TS_FRONTEND_FIXED_H

#include <stdint.h>

#include "ts_fft_number.h"

/* Zeros above the highest one bit; 32 for 0. */
static inline int32_t ts_leading_zeros(uint32_t x) {
    int32_t zeros = 0;
    if (x == 0) {
        return 32;
    }
    for (int32_t step = 16; step > 0; step >>= 1) {
        if (!(x >> (32 - step))) {
            zeros += step;
            x <<= step;
        }
    }
    return zeros;
}

/* x * 2^shift, for -31 <= shift and a result below 2^64: in halves, as 64-bit shifts would be calls on small parts. */
static inline uint64_t ts_shifted(uint32_t x, int32_t shift) {
    if (shift <= 0) {
        return x >> -shift;
    }
    if (shift >= 32) {
        return (uint64_t)(x << (shift - 32)) << 32;
    }
    return ((uint64_t)(x >> (32 - shift)) << 32) | (x << shift);
}

/* floor(x * weight / 2^16) for x < 2^32, weight < 2^16. */
static inline uint32_t ts_weighted(uint32_t x, uint32_t weight) {
#if TS_FRONTEND_NARROW
    return (x >> 16) * weight + (((x & 0xffffu) * weight) >> 16);
#else
    return (uint32_t)(((uint64_t)x * (weight << 16)) >> 32);
#endif
}

/* Base-2 logarithm of x > 0 in units of 2^-24, to 1.2e-5: straight lines between the 129 points of a table. */
static inline int32_t ts_log2(uint64_t x) {
    const uint32_t high = (uint32_t)(x >> 32), low = (uint32_t)x;
    const int32_t zeros = high ? ts_leading_zeros(high) : 32 + ts_leading_zeros(low);
    uint32_t top; /* the first 32 bits of x */
    if (zeros >= 32) {
        top = low << (zeros - 32);
    } else {
        top = zeros ? (high << zeros) | (low >> (32 - zeros)) : high;
    }
    const uint32_t fraction = top << 1; /* of the way to the next power of two */
    const uint32_t index = fraction >> 25, rest = (fraction >> 12) & 0x1fffu;
    const int32_t from = ts_frontend_log2[index], rise = ts_frontend_log2[index + 1] - from; /* below 2^18 */
    return ((63 - zeros) << 24) + from + ((rise * (int32_t)rest) >> 13);
}

#endif
