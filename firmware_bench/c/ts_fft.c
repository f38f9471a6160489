/* Decimation in time: a first pass of 4- or 8-point transforms, which has no factors to speak of, then passes that join
 * four transforms into one, then the step from the complex transform to that of twice as many real numbers. */
#include "ts_fft.h"

#define TS_QUARTER (TS_FRONTEND_N_FFT / 4) /* of a turn, in steps of the cosine table */

/* cos and sin of `index` / N of a turn; 0 <= index < 3/4 N. */
static ts_complex ts_turn(int32_t index) {
    const ts_number *cosine = ts_frontend_cosine; /* (TS_QUARTER + 1) */
    ts_complex turn;
    if (index < TS_QUARTER) {
        turn.re = cosine[index];
        turn.im = cosine[TS_QUARTER - index];
    } else if (index < 2 * TS_QUARTER) {
        turn.re = -cosine[2 * TS_QUARTER - index];
        turn.im = cosine[index - TS_QUARTER];
    } else {
        turn.re = -cosine[index - 2 * TS_QUARTER];
        turn.im = -cosine[3 * TS_QUARTER - index];
    }
    return turn;
}

/* 4-point transform of the pairs work (4, 2), whose places are bit-reversed: 0, 2, 1, 3. */
static inline void ts_fft_four(ts_number *work) {
    const ts_complex a = ts_load(work), c = ts_load(work + 2), b = ts_load(work + 4), d = ts_load(work + 6);
    const ts_complex even = {a.re + c.re, a.im + c.im}, even_difference = {a.re - c.re, a.im - c.im};
    const ts_complex odd = {b.re + d.re, b.im + d.im}, odd_difference = {b.re - d.re, b.im - d.im};
    ts_store(work, even.re + odd.re, even.im + odd.im);
    ts_store(work + 2, even_difference.re + odd_difference.im, even_difference.im - odd_difference.re);
    ts_store(work + 4, even.re - odd.re, even.im - odd.im);
    ts_store(work + 6, even_difference.re - odd_difference.im, even_difference.im + odd_difference.re);
}

#if TS_FRONTEND_FFT_FIRST == 8
/* x times the square root of one half. */
static inline ts_number ts_root_half(ts_number x) {
#if TS_FRONTEND_FIXED
    return 2 * ts_multiply_high(x, 0x5a82799a);
#else
    return x * 0.707106781f;
#endif
}

/* even + odd and even - odd, to the first and the second half of an 8-point transform. */
static inline void ts_fft_join(ts_number *work, ts_complex odd) {
    const ts_complex even = ts_load(work);
    ts_store(work, even.re + odd.re, even.im + odd.im);
    ts_store(work + 8, even.re - odd.re, even.im - odd.im);
}
#endif

/* First pass: transforms of TS_FRONTEND_FFT_FIRST neighbours. */
static void ts_fft_first_pass(ts_number *work) {
    ts_number *const end = work + 2 * TS_FFT_PAIRS;
    for (; work < end; work += 2 * TS_FRONTEND_FFT_FIRST) {
        ts_fft_four(work);
#if TS_FRONTEND_FFT_FIRST == 8
        ts_fft_four(work + 8);
        const ts_complex b = ts_load(work + 10), c = ts_load(work + 12), d = ts_load(work + 14);
        const ts_complex b_turned = {ts_root_half(b.re + b.im), ts_root_half(b.im - b.re)};
        const ts_complex c_turned = {c.im, -c.re};
        const ts_complex d_turned = {ts_root_half(d.im - d.re), -ts_root_half(d.re + d.im)};
        ts_fft_join(work, ts_load(work + 8));
        ts_fft_join(work + 2, b_turned);
        ts_fft_join(work + 4, c_turned);
        ts_fft_join(work + 6, d_turned);
#endif
    }
}

/* Joins four transforms of `quarter` points that lie one after the other, in bit-reversed order 0, 2, 1, 3, into one of
 * four times the length, all over work (TS_FFT_PAIRS, 2); step is N / (4 quarter). Fixed point divides by 4. */
static void ts_fft_pass(ts_number *work, int32_t quarter, int32_t step) {
    const int32_t stride = 2 * quarter; /* numbers between the four */
    ts_number *const end = work + 2 * TS_FFT_PAIRS;
    for (int32_t k = 0; k < quarter; ++k) {
        const ts_complex once = ts_turn(k * step), twice = ts_turn(2 * k * step), thrice = ts_turn(3 * k * step);
        for (ts_number *at = work + 2 * k; at < end; at += 4 * stride) {
            ts_number *const at_1 = at + stride, *const at_2 = at_1 + stride, *const at_3 = at_2 + stride;
            const ts_complex a = ts_load(at), c = ts_rotate(ts_load(at_1), twice);
            const ts_complex b = ts_rotate(ts_load(at_2), once), d = ts_rotate(ts_load(at_3), thrice);
            const ts_number a_re = ts_half(a.re), a_im = ts_half(a.im);
            const ts_complex even = {a_re + c.re, a_im + c.im}, even_difference = {a_re - c.re, a_im - c.im};
            const ts_complex odd = {b.re + d.re, b.im + d.im}, odd_difference = {b.re - d.re, b.im - d.im};
            ts_store(at, ts_half(even.re + odd.re), ts_half(even.im + odd.im));
            ts_store(at_2, ts_half(even.re - odd.re), ts_half(even.im - odd.im));
            ts_store(at_1, ts_half(even_difference.re + odd_difference.im),
                     ts_half(even_difference.im - odd_difference.re));
            ts_store(at_3, ts_half(even_difference.re - odd_difference.im),
                     ts_half(even_difference.im + odd_difference.re));
        }
    }
}

/* From Z, the transform of the pairs as complex numbers, to X, that of the real numbers:
 * 2 X[k] = (Z[k] + conj Z[M-k]) - i e^(-2 pi i k / N) (Z[k] - conj Z[M-k]) with M = N/2; and X[M-k] is the conjugate of
 * the same with the sign in the middle turned. */
static void ts_fft_to_real(ts_number *work) {
    const ts_complex first = {ts_half(work[0]), ts_half(work[1])};
    ts_store(work, 2 * (first.re + first.im), 2 * (first.re - first.im));
    ts_number *low = work + 2, *high = work + 2 * TS_FFT_PAIRS - 2;
    for (int32_t k = 1; low <= high; ++k, low += 2, high -= 2) {
        const ts_complex a = ts_load(low), b = ts_load(high), turn = {ts_frontend_cosine[k],
                                                                      ts_frontend_cosine[TS_QUARTER - k]};
        const ts_complex sum = {ts_half(a.re) + ts_half(b.re), ts_half(a.im) - ts_half(b.im)};
        const ts_complex difference = {a.re - b.re, a.im + b.im};
        const ts_complex turned = ts_rotate(difference, turn);
        ts_store(low, sum.re + turned.im, sum.im - turned.re);
        ts_store(high, sum.re - turned.im, -sum.im - turned.re);
    }
}

void ts_fft_real(ts_number *work) {
    ts_fft_first_pass(work);
    int32_t quarter = TS_FRONTEND_FFT_FIRST, step = TS_FRONTEND_N_FFT / 4 / TS_FRONTEND_FFT_FIRST;
    for (; quarter < TS_FFT_PAIRS; quarter *= 4, step /= 4) {
        ts_fft_pass(work, quarter, step);
    }
    ts_fft_to_real(work);
}
