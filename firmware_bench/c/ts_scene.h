/* Audio in, decision out: the front end's frames in a ring, and the network on the newest of them.
 *
 *     static ts_scene scene;
 *     ts_scene_init(&scene);
 *     for (;;) {
 *         if (ts_scene_feed(&scene, pcm, n) && ts_scene_ready(&scene)) {
 *             ts_scene_infer(&scene, logits);
 *             puts(ts_model_labels[ts_scene_decide(logits)]);
 *         }
 *     }
 *
 * One scene takes its struct's size in RAM and nothing else: no allocation, no static state. */
#ifndef TS_SCENE_H
#define TS_SCENE_H

#include <stdint.h>

#include "model.h"
#include "ts_frontend.h"

#if TS_MODEL_ROWS != TS_FRONTEND_MELS || TS_MODEL_COLUMNS != TS_FRONTEND_FRAMES || TS_MODEL_CHANNELS != 1
#error "model.h and frontend_tables.h do not belong together: the network's input is not (mels, frames, 1)"
#endif
#if TS_MODEL_INPUT_ZERO_POINT != TS_FRONTEND_INPUT_ZERO_POINT
#error "model.h and frontend_tables.h do not belong together: different zero points of the input"
#endif

/* The network and the front end never run at once, so one memory serves both. */
#if TS_MODEL_ARENA_BYTES > TS_FRONTEND_SCRATCH_BYTES
#define TS_SCENE_ARENA_BYTES TS_MODEL_ARENA_BYTES
#else
#define TS_SCENE_ARENA_BYTES TS_FRONTEND_SCRATCH_BYTES
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int8_t arena[TS_SCENE_ARENA_BYTES] __attribute__((aligned(16)));
    int8_t frames[TS_MODEL_COLUMNS][TS_MODEL_ROWS]; /* ring: the newest frame overwrites the oldest */
    int32_t next;                                   /* place of the next frame, which is the oldest's */
    int32_t filled;                                 /* frames in the ring, up to TS_MODEL_COLUMNS */
    ts_frontend frontend;
} ts_scene;

/* A scene that has heard nothing; also to start anew. Returns 1, or 0 where the network was trained on another front
 * end than this one: its decisions would mean nothing. */
int32_t ts_scene_init(ts_scene *scene);

/* Hears pcm (n): mono, int16, TS_FRONTEND_SAMPLE_RATE_HZ. Returns the frames that it completed: none or one while n is
 * at most TS_FRONTEND_HOP. The arena is overwritten. */
int32_t ts_scene_feed(ts_scene *scene, const int16_t *pcm, int32_t n);

/* Whether enough was heard for a decision: TS_MODEL_COLUMNS frames. */
int32_t ts_scene_ready(const ts_scene *scene);

/* Runs the network on the last TS_MODEL_COLUMNS frames: logits (TS_MODEL_CLASSES). Returns 0 and leaves them as they
 * are while the scene is not ready, else 1. */
int32_t ts_scene_infer(ts_scene *scene, int8_t *logits);

/* The class of the largest of logits (TS_MODEL_CLASSES), the first of equals. */
int32_t ts_scene_decide(const int8_t *logits);

#ifdef __cplusplus
}
#endif

#endif
