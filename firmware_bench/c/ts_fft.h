/* Fourier transform of TS_FRONTEND_N_FFT real numbers, in place, as half as many complex ones. */
#ifndef TS_FFT_H
#define TS_FFT_H

#include "ts_fft_number.h"

/* Complex numbers in the work memory: pair n is the samples 2n and 2n + 1, later bin n. */
#define TS_FFT_PAIRS (TS_FRONTEND_N_FFT / 2)

/* Place of the pair that follows the one at `place`: bits reversed, so adding one carries from the top bit down. */
static inline uint32_t ts_fft_next_place(uint32_t place) {
    uint32_t bit = TS_FFT_PAIRS / 2;
    while (place & bit) {
        place ^= bit;
        bit >>= 1;
    }
    return place | bit;
}

/* work (TS_FFT_PAIRS, 2): in, the samples as pairs in bit-reversed places; out, re and im of bins 0 ... N/2 - 1, with
 * the real bin N/2 in place of the imaginary part of bin 0. Float gives the transform times 2; fixed point gives it
 * divided by 4^TS_FRONTEND_FFT_PASSES, rounded, for samples below 2^26. */
void ts_fft_real(ts_number *work);

#endif
