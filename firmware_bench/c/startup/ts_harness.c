/* A program whose functions are called over its standard input, for a target that is emulated as a Linux process.
 * Every request and every reply is little-endian 64-bit words:
 *   'R' address n                 -> n bytes
 *   'W' address n, then n bytes   -> one word, 0
 *   'C' function n, n <= 8 words  -> one word, the value
 * It ends at the end of its input. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

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

int main(void) {
    for (;;) {
        uint64_t request[3];
        ts_get(request, sizeof request);
        if (request[0] == 'R') {
            ts_put((const void *)(uintptr_t)request[1], (size_t)request[2]);
        } else if (request[0] == 'W') {
            const uint64_t done = 0;
            ts_get((void *)(uintptr_t)request[1], (size_t)request[2]);
            ts_put(&done, 8);
        } else {
            uint64_t a[8] = {0};
            ts_get(a, (size_t)(request[2] > 8 ? 8 : request[2]) * 8);
            const ts_function function = (ts_function)(uintptr_t)request[1];
            const uint64_t value = function(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
            ts_put(&value, 8);
        }
        fflush(stdout);
    }
}
