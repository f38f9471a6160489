/* Listens to audio on stdin and prints what it hears, once a second.
 *
 *   demo < audio.raw     mono, 16 bits, little-endian, no header, at TS_FRONTEND_SAMPLE_RATE_HZ (frontend_tables.h)
 */
#include <stdint.h>
#include <stdio.h>

#include "ts_scene.h"

int main(void) {
    static ts_scene scene;
    static int16_t pcm[TS_FRONTEND_HOP];
    uint8_t bytes[2 * TS_FRONTEND_HOP];
    long heard = 0, next = TS_FRONTEND_SAMPLE_RATE_HZ;
    size_t got;
    if (!ts_scene_init(&scene)) {
        fprintf(stderr, "the model was trained on another front end\n");
        return 1;
    }
    while ((got = fread(bytes, 2, TS_FRONTEND_HOP, stdin)) > 0) {
        for (size_t i = 0; i < got; ++i) {
            const int32_t value = bytes[2 * i] | bytes[2 * i + 1] << 8;
            pcm[i] = (int16_t)(value < 32768 ? value : value - 65536);
        }
        heard += (long)got;
        (void)ts_scene_feed(&scene, pcm, (int32_t)got);
        if (heard >= next && ts_scene_ready(&scene)) {
            int8_t logits[TS_MODEL_CLASSES];
            next += TS_FRONTEND_SAMPLE_RATE_HZ;
            if (ts_scene_infer(&scene, logits)) {
                printf("%7.2f s  %s\n", (double)heard / TS_FRONTEND_SAMPLE_RATE_HZ,
                       ts_model_labels[ts_scene_decide(logits)]);
            }
        }
    }
    return 0;
}
