/* The host family: one layout of constants, several forms of the kernels (one for each instruction set), and the
 * choice among them when the program runs.
 *
 * Weights of a dense convolution: (blocks, groups, 16, 4), 16 outputs a block and 4 inputs a group, zeros where there
 * are none; inputs are counted over all taps. Weights of a 3x3 depthwise: (blocks, 3, 16, 4), 16 channels a block,
 * then the column of the tap, the channel, and its row (the fourth is zero).
 * Requant: (1 + 8 * blocks, 16) int32. The first line says in [0] whether the fast form holds for every output: all
 * shifts are at most -1 and no sum reaches 2^30. Then eight lines for each block, see the enumeration. */
#ifndef TS_KERNELS_HOST_H
#define TS_KERNELS_HOST_H

#include <stdint.h>
#include <string.h>

#include "ts_kernels.h"

enum {
    TS_HOST_LANES = 16,
    TS_HOST_BLOCK = 8 * TS_HOST_LANES, /* int32 of requant for each block */
    TS_HOST_CHUNK = 16                 /* pixels of a dense convolution that are gathered at a time */
};

/* Where each line of a block begins. An odd lane's 64-bit product is made in the place of the even lane before it. */
enum {
    TS_HOST_BIAS = 0,
    TS_HOST_BIAS_UNSIGNED = 16, /* the same, less 128 * sum(weights): for inputs that have 128 added */
    TS_HOST_MULTIPLIER = 32,
    TS_HOST_SHIFT = 48,           /* TFLite's: negative to the right */
    TS_HOST_RIGHT = 64,           /* -shift - 1 */
    TS_HOST_MULTIPLIER_ODD = 80,  /* the odd lanes' multipliers, moved down by one lane */
    TS_HOST_ROUNDING_EVEN = 96,   /* 8 int64: 2^30 + 2^(30 - shift) of the even lanes */
    TS_HOST_ROUNDING_ODD = 112    /* 8 int64, of the odd lanes */
};

/* One form. `dense` convolves pixels of depth inputs each, in (pixels, step), the first `depth` of `step` read, to out
 * (pixels, conv->outputs); `depthwise3` and `add` are as in ts_kernels.h. */
typedef struct {
    const char *name;
    int (*supported)(void);
    void (*dense)(const int8_t *in, int32_t step, int32_t depth, int8_t *out, int32_t pixels, const ts_conv *conv);
    void (*depthwise3)(const int8_t *const rows[3], int8_t *out, int32_t width, int32_t stride, const ts_conv *conv);
    void (*add)(const int8_t *a, const int8_t *b, int8_t *out, int32_t n, const ts_add *add);
} ts_host_form;

extern const ts_host_form ts_host_plain; /* C alone */
#if defined(__x86_64__)
extern const ts_host_form ts_host_avx2;
extern const ts_host_form ts_host_avx512; /* F, BW, VL and VNNI */
#elif defined(__aarch64__)
extern const ts_host_form ts_host_neon;
extern const ts_host_form ts_host_neon_dot;
#endif

/* Name of the form in use: the best that the processor has, until `ts_host_select` was called. */
const char *ts_host_kernels(void);

/* Use the form of this name in the whole process; returns 1, or 0 where the processor or this build lacks it. */
int ts_host_select(const char *name);

/* Name of one form of this build, best first, whether the processor has it or not; NULL behind the last. */
const char *ts_host_form_name(int32_t number);

/* Requantises one block with any shift: sums (lanes) with the bias added, out (lanes). */
void ts_host_finish(const int32_t *sums, const int32_t *requant, int32_t lanes, int8_t *out, const ts_conv *conv);

/* 1 where an addition raises its operands by 20 bits, as TFLite does for int8, and shifts nothing to the left: what the
 * vector forms take. Its sums stay below 2^30. */
int ts_host_add_is_plain(const ts_add *add);

static inline int32_t ts_host_word(const int8_t *bytes) {
    int32_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

/* The last `count` (1..3) inputs of a pixel, the missing ones zero. */
static inline int32_t ts_host_part(const int8_t *bytes, int32_t count) {
    int8_t padded[4] = {0, 0, 0, 0};
    for (int32_t i = 0; i < count; ++i) {
        padded[i] = bytes[i];
    }
    return ts_host_word(padded);
}

static inline int32_t ts_host_least(int32_t a, int32_t b) {
    return a < b ? a : b;
}

/* The statements once for each of up to 8 pixels, or up to 6 blocks, with their number as a constant: an array whose
 * every index is a constant is registers with any compiler, which loops that are unrolled late do not achieve. */
#define TS_HOST_ONCE(count, name, number, ...) \
    if (number < (count)) {                    \
        enum { name = number };                \
        __VA_ARGS__                            \
    }
#define TS_HOST_EACH_PIXEL(count, p, ...)     \
    TS_HOST_ONCE(count, p, 0, __VA_ARGS__)    \
    TS_HOST_ONCE(count, p, 1, __VA_ARGS__)    \
    TS_HOST_ONCE(count, p, 2, __VA_ARGS__)    \
    TS_HOST_ONCE(count, p, 3, __VA_ARGS__)    \
    TS_HOST_ONCE(count, p, 4, __VA_ARGS__)    \
    TS_HOST_ONCE(count, p, 5, __VA_ARGS__)    \
    TS_HOST_ONCE(count, p, 6, __VA_ARGS__)    \
    TS_HOST_ONCE(count, p, 7, __VA_ARGS__)
#define TS_HOST_EACH_BLOCK(count, b, ...)     \
    TS_HOST_BLOCK_ONCE(count, b, 0, __VA_ARGS__) \
    TS_HOST_BLOCK_ONCE(count, b, 1, __VA_ARGS__) \
    TS_HOST_BLOCK_ONCE(count, b, 2, __VA_ARGS__) \
    TS_HOST_BLOCK_ONCE(count, b, 3, __VA_ARGS__) \
    TS_HOST_BLOCK_ONCE(count, b, 4, __VA_ARGS__) \
    TS_HOST_BLOCK_ONCE(count, b, 5, __VA_ARGS__)
/* The same again: a macro is not replaced inside itself. */
#define TS_HOST_BLOCK_ONCE(count, name, number, ...) \
    if (number < (count)) {                          \
        enum { name = number };                      \
        __VA_ARGS__                                  \
    }

#endif
