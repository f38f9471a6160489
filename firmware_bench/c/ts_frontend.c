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

/* Pre-emphasised sample n of a window that begins `mirror` samples before the stream: x[n+1] - preemphasis * x[n], in
 * units of the samples (float) or of 1 / 32768 of them (fixed point: |y| < 2^31, as the weight is below 1). */
static inline ts_number ts_emphasised(const int16_t *samples, int32_t n, int32_t mirror) {
    const int16_t *const at = samples + (n < mirror ? mirror - n : n - mirror);
#if TS_FRONTEND_FIXED
    return at[1] * 32768 - at[0] * TS_FRONTEND_PREEMPHASIS;
#else
    return (float)at[1] - TS_FRONTEND_PREEMPHASIS * (float)at[0];
#endif
}

#if TS_FRONTEND_FIXED
/* How far to the left the window's samples can go, at most TS_FRONTEND_MAX_SHIFT places. */
static inline int32_t ts_headroom(const int16_t *samples, int32_t mirror) {
    uint32_t used = 0;
    for (int32_t n = 0; n < TS_FRONTEND_WINDOW; ++n) {
        const int32_t y = ts_emphasised(samples, n, mirror);
        used |= (uint32_t)(y ^ (y >> 31));
    }
    int32_t shift = 0;
    while (shift < TS_FRONTEND_MAX_SHIFT && !((used << shift) & 0x40000000u)) {
        ++shift;
    }
    return shift;
}
#endif

static inline ts_number ts_windowed(const int16_t *samples, int32_t n, int32_t mirror, int32_t shift) {
    const ts_number y = ts_emphasised(samples, n, mirror);
    /* The window is symmetric: its first half (TS_HALF). */
    const ts_number weight = ts_frontend_window[n < TS_HALF ? n : TS_FRONTEND_WINDOW - 1 - n];
#if TS_FRONTEND_FIXED
    /* Below 2^26, so that sums of eight and the passes' turns by 45 degrees stay below 2^30. */
    return ts_multiply_high((int32_t)((uint32_t)y << shift) >> 4, weight);
#else
    (void)shift;
    return y * weight;
#endif
}

/* Windowed samples to work (TS_FFT_PAIRS, 2), as ts_fft_real wants them. Returns how far they were shifted. */
static inline int32_t ts_window(const int16_t *samples, int32_t mirror, ts_number *work) {
#if TS_FRONTEND_FIXED
    const int32_t shift = ts_headroom(samples, mirror);
#else
    const int32_t shift = 0;
#endif
    uint32_t place = 0;
    for (int32_t n = 0; n < TS_FRONTEND_WINDOW; n += 2) {
        work[2 * place] = ts_windowed(samples, n, mirror, shift);
        work[2 * place + 1] = ts_windowed(samples, n + 1, mirror, shift);
        place = ts_fft_next_place(place);
    }
    for (int32_t n = TS_FRONTEND_WINDOW; n < TS_FRONTEND_N_FFT; n += 2) {
        work[2 * place] = 0;
        work[2 * place + 1] = 0;
        place = ts_fft_next_place(place);
    }
    return shift;
}

void ts_frontend_frame(ts_frontend *frontend, void *scratch, int8_t *out) {
    ts_number *const work = scratch;
    int32_t shift;
    if (frontend->mirror > 0) {
        shift = ts_window(frontend->samples, frontend->mirror, work);
    } else {
        shift = ts_window(frontend->samples, 0, work); /* nearly always: compiled without the reflection */
    }
    ts_fft_real(work);
    work[1] = 0; /* was bin N/2, which belongs to no mel, in bin 0's place for an imaginary part */
    ts_frontend_mel(work, shift, out);
    ts_frontend_advance(frontend);
}
