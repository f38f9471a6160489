/* What the dsp kernels share: one C function for each instruction of Arm's DSP extension that they use, and the end of
 * every sum. The constants of `ts_conv` are packed by kernels/dsp.py:
 *   requant [0]: 1 when ts_dsp_finish's short way is exact for every output; then (outputs rounded up to even, 3):
 *     short way: 2 * bias, multiplier, right shift - 1;   else: bias, multiplier, shift. */
#ifndef TS_KERNELS_DSP_H
#define TS_KERNELS_DSP_H

#if !defined(__ARM_FEATURE_DSP)
#error "the dsp kernels need Arm's DSP extension: -mcpu=cortex-m4, cortex-m7 or cortex-m33 (zig: cortex_m33+dsp)"
#endif

#include "ts_kernels.h"
#include "ts_requantize.h"

/* Two int16 are written (low half, high half); bytes of a word are 0 (lowest) to 3. */

static inline int32_t ts_dsp_even_bytes(int32_t word) { /* (byte 0, byte 2) */
    int32_t pair;
    __asm__("sxtb16 %0, %1" : "=r"(pair) : "r"(word));
    return pair;
}

static inline int32_t ts_dsp_odd_bytes(int32_t word) { /* (byte 1, byte 3) */
    int32_t pair;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(pair) : "r"(word));
    return pair;
}

static inline int32_t ts_dsp_dot(int32_t a, int32_t b, int32_t sum) { /* sum + a.low * b.low + a.high * b.high */
    __asm__("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
    return sum;
}

static inline int32_t ts_dsp_high_multiply(int32_t a, int32_t b, int32_t sum) { /* sum + (a * b + 2^31) >> 32 */
    __asm__("smmlar %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
    return sum;
}

static inline int32_t ts_dsp_saturate_half(int32_t x) { /* x >> 1 within -128..127 */
    __asm__("ssat %0, #8, %0, asr #1" : "+r"(x));
    return x;
}

static inline int32_t ts_dsp_load(const int8_t *bytes) { /* (4), at any address */
    int32_t word;
    __builtin_memcpy(&word, bytes, sizeof word);
    return word;
}

/* The same from the 1 to 3 bytes that are left of a run; the others are zero. */
static inline int32_t ts_dsp_load_rest(const int8_t *bytes, int32_t left) {
    uint32_t word = (uint8_t)bytes[0];
    if (left > 1) {
        word |= (uint32_t)(uint8_t)bytes[1] << 8;
    }
    if (left > 2) {
        word |= (uint32_t)(uint8_t)bytes[2] << 16;
    }
    return (int32_t)word;
}

/* One output from its sum. With a = 2 * (sum + bias) the product's high word, rounded, is TFLite's doubling high
 * multiplication. Its right shift by e rounds halves away from zero: add 2^(e-1), one less below zero, and shift. The
 * zero point joins 2^(e-1) as (2 * zero_point + 1) << (e-1); the last bit of the shift is done by the saturation.
 * (High word zero with a < 0 also gets one less, which changes nothing for e > 0.) */
static inline int8_t ts_dsp_finish(const ts_conv *conv, int32_t output, int32_t sum) {
    const int32_t *requant = conv->requant + 1 + 3 * output;
    if (conv->requant[0]) {
        const int32_t doubled = requant[0] + 2 * sum;
        const int32_t nudge = (2 * conv->zero_point + 1) * (1 << requant[2]) + (doubled >> 31);
        const int32_t scaled = ts_dsp_saturate_half(ts_dsp_high_multiply(doubled, requant[1], nudge) >> requant[2]);
        return (int8_t)ts_clamp(scaled, conv->low, conv->high);
    }
    const int32_t scaled = ts_requantize(sum + requant[0], requant[1], requant[2]);
    /* Not scaled + zero_point first: that may leave int32. */
    return (int8_t)(ts_clamp(scaled, conv->low - conv->zero_point, conv->high - conv->zero_point) + conv->zero_point);
}

/* The short way saturates to -128..127; a narrower clamp is done afterwards, over bytes (n). */
static inline void ts_dsp_clamp(int8_t *bytes, int32_t n, int32_t low, int32_t high) {
    if (low > -128 || high < 127) {
        for (int32_t i = 0; i < n; ++i) {
            bytes[i] = (int8_t)ts_clamp(bytes[i], low, high);
        }
    }
}

/* A function whose body is one piece of assembly; compilers must not reason about what it does to its arguments. */
#if defined(__clang__)
#define TS_ASSEMBLY __attribute__((naked, noinline))
#else
#define TS_ASSEMBLY __attribute__((naked, noinline, noipa))
#endif
#define TS_UNUSED __attribute__((unused))

/* Sums for four pixels and all outputs, see ts_kernels_dsp_tile.c. The assembly knows the fields' order. */
typedef struct {
    const int8_t *weights;       /* (pairs of outputs, groups, 8) */
    const int32_t *activations;  /* (groups, 2, 4 pixels) pairs of int16 */
    const int32_t *requant;      /* (outputs, 3), the short way's */
    const int32_t *requant_end;  /* behind the last row that is to be made */
    int32_t outputs;             /* from one pixel of `out` to the next */
    int8_t *out;                 /* (4 pixels, outputs) */
    int32_t half_zero;           /* 2 * zero_point + 1 */
    const int32_t *activations_end;
} ts_dsp_tile;

/* Runs through the tile's weights and requant up to `requant_end`, two outputs at a time; changes the tile's pointers.
 * There are at least four inputs, and a multiple of four. */
void ts_dsp_run_tile(ts_dsp_tile *tile);

/* One block of four channels of a depthwise convolution, see ts_kernels_dsp_depthwise.c. The assembly knows the fields'
 * order. */
typedef struct {
    const int32_t *pairs;   /* (column pairs, 3, 4 channels), from the channel on */
    int32_t *sums;          /* (columns) */
    int32_t *sums_end;
    const int8_t *weights;  /* (channels, 12), from the channel on */
    const int32_t *requant; /* (channels, 3), the short way's, from the channel on */
    int8_t *out;            /* (columns, channels), from the channel on */
    int32_t channels;
    int32_t half_zero;      /* 2 * zero_point + 1 */
    int32_t left;           /* channels */
} ts_dsp_block;

/* to (count, 3, 4): column pairs from row0, row1, row2 on; `next` bytes from a pair's first column to its second. Gives
 * where `to` ends. */
int32_t *ts_dsp_widen_columns(const int8_t *row0, const int8_t *row1, const int8_t *row2, int32_t next, int32_t *to,
                              int32_t count);

/* Sums and outputs of a block. Stride 1: column pair j begins outputs 2j and 2j + 1 and ends 2j - 2 and 2j - 1; the
 * last pair begins two that nothing ends. Stride 2: column pair j begins output j and ends output j - 1. Both change
 * the block's pointers. */
void ts_dsp_run_block1(ts_dsp_block *block);
void ts_dsp_run_block2(ts_dsp_block *block);

#endif
