/* Helium: depthwise convolution and addition; 1x1 and dense convolutions are in files of their own.
 *
 * MVE multiplies vectors of int8 to int16, and has no multiplication of vectors that adds to 32 bits. Two products fit
 * 16 bits together (of weights that are not both -128), so that taps go in pairs: multiplied, added, then widened.
 *
 * Packed, in blocks of 16 channels: weights (blocks, 9, 16); requant: the header, then (blocks, 4, 3, 4), bias,
 * multiplier and shift of channels 4 * lane + r, where two rounds of widening put them. Zeros fill the last block. */
#include "ts_kernels_mve.h"

/* What ts_mve_blocks has in registers, in the order of LDM: r0-r12, lr. */
typedef struct {
    const int8_t *taps[9];  /* r0-r8: each tap's input of the first channel */
    const int8_t *weights;  /* r9 */
    const int32_t *requant; /* r10 */
    int8_t *out;            /* r11 */
    int32_t zero_point;     /* r12 */
    int32_t channels;       /* lr */
} ts_mve_pixel;

/* Products of the inputs at `x` and the next weights: of even channels to q2, of odd ones to q3. */
#define TS_MVE_TAP(x)             \
    "vldrb.8 q0, [" x "], #16\n" \
    "vldrb.8 q1, [r9], #16\n"    \
    "vmullb.s8 q2, q0, q1\n"     \
    "vmullt.s8 q3, q0, q1\n"

/* Adds another tap's. The input is loaded twice because the eight registers are all taken. */
#define TS_MVE_AND_TAP(x)          \
    "vldrb.8 q0, [" x "]\n"       \
    "vldrb.8 q1, [r9], #16\n"     \
    "vmullb.s8 q0, q0, q1\n"      \
    "vadd.i16 q2, q2, q0\n"       \
    "vldrb.8 q0, [" x "], #16\n"  \
    "vmullt.s8 q0, q0, q1\n"      \
    "vadd.i16 q3, q3, q0\n"

/* Adds q2 and q3 to the sums q4-q7 of channels 4 * lane + 0..3. */
#define TS_MVE_WIDEN          \
    "vmovlb.s16 q0, q2\n"    \
    "vadd.i32 q4, q4, q0\n"  \
    "vmovlt.s16 q2, q2\n"    \
    "vadd.i32 q6, q6, q2\n"  \
    "vmovlb.s16 q0, q3\n"    \
    "vadd.i32 q5, q5, q0\n"  \
    "vmovlt.s16 q3, q3\n"    \
    "vadd.i32 q7, q7, q3\n"

#define TS_MVE_SCALE(q, multiplier, shift, CORRECT)                 \
    "vldrw.32 q0, [r10, #" multiplier "]\n"                        \
    "vqrdmulh.s32 " q ", " q ", q0\n"                              \
    "vldrw.32 q1, [r10, #" shift "]\n" CORRECT(q) "vrshl.s32 " q \
    ", " q ", q1\n"

/* All channels of a pixel. The tail predication of the loop is by bytes and works on lanes of 32 bits, so `channels`
 * has to be a multiple of 4. Registers that some compilers reserve are saved rather than named as clobbered. */
#define TS_MVE_BLOCKS(pixel, CORRECT)                                                                   \
    do {                                                                                                \
        register const ts_mve_pixel *at __asm__("r0") = pixel;                                          \
        __asm__ volatile(                                                                               \
            "push {r6, r7, r9, r11}\n"                                                                  \
            "ldm r0, {r0-r12, lr}\n"                                                                    \
            "dlstp.8 lr, lr\n"                                                                          \
            "1:\n"                                                                                      \
            "vldrw.32 q4, [r10], #192\n"                                                                \
            "vldrw.32 q5, [r10, #-144]\n"                                                               \
            "vldrw.32 q6, [r10, #-96]\n"                                                                \
            "vldrw.32 q7, [r10, #-48]\n"                                                                \
            TS_MVE_TAP("r0") TS_MVE_AND_TAP("r1") TS_MVE_WIDEN                                          \
            TS_MVE_TAP("r2") TS_MVE_AND_TAP("r3") TS_MVE_WIDEN                                          \
            TS_MVE_TAP("r4") TS_MVE_AND_TAP("r5") TS_MVE_WIDEN                                          \
            TS_MVE_TAP("r6") TS_MVE_AND_TAP("r7") TS_MVE_WIDEN                                          \
            TS_MVE_TAP("r8") TS_MVE_WIDEN                                                               \
            TS_MVE_SCALE("q4", "-176", "-160", CORRECT) TS_MVE_SCALE("q5", "-128", "-112", CORRECT)     \
            TS_MVE_SCALE("q6", "-80", "-64", CORRECT) TS_MVE_SCALE("q7", "-32", "-16", CORRECT)         \
            "vqmovnb.s32 q4, q4\n"                                                                      \
            "vqmovnb.s32 q5, q5\n"                                                                      \
            "vqmovnt.s32 q4, q6\n"                                                                      \
            "vqmovnt.s32 q5, q7\n"                                                                      \
            "vqadd.s16 q4, q4, r12\n"                                                                   \
            "vqadd.s16 q5, q5, r12\n"                                                                   \
            "vqmovnb.s16 q4, q4\n"                                                                      \
            "vqmovnt.s16 q4, q5\n"                                                                      \
            "vstrb.8 q4, [r11], #16\n"                                                                  \
            "letp lr, 1b\n"                                                                             \
            "pop {r6, r7, r9, r11}\n"                                                                   \
            : "+r"(at)                                                                                  \
            :                                                                                           \
            : "r1", "r2", "r3", "r4", "r5", "r8", "r10", "r12", "lr", "q0", "q1", "q2", "q3", "q4",     \
              "q5", "q6", "q7", "memory");                                                              \
    } while (0)
#define TS_MVE_CORRECT(q) "vshr.s32 q0, " q ", #31\nvadd.i32 " q ", " q ", q0\n"
#define TS_MVE_NOTHING(q)

/* The same for any shifts and weights and any number of channels, the first `from` of them left out. */
static void ts_mve_blocks_any(const ts_mve_pixel *pixel, int32_t from, const ts_conv *conv) {
    for (; from < conv->outputs; from += 16) {
        const mve_pred16_t there = vctp8q((uint32_t)(conv->outputs - from));
        const int8_t *weights = pixel->weights + 9 * from;
        const int32_t *requant = pixel->requant + 3 * from;
        int32x4_t sum0 = vldrwq_s32(requant), sum1 = vldrwq_s32(requant + 12);
        int32x4_t sum2 = vldrwq_s32(requant + 24), sum3 = vldrwq_s32(requant + 36);
        for (int32_t tap = 0; tap < 9; ++tap) {
            const int8x16_t x = vldrbq_z_s8(pixel->taps[tap] + from, there);
            const int8x16_t w = vldrbq_s8(weights + 16 * tap);
            const int16x8_t even = vmullbq_int_s8(x, w), odd = vmulltq_int_s8(x, w);
            sum0 = vaddq_s32(sum0, vmovlbq_s16(even));
            sum1 = vaddq_s32(sum1, vmovlbq_s16(odd));
            sum2 = vaddq_s32(sum2, vmovltq_s16(even));
            sum3 = vaddq_s32(sum3, vmovltq_s16(odd));
        }
        sum0 = ts_mve_finish_any(sum0, vldrwq_s32(requant + 4), vldrwq_s32(requant + 8), conv);
        sum1 = ts_mve_finish_any(sum1, vldrwq_s32(requant + 16), vldrwq_s32(requant + 20), conv);
        sum2 = ts_mve_finish_any(sum2, vldrwq_s32(requant + 28), vldrwq_s32(requant + 32), conv);
        sum3 = ts_mve_finish_any(sum3, vldrwq_s32(requant + 40), vldrwq_s32(requant + 44), conv);
        const int16x8_t even = ts_mve_join(sum0, sum2), odd = ts_mve_join(sum1, sum3);
        vstrbq_p_s8(pixel->out + from, vmovntq_s16(vreinterpretq_s8_s16(even), odd), there);
    }
}

TS_DEPTHWISE3(mve) {
    const int32_t channels = conv->outputs;
    const ts_mve_way way = ts_mve_way_of(conv);
    const int32_t fast = way == TS_MVE_ANY ? 0 : (channels & 3) == 0 ? channels : channels & ~15;
    ts_mve_pixel pixel = {.weights = conv->weights, .requant = conv->requant + TS_MVE_HEADER, .out = out};
    for (int32_t tap = 0; tap < 9; ++tap) {
        pixel.taps[tap] = rows[tap / 3] + tap % 3 * channels;
    }
    pixel.zero_point = conv->zero_point;
    pixel.channels = fast;
    for (int32_t x = 0; x < width; ++x) {
        if (fast > 0 && way == TS_MVE_RELU) {
            TS_MVE_BLOCKS(&pixel, TS_MVE_NOTHING);
        } else if (fast > 0) {
            TS_MVE_BLOCKS(&pixel, TS_MVE_CORRECT);
        }
        if (fast < channels) {
            ts_mve_blocks_any(&pixel, fast, conv);
        }
        for (int32_t tap = 0; tap < 9; ++tap) {
            pixel.taps[tap] += stride * channels;
        }
        pixel.out += channels;
    }
    ts_mve_clamp(out, width * channels, conv);
}

/* Four integers times one multiplier and one shift that is not to the left. */
TS_MVE_INLINE int32x4_t ts_mve_rescale(int32x4_t x, int32_t multiplier, int32_t shift) {
    x = vqrdmulhq_n_s32(x, multiplier);
    return vrshlq_n_s32(vaddq_s32(x, vshrq_n_s32(x, 31)), shift);
}

/* The same for any shift. */
TS_MVE_INLINE int32x4_t ts_mve_rescale_any(int32x4_t x, int32_t multiplier, int32_t shift) {
    if (shift < 0) {
        return ts_mve_rescale(x, multiplier, shift);
    }
    return vqrdmulhq_n_s32(vshlq_r_s32(x, shift), multiplier);
}

TS_MVE_INLINE int32x4_t ts_mve_clamped(int32x4_t x, const ts_add *add) {
    x = vminq_s32(vqaddq_n_s32(x, add->zero_point), vdupq_n_s32(add->high));
    return vmaxq_s32(x, vdupq_n_s32(add->low));
}

/* What TFLite's ADD mostly is: `a` has the larger scale, hence the multiplier 1/2, which is a smaller left shift. */
static void ts_mve_add_half(const int8_t *a, const int8_t *b, int8_t *out, int32_t n, int32_t zero_point_a,
                            int32_t zero_point_b, int32_t multiplier_b, int32_t shift_b, const ts_add *add) {
    const ts_add own = *add;
    const int32_t unit = 1 << own.left_shift;
    const int32x4_t unit_a = vdupq_n_s32(unit / 2), unit_b = vdupq_n_s32(unit);
    for (; n > 0; n -= 4) {
        const mve_pred16_t there = vctp32q((uint32_t)n);
        const int32x4_t left = vmlasq_n_s32(vldrbq_z_s32(a, there), unit_a, -(zero_point_a * (unit / 2)));
        const int32x4_t right = vmlasq_n_s32(vldrbq_z_s32(b, there), unit_b, -(zero_point_b * unit));
        const int32x4_t sum = vaddq_s32(left, ts_mve_rescale(right, multiplier_b, shift_b));
        vstrbq_p_s32(out, ts_mve_clamped(ts_mve_rescale(sum, own.multiplier, own.shift), &own), there);
        a += 4;
        b += 4;
        out += 4;
    }
}

TS_ADD(mve) {
    const int32_t half = 1 << 30;
    if (add->left_shift > 0 && add->shift < 0) {
        if (add->multiplier_a == half && add->shift_a == 0 && add->shift_b < 0) {
            ts_mve_add_half(a, b, out, n, add->zero_point_a, add->zero_point_b, add->multiplier_b, add->shift_b, add);
            return;
        }
        if (add->multiplier_b == half && add->shift_b == 0 && add->shift_a < 0) {
            ts_mve_add_half(b, a, out, n, add->zero_point_b, add->zero_point_a, add->multiplier_a, add->shift_a, add);
            return;
        }
    }
    for (; n > 0; n -= 4) {
        const mve_pred16_t there = vctp32q((uint32_t)n);
        const int32x4_t zero_a = vdupq_n_s32(add->zero_point_a), zero_b = vdupq_n_s32(add->zero_point_b);
        const int32x4_t left = vshlq_r_s32(vsubq_s32(vldrbq_z_s32(a, there), zero_a), add->left_shift);
        const int32x4_t right = vshlq_r_s32(vsubq_s32(vldrbq_z_s32(b, there), zero_b), add->left_shift);
        const int32x4_t sum = vaddq_s32(ts_mve_rescale_any(left, add->multiplier_a, add->shift_a),
                                        ts_mve_rescale_any(right, add->multiplier_b, add->shift_b));
        const int32x4_t scaled = ts_mve_rescale_any(sum, add->multiplier, add->shift);
        vstrbq_p_s32(out, ts_mve_clamped(scaled, add), there);
        a += 4;
        b += 4;
        out += 4;
    }
}
