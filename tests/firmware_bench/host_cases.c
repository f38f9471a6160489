/* Runs cases of a file through one form of the host family and through the scalar twin: `host_cases FILE FORM`.
 *
 * A case is 18 int32 (kind, pixels, stride, height, kernel, inputs, outputs, zero point, low, high, scratch bytes, bytes of
 * a row, then the sizes of six parts in bytes) and the parts: rows, scalar weights, host weights, scalar requant, host
 * requant, parameters of an addition. Prints, for every case, bytes that differ and how many values the twin gave.
 * Each buffer is allocated at its size, so that a sanitizer sees a byte beside it. Exits 3 where the form is missing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ts_kernels.h"
#include "ts_kernels_host.h"

enum { POINTWISE, DEPTHWISE, CONV, ADD };
enum { PARTS = 6 };

typedef struct {
    int32_t kind, pixels, stride, height, kernel, inputs, outputs, zero_point, low, high, scratch, row;
    int32_t sizes[PARTS];
} head;

static void *part(FILE *file, int32_t size) {
    void *data = malloc((size_t)size + (size == 0));
    if (!data || fread(data, 1, (size_t)size, file) != (size_t)size) {
        exit(4);
    }
    return data;
}

static void run(const head *h, void *const *parts, int scalar, int8_t *out) {
    const int8_t *in = parts[0];
    const ts_conv conv = {parts[scalar ? 1 : 2], parts[scalar ? 3 : 4], h->inputs, h->outputs,
                          h->zero_point, h->low, h->high};
    const int8_t *rows[16];
    int8_t *copies[16];
    int8_t *scratch = malloc((size_t)h->scratch + 1);
    for (int32_t y = 0; y < h->height; ++y) { /* a buffer for every row */
        rows[y] = copies[y] = malloc((size_t)h->row);
        memcpy(copies[y], in + y * h->row, (size_t)h->row);
    }
    if (h->kind == POINTWISE) {
        (scalar ? ts_pointwise_scalar : ts_pointwise_host)(rows[0], out, h->pixels, &conv);
    } else if (h->kind == DEPTHWISE) {
        (scalar ? ts_depthwise3_scalar : ts_depthwise3_host)(rows, out, h->pixels, h->stride, &conv);
    } else if (h->kind == CONV) {
        (scalar ? ts_conv_row_scalar : ts_conv_row_host)(rows, h->height, h->kernel, out, h->pixels, h->stride, &conv,
                                                         scratch);
    } else {
        (scalar ? ts_add_scalar : ts_add_host)(rows[0], rows[1], out, h->row, parts[5]);
        /* In place, on either side. */
        (scalar ? ts_add_scalar : ts_add_host)(copies[0], rows[1], copies[0], h->row, parts[5]);
        if (memcmp(copies[0], out, (size_t)h->row)) {
            exit(5);
        }
    }
    for (int32_t y = 0; y < h->height; ++y) {
        free(copies[y]);
    }
    free(scratch);
}

int main(int count, char **words) {
    FILE *file = count == 3 ? fopen(words[1], "rb") : NULL;
    head h;
    if (!file || !ts_host_select(words[2])) {
        return 3;
    }
    while (fread(&h, sizeof h, 1, file) == 1) {
        void *parts[PARTS];
        for (int32_t i = 0; i < PARTS; ++i) {
            parts[i] = part(file, h.sizes[i]);
        }
        const int32_t bytes = h.kind == ADD ? h.row : h.pixels * h.outputs;
        int8_t *expected = malloc((size_t)bytes), *found = malloc((size_t)bytes);
        int32_t differing = 0, values = 0;
        int seen[256] = {0};
        memset(found, 0x55, (size_t)bytes);
        run(&h, parts, 1, expected);
        run(&h, parts, 0, found);
        for (int32_t i = 0; i < bytes; ++i) {
            differing += expected[i] != found[i];
            values += !seen[expected[i] + 128];
            seen[expected[i] + 128] = 1;
        }
        printf("%d %d\n", (int)differing, (int)values);
        for (int32_t i = 0; i < PARTS; ++i) {
            free(parts[i]);
        }
        free(expected);
        free(found);
    }
    fclose(file);
    return 0;
}
