/* The ring of frames between the front end and the network. */
#include "ts_scene.h"

static int32_t ts_same_contract(void) {
    const char *model = TS_MODEL_CONTRACT_HASH, *frontend = TS_FRONTEND_CONTRACT_HASH;
    while (*model && *model == *frontend) {
        ++model;
        ++frontend;
    }
    return *model == *frontend;
}

int32_t ts_scene_init(ts_scene *scene) {
    scene->next = 0;
    scene->filled = 0;
    ts_frontend_init(&scene->frontend);
    return ts_same_contract();
}

int32_t ts_scene_feed(ts_scene *scene, const int16_t *pcm, int32_t n) {
    int32_t completed = 0;
    while (n > 0) {
        const int32_t taken = ts_frontend_push(&scene->frontend, pcm, n);
        pcm += taken;
        n -= taken;
        while (ts_frontend_due(&scene->frontend)) {
            ts_frontend_frame(&scene->frontend, scene->arena, scene->frames[scene->next]);
            scene->next = scene->next + 1 < TS_MODEL_COLUMNS ? scene->next + 1 : 0;
            if (scene->filled < TS_MODEL_COLUMNS) {
                ++scene->filled;
            }
            ++completed;
        }
    }
    return completed;
}

int32_t ts_scene_ready(const ts_scene *scene) {
    return scene->filled == TS_MODEL_COLUMNS;
}

int32_t ts_scene_infer(ts_scene *scene, int8_t *logits) {
    if (!ts_scene_ready(scene)) {
        return 0;
    }
    /* Row r of column x lies at frames[(next + x) % columns][r]. */
    const ts_input input = {scene->frames[0], 1, TS_MODEL_ROWS, scene->next, TS_MODEL_COLUMNS};
    ts_model_run(scene->arena, &input, logits);
    return 1;
}

int32_t ts_scene_decide(const int8_t *logits) {
    int32_t best = 0;
    for (int32_t i = 1; i < TS_MODEL_CLASSES; ++i) {
        if (logits[i] > logits[best]) {
            best = i;
        }
    }
    return best;
}
