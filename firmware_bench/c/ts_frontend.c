/* The stream: keeps one window of samples, and windows it for the transform. */
#include "ts_frontend.h"

#include "ts_fft.h"
#include "ts_frontend_mel.h"

#define TS_HALF (TS_FRONTEND_WINDOW / 2)

void ts_frontend_init(ts_frontend *frontend) {
    frontend->count = 0;
    frontend->mirror = TS_HALF;
    /* Frame 0 ends at pre-emphasised sample TS_HALF - 1, but its left edge reflects one more. */
    frontend->needed = TS_HALF + 2;
    frontend->skip = 0;
}

/* Without <string.h>, which a freestanding compiler need not have; to (n) and from (n) do not overlap. */
static inline void ts_copy(int16_t *to, const int16_t *from, int32_t n) {
    __builtin_memcpy(to, from, (uint32_t)n * sizeof *to);
}

int32_t ts_frontend_push(ts_frontend *frontend, const int16_t *pcm, int32_t n) {
    const int32_t skipped = n < frontend->skip ? n : frontend->skip;
    frontend->skip -= skipped;
    int32_t taken = frontend->needed - frontend->count;
    if (taken > n - skipped) {
        taken = n - skipped;
    }
    if (taken > 0) {
        ts_copy(frontend->samples + frontend->count, pcm + skipped, taken);
        frontend->count += taken;
        return skipped + taken;
    }
    return skipped;
}

/* Goes one hop on: drops what only the frames so far needed. */
static void ts_frontend_advance(ts_frontend *frontend) {
    const int32_t shown = frontend->mirror < TS_FRONTEND_HOP ? frontend->mirror : TS_FRONTEND_HOP;
    frontend->mirror -= shown;
    frontend->needed = TS_FRONTEND_WINDOW + 1 - frontend->mirror;
    const int32_t drop = TS_FRONTEND_HOP - shown;
    if (drop >= frontend->count) {
        frontend->skip = drop - frontend->count;
        frontend->count = 0;
    } else if (drop > 0) {
        frontend->count -= drop;
        for (int32_t at = 0; at < frontend->count; at += drop) { /* in pieces that do not overlap */
            const int32_t left = frontend->count - at;
            ts_copy(frontend->samples + at, frontend->samples + at + drop, left < drop ? left : drop);
        }
    }
}

/* Pre-emphasis of x1, the sample after x0: x1 - preemphasis * x0, in units of the samples (float) or of 1 / 32768 of
 * them (fixed point: below 2^31, as the weight is below 1). */
static inline ts_number ts_emphasised(int16_t x0, int16_t x1) {
#if TS_FRONTEND_FIXED
    return x1 * 32768 - x0 * TS_FRONTEND_PREEMPHASIS;
#else
    return (float)x1 - TS_FRONTEND_PREEMPHASIS * (float)x0;
#endif
}

static inline ts_number ts_weighted_sample(ts_number y, int32_t shift, ts_number weight) {
#if TS_FRONTEND_FIXED
    /* Below 2^26, so that sums of eight and the passes' turns by 45 degrees stay below 2^30. */
    return ts_multiply_high((int32_t)((uint32_t)y << shift) >> 4, weight);
#else
    (void)shift;
    return y * weight;
#endif
}

/* How far to the left all pre-emphasised samples can go, at most TS_FRONTEND_MAX_SHIFT places. Those that a mirror
 * shows are among the others. */
static int32_t ts_headroom(const ts_frontend *frontend) {
    int32_t shift = 0;
#if TS_FRONTEND_FIXED
    uint32_t used = 0;
    for (int32_t i = 1; i < frontend->count; ++i) {
        const int32_t y = ts_emphasised(frontend->samples[i - 1], frontend->samples[i]);
        used |= (uint32_t)(y ^ (y >> 31));
    }
    while (shift < TS_FRONTEND_MAX_SHIFT && !((used << shift) & 0x40000000u)) {
        ++shift;
    }
#else
    (void)frontend;
#endif
    return shift;
}

/* Sample n of a window that begins `mirror` samples before the stream, windowed. */
static ts_number ts_mirrored(const int16_t *samples, int32_t n, int32_t mirror, int32_t shift) {
    const int16_t *const at = samples + (n < mirror ? mirror - n : n - mirror);
    const ts_number weight = ts_frontend_window[n < TS_HALF ? n : TS_FRONTEND_WINDOW - 1 - n];
    return ts_weighted_sample(ts_emphasised(at[0], at[1]), shift, weight);
}

/* The window on the samples, to the places of work (TS_FFT_PAIRS, 2) where ts_fft_real wants them. */
static void ts_window(const ts_frontend *frontend, int32_t shift, ts_number *work) {
    const int16_t *samples = frontend->samples; /* (TS_FRONTEND_WINDOW + 1) */
    uint32_t place = 0;
    if (frontend->mirror > 0 || TS_HALF % 2) {
        for (int32_t n = 0; n < TS_FRONTEND_WINDOW; n += 2) {
            ts_store(work + 2 * place, ts_mirrored(samples, n, frontend->mirror, shift),
                     ts_mirrored(samples, n + 1, frontend->mirror, shift));
            place = ts_fft_next_place(place);
        }
    } else { /* the same, faster: up the stored half of the symmetric window, then down */
        int32_t at = 0;
        for (int32_t step = 1; step >= -1; step -= 2) {
            for (int32_t n = 0; n < TS_HALF; n += 2) {
                const ts_number first = ts_emphasised(samples[n], samples[n + 1]);
                const ts_number second = ts_emphasised(samples[n + 1], samples[n + 2]);
                ts_store(work + 2 * place, ts_weighted_sample(first, shift, ts_frontend_window[at]),
                         ts_weighted_sample(second, shift, ts_frontend_window[at + step]));
                at += 2 * step;
                place = ts_fft_next_place(place);
            }
            at = TS_HALF - 1;
            samples += TS_HALF;
        }
    }
    for (int32_t n = TS_FRONTEND_WINDOW; n < TS_FRONTEND_N_FFT; n += 2) {
        ts_store(work + 2 * place, 0, 0);
        place = ts_fft_next_place(place);
    }
}

void ts_frontend_frame(ts_frontend *frontend, void *scratch, int8_t *out) {
    ts_number *const work = scratch;
    const int32_t shift = ts_headroom(frontend);
    ts_window(frontend, shift, work);
    ts_fft_real(work);
    work[1] = 0; /* was bin N/2, which belongs to no mel, in bin 0's place for an imaginary part */
    ts_frontend_mel(work, shift, out);
    ts_frontend_advance(frontend);
}
