// Audio in, scene out: names what the microphone hears, once a second, on the serial monitor.
//
// read_audio is yours to write: every board has a microphone of its own. It must give mono samples of 16 bits at
// TS_FRONTEND_SAMPLE_RATE_HZ. As it stands it gives silence.
#include <@HEADER@.h>

static ts_scene scene;
static int16_t pcm[TS_FRONTEND_HOP];

// Waits for n samples and writes them to out.
static void read_audio(int16_t *out, int32_t n) {
  for (int32_t i = 0; i < n; ++i) {
    out[i] = 0;
  }
}

void setup() {
  Serial.begin(115200);
  if (!ts_scene_init(&scene)) {
    Serial.println("the model was trained on another front end");
  }
}

void loop() {
  static int32_t heard = 0;
  read_audio(pcm, TS_FRONTEND_HOP);
  heard += TS_FRONTEND_HOP;
  ts_scene_feed(&scene, pcm, TS_FRONTEND_HOP);
  if (heard >= TS_FRONTEND_SAMPLE_RATE_HZ && ts_scene_ready(&scene)) {
    int8_t logits[TS_MODEL_CLASSES];
    heard = 0;
    ts_scene_infer(&scene, logits);
    Serial.println(ts_model_labels[ts_scene_decide(logits)]);
  }
}
