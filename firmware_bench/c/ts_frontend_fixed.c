/* Mel bank, logarithm and int8 in whole numbers. A segment's bins are cut to as many bits as their sum allows, counted
 * from the largest of them, so that soft parts of a spectrum keep their precision beside loud ones. */
#include "frontend_tables.h"

#if TS_FRONTEND_FIXED

#include "ts_frontend_fixed.h"
#include "ts_frontend_mel.h"

/* energy in units of 2^-unit. */
static int8_t ts_quantized(uint64_t energy, int32_t unit) {
    const int32_t octaves = ts_log2(energy ? energy : 1) - (unit << 24);
    const int32_t steps = ts_multiply_high(octaves, TS_FRONTEND_OCTAVE) + TS_FRONTEND_BIAS;
#ifdef TS_FRONTEND_TAP
    ts_frontend_tap(steps);
#endif
    const int32_t value = (steps + 0x8000) >> 16;
    return (int8_t)(value < INT8_MIN ? INT8_MIN : (value > INT8_MAX ? INT8_MAX : value));
}

void ts_frontend_mel(ts_number *spectrum, int32_t shift, int8_t *out) {
    const int32_t unit = TS_FRONTEND_UNIT + 2 * shift;
    const uint64_t offset = ts_shifted(TS_FRONTEND_OFFSET, TS_FRONTEND_OFFSET_SHIFT + 2 * shift);
    const uint16_t *weight = ts_frontend_weights;
    const int32_t *bin = spectrum + 2 * TS_FRONTEND_FIRST_BIN;
    uint64_t risen = 0; /* in the segment before */
    for (int32_t segment = 0; segment <= TS_FRONTEND_MELS; ++segment) {
        const uint16_t *const end = ts_frontend_weights + ts_frontend_segments[segment + 1];
        const int32_t *const bin_end = bin + 2 * (end - weight);
        uint32_t used = 0;
        for (const int32_t *number = bin; number < bin_end; ++number) {
            used |= (uint32_t)(*number ^ (*number >> 31));
        }
        int32_t cut = 32 - ts_leading_zeros(used) - TS_FRONTEND_BIN_BITS;
        cut = cut > 0 ? cut : 0;
        const int32_t half = (1 << cut) >> 1;
        uint32_t rising = 0, falling = 0;
        for (; weight < end; ++weight, bin += 2) {
            const int32_t re = (bin[0] + half) >> cut, im = (bin[1] + half) >> cut;
            const uint32_t power = (uint32_t)(re * re) + (uint32_t)(im * im);
            const uint32_t part = ts_weighted(power, *weight);
            rising += part;
            falling += power - part;
        }
        if (segment > 0) {
            *out++ = ts_quantized(risen + ts_shifted(falling, 2 * cut) + offset, unit);
        }
        risen = ts_shifted(rising, 2 * cut);
    }
}

#endif
