/* The multiplications of the word kernels: four pixels against four outputs, both read word after word and byte after
 * byte.
 *
 * One multiplication makes a pixel's product in each half of t = low + 2^16 * high, exactly, since 255 * 255 < 2^16.
 * Adding up t (it wraps) and t >> 16 gives sum(high), and sum(low) = sum(t) - 2^16 * sum(high). In C a compiler runs
 * out of registers over this: assembly for the two architectures that the kernels are for, C for every other. */
#include "ts_kernels_word_tile.h"

#if defined(__ARM_ARCH_6M__) && defined(__OPTIMIZE__)

/* Two inputs of four pixels, their weights at %[w] + first and + second: products and shifts in the low registers, sums
 * in the high ones, which can be added to and nothing else. */
#define TS_WORD_PAIR(x, all, high) \
    "muls " x ", r4, " x "\n\tadd %[" all "], " x "\n\tlsrs " x ", " x ", #16\n\tadd %[" high "], " x "\n\t"
#define TS_WORD_TWO(first, second)                                                   \
    "ldmia %[x]!, {r0, r1, r2, r3}\n\tldrb r4, [%[w], #" first "]\n\t"               \
    TS_WORD_PAIR("r0", "all_a", "high_a") TS_WORD_PAIR("r1", "all_b", "high_b")      \
    "ldrb r4, [%[w], #" second "]\n\t"                                               \
    TS_WORD_PAIR("r2", "all_a", "high_a") TS_WORD_PAIR("r3", "all_b", "high_b")
#define TS_WORD_OPERANDS                                                                                     \
    [x] "+l"(x), [w] "+l"(w), [all_a] "+h"(all_a), [high_a] "+h"(high_a), [all_b] "+h"(all_b), [high_b] "+h"(high_b)

void ts_word_block(const uint32_t *values, const uint8_t *weights, int32_t inputs, uint32_t *sums) {
    const uint32_t *const end = values + 2 * inputs;
    for (int32_t output = 0; output < TS_WORD_BLOCK; ++output) {
        const uint32_t *x = values;
        const uint8_t *w = weights + output;
        uint32_t all_a = 0, high_a = 0, all_b = 0, high_b = 0;
        if (inputs & 4) {
            __asm__ volatile(".syntax unified\n\t" TS_WORD_TWO("0", "4") TS_WORD_TWO("8", "12") "adds %[w], #16\n\t"
                             : TS_WORD_OPERANDS
                             :
                             : "r0", "r1", "r2", "r3", "r4", "cc", "memory");
        }
        if (x != end) {
            __asm__ volatile(".syntax unified\n1:\n\t" TS_WORD_TWO("0", "4") TS_WORD_TWO("8", "12") TS_WORD_TWO("16", "20")
                                 TS_WORD_TWO("24", "28") "adds %[w], #32\n\tcmp %[x], %[end]\n\tbne 1b\n\t"
                             : TS_WORD_OPERANDS
                             : [end] "h"(end)
                             : "r0", "r1", "r2", "r3", "r4", "cc", "memory");
        }
        ts_word_split(all_a, high_a, all_b, high_b, sums + TS_WORD_LANES * output);
    }
}

#elif defined(__riscv) && __riscv_xlen == 32 && defined(__riscv_mul) && !defined(__riscv_32e) && defined(__OPTIMIZE__)

/* One output's weight against both words of an input: a4 and a5 hold the activations. */
#define TS_WORD_OUTPUT(offset, all_a, high_a, all_b, high_b)                                                       \
    "lbu t0, " offset "(%[w])\n\tmul t1, a4, t0\n\tmul t0, a5, t0\n\t"                                             \
    "add " all_a ", " all_a ", t1\n\tsrli t1, t1, 16\n\tadd " high_a ", " high_a ", t1\n\t"                        \
    "add " all_b ", " all_b ", t0\n\tsrli t0, t0, 16\n\tadd " high_b ", " high_b ", t0\n\t"
#define TS_WORD_INPUT(even, odd, first, second, third, fourth)                     \
    "lw a4, " even "(%[x])\n\tlw a5, " odd "(%[x])\n\t"                            \
    TS_WORD_OUTPUT(first, "s1", "s2", "s3", "s4")                                  \
    TS_WORD_OUTPUT(second, "s5", "s6", "s7", "s8")                                 \
    TS_WORD_OUTPUT(third, "s9", "s10", "s11", "t3")                                \
    TS_WORD_OUTPUT(fourth, "t4", "t5", "t6", "a7")
#define TS_WORD_ZERO(a, b, c, d) "li " a ", 0\n\tli " b ", 0\n\tli " c ", 0\n\tli " d ", 0\n\t"
/* As ts_word_split. */
#define TS_WORD_STORE(offset, next, third, fourth, all_a, high_a, all_b, high_b)                             \
    "slli t0, " high_a ", 16\n\tsub t0, " all_a ", t0\n\tsw t0, " offset "(%[sums])\n\t"                     \
    "sw " high_a ", " next "(%[sums])\n\tslli t0, " high_b ", 16\n\tsub t0, " all_b ", t0\n\t"               \
    "sw t0, " third "(%[sums])\n\tsw " high_b ", " fourth "(%[sums])\n\t"

void ts_word_block(const uint32_t *values, const uint8_t *weights, int32_t inputs, uint32_t *sums) {
    const uint32_t *const end = values + 2 * inputs;
    __asm__ volatile(
        TS_WORD_ZERO("s1", "s2", "s3", "s4") TS_WORD_ZERO("s5", "s6", "s7", "s8")
        TS_WORD_ZERO("s9", "s10", "s11", "t3") TS_WORD_ZERO("t4", "t5", "t6", "a7")
        "1:\n\t"
        TS_WORD_INPUT("0", "4", "0", "1", "2", "3")
        TS_WORD_INPUT("8", "12", "4", "5", "6", "7")
        TS_WORD_INPUT("16", "20", "8", "9", "10", "11")
        TS_WORD_INPUT("24", "28", "12", "13", "14", "15")
        "addi %[x], %[x], 32\n\taddi %[w], %[w], 16\n\tbne %[x], %[end], 1b\n\t"
        TS_WORD_STORE("0", "4", "8", "12", "s1", "s2", "s3", "s4")
        TS_WORD_STORE("16", "20", "24", "28", "s5", "s6", "s7", "s8")
        TS_WORD_STORE("32", "36", "40", "44", "s9", "s10", "s11", "t3")
        TS_WORD_STORE("48", "52", "56", "60", "t4", "t5", "t6", "a7")
        : [x] "+r"(values), [w] "+r"(weights)
        : [end] "r"(end), [sums] "r"(sums)
        : "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t0", "t1", "t3", "t4", "t5", "t6", "a4",
          "a5", "a7", "memory");
}

#else

void ts_word_block(const uint32_t *values, const uint8_t *weights, int32_t inputs, uint32_t *sums) {
    for (int32_t output = 0; output < TS_WORD_BLOCK; ++output) {
        uint32_t all_a = 0, high_a = 0, all_b = 0, high_b = 0;
        for (int32_t i = 0; i < inputs; ++i) {
            const uint32_t weight = weights[TS_WORD_BLOCK * i + output];
            const uint32_t a = values[2 * i] * weight, b = values[2 * i + 1] * weight;
            all_a += a;
            high_a += a >> 16;
            all_b += b;
            high_b += b >> 16;
        }
        ts_word_split(all_a, high_a, all_b, high_b, sums + TS_WORD_LANES * output);
    }
}

#endif
