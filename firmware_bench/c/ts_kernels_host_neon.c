/* The host family with NEON, and with its dot products where the processor has them (Raspberry Pi 5, not 4).
 *
 * SQRDMULH and SRSHL are TFLite's two roundings, but for a negative tie of the second: any shift is exact. */
#include "ts_kernels_host.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#if defined(__linux__)
#include <sys/auxv.h>
#endif

#define TS_NEON_INLINE static inline __attribute__((always_inline))
#define TS_NEON_DOT_INLINE TS_NEON_DOT static inline __attribute__((always_inline))
#if defined(__clang__)
#define TS_NEON_DOT __attribute__((target("dotprod")))
#else
#define TS_NEON_DOT __attribute__((target("arch=armv8.2-a+dotprod")))
#endif

static int ts_neon_supported(void) {
    return 1;
}

static int ts_neon_has_dot(void) {
#if defined(__linux__)
    return (getauxval(AT_HWCAP) >> 20 & 1) != 0; /* HWCAP_ASIMDDP */
#elif defined(__APPLE__)
    return 1;
#else
    return 0;
#endif
}

/* x * multiplier / 2^31 * 2^shift of four lanes. */
TS_NEON_INLINE int32x4_t ts_neon_requantize(int32x4_t x, int32x4_t multiplier, int32x4_t shift) {
    const int32x4_t zero = vdupq_n_s32(0), right = vminq_s32(shift, zero);
    const int32x4_t h = vqrdmulhq_s32(vshlq_s32(x, vmaxq_s32(shift, zero)), multiplier);
    const int32x4_t below = vshrq_n_s32(vandq_s32(h, right), 31); /* -1 where both are negative */
    return vrshlq_s32(vqaddq_s32(h, below), right);
}

/* One block's 16 sums, without bias, to bytes. */
TS_NEON_INLINE int8x16_t ts_neon_finish(const int32x4_t *sums, const int32_t *requant, const ts_conv *conv) {
    const int32x4_t zero_point = vdupq_n_s32(conv->zero_point);
    int32x4_t scaled[4];
    TS_HOST_EACH_BLOCK(4, quad, {
        const int32_t *lanes = requant + 4 * quad;
        const int32x4_t sum = vaddq_s32(sums[quad], vld1q_s32(lanes + TS_HOST_BIAS));
        const int32x4_t multiplier = vld1q_s32(lanes + TS_HOST_MULTIPLIER), shift = vld1q_s32(lanes + TS_HOST_SHIFT);
        scaled[quad] = vqaddq_s32(ts_neon_requantize(sum, multiplier, shift), zero_point);
    })
    const int16x8_t low = vqmovn_high_s32(vqmovn_s32(scaled[0]), scaled[1]);
    const int16x8_t high = vqmovn_high_s32(vqmovn_s32(scaled[2]), scaled[3]);
    const int8x16_t bytes = vqmovn_high_s16(vqmovn_s16(low), high);
    return vminq_s8(vmaxq_s8(bytes, vdupq_n_s8((int8_t)conv->low)), vdupq_n_s8((int8_t)conv->high));
}

TS_NEON_INLINE void ts_neon_store(int8x16_t bytes, int8_t *out, int32_t lanes) {
    if (lanes >= TS_HOST_LANES) {
        vst1q_s8(out, bytes);
    } else {
        int8_t kept[TS_HOST_LANES];
        vst1q_s8(kept, bytes);
        for (int32_t lane = 0; lane < lanes; ++lane) {
            out[lane] = kept[lane];
        }
    }
}

/* Four inputs, in all four lanes. */
TS_NEON_INLINE int8x16_t ts_neon_inputs(const int8_t *from, int32_t group, int32_t groups, int32_t part) {
    from += 4 * group;
    return vreinterpretq_s8_s32(vdupq_n_s32(group < groups ? ts_host_word(from) : ts_host_part(from, part)));
}

/* One block for `pixels` (1 or 4) rows of inputs, four multiply-accumulates a lane. */
TS_NEON_DOT_INLINE void ts_neon_dot_tile(const int pixels, const int8_t *in, int32_t step, int32_t depth,
                                         const int8_t *weights, const int32_t *requant, int8_t *out, int32_t lanes,
                                         const ts_conv *conv) {
    const int32_t groups = depth / 4, part = depth % 4, outputs = conv->outputs;
    int32x4_t sums[8][6];
    TS_HOST_EACH_PIXEL(pixels, p, { sums[p][0] = sums[p][1] = sums[p][2] = sums[p][3] = vdupq_n_s32(0); })
    for (int32_t group = 0; group < groups + (part > 0); ++group) {
        const int8x16_t w0 = vld1q_s8(weights), w1 = vld1q_s8(weights + 16);
        const int8x16_t w2 = vld1q_s8(weights + 32), w3 = vld1q_s8(weights + 48);
        weights += 4 * TS_HOST_LANES;
        TS_HOST_EACH_PIXEL(pixels, p, {
            const int8x16_t x = ts_neon_inputs(in + p * step, group, groups, part);
            sums[p][0] = vdotq_s32(sums[p][0], w0, x);
            sums[p][1] = vdotq_s32(sums[p][1], w1, x);
            sums[p][2] = vdotq_s32(sums[p][2], w2, x);
            sums[p][3] = vdotq_s32(sums[p][3], w3, x);
        })
    }
    TS_HOST_EACH_PIXEL(
        pixels, p, { ts_neon_store(ts_neon_finish(sums[p], requant, conv), out + p * outputs, lanes); })
}

TS_NEON_DOT static void ts_neon_dot_one(const int8_t *in, int32_t step, int32_t depth, const int8_t *weights,
                                        const int32_t *requant, int8_t *out, int32_t lanes, const ts_conv *conv) {
    ts_neon_dot_tile(1, in, step, depth, weights, requant, out, lanes, conv);
}

TS_NEON_DOT static void ts_neon_dot_four(const int8_t *in, int32_t step, int32_t depth, const int8_t *weights,
                                         const int32_t *requant, int8_t *out, int32_t lanes, const ts_conv *conv) {
    ts_neon_dot_tile(4, in, step, depth, weights, requant, out, lanes, conv);
}

/* The same for one pixel without dot products: sums[i] holds two parts of each of two outputs. */
static void ts_neon_one(const int8_t *in, int32_t step, int32_t depth, const int8_t *weights, const int32_t *requant,
                        int8_t *out, int32_t lanes, const ts_conv *conv) {
    const int32_t groups = depth / 4, part = depth % 4;
    int32x4_t sums[8], joined[4];
    (void)step;
    TS_HOST_EACH_PIXEL(8, i, { sums[i] = vdupq_n_s32(0); })
    for (int32_t group = 0; group < groups + (part > 0); ++group) {
        const int8x16_t x = ts_neon_inputs(in, group, groups, part);
        TS_HOST_EACH_BLOCK(4, quad, {
            const int8x16_t w = vld1q_s8(weights + 16 * quad);
            sums[2 * quad] = vpadalq_s16(sums[2 * quad], vmull_s8(vget_low_s8(w), vget_low_s8(x)));
            sums[2 * quad + 1] = vpadalq_s16(sums[2 * quad + 1], vmull_high_s8(w, x));
        })
        weights += 4 * TS_HOST_LANES;
    }
    TS_HOST_EACH_BLOCK(4, quad, { joined[quad] = vpaddq_s32(sums[2 * quad], sums[2 * quad + 1]); })
    ts_neon_store(ts_neon_finish(joined, requant, conv), out, lanes);
}

typedef void (*ts_neon_tile)(const int8_t *in, int32_t step, int32_t depth, const int8_t *weights,
                             const int32_t *requant, int8_t *out, int32_t lanes, const ts_conv *conv);

/* `run` pixels at a time by `many`, the others by `one`. */
static void ts_neon_blocks(ts_neon_tile many, int32_t run, ts_neon_tile one, const int8_t *in, int32_t step,
                           int32_t depth, int8_t *out, int32_t pixels, const ts_conv *conv) {
    const int8_t *weights = conv->weights; /* (blocks, groups, 16, 4) */
    const int32_t *requant = conv->requant + TS_HOST_LANES;
    for (int32_t first = 0; first < conv->outputs; first += TS_HOST_LANES) {
        const int32_t lanes = conv->outputs - first;
        int32_t pixel = 0;
        for (; pixel + run <= pixels; pixel += run) {
            many(in + pixel * step, step, depth, weights, requant, out + pixel * conv->outputs + first, lanes, conv);
        }
        for (; pixel < pixels; ++pixel) {
            one(in + pixel * step, step, depth, weights, requant, out + pixel * conv->outputs + first, lanes, conv);
        }
        weights += (depth + 3) / 4 * 4 * TS_HOST_LANES;
        requant += TS_HOST_BLOCK;
    }
}

static void ts_neon_dot_dense(
    const int8_t *in, int32_t step, int32_t depth, int8_t *out, int32_t pixels, const ts_conv *conv) {
    ts_neon_blocks(ts_neon_dot_four, 4, ts_neon_dot_one, in, step, depth, out, pixels, conv);
}

static void ts_neon_dense(
    const int8_t *in, int32_t step, int32_t depth, int8_t *out, int32_t pixels, const ts_conv *conv) {
    ts_neon_blocks(ts_neon_one, 1, ts_neon_one, in, step, depth, out, pixels, conv);
}

/* Up to 8 channels of a row, zeros for the missing ones. */
TS_NEON_INLINE int16x8_t ts_neon_eight(const int8_t *from, int32_t lanes) {
    int8_t bytes[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    if (lanes >= 8) {
        return vmovl_s8(vld1_s8(from));
    }
    for (int32_t lane = 0; lane < lanes; ++lane) {
        bytes[lane] = from[lane];
    }
    return vmovl_s8(vld1_s8(bytes));
}

static void ts_neon_depthwise3(
    const int8_t *const rows[3], int8_t *out, int32_t width, int32_t stride, const ts_conv *conv) {
    const int32_t channels = conv->outputs;
    const int8_t *weights = conv->weights; /* (blocks, 3, 16, 4) */
    const int32_t *requant = conv->requant + TS_HOST_LANES;
    for (int32_t first = 0; first < channels; first += TS_HOST_LANES) {
        const int32_t lanes = ts_host_least(TS_HOST_LANES, channels - first);
        for (int32_t x = 0; x < width; ++x) {
            int32x4_t sums[4] = {vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)};
            for (int32_t tap = 0; tap < 3; ++tap) {
                const int32_t place = (x * stride + tap) * channels + first;
                const int8x16x4_t w = vld4q_s8(weights + 64 * tap); /* by row */
                TS_HOST_EACH_PIXEL(3, y, {
                    const int16x8_t w_low = vmovl_s8(vget_low_s8(w.val[y])), w_high = vmovl_high_s8(w.val[y]);
                    const int16x8_t low = ts_neon_eight(rows[y] + place, lanes);
                    sums[0] = vmlal_s16(sums[0], vget_low_s16(low), vget_low_s16(w_low));
                    sums[1] = vmlal_high_s16(sums[1], low, w_low);
                    if (lanes > 8) {
                        const int16x8_t high = ts_neon_eight(rows[y] + place + 8, lanes - 8);
                        sums[2] = vmlal_s16(sums[2], vget_low_s16(high), vget_low_s16(w_high));
                        sums[3] = vmlal_high_s16(sums[3], high, w_high);
                    }
                })
            }
            ts_neon_store(ts_neon_finish(sums, requant, conv), out + x * channels + first, lanes);
        }
        weights += 3 * 4 * TS_HOST_LANES;
        requant += TS_HOST_BLOCK;
    }
}

/* Four inputs without their zero point, shifted up and scaled. */
TS_NEON_INLINE int32x4_t ts_neon_raise(
    int16x4_t x, int32_t zero_point, int32_t left_shift, int32_t multiplier, int32_t shift) {
    const int32x4_t wide = vsubq_s32(vmovl_s16(x), vdupq_n_s32(zero_point));
    return ts_neon_requantize(
        vshlq_s32(wide, vdupq_n_s32(left_shift)), vdupq_n_s32(multiplier), vdupq_n_s32(shift));
}

TS_NEON_INLINE int32x4_t ts_neon_sum(int16x4_t a, int16x4_t b, const ts_add *add) {
    const int32x4_t left = ts_neon_raise(a, add->zero_point_a, add->left_shift, add->multiplier_a, add->shift_a);
    const int32x4_t right = ts_neon_raise(b, add->zero_point_b, add->left_shift, add->multiplier_b, add->shift_b);
    const int32x4_t scaled =
        ts_neon_requantize(vaddq_s32(left, right), vdupq_n_s32(add->multiplier), vdupq_n_s32(add->shift));
    return vqaddq_s32(scaled, vdupq_n_s32(add->zero_point));
}

static void ts_neon_add(const int8_t *a, const int8_t *b, int8_t *out, int32_t n, const ts_add *add) {
    int32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const int16x8_t x = vmovl_s8(vld1_s8(a + i)), y = vmovl_s8(vld1_s8(b + i));
        const int32x4_t low = ts_neon_sum(vget_low_s16(x), vget_low_s16(y), add);
        const int32x4_t high = ts_neon_sum(vget_high_s16(x), vget_high_s16(y), add);
        const int8x8_t bytes = vqmovn_s16(vqmovn_high_s32(vqmovn_s32(low), high));
        vst1_s8(out + i, vmin_s8(vmax_s8(bytes, vdup_n_s8((int8_t)add->low)), vdup_n_s8((int8_t)add->high)));
    }
    ts_host_plain.add(a + i, b + i, out + i, n - i, add);
}

const ts_host_form ts_host_neon = {"neon", ts_neon_supported, ts_neon_dense, ts_neon_depthwise3, ts_neon_add};
const ts_host_form ts_host_neon_dot = {
    "neon-dot", ts_neon_has_dot, ts_neon_dot_dense, ts_neon_depthwise3, ts_neon_add};

#else
typedef int ts_neon_is_not_of_this_machine; /* C wants something in every file */
#endif
