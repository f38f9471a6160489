/* What an x86-64 processor has, and its system saves when it changes tasks. */
#ifndef TS_KERNELS_HOST_CPU_H
#define TS_KERNELS_HOST_CPU_H

#include <cpuid.h>

/* Bits of XCR0: SSE and AVX registers; mask registers and both parts of the AVX-512 ones. */
enum { TS_CPU_AVX_STATE = 0x06, TS_CPU_AVX512_STATE = 0xe6 };

/* Whether the system saves the registers of `state`. */
static inline int ts_cpu_saves(unsigned state) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) {
        return 0;
    }
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return (a & state) == state;
}

static inline int ts_host_has_avx2(void) {
    unsigned a, b, c, d;
    return ts_cpu_saves(TS_CPU_AVX_STATE) && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_AVX2) != 0;
}

static inline int ts_host_has_avx512(void) {
    const unsigned base = bit_AVX512F | bit_AVX512BW | bit_AVX512VL;
    unsigned a, b, c, d;
    return ts_cpu_saves(TS_CPU_AVX512_STATE) && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & base) == base &&
           (c & bit_AVX512VNNI) != 0;
}

#endif
