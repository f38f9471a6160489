/* The host family with AVX-512 VNNI: 16 outputs in a vector, four inputs multiplied and added by one instruction.
 *
 * VPDPBUSD takes unsigned inputs: they have 128 added (their highest bit turned), which the bias takes back. */
#include "ts_kernels_host.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "ts_kernels_host_cpu.h"

#define TS_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))
#define TS_AVX512_INLINE static inline __attribute__((always_inline, target("avx512f,avx512bw,avx512vl,avx512vnni")))

/* Of a row's inputs that are kept on the stack: 8 pixels of up to 2048 inputs. */
enum { TS_AVX512_BYTES = 16384 };

/* What requantises the 16 lanes of one block. */
typedef struct {
    __m512i even, odd;                   /* multipliers, in the low half of each 64-bit lane */
    __m512i right;                       /* -shift - 1 */
    __m512i rounding_even, rounding_odd; /* where negative results do not matter */
    __m512i half;                        /* 2^(-shift - 1), where they do */
} ts_avx512_scale;

/* Zero point and clamp of the output. */
typedef struct {
    __m512i zero_point, zero_point_words; /* as 32 and as 16 bits */
    __m512i low, high;                    /* as bytes */
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

TS_AVX512_INLINE ts_avx512_range ts_avx512_load_range(int32_t zero_point, int32_t low, int32_t high) {
    ts_avx512_range range;
    range.zero_point = _mm512_set1_epi32(zero_point);
    range.zero_point_words = _mm512_set1_epi16((int16_t)zero_point);
    range.low = _mm512_set1_epi8((int8_t)low);
    range.high = _mm512_set1_epi8((int8_t)high);
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

/* One block's results as bytes. */
TS_AVX512_INLINE __m128i ts_avx512_bytes(__m512i scaled, ts_avx512_range range) {
    const __m128i bytes = _mm512_cvtsepi32_epi8(_mm512_add_epi32(scaled, range.zero_point));
    return _mm_min_epi8(_mm_max_epi8(bytes, _mm512_castsi512_si128(range.low)), _mm512_castsi512_si128(range.high));
}

/* Four blocks' results as bytes, in order: saturating on the way changes nothing that the clamp leaves. */
TS_AVX512_INLINE __m512i ts_avx512_four(__m512i a, __m512i b, __m512i c, __m512i d, ts_avx512_range range) {
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i low = _mm512_adds_epi16(_mm512_packs_epi32(a, b), range.zero_point_words);
    const __m512i high = _mm512_adds_epi16(_mm512_packs_epi32(c, d), range.zero_point_words);
    const __m512i bytes = _mm512_permutexvar_epi32(order, _mm512_packs_epi16(low, high));
    return _mm512_min_epi8(_mm512_max_epi8(bytes, range.low), range.high);
}

/* The first `lanes` of 64; none for a count below 1. */
TS_AVX512_INLINE __mmask64 ts_avx512_first(int32_t lanes) {
    return lanes >= 64 ? ~(__mmask64)0 : lanes < 1 ? 0 : ((__mmask64)1 << lanes) - 1;
}

/* One block's sums, requantised by its lines of `requant`. */
TS_AVX512_INLINE __m512i ts_avx512_scaled(const __m512i *sums, const int32_t *requant, const int rectified) {
    const ts_avx512_scale scale = ts_avx512_load_scale(requant);
    return rectified ? ts_avx512_rectify(*sums, &scale) : ts_avx512_round(*sums, &scale);
}

/* Up to 4 blocks of each pixel, sums (pixels, step), to `lanes` outputs of each. */
TS_AVX512_INLINE void ts_avx512_quad(const __m512i *sums, int32_t step, int32_t pixels, const int blocks,
                                     const int rectified, const int32_t *requant, int8_t *out, int32_t lanes,
                                     const ts_conv *conv) {
    const ts_avx512_range range = ts_avx512_load_range(conv->zero_point, conv->low, conv->high);
    const __mmask64 kept = ts_avx512_first(lanes);
    const int32_t outputs = conv->outputs;
    for (int32_t pixel = 0; pixel < pixels; ++pixel) {
        const __m512i a = ts_avx512_scaled(sums, requant, rectified);
        if (blocks == 1) {
            _mm_mask_storeu_epi8(out, (__mmask16)kept, ts_avx512_bytes(a, range));
        } else {
            const __m512i b = ts_avx512_scaled(sums + 1, requant + TS_HOST_BLOCK, rectified);
            const __m512i c = blocks > 2 ? ts_avx512_scaled(sums + 2, requant + 2 * TS_HOST_BLOCK, rectified) : a;
            const __m512i d = blocks > 3 ? ts_avx512_scaled(sums + 3, requant + 3 * TS_HOST_BLOCK, rectified) : b;
            _mm512_mask_storeu_epi8(out, kept, ts_avx512_four(a, b, c, d, range));
        }
        sums += step;
        out += outputs;
    }
}

TS_AVX512_INLINE void ts_avx512_quads(const __m512i *sums, int32_t step, int32_t pixels, int32_t blocks,
                                      const int rectified, const int32_t *requant, int8_t *out, int32_t lanes,
                                      const ts_conv *conv) {
    for (; blocks >= 4; blocks -= 4) {
        ts_avx512_quad(sums, step, pixels, 4, rectified, requant, out, lanes, conv);
        sums += 4;
        requant += 4 * TS_HOST_BLOCK;
        out += 64;
        lanes -= 64;
    }
    if (blocks == 3) {
        ts_avx512_quad(sums, step, pixels, 3, rectified, requant, out, lanes, conv);
    } else if (blocks == 2) {
        ts_avx512_quad(sums, step, pixels, 2, rectified, requant, out, lanes, conv);
    } else if (blocks == 1) {
        ts_avx512_quad(sums, step, pixels, 1, rectified, requant, out, lanes, conv);
    }
}

/* Requantises what a tile summed up, (pixels, blocks, 16). `lanes` are the outputs that the tile makes, its last block
 * perhaps in part. A function of its own: the sums' registers are free, whatever this one needs. */
TS_AVX512 static void __attribute__((noinline)) ts_avx512_finish(const __m512i *sums, int32_t pixels, int32_t blocks,
                                                                 const int32_t *requant, int8_t *out, int32_t lanes,
                                                                 const ts_conv *conv) {
    if (conv->low >= conv->zero_point) {
        ts_avx512_quads(sums, blocks, pixels, blocks, 1, requant, out, lanes, conv);
    } else {
        ts_avx512_quads(sums, blocks, pixels, blocks, 0, requant, out, lanes, conv);
    }
}

/* One tile: `pixels` rows of groups (groups, 4) that have 128 added, `blocks` blocks of outputs, all sums in
 * registers. */
TS_AVX512_INLINE void ts_avx512_tile(const int pixels, const int blocks, const uint8_t *in, int32_t groups,
                                     const int8_t *weights, const int32_t *requant, int8_t *out, int32_t lanes,
                                     const ts_conv *conv) {
    __m512i sums[8][6], stored[8 * 6];
    TS_HOST_EACH_BLOCK(blocks, b, {
        const __m512i bias = _mm512_loadu_si512(requant + b * TS_HOST_BLOCK + TS_HOST_BIAS_UNSIGNED);
        TS_HOST_EACH_PIXEL(pixels, p, { sums[p][b] = bias; })
    })
    for (int32_t group = 0; group < groups; ++group) {
        __m512i x[8];
        TS_HOST_EACH_PIXEL(
            pixels, p, { x[p] = _mm512_set1_epi32(ts_host_word((const int8_t *)in + 4 * p * groups)); })
        TS_HOST_EACH_BLOCK(blocks, b, {
            const __m512i w = _mm512_loadu_si512(weights + b * groups * 4 * TS_HOST_LANES);
            TS_HOST_EACH_PIXEL(pixels, p, { sums[p][b] = _mm512_dpbusd_epi32(sums[p][b], x[p], w); })
        })
        in += 4;
        weights += 4 * TS_HOST_LANES;
    }
    TS_HOST_EACH_BLOCK(blocks, b, { TS_HOST_EACH_PIXEL(pixels, p, { stored[p * blocks + b] = sums[p][b]; }) })
    ts_avx512_finish(stored, pixels, blocks, requant, out, lanes, conv);
}

/* A tile of a fixed size: its loops unroll. */
#define TS_AVX512_TILE(pixels, blocks)                                                                             \
    TS_AVX512 static void ts_avx512_tile_##pixels##_##blocks(                                                      \
        const uint8_t *in, int32_t groups, const int8_t *weights, const int32_t *requant, int8_t *out,             \
        int32_t lanes, const ts_conv *conv) {                                                                      \
        ts_avx512_tile(pixels, blocks, in, groups, weights, requant, out, lanes, conv);                            \
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

typedef void (*ts_avx512_any_tile)(const uint8_t *in, int32_t groups, const int8_t *weights, const int32_t *requant,
                                   int8_t *out, int32_t lanes, const ts_conv *conv);

/* Inputs of a few pixels, in (pixels, step), to whole groups with 128 added, out (pixels, groups, 4). */
TS_AVX512_INLINE void ts_avx512_turn(
    const int8_t *in, int32_t step, int32_t depth, int32_t pixels, uint8_t *out, int32_t groups) {
    const __m512i flip = _mm512_set1_epi8(-128);
    if (step == depth && depth == 4 * groups) { /* one run of bytes */
        depth *= pixels;
        pixels = 1;
    }
    for (int32_t pixel = 0; pixel < pixels; ++pixel) {
        int32_t i = 0;
        for (; i + 64 <= depth; i += 64) {
            _mm512_storeu_si512(out + i, _mm512_xor_si512(_mm512_loadu_si512(in + i), flip));
        }
        if (i < depth) { /* behind the last input comes what meets weights that are zero */
            const __m512i rest = _mm512_maskz_loadu_epi8(ts_avx512_first(depth - i), in + i);
            _mm512_mask_storeu_epi8(
                out + i, ts_avx512_first((depth + 3) / 4 * 4 - i), _mm512_xor_si512(rest, flip));
        }
        in += step;
        out += 4 * groups;
    }
}

/* The blocks of outputs of a few pixels. */
TS_AVX512 static void ts_avx512_pixels(
    const uint8_t *in, int32_t groups, int8_t *out, int32_t pixels, const ts_conv *conv) {
    static const ts_avx512_any_tile wide[6] = {ts_avx512_tile_8_1, ts_avx512_tile_8_2, ts_avx512_tile_8_3,
                                               ts_avx512_tile_4_4, ts_avx512_tile_4_5, ts_avx512_tile_4_6};
    static const ts_avx512_any_tile single[6] = {ts_avx512_tile_1_1, ts_avx512_tile_1_2, ts_avx512_tile_1_3,
                                                 ts_avx512_tile_1_4, ts_avx512_tile_1_5, ts_avx512_tile_1_6};
    const int8_t *weights = conv->weights; /* (blocks, groups, 16, 4) */
    const int32_t *requant = conv->requant + TS_HOST_LANES;
    const int32_t blocks = (conv->outputs + TS_HOST_LANES - 1) / TS_HOST_LANES;
    const int32_t tiles = (blocks + 5) / 6; /* as few as can be, of about one size */
    for (int32_t tile = 0, block = 0; tile < tiles; ++tile) {
        const int32_t size = (blocks - block + tiles - tile - 1) / (tiles - tile);
        const int32_t first = block * TS_HOST_LANES, run = size <= 3 ? 8 : 4;
        const int32_t lanes = ts_host_least(conv->outputs - first, size * TS_HOST_LANES);
        for (int32_t pixel = 0; pixel < pixels;) {
            const int whole = pixel + run <= pixels;
            const ts_avx512_any_tile any = whole ? wide[size - 1] : single[size - 1];
            any(in + pixel * 4 * groups, groups, weights, requant, out + pixel * conv->outputs + first, lanes, conv);
            pixel += whole ? run : 1;
        }
        weights += size * groups * 4 * TS_HOST_LANES;
        requant += size * TS_HOST_BLOCK;
        block += size;
    }
}

TS_AVX512 static void ts_avx512_dense(
    const int8_t *in, int32_t step, int32_t depth, int8_t *out, int32_t pixels, const ts_conv *conv) {
    uint8_t turned[TS_AVX512_BYTES];
    const int32_t groups = (depth + 3) / 4, most = TS_AVX512_BYTES / (4 * groups) / 8 * 8;
    if (!conv->requant[0] || most == 0) {
        ts_host_plain.dense(in, step, depth, out, pixels, conv);
        return;
    }
    for (int32_t pixel = 0; pixel < pixels; pixel += most) {
        const int32_t count = ts_host_least(most, pixels - pixel);
        ts_avx512_turn(in + pixel * step, step, depth, count, turned, groups);
        ts_avx512_pixels(turned, groups, out + pixel * conv->outputs, count, conv);
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
    TS_HOST_EACH_BLOCK(3, y, {
        const void *from = rows[y] + place;
        const __m128i bytes = how->whole ? _mm_loadu_si128(from) : _mm_maskz_loadu_epi8(how->lanes, from);
        const __mmask64 where = (__mmask64)(0x1111111111111111u << y);
        found = _mm512_mask_shuffle_epi8(found, where, _mm512_broadcast_i32x4(bytes), how->spread);
    })
    return _mm512_xor_si512(found, _mm512_set1_epi8(-128));
}

/* 16 channels of a row; the columns that two outputs share are read once where the stride is 1. */
TS_AVX512_INLINE void ts_avx512_channels(const int8_t *const rows[3], int8_t *out, int32_t width, int32_t stride,
                                         int32_t channels, const int8_t *weights, const int32_t *requant,
                                         ts_avx512_range range, const int rectified, const ts_avx512_spread *how) {
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
        const __m512i scaled = rectified ? ts_avx512_rectify(sums, &scale) : ts_avx512_round(sums, &scale);
        _mm_mask_storeu_epi8(out + x * channels, how->lanes, ts_avx512_bytes(scaled, range));
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

/* All channels; `stride` and `rectified` are known when this is compiled, where that is worth it. */
TS_AVX512_INLINE void ts_avx512_row(const int8_t *const rows[3], int8_t *out, int32_t width, int32_t stride,
                                    const int rectified, const ts_conv *conv) {
    const ts_avx512_range range = ts_avx512_load_range(conv->zero_point, conv->low, conv->high);
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
        ts_avx512_channels(here, out + first, width, stride, channels, weights, requant, range, rectified, &how);
        weights += 3 * 4 * TS_HOST_LANES;
        requant += TS_HOST_BLOCK;
    }
    if (first < channels) {
        const int8_t *const here[3] = {rows[0] + first, rows[1] + first, rows[2] + first};
        how.lanes = (__mmask16)((1u << (channels - first)) - 1u);
        how.whole = 0;
        ts_avx512_channels(here, out + first, width, stride, channels, weights, requant, range, rectified, &how);
    }
}

TS_AVX512 static void ts_avx512_depthwise3(
    const int8_t *const rows[3], int8_t *out, int32_t width, int32_t stride, const ts_conv *conv) {
    if (!conv->requant[0]) {
        ts_host_plain.depthwise3(rows, out, width, stride, conv);
    } else if (conv->low < conv->zero_point) {
        ts_avx512_row(rows, out, width, stride, 0, conv);
    } else if (stride == 1) {
        ts_avx512_row(rows, out, width, 1, 1, conv);
    } else {
        ts_avx512_row(rows, out, width, stride, 1, conv);
    }
}

/* As ts_avx512_round with the same multiplier and shift in all lanes, of twice the value; a shift of 0 rounds once. */
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

/* `rectified`: as in ts_avx512_rectify, for a shift below 0. */
TS_AVX512_INLINE __m512i ts_avx512_take_step(__m512i twice, const ts_avx512_step *step, const int rectified) {
    const __m512i half = _mm512_set1_epi64((int64_t)1 << 31);
    const __m512i even = _mm512_add_epi64(_mm512_mul_epi32(twice, step->multiplier), half);
    const __m512i odd = _mm512_add_epi64(_mm512_mul_epi32(_mm512_srli_epi64(twice, 32), step->multiplier), half);
    __m512i h = _mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_PERM_DDBB);
    if (!rectified) {
        h = _mm512_add_epi32(h, _mm512_and_si512(_mm512_srai_epi32(h, 31), step->sign));
    }
    return _mm512_srav_epi32(_mm512_add_epi32(h, step->half), step->right);
}

/* What an addition holds in registers. */
typedef struct {
    ts_avx512_step a, b, sum;
    __m512i zero_point_a, zero_point_b;
} ts_avx512_addition;

/* 16 sums. `halved`: a has the larger scale, by which TFLite's multiplier is exactly a half. */
TS_AVX512_INLINE __m512i ts_avx512_sums(
    __m128i a, __m128i b, const ts_avx512_addition *by, const int halved, const int rectified) {
    __m512i va = _mm512_sub_epi32(_mm512_cvtepi8_epi32(a), by->zero_point_a);
    const __m512i vb = _mm512_sub_epi32(_mm512_cvtepi8_epi32(b), by->zero_point_b);
    va = halved ? _mm512_slli_epi32(va, 19) : ts_avx512_take_step(_mm512_slli_epi32(va, 21), &by->a, 0);
    va = _mm512_add_epi32(va, ts_avx512_take_step(_mm512_slli_epi32(vb, 21), &by->b, 0));
    return ts_avx512_take_step(_mm512_slli_epi32(va, 1), &by->sum, rectified);
}

TS_AVX512_INLINE void ts_avx512_add_all(const int8_t *a, const int8_t *b, int8_t *out, int32_t n, const ts_add *add,
                                        const int halved, const int rectified) {
    const ts_avx512_range range = ts_avx512_load_range(add->zero_point, add->low, add->high);
    ts_avx512_addition by;
    by.a = ts_avx512_load_step(add->multiplier_a, add->shift_a);
    by.b = ts_avx512_load_step(add->multiplier_b, add->shift_b);
    by.sum = ts_avx512_load_step(add->multiplier, add->shift);
    by.zero_point_a = _mm512_set1_epi32(add->zero_point_a);
    by.zero_point_b = _mm512_set1_epi32(add->zero_point_b);
    int32_t i = 0;
    for (; i + 64 <= n; i += 64) {
        const __m128i *const va = (const __m128i *)(a + i), *const vb = (const __m128i *)(b + i);
        __m512i sums[8];
        TS_HOST_EACH_PIXEL(4, p, {
            sums[p] = ts_avx512_sums(_mm_loadu_si128(va + p), _mm_loadu_si128(vb + p), &by, halved, rectified);
        })
        _mm512_storeu_si512(out + i, ts_avx512_four(sums[0], sums[1], sums[2], sums[3], range));
    }
    for (; i < n; i += TS_HOST_LANES) {
        const __mmask16 lanes = (__mmask16)ts_avx512_first(n - i);
        const __m128i va = _mm_maskz_loadu_epi8(lanes, a + i), vb = _mm_maskz_loadu_epi8(lanes, b + i);
        const __m512i sums = ts_avx512_sums(va, vb, &by, halved, rectified);
        _mm_mask_storeu_epi8(out + i, lanes, ts_avx512_bytes(sums, range));
    }
}

TS_AVX512 static void ts_avx512_add(const int8_t *a, const int8_t *b, int8_t *out, int32_t n, const ts_add *add) {
    const int32_t half = 1 << 30;
    ts_add turned = *add;
    if (!ts_host_add_is_plain(add)) {
        ts_host_plain.add(a, b, out, n, add);
        return;
    }
    if (add->multiplier_b == half && add->shift_b == 0) { /* the half comes first */
        const int8_t *const first = b;
        b = a;
        a = first;
        turned.zero_point_a = add->zero_point_b;
        turned.multiplier_a = add->multiplier_b;
        turned.shift_a = add->shift_b;
        turned.zero_point_b = add->zero_point_a;
        turned.multiplier_b = add->multiplier_a;
        turned.shift_b = add->shift_a;
    }
    const int halved = turned.multiplier_a == half && turned.shift_a == 0;
    if (halved && add->shift < 0 && add->low >= add->zero_point) {
        ts_avx512_add_all(a, b, out, n, &turned, 1, 1);
    } else if (halved) {
        ts_avx512_add_all(a, b, out, n, &turned, 1, 0);
    } else {
        ts_avx512_add_all(a, b, out, n, &turned, 0, 0);
    }
}

const ts_host_form ts_host_avx512 = {
    "avx512", ts_host_has_avx512, ts_avx512_dense, ts_avx512_depthwise3, ts_avx512_add};

#else
typedef int ts_avx512_is_not_of_this_machine; /* C wants something in every file */
#endif
