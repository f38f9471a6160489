/* Four pixels side by side, as the word kernels multiply them: see ts_kernels_word_tile.c. */
#ifndef TS_KERNELS_WORD_TILE_H
#define TS_KERNELS_WORD_TILE_H

#include "ts_kernels_word.h"

/* 1: a tile holds two activations in a word, for processors to which a multiplication costs no more than a move. */
#ifndef TS_WORD_PAIRS
#define TS_WORD_PAIRS TS_WORD_HALVES
#endif

#define TS_WORD_LANES 4        /* pixels of a tile */
#define TS_WORD_MAX_INPUTS 256 /* so that 16-bit sums of one pixel's activations hold */

/* The activations of four pixels, plus 128, inputs padded to a multiple of 4 with zeros: words (inputs, 2), the pixels
 * 0 and 2 in the low halves and 1 and 3 in the high ones, or bytes (inputs, 4). */
typedef struct {
    uint32_t start[TS_WORD_LANES]; /* -128 * sum of the activations less 128, which is where a pixel's sums start */
#if TS_WORD_PAIRS
    uint32_t values[2 * TS_WORD_MAX_INPUTS];
#else
    uint8_t values[TS_WORD_LANES * TS_WORD_MAX_INPUTS];
#endif
} ts_word_tile;

/* Begin a tile of `inputs` <= TS_WORD_MAX_INPUTS. */
void ts_word_tile_begin(ts_word_tile *tile, int32_t inputs);

/* Inputs first .. first + n - 1 of four pixels, from runs[pixel] (n). */
void ts_word_tile_fill(ts_word_tile *tile, int32_t first, const int8_t *const runs[TS_WORD_LANES], int32_t n);

/* out[pixel * conv->outputs + output] of the first `pixels` pixels of a tile with `inputs` inputs, all outputs. */
void ts_word_tile_outputs(const ts_word_tile *tile, int32_t inputs, int8_t *out, int32_t pixels, const ts_conv *conv);

#endif
