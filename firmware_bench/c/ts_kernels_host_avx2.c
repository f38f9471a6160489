/* The host family with AVX2: inputs and weights widened to 16 bits, multiplied and added in pairs by VPMADDWD. (Its
 * relative for bytes saturates, and so is not exact.) */
#include "ts_kernels_host.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "ts_kernels_host_cpu.h"

#define TS_AVX2 __attribute__((target("avx2")))
#define TS_AVX2_INLINE static inline __attribute__((always_inline, target("avx2")))

/* What requantises 8 of a block's 16 lanes, see ts_kernels_host_avx512.c for the arithmetic. */
typedef struct {
    __m256i bias, even, odd, right, rounding_even, rounding_odd, half;
} ts_avx2_scale;

typedef struct {
    __m256i zero_point;
    __m128i low, high;
    int rectified;
} ts_avx2_range;

TS_AVX2_INLINE __m256i ts_avx2_load(const void *from) {
    return _mm256_loadu_si256((const __m256i *)from);
}

/* `half` 0 or 1: lanes 0..7 or 8..15. */
TS_AVX2_INLINE ts_avx2_scale ts_avx2_load_scale(const int32_t *requant, int half) {
    ts_avx2_scale scale;
    requant += 8 * half;
    scale.bias = ts_avx2_load(requant + TS_HOST_BIAS);
    scale.even = ts_avx2_load(requant + TS_HOST_MULTIPLIER);
    scale.odd = ts_avx2_load(requant + TS_HOST_MULTIPLIER_ODD);
    scale.right = ts_avx2_load(requant + TS_HOST_RIGHT);
    scale.rounding_even = ts_avx2_load(requant + TS_HOST_ROUNDING_EVEN);
    scale.rounding_odd = ts_avx2_load(requant + TS_HOST_ROUNDING_ODD);
    scale.half = _mm256_sllv_epi32(_mm256_set1_epi32(1), scale.right);
    return scale;
}

TS_AVX2_INLINE ts_avx2_range ts_avx2_make_range(int32_t zero_point, int32_t low, int32_t high) {
    ts_avx2_range range;
    range.zero_point = _mm256_set1_epi32(zero_point);
    range.low = _mm_set1_epi8((int8_t)low);
    range.high = _mm_set1_epi8((int8_t)high);
    range.rectified = low >= zero_point;
    return range;
}

TS_AVX2_INLINE __m256i ts_avx2_high(__m256i x, __m256i even, __m256i odd, __m256i add_even, __m256i add_odd) {
    const __m256i low = _mm256_add_epi64(_mm256_mul_epi32(x, even), add_even);
    const __m256i high = _mm256_add_epi64(_mm256_mul_epi32(_mm256_srli_epi64(x, 32), odd), add_odd);
    return _mm256_blend_epi32(_mm256_srli_epi64(low, 32), high, 0xaa);
}

TS_AVX2_INLINE __m256i ts_avx2_scaled(__m256i sums, const ts_avx2_scale *scale, int rectified) {
    sums = _mm256_add_epi32(sums, scale->bias);
    if (rectified) {
        const __m256i high = ts_avx2_high(sums, scale->even, scale->odd, scale->rounding_even, scale->rounding_odd);
        return _mm256_srav_epi32(high, scale->right);
    }
    const __m256i half = _mm256_set1_epi64x((int64_t)1 << 31);
    const __m256i h = ts_avx2_high(_mm256_slli_epi32(sums, 1), scale->even, scale->odd, half, half);
    const __m256i nudged = _mm256_add_epi32(_mm256_add_epi32(h, _mm256_srai_epi32(h, 31)), scale->half);
    return _mm256_srai_epi32(_mm256_srav_epi32(nudged, scale->right), 1);
}

/* 16 results as bytes. */
TS_AVX2_INLINE __m128i ts_avx2_bytes(__m256i a, __m256i b, const ts_avx2_range *range) {
    a = _mm256_add_epi32(a, range->zero_point);
    b = _mm256_add_epi32(b, range->zero_point);
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), _MM_SHUFFLE(3, 1, 2, 0));
    const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    return _mm_min_epi8(_mm_max_epi8(bytes, range->low), range->high);
}

TS_AVX2_INLINE void ts_avx2_store(__m128i bytes, int8_t *out, int32_t lanes) {
    if (lanes >= TS_HOST_LANES) {
        _mm_storeu_si128((__m128i *)out, bytes);
    } else {
        int8_t kept[TS_HOST_LANES];
        _mm_storeu_si128((__m128i *)kept, bytes);
        for (int32_t lane = 0; lane < lanes; ++lane) {
            out[lane] = kept[lane];
        }
    }
}

/* Sums of 8 outputs from two vectors that hold two parts of each of four outputs. */
TS_AVX2_INLINE __m256i ts_avx2_join(__m256i a, __m256i b) {
    return _mm256_permute4x64_epi64(_mm256_hadd_epi32(a, b), _MM_SHUFFLE(3, 1, 2, 0));
}

/* One block of outputs for `pixels` (1..3) rows of inputs (groups, 4) of 16 bits. */
TS_AVX2_INLINE void ts_avx2_tile(const int pixels, const int16_t *in, int32_t groups, const int8_t *weights,
                                 const int32_t *requant, int8_t *out, int32_t lanes, const ts_conv *conv,
                                 const ts_avx2_range *range) {
    const int32_t outputs = conv->outputs;
    __m256i sums[8][6];
    TS_HOST_EACH_PIXEL(pixels, p, {
        TS_HOST_EACH_BLOCK(4, quad, { sums[p][quad] = _mm256_setzero_si256(); })
    })
    for (int32_t group = 0; group < groups; ++group) {
        __m256i x[8];
        TS_HOST_EACH_PIXEL(pixels, p, {
            x[p] = _mm256_broadcastq_epi64(_mm_loadl_epi64((const __m128i *)(in + 4 * (p * groups + group))));
        })
        TS_HOST_EACH_BLOCK(4, quad, {
            const __m256i w = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(weights + 64 * group) + quad));
            TS_HOST_EACH_PIXEL(pixels, p, {
                sums[p][quad] = _mm256_add_epi32(sums[p][quad], _mm256_madd_epi16(x[p], w));
            })
        })
    }
    const ts_avx2_scale first = ts_avx2_load_scale(requant, 0), second = ts_avx2_load_scale(requant, 1);
    const ts_avx2_range here = *range;
    TS_HOST_EACH_PIXEL(pixels, p, {
        const __m256i a = ts_avx2_scaled(ts_avx2_join(sums[p][0], sums[p][1]), &first, here.rectified);
        const __m256i b = ts_avx2_scaled(ts_avx2_join(sums[p][2], sums[p][3]), &second, here.rectified);
        ts_avx2_store(ts_avx2_bytes(a, b, &here), out + p * outputs, lanes);
    })
}

/* Inputs of a few pixels, in (pixels, step), to whole groups of 16 bits, out (pixels, groups, 4), zeros at the end. */
TS_AVX2_INLINE void ts_avx2_widen(
    const int8_t *in, int32_t step, int32_t depth, int32_t pixels, int16_t *out, int32_t groups) {
    if (step == depth && depth == 4 * groups) { /* one run of bytes */
        groups *= pixels;
        depth *= pixels;
        pixels = 1;
    }
    for (int32_t pixel = 0; pixel < pixels; ++pixel) {
        int32_t i = 0;
        for (; i + 16 <= depth; i += 16) {
            const __m256i wide = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(in + i)));
            _mm256_storeu_si256((__m256i *)(out + i), wide);
        }
        for (; i < depth; ++i) {
            out[i] = in[i];
        }
        for (; i < 4 * groups; ++i) {
            out[i] = 0;
        }
        in += step;
        out += 4 * groups;
    }
}

/* Of a row's inputs that are kept on the stack: at least 3 pixels of up to 2048 inputs. */
enum { TS_AVX2_WORDS = 6144 };

TS_AVX2 static void ts_avx2_dense(
    const int8_t *in, int32_t step, int32_t depth, int8_t *out, int32_t pixels, const ts_conv *conv) {
    int16_t wide[TS_AVX2_WORDS];
    const int32_t groups = (depth + 3) / 4, most = TS_AVX2_WORDS / (4 * groups) / 3 * 3;
    if (!conv->requant[0] || most == 0) {
        ts_host_plain.dense(in, step, depth, out, pixels, conv);
        return;
    }
    const ts_avx2_range range = ts_avx2_make_range(conv->zero_point, conv->low, conv->high);
    for (int32_t start = 0; start < pixels; start += most) {
        const int32_t count = ts_host_least(most, pixels - start);
        const int8_t *weights = conv->weights; /* (blocks, groups, 16, 4) */
        const int32_t *requant = conv->requant + TS_HOST_LANES;
        ts_avx2_widen(in + start * step, step, depth, count, wide, groups);
        for (int32_t first = 0; first < conv->outputs; first += TS_HOST_LANES) {
            const int32_t lanes = conv->outputs - first;
            const int16_t *from = wide;
            int8_t *to = out + start * conv->outputs + first;
            int32_t left = count;
            for (; left >= 3 && left != 4; left -= 3) {
                ts_avx2_tile(3, from, groups, weights, requant, to, lanes, conv, &range);
                from += 3 * 4 * groups;
                to += 3 * conv->outputs;
            }
            for (; left >= 2; left -= 2) {
                ts_avx2_tile(2, from, groups, weights, requant, to, lanes, conv, &range);
                from += 2 * 4 * groups;
                to += 2 * conv->outputs;
            }
            if (left) {
                ts_avx2_tile(1, from, groups, weights, requant, to, lanes, conv, &range);
            }
            weights += groups * 4 * TS_HOST_LANES;
            requant += TS_HOST_BLOCK;
        }
    }
}

/* 8 channels of one column, (8, 4): its three rows and nothing. Four channels in each vector. */
typedef struct {
    __m256i low, high;
} ts_avx2_column;

TS_AVX2_INLINE __m128i ts_avx2_eight(const int8_t *from, int32_t lanes) {
    int8_t bytes[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    if (lanes >= 8) {
        return _mm_loadl_epi64((const __m128i *)from);
    }
    for (int32_t lane = 0; lane < lanes; ++lane) {
        bytes[lane] = from[lane];
    }
    return _mm_loadl_epi64((const __m128i *)bytes);
}

TS_AVX2_INLINE ts_avx2_column ts_avx2_load_column(const int8_t *const rows[3], int32_t place, int32_t lanes) {
    const __m128i ab = _mm_unpacklo_epi8(ts_avx2_eight(rows[0] + place, lanes), ts_avx2_eight(rows[1] + place, lanes));
    const __m128i c = _mm_unpacklo_epi8(ts_avx2_eight(rows[2] + place, lanes), _mm_setzero_si128());
    const ts_avx2_column column = {_mm256_cvtepi8_epi16(_mm_unpacklo_epi16(ab, c)),
                                   _mm256_cvtepi8_epi16(_mm_unpackhi_epi16(ab, c))};
    return column;
}

/* Up to 8 channels of a row: weights (3, 16, 4) and requant from the first of them. */
TS_AVX2_INLINE void ts_avx2_channels(const int8_t *const rows[3], int8_t *out, int32_t width, int32_t stride,
                                     int32_t channels, int32_t lanes, const int8_t *weights,
                                     const ts_avx2_scale *scale, const ts_avx2_range *range) {
    __m256i w[3][2];
    TS_HOST_EACH_BLOCK(3, tap, {
        w[tap][0] = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(weights + 64 * tap)));
        w[tap][1] = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(weights + 64 * tap + 16)));
    })
    ts_avx2_column first = ts_avx2_load_column(rows, 0, lanes), second = ts_avx2_load_column(rows, channels, lanes);
    for (int32_t x = 0; x < width; ++x) {
        const ts_avx2_column third = ts_avx2_load_column(rows, (x * stride + 2) * channels, lanes);
        __m256i a = _mm256_madd_epi16(first.low, w[0][0]), b = _mm256_madd_epi16(first.high, w[0][1]);
        a = _mm256_add_epi32(a, _mm256_madd_epi16(second.low, w[1][0]));
        b = _mm256_add_epi32(b, _mm256_madd_epi16(second.high, w[1][1]));
        a = _mm256_add_epi32(a, _mm256_madd_epi16(third.low, w[2][0]));
        b = _mm256_add_epi32(b, _mm256_madd_epi16(third.high, w[2][1]));
        const __m256i scaled = ts_avx2_scaled(ts_avx2_join(a, b), scale, range->rectified);
        const __m128i bytes = ts_avx2_bytes(scaled, scaled, range);
        if (lanes >= 8) {
            _mm_storel_epi64((__m128i *)(out + x * channels), bytes);
        } else {
            ts_avx2_store(bytes, out + x * channels, lanes);
        }
        if (stride == 1) {
            first = second;
            second = third;
        } else if (x + 1 < width) {
            const int32_t next = (x + 1) * stride * channels;
            first = ts_avx2_load_column(rows, next, lanes);
            second = ts_avx2_load_column(rows, next + channels, lanes);
        }
    }
}

TS_AVX2 static void ts_avx2_depthwise3(
    const int8_t *const rows[3], int8_t *out, int32_t width, int32_t stride, const ts_conv *conv) {
    if (!conv->requant[0]) {
        ts_host_plain.depthwise3(rows, out, width, stride, conv);
        return;
    }
    const ts_avx2_range range = ts_avx2_make_range(conv->zero_point, conv->low, conv->high);
    const int32_t channels = conv->outputs;
    for (int32_t first = 0; first < channels; first += 8) {
        const int32_t block = first / TS_HOST_LANES, half = first / 8 % 2;
        const int8_t *const here[3] = {rows[0] + first, rows[1] + first, rows[2] + first};
        const int8_t *weights = conv->weights + block * 3 * 64 + half * 32; /* (blocks, 3, 16, 4) */
        const ts_avx2_scale scale =
            ts_avx2_load_scale(conv->requant + TS_HOST_LANES + block * TS_HOST_BLOCK, half);
        if (channels - first >= 8) {
            ts_avx2_channels(here, out + first, width, stride, channels, 8, weights, &scale, &range);
        } else {
            ts_avx2_channels(here, out + first, width, stride, channels, channels - first, weights, &scale, &range);
        }
    }
}

/* The same multiplier and shift in all lanes; a shift of 0 rounds once. */
typedef struct {
    __m256i multiplier, right, half, sign;
} ts_avx2_step;

TS_AVX2_INLINE ts_avx2_step ts_avx2_load_step(int32_t multiplier, int32_t shift) {
    ts_avx2_step step;
    step.multiplier = _mm256_set1_epi32(multiplier);
    step.right = _mm256_set1_epi32(-shift);
    step.half = _mm256_set1_epi32(shift < 0 ? 1 << (-shift - 1) : 0);
    step.sign = _mm256_set1_epi32(shift < 0 ? -1 : 0);
    return step;
}

TS_AVX2_INLINE __m256i ts_avx2_take_step(__m256i x, const ts_avx2_step *step) {
    const __m256i half = _mm256_set1_epi64x((int64_t)1 << 31);
    const __m256i h = ts_avx2_high(_mm256_slli_epi32(x, 1), step->multiplier, step->multiplier, half, half);
    const __m256i below = _mm256_and_si256(_mm256_srai_epi32(h, 31), step->sign);
    return _mm256_srav_epi32(_mm256_add_epi32(_mm256_add_epi32(h, below), step->half), step->right);
}

/* 8 inputs without their zero point, shifted up. */
TS_AVX2_INLINE __m256i ts_avx2_raise(const int8_t *from, __m256i zero_point, __m128i up) {
    const __m256i wide = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)from));
    return _mm256_sll_epi32(_mm256_sub_epi32(wide, zero_point), up);
}

TS_AVX2 static void ts_avx2_add(const int8_t *a, const int8_t *b, int8_t *out, int32_t n, const ts_add *add) {
    int32_t i = 0;
    if (ts_host_add_is_plain(add)) {
        const ts_avx2_step step_a = ts_avx2_load_step(add->multiplier_a, add->shift_a);
        const ts_avx2_step step_b = ts_avx2_load_step(add->multiplier_b, add->shift_b);
        const ts_avx2_step step = ts_avx2_load_step(add->multiplier, add->shift);
        const ts_avx2_range range = ts_avx2_make_range(add->zero_point, add->low, add->high);
        const __m256i zero_point_a = _mm256_set1_epi32(add->zero_point_a);
        const __m256i zero_point_b = _mm256_set1_epi32(add->zero_point_b);
        const __m128i up = _mm_cvtsi32_si128(add->left_shift);
        for (; i + 8 <= n; i += 8) {
            const __m256i left = ts_avx2_take_step(ts_avx2_raise(a + i, zero_point_a, up), &step_a);
            const __m256i right = ts_avx2_take_step(ts_avx2_raise(b + i, zero_point_b, up), &step_b);
            const __m256i scaled = ts_avx2_take_step(_mm256_add_epi32(left, right), &step);
            _mm_storel_epi64((__m128i *)(out + i), ts_avx2_bytes(scaled, scaled, &range));
        }
    }
    ts_host_plain.add(a + i, b + i, out + i, n - i, add);
}

const ts_host_form ts_host_avx2 = {"avx2", ts_host_has_avx2, ts_avx2_dense, ts_avx2_depthwise3, ts_avx2_add};

#else
typedef int ts_avx2_is_not_of_this_machine; /* C wants something in every file */
#endif
