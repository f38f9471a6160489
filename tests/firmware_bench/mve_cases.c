/* Runs the Helium kernels and their scalar twins on one case after the other and compares.
 *
 * Every buffer that a kernel is given begins or ends where a memory of the emulated board does, so that a single byte
 * read or written too far faults; the other side of what is written has guard bytes. */
#include <stdint.h>

#include "ts_kernels.h"

/* The board's memories; what lies beyond either end of each faults. */
static int8_t *const areas[3][2] = {
    {(int8_t *)0x11000000, (int8_t *)0x11200000},
    {(int8_t *)0x30000000, (int8_t *)0x30080000},
    {(int8_t *)0x31200000, (int8_t *)0x31400000}, /* its first half is the program's */
};

enum { POINTWISE, DEPTHWISE3, CONV_ROW, ADD };

typedef struct {
    int32_t kind, inputs, outputs, zero_point, low, high; /* of ADD: in place in a, or b, or neither */
    int32_t width, stride, height, kernel, scratch_bytes, out_bytes;
    int32_t weight_bytes, requant_words, plain_bytes, plain_words, row_bytes; /* what follows, in this order */
} ts_case;

/* What came out: the case and the byte that differ, both values. */
int32_t ts_found[4];

static void move(int8_t *to, const int8_t *from, int32_t n) {
    for (int32_t i = 0; i < n; ++i) {
        to[i] = from[i];
    }
}

static int8_t *place(int area, int end, int32_t n) { return end ? areas[area][1] - n : areas[area][0]; }

static const int8_t *skip(const int8_t *at, int32_t n) { return at + (n + 3) / 4 * 4; }

enum { GUARD = 64, GUARD_BYTE = 0x5A, MOST = 40000 };
static int8_t expected[MOST];

static void call(const ts_case *one, int plain, const int8_t *const *rows, int8_t *out, const ts_conv *conv,
                 const ts_add *add, int8_t *scratch) {
    switch (one->kind) {
    case POINTWISE: (plain ? ts_pointwise_scalar : ts_pointwise_mve)(rows[0], out, one->width, conv); break;
    case DEPTHWISE3: (plain ? ts_depthwise3_scalar : ts_depthwise3_mve)(rows, out, one->width, one->stride, conv); break;
    case CONV_ROW:
        (plain ? ts_conv_row_scalar : ts_conv_row_mve)(rows, one->height, one->kernel, out, one->width, one->stride,
                                                       conv, scratch);
        break;
    default: (plain ? ts_add_scalar : ts_add_mve)(rows[0], rows[1], out, one->width, add); break;
    }
}

/* Row `edge` at the `end` of its memory, the others where they are. 0 when all bytes agree. */
static int32_t compare(const ts_case *one, int edge, int end) {
    const int8_t *at = (const int8_t *)(one + 1);
    const int8_t *rows[8];
    const int8_t *near[8];
    int8_t *weights = place(0, end, one->weight_bytes);
    move(weights, at, one->weight_bytes);
    at = skip(at, one->weight_bytes);
    int8_t *requant = place(2, end, one->requant_words * 4);
    move(requant, at, one->requant_words * 4);
    at += one->requant_words * 4;
    const int8_t *plain = at;
    at = skip(at, one->plain_bytes);
    const int32_t *plain_requant = (const int32_t *)(const void *)at;
    at += one->plain_words * 4;
    for (int32_t y = 0; y < one->height; ++y) {
        rows[y] = near[y] = at;
        at = skip(at, one->row_bytes);
    }
    int8_t *out = place(1, !end, one->out_bytes);
    int8_t *scratch = place(0, !end, one->scratch_bytes);
    int8_t *moved = place(1, end, one->row_bytes);
    move(moved, rows[edge], one->row_bytes);
    near[edge] = moved;
    int8_t *guard = end ? out + one->out_bytes : out - GUARD;
    for (int32_t i = 0; i < GUARD; ++i) {
        guard[i] = GUARD_BYTE;
    }
    ts_add add;
    move((int8_t *)&add, requant, one->kind == ADD ? (int32_t)sizeof add : 0);
    const ts_conv fast = {weights, (const int32_t *)(const void *)requant, one->inputs, one->outputs, one->zero_point,
                          one->low, one->high};
    const ts_conv slow = {plain, plain_requant, one->inputs, one->outputs, one->zero_point, one->low, one->high};
    if (one->kind == ADD && one->inputs == edge) {
        out = moved; /* in place */
    }
    call(one, 1, rows, expected, &slow, &add, 0);
    call(one, 0, near, out, &fast, &add, scratch);
    for (int32_t i = 0; i < one->out_bytes; ++i) {
        if (out[i] != expected[i]) {
            ts_found[1] = i;
            ts_found[2] = expected[i];
            ts_found[3] = out[i];
            return 1;
        }
    }
    for (int32_t i = 0; i < GUARD; ++i) {
        if (guard[i] != GUARD_BYTE) {
            ts_found[1] = one->out_bytes + i;
            ts_found[2] = GUARD_BYTE;
            ts_found[3] = guard[i];
            return 1;
        }
    }
    return 0;
}

/* cases: their number, then for each its size in bytes, a ts_case and its arrays. Returns the number of cases run until
 * one differed (details in ts_found), or 0 when all agreed. */
int32_t ts_compare_cases(const int32_t *cases) {
    const int32_t count = *cases++;
    for (int32_t i = 0; i < count; ++i) {
        const ts_case *one = (const ts_case *)(const void *)(cases + 1);
        ts_found[0] = i;
        for (int edge = 0; edge < one->height; ++edge) {
            if (one->out_bytes > MOST || compare(one, edge, 0) != 0 || compare(one, edge, 1) != 0) {
                return i + 1;
            }
        }
        cases = (const int32_t *)(const void *)((const int8_t *)one + *cases);
    }
    return 0;
}
