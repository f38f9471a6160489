/* The number that the transform and the front end calculate in: float where the part has an FPU, else int32_t, as
 * frontend_tables.h was made for. Fixed point loses no high bit because every sum of two halves its operands first, so
 * whatever is written with ts_half and ts_rotate is right in both. */
#ifndef TS_FFT_NUMBER_H
#define TS_FFT_NUMBER_H

#include <stdint.h>

#include "frontend_tables.h"

/* Armv6-M and Armv8-M baseline multiply to 32 bits only: a 64-bit product would be a call into the compiler's library. */
#if !defined(TS_FRONTEND_NARROW) && defined(__ARM_ARCH_ISA_THUMB)
#if __ARM_ARCH_ISA_THUMB == 1
#define TS_FRONTEND_NARROW 1
#endif
#endif
#ifndef TS_FRONTEND_NARROW
#define TS_FRONTEND_NARROW 0
#endif

/* About a * b / 2^32: exactly its floor where the product is to be had, else up to 2 less. */
static inline int32_t ts_multiply_high(int32_t a, int32_t b) {
#if TS_FRONTEND_NARROW
    const int32_t a_high = a >> 16, b_high = b >> 16; /* signed; the low halves are not, and their product is left out */
    const int32_t a_low = a & 0xffff, b_low = b & 0xffff;
    return a_high * b_high + ((a_high * b_low) >> 16) + ((a_low * b_high) >> 16);
#else
    return (int32_t)(((int64_t)a * b) >> 32);
#endif
}

#if TS_FRONTEND_FIXED
typedef int32_t ts_number;

static inline ts_number ts_half(ts_number x) {
    return x >> 1;
}
/* x * weight / 2, weight in units of 2^-31. */
static inline ts_number ts_half_product(ts_number x, ts_number weight) {
    return ts_multiply_high(x, weight);
}
#else
typedef float ts_number;

/* A float needs no room: nothing is halved, and the tables take back what that doubles. */
static inline ts_number ts_half(ts_number x) {
    return x;
}
static inline ts_number ts_half_product(ts_number x, ts_number weight) {
    return x * weight;
}
#endif

typedef struct {
    ts_number re, im;
} ts_complex;

static inline ts_complex ts_load(const ts_number *from) {
    const ts_complex z = {from[0], from[1]};
    return z;
}
static inline void ts_store(ts_number *to, ts_number re, ts_number im) {
    to[0] = re;
    to[1] = im;
}
/* z times cos - i sin; half of that in fixed point. */
static inline ts_complex ts_rotate(ts_complex z, ts_complex turn) {
    const ts_complex turned = {ts_half_product(z.re, turn.re) + ts_half_product(z.im, turn.im),
                               ts_half_product(z.im, turn.re) - ts_half_product(z.re, turn.im)};
    return turned;
}

#endif
