/* From a spectrum to a frame: mel bank, logarithm, normalisation, int8; in ts_frontend_float.c or ts_frontend_fixed.c.
 *
 * Neighbouring triangles of the bank overlap by half: between two centres, a segment, one falls from 1 to 0 as the next
 * rises from 0 to 1, so a bin needs one weight, that of the rising one, and the falling one gets the rest. Mel m is
 * what rises in segment m and what falls in segment m + 1. */
#ifndef TS_FRONTEND_MEL_H
#define TS_FRONTEND_MEL_H

#include "ts_fft_number.h"

/* spectrum (TS_FRONTEND_N_FFT / 2, 2) as ts_fft_real leaves it, of samples that were multiplied by 2^shift (fixed point
 * only); it is used up. out (TS_FRONTEND_MELS). */
void ts_frontend_mel(ts_number *spectrum, int32_t shift, int8_t *out);

#ifdef TS_FRONTEND_TAP
/* Debug build: called for every mel in turn with its value in int8 steps before it is rounded and clipped, in float
 * without the zero point, in fixed point with it and in units of 2^-16. */
void ts_frontend_tap(ts_number steps);
#endif

#endif
