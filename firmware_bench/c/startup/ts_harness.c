/* A program whose functions are called over its standard input, for a target that is emulated as a Linux process.
 * Every request and every reply is little-endian 64-bit words:
 *   'R' address n                 -> n bytes
 *   'W' address n, then n bytes   -> one word, 0
 *   'C' function stack n, n words -> value, bytes of stack used (n <= 8; `stack` bytes are painted and looked at)
 * It ends at the end of its input. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define TS_PAINT 0xA5u

typedef uint64_t (*ts_function)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);

static void ts_get(void *to, size_t n) {
    if (n > 0 && fread(to, 1, n, stdin) != n) {
        exit(0);
    }
}

static void ts_put(const void *from, size_t n) {
    if (n > 0 && fwrite(from, 1, n, stdout) != n) {
        exit(1);
    }
}

static void __attribute__((noinline)) ts_paint(volatile uint8_t *low, const volatile uint8_t *high) {
    while (low < high) {
        *low++ = TS_PAINT;
    }
}

static const volatile uint8_t *__attribute__((noinline))
ts_lowest(const volatile uint8_t *low, const volatile uint8_t *high) {
    while (low < high && *low == TS_PAINT) {
        ++low;
    }
    return low;
}

/* reply: (2), the value and the bytes of stack. The paint is below this frame, where nothing lives. */
static void __attribute__((noinline)) ts_call(uint64_t function, uint64_t stack, const uint64_t *a, uint64_t *reply) {
    volatile uint8_t here = 0;
    const uintptr_t frame = (uintptr_t)&here;
    volatile uint8_t *low = (volatile uint8_t *)(frame - stack);
    ts_paint(low, (const volatile uint8_t *)(frame - 512));
    reply[0] = ((ts_function)(uintptr_t)function)(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
    reply[1] = (uint64_t)(frame - (uintptr_t)ts_lowest(low, (const volatile uint8_t *)(frame - 512)));
}

int main(void) {
    for (;;) {
        uint64_t request[3];
        ts_get(request, 8);
        ts_get(request + 1, 16);
        if (request[0] == 'R') {
            ts_put((const void *)(uintptr_t)request[1], (size_t)request[2]);
        } else if (request[0] == 'W') {
            const uint64_t done = 0;
            ts_get((void *)(uintptr_t)request[1], (size_t)request[2]);
            ts_put(&done, 8);
        } else {
            uint64_t n, arguments[8] = {0}, reply[2];
            ts_get(&n, 8);
            ts_get(arguments, (size_t)(n > 8 ? 8 : n) * 8);
            ts_call(request[1], request[2], arguments, reply);
            ts_put(reply, 16);
        }
        fflush(stdout);
    }
}
