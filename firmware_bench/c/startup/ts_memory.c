/* memcpy, memmove, memset and memcmp for a machine without a C library: the only four that compilers call unasked.
 * Words where both sides are aligned, else bytes. */
#include <stddef.h>
#include <stdint.h>

/* Without these a compiler finds the loop of memcpy to be a memcpy, and calls it. */
#if defined(__clang__)
#define TS_LITERALLY __attribute__((no_builtin))
#else
#define TS_LITERALLY __attribute__((optimize("no-tree-loop-distribute-patterns")))
#endif

typedef uint32_t __attribute__((may_alias)) ts_word;

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int value, size_t n);
int memcmp(const void *a, const void *b, size_t n);

TS_LITERALLY void *memcpy(void *restrict to, const void *restrict from, size_t n) {
    uint8_t *out = to;
    const uint8_t *in = from;
    if ((((uintptr_t)out | (uintptr_t)in) & 3u) == 0) {
        for (; n >= 16; n -= 16, in += 16, out += 16) {
            const ts_word *source = (const ts_word *)(const void *)in;
            ts_word *sink = (ts_word *)(void *)out;
            const uint32_t a = source[0], b = source[1], c = source[2], d = source[3];
            sink[0] = a;
            sink[1] = b;
            sink[2] = c;
            sink[3] = d;
        }
        for (; n >= 4; n -= 4, in += 4, out += 4) {
            *(ts_word *)(void *)out = *(const ts_word *)(const void *)in;
        }
    }
    while (n-- > 0) {
        *out++ = *in++;
    }
    return to;
}

TS_LITERALLY void *memmove(void *to, const void *from, size_t n) {
    uint8_t *out = to;
    const uint8_t *in = from;
    if ((uintptr_t)out - (uintptr_t)in >= n) { /* behind `from`, or past its end: forwards is safe */
        while (n-- > 0) {
            *out++ = *in++;
        }
    } else {
        while (n-- > 0) {
            out[n] = in[n];
        }
    }
    return to;
}

TS_LITERALLY void *memset(void *to, int value, size_t n) {
    uint8_t *out = to;
    const uint32_t word = (uint32_t)(uint8_t)value * 0x01010101u;
    for (; n > 0 && ((uintptr_t)out & 3u) != 0; --n) {
        *out++ = (uint8_t)value;
    }
    for (; n >= 16; n -= 16, out += 16) {
        ts_word *sink = (ts_word *)(void *)out;
        sink[0] = word;
        sink[1] = word;
        sink[2] = word;
        sink[3] = word;
    }
    while (n-- > 0) {
        *out++ = (uint8_t)value;
    }
    return to;
}

TS_LITERALLY int memcmp(const void *a, const void *b, size_t n) {
    const uint8_t *left = a, *right = b;
    for (size_t i = 0; i < n; ++i) {
        if (left[i] != right[i]) {
            return left[i] - right[i];
        }
    }
    return 0;
}

#if defined(__arm__)
/* What the Arm ABI lets compilers call instead, note the order of memset's arguments. */
void __aeabi_memcpy(void *restrict to, const void *restrict from, size_t n);
void __aeabi_memmove(void *to, const void *from, size_t n);
void __aeabi_memset(void *to, size_t n, int value);
void __aeabi_memclr(void *to, size_t n);

TS_LITERALLY void __aeabi_memcpy(void *restrict to, const void *restrict from, size_t n) {
    memcpy(to, from, n);
}

TS_LITERALLY void __aeabi_memmove(void *to, const void *from, size_t n) {
    memmove(to, from, n);
}

TS_LITERALLY void __aeabi_memset(void *to, size_t n, int value) {
    memset(to, value, n);
}

TS_LITERALLY void __aeabi_memclr(void *to, size_t n) {
    memset(to, 0, n);
}

#define TS_ALIAS(other, name, ...) \
    void other(__VA_ARGS__);       \
    void other(__VA_ARGS__) __attribute__((alias(#name)))
TS_ALIAS(__aeabi_memcpy4, __aeabi_memcpy, void *restrict to, const void *restrict from, size_t n);
TS_ALIAS(__aeabi_memcpy8, __aeabi_memcpy, void *restrict to, const void *restrict from, size_t n);
TS_ALIAS(__aeabi_memmove4, __aeabi_memmove, void *to, const void *from, size_t n);
TS_ALIAS(__aeabi_memmove8, __aeabi_memmove, void *to, const void *from, size_t n);
TS_ALIAS(__aeabi_memset4, __aeabi_memset, void *to, size_t n, int value);
TS_ALIAS(__aeabi_memset8, __aeabi_memset, void *to, size_t n, int value);
TS_ALIAS(__aeabi_memclr4, __aeabi_memclr, void *to, size_t n);
TS_ALIAS(__aeabi_memclr8, __aeabi_memclr, void *to, size_t n);
#endif
