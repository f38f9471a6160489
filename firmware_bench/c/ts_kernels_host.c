/* The host family's choice of a form, and what all forms share. */
#include "ts_kernels_host.h"
#include "ts_requantize.h"

static const ts_host_form *const ts_host_forms[] = {
#if defined(__x86_64__)
    &ts_host_avx512, &ts_host_avx2,
#elif defined(__aarch64__)
    &ts_host_neon_dot, &ts_host_neon,
#endif
    &ts_host_plain,
};

enum { TS_HOST_FORMS = sizeof ts_host_forms / sizeof ts_host_forms[0] };

/* Set at the first use; threads that come at the same time write the same. */
static const ts_host_form *ts_host_chosen;

static const ts_host_form *ts_host_best(void) {
    for (int32_t i = 0; i + 1 < TS_HOST_FORMS; ++i) {
        if (ts_host_forms[i]->supported()) {
            return ts_host_forms[i];
        }
    }
    return &ts_host_plain;
}

static const ts_host_form *ts_host_current(void) {
    const ts_host_form *form = __atomic_load_n(&ts_host_chosen, __ATOMIC_RELAXED);
    if (!form) {
        form = ts_host_best();
        __atomic_store_n(&ts_host_chosen, form, __ATOMIC_RELAXED);
    }
    return form;
}

const char *ts_host_kernels(void) {
    return ts_host_current()->name;
}

const char *ts_host_form_name(int32_t number) {
    return number >= 0 && number < TS_HOST_FORMS ? ts_host_forms[number]->name : NULL;
}

int ts_host_select(const char *name) {
    for (int32_t i = 0; i < TS_HOST_FORMS; ++i) {
        if (strcmp(ts_host_forms[i]->name, name) == 0 && ts_host_forms[i]->supported()) {
            __atomic_store_n(&ts_host_chosen, ts_host_forms[i], __ATOMIC_RELAXED);
            return 1;
        }
    }
    return 0;
}

/* Both roundings of TFLite in one shift of a 64-bit product, see ts_kernels_host_avx512.c; a negative first result is
 * one less before the second. Holds where the fast form does. */
static int32_t ts_host_scale(int32_t sum, int32_t multiplier, int32_t right) {
    const int64_t rounded = (int64_t)sum * multiplier + ((int64_t)1 << 30);
    const int64_t below = rounded >> 63 & -((int64_t)1 << 31);
    return (int32_t)((rounded + below + ((int64_t)1 << (31 + right))) >> (32 + right));
}

void ts_host_finish(const int32_t *sums, const int32_t *requant, int32_t lanes, int8_t *out, const ts_conv *conv) {
    const int fast = conv->requant[0] != 0;
    for (int32_t lane = 0; lane < lanes; ++lane) {
        const int32_t multiplier = requant[TS_HOST_MULTIPLIER + lane];
        const int32_t scaled = fast ? ts_host_scale(sums[lane], multiplier, requant[TS_HOST_RIGHT + lane])
                                    : ts_requantize(sums[lane], multiplier, requant[TS_HOST_SHIFT + lane]);
        out[lane] = (int8_t)ts_clamp(scaled + conv->zero_point, conv->low, conv->high);
    }
}

int ts_host_add_is_plain(const ts_add *add) {
    return add->left_shift == 20 && add->shift_a <= 0 && add->shift_b <= 0 && add->shift <= 0;
}

TS_POINTWISE(host) {
    ts_host_current()->dense(in, conv->inputs, conv->inputs, out, pixels, conv);
}

TS_DEPTHWISE3(host) {
    ts_host_current()->depthwise3(rows, out, width, stride, conv);
}

TS_ADD(host) {
    ts_host_current()->add(a, b, out, n, add);
}

/* Copies n bytes by words that may overlap: rows of taps are short. */
static void ts_host_copy(int8_t *to, const int8_t *from, int32_t n) {
    if (n >= 8) {
        for (int32_t i = 0; i < n - 8; i += 8) {
            memcpy(to + i, from + i, 8);
        }
        memcpy(to + n - 8, from + n - 8, 8);
    } else if (n >= 4) {
        memcpy(to, from, 4);
        memcpy(to + n - 4, from + n - 4, 4);
    } else {
        for (int32_t i = 0; i < n; ++i) {
            to[i] = from[i];
        }
    }
}

/* Rows of taps of a few pixels, `apart` bytes from one pixel to the next, to scratch (pixels, step). `roomy`: a row of
 * less than four bytes may be written as four, because later rows or nothing lie behind it. */
static void ts_host_gather(const int8_t *from, int8_t *to, int32_t pixels, int32_t taps, int32_t apart, int32_t step,
                           int roomy) {
    for (; roomy && pixels > 1; --pixels) {
        memcpy(to, from, 4); /* reads into the next pixel at most, which is there */
        from += apart;
        to += step;
    }
    for (; pixels > 0; --pixels) {
        ts_host_copy(to, from, taps);
        from += apart;
        to += step;
    }
}

/* `scratch` (TS_HOST_CHUNK, step): the inputs of a few pixels, all taps of one next to each other. */
TS_CONV_ROW(host) {
    const ts_host_form *form = ts_host_current();
    const int32_t taps = kernel * conv->inputs, depth = height * taps, step = (depth + 3) / 4 * 4;
    const int32_t apart = stride * conv->inputs;
    const int roomy = taps < 4 && taps + apart >= 4 && (height - 1) * taps + 4 <= step;
    memset(scratch, 0, (size_t)(TS_HOST_CHUNK * step));
    for (int32_t start = 0; start < width; start += TS_HOST_CHUNK) {
        const int32_t pixels = ts_host_least(TS_HOST_CHUNK, width - start);
        for (int32_t y = 0; y < height; ++y) {
            ts_host_gather(rows[y] + start * apart, scratch + y * taps, pixels, taps, apart, step, roomy);
        }
        /* What a group has behind the last tap meets weights that are zero. */
        form->dense(scratch, step, step, out, pixels, conv);
        out += pixels * conv->outputs;
    }
}
