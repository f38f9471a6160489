/* Four pixels side by side, as the word kernels multiply them: see ts_kernels_word_tile.c. */
#ifndef TS_KERNELS_WORD_TILE_H
#define TS_KERNELS_WORD_TILE_H

#include "ts_kernels_word.h"

#define TS_WORD_LANES 4        /* pixels of a tile */
#define TS_WORD_BLOCK 4        /* outputs of a block of weights */
#define TS_WORD_MAX_INPUTS 256 /* 16 bits hold the sum of one pixel's activations plus 128 */

/* The activations of four pixels, plus 128, in words (inputs, 2): pixels 0 and 2 are low halves, 1 and 3 high ones.
 * Inputs are padded to a multiple of 4 with zeros. 2064 bytes, which lie on the stack. */
typedef struct {
    uint32_t start[TS_WORD_LANES]; /* -128 * sum of a pixel's activations, with which its sums begin */
    uint32_t values[2 * TS_WORD_MAX_INPUTS];
} ts_word_tile;

/* Begin a tile of `inputs` <= TS_WORD_MAX_INPUTS. */
void ts_word_tile_begin(ts_word_tile *tile, int32_t inputs);

/* Inputs first .. first + n - 1 of four pixels, from runs[pixel] (n). */
void ts_word_tile_fill(ts_word_tile *tile, int32_t first, const int8_t *const runs[TS_WORD_LANES], int32_t n);

/* out[pixel * conv->outputs + output] of the first `pixels` pixels of a tile with `inputs` inputs, all outputs. */
void ts_word_tile_outputs(const ts_word_tile *tile, int32_t inputs, int8_t *out, int32_t pixels, const ts_conv *conv);

/* sums (4 outputs, 4 pixels) of one block, weights (inputs, 4) unsigned; values as in a tile, inputs a multiple of 4. */
void ts_word_block(const uint32_t *values, const uint8_t *weights, int32_t inputs, uint32_t *sums);

/* sums (4 pixels) from all = sum(t) and high = sum(t >> 16) of pixels 0 and 1, and of 2 and 3. */
static inline void ts_word_split(uint32_t all_a, uint32_t high_a, uint32_t all_b, uint32_t high_b, uint32_t *sums) {
    sums[0] = all_a - (high_a << 16);
    sums[1] = high_a;
    sums[2] = all_b - (high_b << 16);
    sums[3] = high_b;
}

#endif
