/* Sums, products, means, tables and softmax, one row at a time: see ts_ops.h. */
#include "ts_ops.h"
#include "ts_requantize.h"

/* scaled + zero_point within low .. high; the sum alone may leave int32. */
static int8_t ts_narrow(int32_t scaled, int32_t zero_point, int32_t low, int32_t high) {
    return (int8_t)(ts_clamp(scaled, low - zero_point, high - zero_point) + zero_point);
}

void ts_add_row(const ts_operand *a, const ts_operand *b, int8_t *out, int32_t width, int32_t channels,
                const ts_add *add) {
    for (int32_t x = 0; x < width; ++x) {
        const int8_t *left = a->data + x * a->column_step;
        const int8_t *right = b->data + x * b->column_step;
        for (int32_t channel = 0; channel < channels; ++channel) {
            const int32_t wide_a = (*left - add->zero_point_a) * (1 << add->left_shift);
            const int32_t wide_b = (*right - add->zero_point_b) * (1 << add->left_shift);
            const int32_t sum = ts_requantize(wide_a, add->multiplier_a, add->shift_a) +
                                ts_requantize(wide_b, add->multiplier_b, add->shift_b);
            const int32_t scaled = ts_requantize(sum, add->multiplier, add->shift);
            *out++ = ts_narrow(scaled, add->zero_point, add->low, add->high);
            left += a->channel_step;
            right += b->channel_step;
        }
    }
}

void ts_mul_row(const ts_operand *a, const ts_operand *b, int8_t *out, int32_t width, int32_t channels,
                const ts_mul *mul) {
    for (int32_t x = 0; x < width; ++x) {
        const int8_t *left = a->data + x * a->column_step;
        const int8_t *right = b->data + x * b->column_step;
        for (int32_t channel = 0; channel < channels; ++channel) {
            const int32_t product = (*left - mul->zero_point_a) * (*right - mul->zero_point_b);
            const int32_t scaled = ts_requantize(product, mul->multiplier, mul->shift);
            *out++ = ts_narrow(scaled, mul->zero_point, mul->low, mul->high);
            left += a->channel_step;
            right += b->channel_step;
        }
    }
}

void ts_mean_add(const int8_t *in, int32_t *sums, int32_t width, int32_t channels, int32_t column_step,
                 int32_t channel_step) {
    for (int32_t x = 0; x < width; ++x) {
        int32_t *sum = sums + x * column_step;
        for (int32_t channel = 0; channel < channels; ++channel) {
            *sum += *in++;
            sum += channel_step;
        }
    }
}

void ts_mean_finish(const int32_t *sums, int8_t *out, int32_t n, const ts_mean *mean) {
    for (int32_t i = 0; i < n; ++i) {
        const int32_t sum = sums[i] - mean->count * mean->zero_point_in;
        const int32_t scaled = ts_requantize(sum, mean->multiplier, mean->shift);
        out[i] = ts_narrow(scaled, mean->zero_point, INT8_MIN, INT8_MAX);
    }
}

void ts_lut_row(const int8_t *in, int8_t *out, int32_t n, const int8_t *table) {
    for (int32_t i = 0; i < n; ++i) {
        out[i] = table[in[i] + 128];
    }
}

/* 2 / (1 + x) in Q1.30 for x in [0, 1) in Q0.31, by Newton's method in Q2.29 from 48/17 - 32/17 * d, d = (1 + x) / 2,
 * the line with the smallest relative error; given back halved, as 1 / (1 + x) in Q0.31. */
static int32_t ts_reciprocal(int32_t x) {
    const int32_t half_denominator = (int32_t)(((int64_t)x + INT32_MAX + 1) / 2);
    int32_t result = 1515870810 + ts_doubling_high_multiply(half_denominator, -1010580540);
    for (int32_t step = 0; step < 3; ++step) {
        const int32_t error = (1 << 29) - ts_doubling_high_multiply(half_denominator, result);
        result += ts_doubling_high_multiply(result, error) * 4;
    }
    return result > INT32_MAX / 2 ? INT32_MAX : result * 2;
}

void ts_softmax(const int8_t *in, int8_t *out, int32_t n, const int32_t *exps) {
    int32_t largest = in[0];
    for (int32_t i = 1; i < n; ++i) {
        largest = in[i] > largest ? in[i] : largest;
    }
    int32_t sum = 0; /* 12 integer bits */
    for (int32_t i = 0; i < n; ++i) {
        sum += ts_rounding_shift(exps[largest - in[i]], 12);
    }
    int32_t headroom = 0;
    while (((uint32_t)sum << headroom) < 0x80000000u) {
        ++headroom;
    }
    const int32_t scale = ts_reciprocal((int32_t)(((uint32_t)sum << headroom) - 0x80000000u));
    for (int32_t i = 0; i < n; ++i) {
        const int32_t share = ts_doubling_high_multiply(scale, exps[largest - in[i]]);
        const int32_t scaled = ts_rounding_shift(share, 12 - headroom + 31 - 8);
        out[i] = (int8_t)ts_clamp(scaled + INT8_MIN, INT8_MIN, INT8_MAX);
    }
}
