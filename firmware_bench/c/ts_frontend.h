/* Log-mel of a stream of audio: int16 samples in, one int8 frame of TS_FRONTEND_MELS values out every hop, equal to
 * what the network was trained on (the contract is in frontend_tables.h). A frame is computed once, whatever the sizes
 * of the pieces in which the audio comes. Only the very first frames see an edge: the signal before the first sample is
 * the signal after it, reflected. */
#ifndef TS_FRONTEND_H
#define TS_FRONTEND_H

#include <stdint.h>

#include "frontend_tables.h"

/* What ts_frontend_frame works in, aligned to 4 bytes; it may be the network's arena, which is free between runs. */
#define TS_FRONTEND_SCRATCH_BYTES (4 * TS_FRONTEND_N_FFT)

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    /* The window under the next frame and the sample after it, which pre-emphasis needs: full scale is 32768. */
    int16_t samples[TS_FRONTEND_WINDOW + 1];
    int32_t count;  /* of samples held */
    int32_t needed; /* for the next frame */
    int32_t mirror; /* samples of the window that lie before the stream began: the reflection of those after it */
    int32_t skip;   /* samples to drop before the next is held: where a hop is longer than a window */
} ts_frontend;

/* A stream that has heard nothing. */
void ts_frontend_init(ts_frontend *frontend);

/* Takes samples from pcm (n), 0 <= n, until a frame is due, and returns how many it took. */
int32_t ts_frontend_push(ts_frontend *frontend, const int16_t *pcm, int32_t n);

/* Whether ts_frontend_frame has a frame to give. */
static inline int ts_frontend_due(const ts_frontend *frontend) {
    return frontend->count >= frontend->needed;
}

/* Writes the frame that is due to out (TS_FRONTEND_MELS) and goes on to the next; scratch
 * (TS_FRONTEND_SCRATCH_BYTES). */
void ts_frontend_frame(ts_frontend *frontend, void *scratch, int8_t *out);

#ifdef __cplusplus
}
#endif

#endif
