/* Every op that is not in ts_kernels.h, one row at a time and in plain C: bit for bit TFLite's int8 reference kernels.
 *
 * Activations are int8, channels last; a row is (columns, channels). Tables and parameters come from
 * firmware_bench/arithmetic.py. `in` and `out` do not overlap unless it says that they may be the same. A
 * reshape moves nothing. */
#ifndef TS_OPS_H
#define TS_OPS_H

#include <stdint.h>

#include "ts_kernels.h"

/* Depthwise convolution of any size: out (width, conv->outputs), whose channel c reads input channel
 * c * inputs / outputs. rows[k], k < height, are ((width - 1) * stride + kernel, conv->inputs), padding columns
 * included; weights (height, kernel, outputs), requant (outputs, 3) as in scalar, whatever the family. */
void ts_depthwise_row(const int8_t *const *rows, int32_t height, int32_t kernel, int8_t *out, int32_t width,
                      int32_t stride, const ts_conv *conv);

/* A fully connected layer: bias (outputs) with the input's zero point folded in, scales (outputs) from sums to the
 * output's steps. */
typedef struct {
    const int8_t *weights; /* (outputs, inputs) */
    const int32_t *bias;
    const double *scales;
    int32_t inputs, outputs;
    int32_t zero_point; /* of the output */
    int32_t low, high;  /* clamp of the output */
} ts_dense;

/* out (outputs) = weights * in (inputs). Unlike a convolution, LiteRT's reference rounds the real product here, once;
 * parts without a double-precision FPU spend a few hundred instructions on each output. */
void ts_dense_row(const int8_t *in, int8_t *out, const ts_dense *dense);

/* A pool over windows of `kernel` columns. Output column x covers input columns x * stride - before up to kernel
 * more; those outside 0 .. columns - 1 do not exist: they are neither averaged nor counted. */
typedef struct {
    int32_t channels;
    int32_t columns; /* of the input */
    int32_t kernel, stride, before;
    int32_t low, high; /* clamp of the output */
} ts_pool;

/* out (width, channels) is the mean over `height` rows, rounded half away from zero, or their maximum. Only the rows
 * that exist are given, at least one: rows[k], k < height, are (columns, channels) without padding. */
void ts_average_pool_row(const int8_t *const *rows, int32_t height, int8_t *out, int32_t width, const ts_pool *pool);
void ts_max_pool_row(const int8_t *const *rows, int32_t height, int8_t *out, int32_t width, const ts_pool *pool);

/* The same mean where a window's rows come one after another (a pool of many rows): clear sums (width, channels) with
 * zeros, add each of the `height` rows, in (columns, channels), then finish. */
void ts_average_pool_add(const int8_t *in, int32_t *sums, int32_t width, const ts_pool *pool);
void ts_average_pool_finish(const int32_t *sums, int32_t height, int8_t *out, int32_t width, const ts_pool *pool);

/* What an op reads where its operands may be smaller than its result: column x, channel c lies at
 * data[x * column_step + c * channel_step]. A row of C channels has steps (C, 1), one pixel's channels (0, 1), one
 * value a column (1, 0), a single value (0, 0). */
typedef struct {
    const int8_t *data;
    int32_t column_step, channel_step;
} ts_operand;

/* out (width, channels) = a + b; out may be the memory of an operand that is a whole row. */
void ts_add_row(const ts_operand *a, const ts_operand *b, int8_t *out, int32_t width, int32_t channels,
                const ts_add *add);

/* The product of two int8 tensors. */
typedef struct {
    int32_t zero_point_a, zero_point_b, zero_point;
    int32_t multiplier, shift;
    int32_t low, high;
} ts_mul;

/* out (width, channels) = a * b; out may be the memory of an operand that is a whole row. */
void ts_mul_row(const ts_operand *a, const ts_operand *b, int8_t *out, int32_t width, int32_t channels,
                const ts_mul *mul);

/* A mean over any of rows, columns and channels: `count` values an output, their division in the multiplier. */
typedef struct {
    int32_t count;
    int32_t zero_point_in, zero_point;
    int32_t multiplier, shift; /* the multiplier may lie below 2^30 */
} ts_mean;

/* sums += in (width, channels), at sums[x * column_step + c * channel_step]: steps (channels, 1) keep both axes,
 * (0, 1) add over columns, (1, 0) over channels, (0, 0) over both. Clear the sums with zeros before the first row. */
void ts_mean_add(const int8_t *in, int32_t *sums, int32_t width, int32_t channels, int32_t column_step,
                 int32_t channel_step);

/* out (n) from sums (n). */
void ts_mean_finish(const int32_t *sums, int8_t *out, int32_t n, const ts_mean *mean);

/* out (n) = table[in + 128], table (256): RSQRT, and a QUANTIZE from int8 to int8 with its clamp. out may be in. */
void ts_lut_row(const int8_t *in, int8_t *out, int32_t n, const int8_t *table);

/* out (n) = softmax of in (n), scale 1/256, zero point -128; exps (256) holds exp(-d * scale) in Q0.31 for a value d
 * steps below the largest, 0 where TFLite leaves it out. out may be in. At most 511 values. */
void ts_softmax(const int8_t *in, int8_t *out, int32_t n, const int32_t *exps);

/* out (before + columns + after, channels): in (columns, channels) between columns of `zero_point`. */
void ts_pad_row(const int8_t *in, int8_t *out, int32_t columns, int32_t channels, int32_t before, int32_t after,
                int32_t zero_point);

#endif
