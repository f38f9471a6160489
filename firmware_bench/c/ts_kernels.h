/* The kernels that the network spends its time in. Every family (scalar, word, dsp, mve, host) defines the same four,
 * its name as the suffix, and gives the same bytes; `scalar` is the one to read.
 *
 * Activations are int8, channels last. A row is one line of a plane, (width, channels), its padding columns included;
 * a row that lies outside the plane is one of the input's zero points. No kernel reads or writes outside the sizes
 * below, none needs more alignment than 4 bytes, and in and out never overlap unless it says so. */
#ifndef TS_KERNELS_H
#define TS_KERNELS_H

#include <stdint.h>

/* One convolution. The layouts of `weights` and `requant` are those of the family that the generator packed it for;
 * scalar has the weights as the graph does and requant (outputs, 3): bias, multiplier, shift. The bias has the input's
 * zero point folded in: bias[o] - zero_point_in * sum(weights[o]), so padding taps must hold the zero point. */
typedef struct {
    const int8_t *weights;
    const int32_t *requant;
    int32_t inputs, outputs; /* channels */
    int32_t zero_point;      /* of the output */
    int32_t low, high;       /* clamp of the output */
} ts_conv;

/* Sum of two int8 tensors as TFLite's ADD: both to a common scale with 20 bits to the left, then back. */
typedef struct {
    int32_t zero_point_a, zero_point_b, zero_point;
    int32_t multiplier_a, shift_a, multiplier_b, shift_b, multiplier, shift;
    int32_t left_shift;
    int32_t low, high;
} ts_add;

/* 1x1 convolution: in (pixels, inputs), out (pixels, outputs); weights (outputs, inputs) in scalar. */
#define TS_POINTWISE(family) \
    void ts_pointwise_##family(const int8_t *in, int8_t *out, int32_t pixels, const ts_conv *conv)

/* 3x3 depthwise convolution of one output row, out (width, channels): output column x has its first taps at
 * rows[k] + x * stride * channels. rows[k] ((width - 1) * stride + 3, channels); weights (3, 3, channels) in scalar. */
#define TS_DEPTHWISE3(family)                                                                               \
    void ts_depthwise3_##family(const int8_t *const rows[3], int8_t *out, int32_t width, int32_t stride, \
                                const ts_conv *conv)

/* Convolution of one output row, out (width, outputs), as above with height rows[k] ((width - 1) * stride + kernel,
 * inputs); weights (outputs, height, kernel, inputs) in scalar. `scratch` holds what the family asks for. */
#define TS_CONV_ROW(family)                                                                                \
    void ts_conv_row_##family(const int8_t *const *rows, int32_t height, int32_t kernel, int8_t *out, \
                              int32_t width, int32_t stride, const ts_conv *conv, int8_t *scratch)

/* out (n) = a (n) + b (n); out may be a or b. */
#define TS_ADD(family) \
    void ts_add_##family(const int8_t *a, const int8_t *b, int8_t *out, int32_t n, const ts_add *add)

#define TS_FAMILY(family)   \
    TS_POINTWISE(family);  \
    TS_DEPTHWISE3(family); \
    TS_CONV_ROW(family);   \
    TS_ADD(family)

TS_FAMILY(scalar);
TS_FAMILY(word); /* 32-bit words and no SIMD: Cortex-M0+, RV32 */
TS_FAMILY(dsp);  /* Arm's DSP extension: Cortex-M4, M7, M33 */
TS_FAMILY(mve);  /* Arm's Helium: Cortex-M55 */
TS_FAMILY(host); /* the best that the processor has, chosen when the program runs: AVX-512 VNNI, AVX2, NEON */

#endif
