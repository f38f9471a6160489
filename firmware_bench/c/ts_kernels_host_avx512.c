/* The host family with AVX-512 VNNI: 16 outputs in a vector, four inputs multiplied and added by one instruction.
 *
 * VPDPBUSD takes unsigned inputs: they have 128 added (their highest bit turned), which the bias takes back. */
#include "ts_kernels_host.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "ts_kernels_host_cpu.h"

#define TS_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))
#define TS_AVX512_INLINE static inline __attribute__((always_inline, target("avx512f,avx512bw,avx512vl,avx512vnni")))

/* What requantises the 16 lanes of one block. */
typedef struct {
    __m512i even, odd;                   /* multipliers, in the low half of each 64-bit lane */
    __m512i right;                       /* -shift - 1 */
    __m512i rounding_even, rounding_odd; /* where negative results do not matter */
    __m512i half;                        /* 2^(-shift - 1), where they do */
} ts_avx512_scale;

/* Clamp and zero point of the output. `rectified`: the clamp leaves nothing below the zero point. */
typedef struct {
    __m512i zero_point;
    __m128i low, high;
    int rectified;
} ts_avx512_range;

TS_AVX512_INLINE ts_avx512_scale ts_avx512_load_scale(const int32_t *requant) {
    ts_avx512_scale scale;
    scale.even = _mm512_loadu_si512(requant + TS_HOST_MULTIPLIER);
    scale.odd = _mm512_loadu_si512(requant + TS_HOST_MULTIPLIER_ODD);
    scale.right = _mm512_loadu_si512(requant + TS_HOST_RIGHT);
    scale.rounding_even = _mm512_loadu_si512(requant + TS_HOST_ROUNDING_EVEN);
    scale.rounding_odd = _mm512_loadu_si512(requant + TS_HOST_ROUNDING_ODD);
    scale.half = _mm512_sllv_epi32(_mm512_set1_epi32(1), scale.right);
    return scale;
}

TS_AVX512_INLINE ts_avx512_range ts_avx512_load_range(const ts_conv *conv) {
    ts_avx512_range range;
    range.zero_point = _mm512_set1_epi32(conv->zero_point);
    range.low = _mm_set1_epi8((int8_t)conv->low);
    range.high = _mm_set1_epi8((int8_t)conv->high);
    range.rectified = conv->low >= conv->zero_point;
    return range;
}

/* The high halves of 16 products of 64 bits, after a rounding was added. */
TS_AVX512_INLINE __m512i ts_avx512_high(__m512i x, const ts_avx512_scale *scale, __m512i even, __m512i odd) {
    even = _mm512_add_epi64(_mm512_mul_epi32(x, scale->even), even);
    odd = _mm512_add_epi64(_mm512_mul_epi32(_mm512_srli_epi64(x, 32), scale->odd), odd);
    return _mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_PERM_DDBB);
}

/* Both roundings of TFLite at once: with p = sum * multiplier the result of a p >= 0 is
 * floor((floor((p + 2^30) / 2^31) + 2^(e - 1)) / 2^e) = floor((p + 2^30 + 2^(30 + e)) / 2^(31 + e)), e = -shift.
 * For negative p it may be one above the right one, yet never above 0: the clamp hides it. */
TS_AVX512_INLINE __m512i ts_avx512_rectify(__m512i sums, const ts_avx512_scale *scale) {
    const __m512i high = ts_avx512_high(sums, scale, scale->rounding_even, scale->rounding_odd);
    return _mm512_srav_epi32(high, scale->right);
}

/* Any sign: the first rounding by itself, one off a negative h, then the second. */
TS_AVX512_INLINE __m512i ts_avx512_round(__m512i sums, const ts_avx512_scale *scale) {
    const __m512i half = _mm512_set1_epi64((int64_t)1 << 31);
    const __m512i h = ts_avx512_high(_mm512_slli_epi32(sums, 1), scale, half, half);
    const __m512i nudged = _mm512_add_epi32(_mm512_add_epi32(h, _mm512_srai_epi32(h, 31)), scale->half);
    return _mm512_srai_epi32(_mm512_srav_epi32(nudged, scale->right), 1);
}

TS_AVX512_INLINE void ts_avx512_store(
    __m512i scaled, const ts_avx512_range *range, int8_t *out, __mmask16 lanes) {
    __m128i bytes = _mm512_cvtsepi32_epi8(_mm512_add_epi32(scaled, range->zero_point));
    bytes = _mm_min_epi8(_mm_max_epi8(bytes, range->low), range->high);
    _mm_mask_storeu_epi8(out, lanes, bytes);
}

/* One tile: `pixels` rows of inputs at `step`, `blocks` blocks of outputs, all sums in registers. */
TS_AVX512_INLINE void ts_avx512_tile(const int pixels, const int blocks, const int8_t *in, int32_t step,
                                     int32_t depth, const int8_t *weights, const int32_t *requant, int8_t *out,
                                     int32_t lanes, const ts_conv *conv, const ts_avx512_range *range) {
    const int32_t groups = depth / 4, part = depth % 4;
    const int32_t block_bytes = (groups + (part > 0)) * 4 * TS_HOST_LANES;
    const __m512i flip = _mm512_set1_epi8(-128);
    __m512i sums[8][6];
    TS_HOST_UNROLL
    for (int b = 0; b < blocks; ++b) {
        const __m512i bias = _mm512_loadu_si512(requant + b * TS_HOST_BLOCK + TS_HOST_BIAS_UNSIGNED);
        TS_HOST_UNROLL
        for (int p = 0; p < pixels; ++p) {
            sums[p][b] = bias;
        }
    }
    for (int32_t group = 0; group < groups + (part > 0); ++group) {
        __m512i x[8];
        TS_HOST_UNROLL
        for (int p = 0; p < pixels; ++p) {
            const int8_t *from = in + p * step + 4 * group;
            const int32_t word = group < groups ? ts_host_word(from) : ts_host_part(from, part);
            x[p] = _mm512_xor_si512(_mm512_set1_epi32(word), flip);
        }
        TS_HOST_UNROLL
        for (int b = 0; b < blocks; ++b) {
            const __m512i w = _mm512_loadu_si512(weights + b * block_bytes + group * 4 * TS_HOST_LANES);
            TS_HOST_UNROLL
            for (int p = 0; p < pixels; ++p) {
                sums[p][b] = _mm512_dpbusd_epi32(sums[p][b], x[p], w);
            }
        }
    }
    TS_HOST_UNROLL
    for (int b = 0; b < blocks; ++b) {
        const ts_avx512_scale scale = ts_avx512_load_scale(requant + b * TS_HOST_BLOCK);
        const int32_t left = ts_host_least(lanes - b * TS_HOST_LANES, TS_HOST_LANES);
        const __mmask16 kept = (__mmask16)((1u << left) - 1u);
        int8_t *to = out + b * TS_HOST_LANES;
        TS_HOST_UNROLL
        for (int p = 0; p < pixels; ++p) {
            const __m512i scaled =
                range->rectified ? ts_avx512_rectify(sums[p][b], &scale) : ts_avx512_round(sums[p][b], &scale);
            ts_avx512_store(scaled, range, to + p * conv->outputs, kept);
        }
    }
}

/* A tile of a fixed size: its loops unroll. `lanes` are the outputs from this tile to the last. */
#define TS_AVX512_TILE(pixels, blocks)                                                                             \
    TS_AVX512 static void ts_avx512_tile_##pixels##_##blocks(                                                      \
        const int8_t *in, int32_t step, int32_t depth, const int8_t *weights, const int32_t *requant, int8_t *out, \
        int32_t lanes, const ts_conv *conv, const ts_avx512_range *range) {                                        \
        ts_avx512_tile(pixels, blocks, in, step, depth, weights, requant, out, lanes, conv, range);                \
    }
TS_AVX512_TILE(8, 1)
TS_AVX512_TILE(8, 2)
TS_AVX512_TILE(8, 3)
TS_AVX512_TILE(4, 4)
TS_AVX512_TILE(4, 5)
TS_AVX512_TILE(4, 6)
TS_AVX512_TILE(1, 1)
TS_AVX512_TILE(1, 2)
TS_AVX512_TILE(1, 3)
TS_AVX512_TILE(1, 4)
TS_AVX512_TILE(1, 5)
TS_AVX512_TILE(1, 6)

typedef void (*ts_avx512_any_tile)(const int8_t *in, int32_t step, int32_t depth, const int8_t *weights,
                                   const int32_t *requant, int8_t *out, int32_t lanes, const ts_conv *conv,
                                   const ts_avx512_range *range);

TS_AVX512 static void ts_avx512_dense(
    const int8_t *in, int32_t step, int32_t depth, int8_t *out, int32_t pixels, const ts_conv *conv) {
    static const ts_avx512_any_tile wide[6] = {ts_avx512_tile_8_1, ts_avx512_tile_8_2, ts_avx512_tile_8_3,
                                               ts_avx512_tile_4_4, ts_avx512_tile_4_5, ts_avx512_tile_4_6};
    static const ts_avx512_any_tile single[6] = {ts_avx512_tile_1_1, ts_avx512_tile_1_2, ts_avx512_tile_1_3,
                                                 ts_avx512_tile_1_4, ts_avx512_tile_1_5, ts_avx512_tile_1_6};
    if (!conv->requant[0]) {
        ts_host_plain.dense(in, step, depth, out, pixels, conv);
        return;
    }
    const ts_avx512_range range = ts_avx512_load_range(conv);
    const int8_t *weights = conv->weights; /* (blocks, groups, 16, 4) */
    const int32_t *requant = conv->requant + TS_HOST_LANES;
    const int32_t blocks = (conv->outputs + TS_HOST_LANES - 1) / TS_HOST_LANES;
    const int32_t block_bytes = (depth + 3) / 4 * 4 * TS_HOST_LANES;
    /* As many tiles as have to be, as equal as can be. */
    const int32_t most = pixels % 8 == 0 && blocks % 3 == 0 && blocks % 6 != 0 ? 3 : 6;
    const int32_t tiles = (blocks + most - 1) / most;
    for (int32_t tile = 0, block = 0; tile < tiles; ++tile) {
        const int32_t size = (blocks - block + tiles - tile - 1) / (tiles - tile);
        const int32_t first = block * TS_HOST_LANES, lanes = conv->outputs - first, run = size <= 3 ? 8 : 4;
        int32_t pixel = 0;
        for (; pixel + run <= pixels; pixel += run) {
            wide[size - 1](in + pixel * step, step, depth, weights + block * block_bytes,
                           requant + block * TS_HOST_BLOCK, out + pixel * conv->outputs + first, lanes, conv, &range);
        }
        for (; pixel < pixels; ++pixel) {
            single[size - 1](in + pixel * step, step, depth, weights + block * block_bytes,
                             requant + block * TS_HOST_BLOCK, out + pixel * conv->outputs + first, lanes, conv, &range);
        }
        block += size;
    }
}

/* Where the bytes of a channel go when they are spread to four: channel c of 16 to the places of dword c. */
typedef struct {
    __m512i spread;
    __mmask16 lanes;
    int whole; /* all 16 channels are there */
} ts_avx512_spread;

/* 16 channels of one column, (16, 4): its three rows and nothing, 128 added. */
TS_AVX512_INLINE __m512i ts_avx512_column(const int8_t *const rows[3], int32_t place, const ts_avx512_spread *how) {
    __m512i found = _mm512_setzero_si512();
    TS_HOST_UNROLL
    for (int y = 0; y < 3; ++y) {
        const void *from = rows[y] + place;
        const __m128i bytes = how->whole ? _mm_loadu_si128(from) : _mm_maskz_loadu_epi8(how->lanes, from);
        const __mmask64 where = (__mmask64)(0x1111111111111111u << y);
        found = _mm512_mask_shuffle_epi8(found, where, _mm512_broadcast_i32x4(bytes), how->spread);
    }
    return _mm512_xor_si512(found, _mm512_set1_epi8(-128));
}

/* 16 channels of a row; the columns that two outputs share are read once where the stride is 1. */
TS_AVX512_INLINE void ts_avx512_channels(const int8_t *const rows[3], int8_t *out, int32_t width, int32_t stride,
                                         int32_t channels, const int8_t *weights, const int32_t *requant,
                                         const ts_avx512_range *range, const ts_avx512_spread *how) {
    const ts_avx512_scale scale = ts_avx512_load_scale(requant);
    const __m512i bias = _mm512_loadu_si512(requant + TS_HOST_BIAS_UNSIGNED);
    const __m512i w0 = _mm512_loadu_si512(weights);
    const __m512i w1 = _mm512_loadu_si512(weights + 64);
    const __m512i w2 = _mm512_loadu_si512(weights + 128);
    __m512i first = ts_avx512_column(rows, 0, how), second = ts_avx512_column(rows, channels, how);
    for (int32_t x = 0; x < width; ++x) {
        const __m512i third = ts_avx512_column(rows, (x * stride + 2) * channels, how);
        __m512i sums = _mm512_dpbusd_epi32(bias, first, w0);
        sums = _mm512_dpbusd_epi32(sums, second, w1);
        sums = _mm512_dpbusd_epi32(sums, third, w2);
        const __m512i scaled = range->rectified ? ts_avx512_rectify(sums, &scale) : ts_avx512_round(sums, &scale);
        ts_avx512_store(scaled, range, out + x * channels, how->lanes);
        if (stride == 1) {
            first = second;
            second = third;
        } else if (x + 1 < width) {
            const int32_t next = (x + 1) * stride * channels;
            first = stride == 2 ? third : ts_avx512_column(rows, next, how);
            second = ts_avx512_column(rows, next + channels, how);
        }
    }
}

TS_AVX512 static void ts_avx512_depthwise3(
    const int8_t *const rows[3], int8_t *out, int32_t width, int32_t stride, const ts_conv *conv) {
    if (!conv->requant[0]) {
        ts_host_plain.depthwise3(rows, out, width, stride, conv);
        return;
    }
    const ts_avx512_range range = ts_avx512_load_range(conv);
    const int32_t channels = conv->outputs;
    const int8_t *weights = conv->weights; /* (blocks, 3, 16, 4) */
    const int32_t *requant = conv->requant + TS_HOST_LANES;
    ts_avx512_spread how;
    /* Dword c takes byte c, wherever in it the mask says. */
    how.spread = _mm512_mullo_epi32(
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), _mm512_set1_epi32(0x01010101));
    how.lanes = 0xffff;
    how.whole = 1;
    int32_t first = 0;
    for (; first + TS_HOST_LANES <= channels; first += TS_HOST_LANES) {
        const int8_t *const here[3] = {rows[0] + first, rows[1] + first, rows[2] + first};
        if (stride == 1) {
            ts_avx512_channels(here, out + first, width, 1, channels, weights, requant, &range, &how);
        } else {
            ts_avx512_channels(here, out + first, width, stride, channels, weights, requant, &range, &how);
        }
        weights += 3 * 4 * TS_HOST_LANES;
        requant += TS_HOST_BLOCK;
    }
    if (first < channels) {
        const int8_t *const here[3] = {rows[0] + first, rows[1] + first, rows[2] + first};
        how.lanes = (__mmask16)((1u << (channels - first)) - 1u);
        how.whole = 0;
        ts_avx512_channels(here, out + first, width, stride, channels, weights, requant, &range, &how);
    }
}

/* As ts_avx512_round with the same multiplier and shift in all lanes; a shift of 0 rounds once. */
typedef struct {
    __m512i multiplier, right, half, sign;
} ts_avx512_step;

TS_AVX512_INLINE ts_avx512_step ts_avx512_load_step(int32_t multiplier, int32_t shift) {
    ts_avx512_step step;
    step.multiplier = _mm512_set1_epi32(multiplier);
    step.right = _mm512_set1_epi32(-shift);
    step.half = _mm512_set1_epi32(shift < 0 ? 1 << (-shift - 1) : 0);
    step.sign = _mm512_set1_epi32(shift < 0 ? -1 : 0);
    return step;
}

TS_AVX512_INLINE __m512i ts_avx512_take_step(__m512i x, const ts_avx512_step *step) {
    const __m512i half = _mm512_set1_epi64((int64_t)1 << 31), twice = _mm512_slli_epi32(x, 1);
    const __m512i even = _mm512_add_epi64(_mm512_mul_epi32(twice, step->multiplier), half);
    const __m512i odd = _mm512_add_epi64(_mm512_mul_epi32(_mm512_srli_epi64(twice, 32), step->multiplier), half);
    const __m512i h = _mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_PERM_DDBB);
    const __m512i below = _mm512_and_si512(_mm512_srai_epi32(h, 31), step->sign);
    return _mm512_srav_epi32(_mm512_add_epi32(_mm512_add_epi32(h, below), step->half), step->right);
}

TS_AVX512 static void ts_avx512_add(const int8_t *a, const int8_t *b, int8_t *out, int32_t n, const ts_add *add) {
    if (!ts_host_add_is_plain(add)) {
        ts_host_plain.add(a, b, out, n, add);
        return;
    }
    const ts_avx512_step step_a = ts_avx512_load_step(add->multiplier_a, add->shift_a);
    const ts_avx512_step step_b = ts_avx512_load_step(add->multiplier_b, add->shift_b);
    const ts_avx512_step step = ts_avx512_load_step(add->multiplier, add->shift);
    const __m512i zero_point_a = _mm512_set1_epi32(add->zero_point_a);
    const __m512i zero_point_b = _mm512_set1_epi32(add->zero_point_b);
    const __m128i up = _mm_cvtsi32_si128(add->left_shift);
    ts_avx512_range range;
    range.zero_point = _mm512_set1_epi32(add->zero_point);
    range.low = _mm_set1_epi8((int8_t)add->low);
    range.high = _mm_set1_epi8((int8_t)add->high);
    range.rectified = 0;
    for (int32_t i = 0; i < n; i += TS_HOST_LANES) {
        const int32_t left = ts_host_least(n - i, TS_HOST_LANES);
        const __mmask16 lanes = (__mmask16)((1u << left) - 1u);
        __m512i va = _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(lanes, a + i));
        __m512i vb = _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(lanes, b + i));
        va = _mm512_sll_epi32(_mm512_sub_epi32(va, zero_point_a), up);
        vb = _mm512_sll_epi32(_mm512_sub_epi32(vb, zero_point_b), up);
        const __m512i sum = _mm512_add_epi32(ts_avx512_take_step(va, &step_a), ts_avx512_take_step(vb, &step_b));
        ts_avx512_store(ts_avx512_take_step(sum, &step), &range, out + i, lanes);
    }
}

const ts_host_form ts_host_avx512 = {
    "avx512", ts_host_has_avx512, ts_avx512_dense, ts_avx512_depthwise3, ts_avx512_add};

#else
typedef int ts_avx512_is_not_of_this_machine; /* C wants something in every file */
#endif
