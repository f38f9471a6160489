/* TFLite's ADD for Arm's DSP extension. */
#include "ts_kernels_dsp.h"

/* ts_requantize of `doubled` / 2 for a shift of -e, e > 0, as ts_dsp_finish does it; `half` is 2^(e-1). */
static inline int32_t ts_dsp_scale(int32_t doubled, int32_t multiplier, int32_t half, int32_t e) {
    return ts_dsp_high_multiply(doubled, multiplier, half + (doubled >> 31)) >> e;
}

/* An input's way to the common scale: 2 * left is (x << bits) - zero; without a right shift (the larger of the two
 * scales) the product has no fraction, and halving twice of it is exact. */
typedef struct {
    int32_t zero, multiplier, half, e;
    int32_t bits;
} ts_dsp_side;

/* 1 when the short way is exact for every int8, which it is for all the parameters that a converter gives. */
static int ts_dsp_side_of(ts_dsp_side *side, int32_t zero_point, int32_t multiplier, int32_t shift, int32_t left_shift) {
    const int32_t whole = shift == 0; /* twice the value, halved by e = 1 */
    side->bits = left_shift + 1 + whole;
    side->zero = zero_point * (1 << side->bits);
    side->multiplier = multiplier;
    side->e = whole ? 1 : -shift;
    side->half = 1 << (side->e - 1);
    return shift <= 0 && (!whole || (multiplier & 2047) == 0);
}

TS_ADD(dsp) {
    ts_dsp_side left, right;
    const int32_t e = -add->shift;
    int short_way = add->left_shift == 20 && e >= 1 && e <= 22 && add->shift_a <= 0 && add->shift_b <= 0;
    if (short_way) {
        short_way = ts_dsp_side_of(&left, add->zero_point_a, add->multiplier_a, add->shift_a, 20) &&
                    ts_dsp_side_of(&right, add->zero_point_b, add->multiplier_b, add->shift_b, 20);
    }
    if (!short_way) {
        for (int32_t i = 0; i < n; ++i) {
            const int32_t x = (a[i] - add->zero_point_a) * (1 << add->left_shift);
            const int32_t y = (b[i] - add->zero_point_b) * (1 << add->left_shift);
            const int32_t sum = ts_requantize(x, add->multiplier_a, add->shift_a) +
                                ts_requantize(y, add->multiplier_b, add->shift_b);
            out[i] = (int8_t)ts_clamp(ts_requantize(sum, add->multiplier, add->shift) + add->zero_point, add->low,
                                      add->high);
        }
        return;
    }
    /* the zero point joins the nudge, the last bit of the shift is the saturation's */
    const int32_t nudge = (2 * add->zero_point + 1) * (1 << (e - 1));
    for (int32_t i = 0; i < n; ++i) {
        const int32_t x = ts_dsp_scale(a[i] * (1 << left.bits) - left.zero, left.multiplier, left.half, left.e);
        const int32_t y = ts_dsp_scale(b[i] * (1 << right.bits) - right.zero, right.multiplier, right.half, right.e);
        const int32_t doubled = 2 * (x + y);
        const int32_t scaled = ts_dsp_high_multiply(doubled, add->multiplier, nudge + (doubled >> 31)) >> (e - 1);
        out[i] = (int8_t)ts_clamp(ts_dsp_saturate_half(scaled), add->low, add->high);
    }
}
