/* Mel bank, logarithm and int8 in single precision. */
#include "frontend_tables.h"

#if !TS_FRONTEND_FIXED

#include "ts_frontend_float.h"
#include "ts_frontend_mel.h"

static int8_t ts_quantized(float energy) {
    const float mel = (ts_log(energy + TS_FRONTEND_LOG_OFFSET) + TS_FRONTEND_NORM_SHIFT) / TS_FRONTEND_NORM_SCALE;
    const float steps = mel / TS_FRONTEND_INPUT_SCALE;
#ifdef TS_FRONTEND_TAP
    ts_frontend_tap(steps);
#endif
    if (steps <= -512.0f || steps >= 512.0f) { /* clipped for every zero point, and safe to make whole otherwise */
        return steps < 0.0f ? INT8_MIN : INT8_MAX;
    }
    const int32_t value = ts_round(steps) + TS_FRONTEND_INPUT_ZERO_POINT;
    return (int8_t)(value < INT8_MIN ? INT8_MIN : (value > INT8_MAX ? INT8_MAX : value));
}

void ts_frontend_mel(ts_number *spectrum, int32_t shift, int8_t *out) {
    (void)shift;
    const float *weight = ts_frontend_weights;
    const float *bin = spectrum + 2 * TS_FRONTEND_FIRST_BIN;
    float risen = 0.0f; /* in the segment before */
    for (int32_t segment = 0; segment <= TS_FRONTEND_MELS; ++segment) {
        float rising = 0.0f, falling = 0.0f;
        const float *const end = ts_frontend_weights + ts_frontend_segments[segment + 1];
        for (; weight < end; ++weight, bin += 2) {
            const float power = bin[0] * bin[0] + bin[1] * bin[1];
            const float part = power * *weight;
            rising += part;
            falling += power - part;
        }
        if (segment > 0) {
            *out++ = ts_quantized(risen + falling);
        }
        risen = rising;
    }
}

#endif
