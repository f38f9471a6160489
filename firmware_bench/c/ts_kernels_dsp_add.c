/* TFLite's ADD for Arm's DSP extension. The input of the larger scale is halved by the way to the common scale: its
 * multiplier is exactly 2^30 and its shift 0, so that (x - zero point) << 19 is what the requantisation gives. */
#include "ts_kernels_dsp.h"

#define TS_HALF (1 << 30)

/* The requantisation of `doubled` / 2 by a shift of -e, e > 0, as in ts_dsp_finish, less the shift itself; `nudge` is
 * 2^(e-1) and what else is to be added. */
static inline int32_t ts_dsp_scale(int32_t doubled, int32_t multiplier, int32_t nudge) {
    return ts_dsp_high_multiply(doubled, multiplier, nudge + (doubled >> 31));
}

/* x is the input of the larger scale; the right shifts of y's and of the sum's way are 1 to 31 and 1 to 22. */
static void ts_dsp_add(const int8_t *x, int32_t zero_point_x, const int8_t *y, int32_t zero_point_y,
                       int32_t multiplier_y, int32_t shift_y, int8_t *out, int32_t n, const ts_add *add) {
    const int32_t zero_y = -zero_point_y * (1 << 21), zero_x = -zero_point_x * (1 << 20);
    const int32_t half_y = 1 << (-shift_y - 1);
    const int32_t multiplier = add->multiplier, shift = -add->shift - 1;
    const int32_t nudge = (2 * add->zero_point + 1) * (1 << shift);
    for (const int8_t *end = x + n; x != end;) {
        const int32_t doubled_y = zero_y + *y++ * (1 << 21);
        const int32_t scaled_y = ts_dsp_scale(doubled_y, multiplier_y, half_y) >> -shift_y;
        const int32_t doubled = (zero_x + 2 * scaled_y) + *x++ * (1 << 20);
        *out++ = (int8_t)ts_dsp_saturate_half(ts_dsp_scale(doubled, multiplier, nudge) >> shift);
    }
}

/* Any parameters. */
static void ts_dsp_add_slowly(const int8_t *a, const int8_t *b, int8_t *out, int32_t n, const ts_add *add) {
    for (int32_t i = 0; i < n; ++i) {
        const int32_t x = (a[i] - add->zero_point_a) * (1 << add->left_shift);
        const int32_t y = (b[i] - add->zero_point_b) * (1 << add->left_shift);
        const int32_t sum = ts_requantize(x, add->multiplier_a, add->shift_a) +
                            ts_requantize(y, add->multiplier_b, add->shift_b);
        const int32_t scaled = ts_requantize(sum, add->multiplier, add->shift);
        out[i] = (int8_t)(ts_clamp(scaled, add->low - add->zero_point, add->high - add->zero_point) + add->zero_point);
    }
}

TS_ADD(dsp) {
    const int fits = add->left_shift == 20 && add->shift <= -1 && add->shift >= -22;
    if (fits && add->multiplier_a == TS_HALF && add->shift_a == 0 && add->shift_b < 0) {
        ts_dsp_add(a, add->zero_point_a, b, add->zero_point_b, add->multiplier_b, add->shift_b, out, n, add);
    } else if (fits && add->multiplier_b == TS_HALF && add->shift_b == 0 && add->shift_a < 0) {
        ts_dsp_add(b, add->zero_point_b, a, add->zero_point_a, add->multiplier_a, add->shift_a, out, n, add);
    } else {
        ts_dsp_add_slowly(a, b, out, n, add);
        return;
    }
    ts_dsp_clamp(out, n, add->low, add->high);
}
