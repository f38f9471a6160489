/* What the word kernels share: from a sum to an int8, without a 64-bit multiplication where there is none. */
#ifndef TS_KERNELS_WORD_H
#define TS_KERNELS_WORD_H

#include "ts_kernels.h"
#include "ts_requantize.h"

/* 1: no instruction gives the high word of a product (Armv6-M), so 16-bit halves do. Defined from outside in tests. */
#ifndef TS_WORD_HALVES
#if defined(__ARM_ARCH_6M__)
#define TS_WORD_HALVES 1
#else
#define TS_WORD_HALVES 0
#endif
#endif

/* One output's way from sum to int8, as firmware_bench/kernels/word.py packs it and ts_word_output unpacks it. */
typedef struct {
    uint32_t bias; /* to be added to the sum, wrapping */
    uint32_t multiplier; /* short: twice TFLite's */
    int32_t shift;       /* short: to the right; else TFLite's */
    int32_t offset;      /* short: one half and the zero point, both shifted left by `shift` */
    int32_t low, high;   /* clamp; before the zero point is added where not short */
    int32_t zero_point;
    int32_t is_short;
#if TS_WORD_HALVES
    int32_t drop, top, upper_offset; /* short: shift - 6, the multiplier's upper half, one half and the zero point */
#endif
} ts_word_output;

static inline ts_word_output ts_word_output_of(const ts_conv *conv, int32_t output) {
    const int32_t *row = conv->requant + 1 + 3 * output;
    ts_word_output result;
    result.is_short = conv->requant[0];
    result.bias = (uint32_t)row[0];
    result.multiplier = (uint32_t)row[1];
    result.shift = row[2];
    result.offset = 0;
#if TS_WORD_HALVES
    result.drop = result.top = result.upper_offset = 0;
#endif
    result.low = conv->low;
    result.high = conv->high;
    result.zero_point = conv->zero_point;
    if (result.is_short) {
#if TS_WORD_HALVES
        /* Below a shift of 6 every sum counts as near: a product of 0 and no offset is. */
        if (result.shift >= 6) {
            result.drop = result.shift - 6;
            result.top = (int32_t)((result.multiplier + 0x8000u) >> 16);
            result.upper_offset = (1 << 20) + conv->zero_point * (1 << 21);
        }
#endif
        result.multiplier *= 2;
        result.offset = (1 << (result.shift - 1)) + conv->zero_point * (1 << result.shift);
    }
    return result;
}

/* round(x * twice / 2^32), halves towards +infinity: the doubling high multiplication where nothing saturates. */
static inline int32_t ts_word_high(int32_t x, uint32_t twice) {
#if TS_WORD_HALVES
    const uint32_t low = (uint32_t)x & 0xffffu, low_twice = twice & 0xffffu, high_twice = twice >> 16;
    const int32_t high = x >> 16;
    const uint32_t b = low * high_twice;
    const int32_t c = high * (int32_t)low_twice;
    const uint32_t middle = ((low * low_twice) >> 16) + (b & 0xffffu) + ((uint32_t)c & 0xffffu) + 0x8000u;
    return high * (int32_t)high_twice + (int32_t)(b >> 16) + (c >> 16) + (int32_t)(middle >> 16);
#else
    const int64_t product = (int64_t)x * (int64_t)twice;
    /* The low word's highest bit rounds. */
    return (int32_t)(product >> 32) + (int32_t)((uint32_t)product >> 31);
#endif
}

static inline int8_t ts_word_clamp(int32_t x, int32_t low, int32_t high) {
    if (x < low) {
        x = low;
    }
    if (x > high) {
        x = high;
    }
    return (int8_t)x;
}

#if TS_WORD_HALVES
/* Where the high word is dear: from the upper bits alone, unless the sum is so near a tie that the lower ones count.
 *
 * y = sum * m / 2^(31 + shift) is wanted, rounded. In units of 2^-21, y is (sum / 2^(shift - 6)) * (m / 2^16). Cutting
 * the first factor off takes less than 2^15, rounding the second at most 2^14, the first of TFLite's two roundings at
 * most 2^14: within -2^15 and +2^16 of an exact bound the long way decides. */
#define TS_WORD_BELOW 0xa000u
#define TS_WORD_ABOVE 0x12000u

static inline int ts_word_is_near(uint32_t y) {
    return (y + TS_WORD_ABOVE) << 11 < (TS_WORD_BELOW + TS_WORD_ABOVE) << 11;
}
#endif

/* The int8 of a sum, the bias in it, the long and the short way. */
static inline int8_t ts_word_finish_any(int32_t sum, const ts_word_output *output) {
    const int32_t scaled = ts_requantize(sum, (int32_t)output->multiplier, output->shift);
    const int32_t zero_point = output->zero_point;
    return (int8_t)(ts_clamp(scaled, output->low - zero_point, output->high - zero_point) + zero_point);
}

static inline int8_t ts_word_finish_short(int32_t sum, const ts_word_output *output) {
#if TS_WORD_HALVES
    const int32_t upper = sum >> output->drop;
    if (upper == (int16_t)upper) {
        const uint32_t y = (uint32_t)(upper * output->top + output->upper_offset);
        if (!ts_word_is_near(y)) {
            return ts_word_clamp((int32_t)y >> 21, output->low, output->high);
        }
    }
#endif
    const int32_t high = ts_word_high(sum, output->multiplier);
    return ts_word_clamp((high + (high >> 31) + output->offset) >> output->shift, output->low, output->high);
}

static inline int8_t ts_word_finish(int32_t sum, const ts_word_output *output) {
    return output->is_short ? ts_word_finish_short(sum, output) : ts_word_finish_any(sum, output);
}

#endif
