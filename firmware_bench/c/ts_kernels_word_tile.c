/* Four pixels at a time against the packed weights, (blocks of 4 outputs, inputs, 4) unsigned: both are read one byte
 * or word after another, and the sums stay in registers.
 *
 * With pairs, one multiplication makes a pixel's product in each half of a word t = low + 2^16 * high, exactly, since
 * 255 * 255 < 2^16. Summing t (wrapping) and t >> 16 gives sum(high), and sum(low) = sum(t) - 2^16 * sum(high). */
#include "ts_kernels_word_tile.h"

#define TS_WORD_BLOCK 4

static int32_t ts_word_padded(int32_t inputs) {
    return (inputs + 3) & ~3;
}

#if TS_WORD_PAIRS

void ts_word_tile_begin(ts_word_tile *tile, int32_t inputs) {
    for (int32_t i = 2 * inputs; i < 2 * ts_word_padded(inputs); ++i) {
        tile->values[i] = 0;
    }
    for (int32_t lane = 0; lane < TS_WORD_LANES; ++lane) {
        tile->start[lane] = 0;
    }
}

/* Two lanes of a tile; returns the two sums of activations plus 128 in the halves of a word. */
static uint32_t ts_word_fill_pair(uint32_t *values, const int8_t *even, const int8_t *odd, int32_t n) {
    uint32_t sums = 0;
    for (int32_t i = 0; i < n; ++i) {
        const uint32_t pair = ((uint8_t)even[i] | (uint32_t)(uint8_t)odd[i] << 16) ^ 0x00800080u;
        *values = pair;
        values += 2;
        sums += pair;
    }
    return sums;
}

void ts_word_tile_fill(ts_word_tile *tile, int32_t first, const int8_t *const runs[TS_WORD_LANES], int32_t n) {
    for (int32_t lane = 0; lane < TS_WORD_LANES; lane += 2) {
        const uint32_t sums = ts_word_fill_pair(tile->values + 2 * first + lane / 2, runs[lane], runs[lane + 1], n);
        const uint32_t offset = 128u * (uint32_t)n;
        tile->start[lane] -= 128u * ((sums & 0xffffu) - offset);
        tile->start[lane + 1] -= 128u * ((sums >> 16) - offset);
    }
}

/* sums (4): one output of four pixels; weights at every fourth byte. */
static void ts_word_dot(const uint32_t *values, const uint8_t *weights, int32_t inputs, uint32_t *sums) {
    uint32_t all_a = 0, high_a = 0, all_b = 0, high_b = 0;
#if defined(__ARM_ARCH_6M__) && defined(__OPTIMIZE__)
    /* Two inputs a load and the sums in the high registers, which compilers leave unused. */
    const uint32_t *const end = values + 2 * inputs;
#define TS_WORD_TWO(first, second)                                                     \
    "ldmia %[x]!, {r0, r1, r2, r3}\n\t"                                              \
    "ldrb r4, [%[w], #" first "]\n\t"                                                \
    "muls r0, r4, r0\n\tadd %[ta], r0\n\tlsrs r0, r0, #16\n\tadd %[ua], r0\n\t"      \
    "muls r1, r4, r1\n\tadd %[tb], r1\n\tlsrs r1, r1, #16\n\tadd %[ub], r1\n\t"      \
    "ldrb r4, [%[w], #" second "]\n\t"                                               \
    "muls r2, r4, r2\n\tadd %[ta], r2\n\tlsrs r2, r2, #16\n\tadd %[ua], r2\n\t"      \
    "muls r3, r4, r3\n\tadd %[tb], r3\n\tlsrs r3, r3, #16\n\tadd %[ub], r3\n\t"
    if (inputs & 4) {
        __asm__ volatile(TS_WORD_TWO("0", "4") TS_WORD_TWO("8", "12") "adds %[w], #16\n\t"
                         : [x] "+l"(values), [w] "+l"(weights), [ta] "+h"(all_a), [ua] "+h"(high_a),
                           [tb] "+h"(all_b), [ub] "+h"(high_b)
                         :
                         : "r0", "r1", "r2", "r3", "r4", "cc", "memory");
    }
    if (values != end) {
        __asm__ volatile("1:\n\t" TS_WORD_TWO("0", "4") TS_WORD_TWO("8", "12") TS_WORD_TWO("16", "20")
                             TS_WORD_TWO("24", "28") "adds %[w], #32\n\tcmp %[x], %[end]\n\tbne 1b\n\t"
                         : [x] "+l"(values), [w] "+l"(weights), [ta] "+h"(all_a), [ua] "+h"(high_a),
                           [tb] "+h"(all_b), [ub] "+h"(high_b)
                         : [end] "h"(end)
                         : "r0", "r1", "r2", "r3", "r4", "cc", "memory");
    }
#undef TS_WORD_TWO
#else
    for (int32_t i = 0; i < inputs; ++i) {
        const uint32_t weight = weights[TS_WORD_BLOCK * i];
        const uint32_t a = values[2 * i] * weight, b = values[2 * i + 1] * weight;
        all_a += a;
        high_a += a >> 16;
        all_b += b;
        high_b += b >> 16;
    }
#endif
    sums[0] = all_a - (high_a << 16);
    sums[1] = high_a;
    sums[2] = all_b - (high_b << 16);
    sums[3] = high_b;
}

/* sums (4 outputs, 4 pixels) of one block. */
static void ts_word_block(const ts_word_tile *tile, const uint8_t *weights, int32_t inputs, uint32_t *sums) {
    for (int32_t output = 0; output < TS_WORD_BLOCK; ++output) {
        ts_word_dot(tile->values, weights + output, inputs, sums);
        for (int32_t lane = 0; lane < TS_WORD_LANES; ++lane) {
            sums[lane] += tile->start[lane];
        }
        sums += TS_WORD_LANES;
    }
}

#else

void ts_word_tile_begin(ts_word_tile *tile, int32_t inputs) {
    for (int32_t i = TS_WORD_LANES * inputs; i < TS_WORD_LANES * ts_word_padded(inputs); ++i) {
        tile->values[i] = 0;
    }
    for (int32_t lane = 0; lane < TS_WORD_LANES; ++lane) {
        tile->start[lane] = 0;
    }
}

void ts_word_tile_fill(ts_word_tile *tile, int32_t first, const int8_t *const runs[TS_WORD_LANES], int32_t n) {
    for (int32_t lane = 0; lane < TS_WORD_LANES; ++lane) {
        const int8_t *run = runs[lane];
        uint8_t *values = tile->values + TS_WORD_LANES * first + lane;
        int32_t sum = 0, i = 0;
#define TS_WORD_BYTE(k)                                       \
    sum += run[k];                                            \
    values[TS_WORD_LANES * (k)] = (uint8_t)(run[k] + 128);
        for (; i + 4 <= n; i += 4) {
            TS_WORD_BYTE(0)
            TS_WORD_BYTE(1)
            TS_WORD_BYTE(2)
            TS_WORD_BYTE(3)
            run += 4;
            values += 4 * TS_WORD_LANES;
        }
        for (; i < n; ++i) {
            TS_WORD_BYTE(0)
            ++run;
            values += TS_WORD_LANES;
        }
#undef TS_WORD_BYTE
        tile->start[lane] -= 128u * (uint32_t)sum;
    }
}

/* sums (4 outputs, 4 pixels) of one block: 16 sums, 4 activations and a weight in registers. */
static void ts_word_block(const ts_word_tile *tile, const uint8_t *weights, int32_t inputs, uint32_t *sums) {
    const uint32_t s0 = tile->start[0], s1 = tile->start[1], s2 = tile->start[2], s3 = tile->start[3];
    uint32_t a0 = s0, a1 = s1, a2 = s2, a3 = s3, b0 = s0, b1 = s1, b2 = s2, b3 = s3;
    uint32_t c0 = s0, c1 = s1, c2 = s2, c3 = s3, d0 = s0, d1 = s1, d2 = s2, d3 = s3;
    const uint8_t *values = tile->values;
    const uint8_t *const end = values + TS_WORD_LANES * inputs;
#define TS_WORD_ROW(row, offset)               \
    {                                          \
        const uint32_t weight = weights[offset]; \
        row##0 += x0 * weight;                 \
        row##1 += x1 * weight;                 \
        row##2 += x2 * weight;                 \
        row##3 += x3 * weight;                 \
    }
#define TS_WORD_INPUT(offset)                                                          \
    {                                                                                  \
        const uint32_t x0 = values[offset], x1 = values[(offset) + 1];                 \
        const uint32_t x2 = values[(offset) + 2], x3 = values[(offset) + 3];           \
        TS_WORD_ROW(a, offset)                                                         \
        TS_WORD_ROW(b, (offset) + 1)                                                   \
        TS_WORD_ROW(c, (offset) + 2)                                                   \
        TS_WORD_ROW(d, (offset) + 3)                                                   \
    }
    do {
        TS_WORD_INPUT(0)
        TS_WORD_INPUT(4)
        TS_WORD_INPUT(8)
        TS_WORD_INPUT(12)
        values += 16;
        weights += 16;
    } while (values != end);
#undef TS_WORD_INPUT
#undef TS_WORD_ROW
    const uint32_t found[16] = {a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3};
    for (int32_t i = 0; i < 16; ++i) {
        sums[i] = found[i];
    }
}

#endif

void ts_word_tile_outputs(const ts_word_tile *tile, int32_t inputs, int8_t *out, int32_t pixels, const ts_conv *conv) {
    const uint8_t *weights = (const uint8_t *)conv->weights;
    const int32_t padded = ts_word_padded(inputs), outputs = conv->outputs;
    for (int32_t first = 0; first < outputs; first += TS_WORD_BLOCK) {
        uint32_t sums[TS_WORD_BLOCK * TS_WORD_LANES];
        ts_word_block(tile, weights, padded, sums);
        weights += TS_WORD_BLOCK * padded;
        const uint32_t *sum = sums;
        const int32_t last = first + TS_WORD_BLOCK < outputs ? first + TS_WORD_BLOCK : outputs;
        for (int32_t index = first; index < last; ++index) {
            const ts_word_output output = ts_word_output_of(conv, index);
            int8_t *write = out + index;
            for (int32_t lane = 0; lane < pixels; ++lane) {
                *write = ts_word_finish((int32_t)(sum[lane] + output.bias), &output);
                write += outputs;
            }
            sum += TS_WORD_LANES;
        }
    }
}
