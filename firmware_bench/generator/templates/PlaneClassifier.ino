// Runs the network on a plane of TS_MODEL_ROWS x TS_MODEL_COLUMNS x TS_MODEL_CHANNELS int8 values and prints the class.
// The plane is yours to fill: this model came without a front end.
#include <@HEADER@.h>

static int8_t arena[TS_MODEL_ARENA_BYTES] __attribute__((aligned(16)));
static int8_t plane[TS_MODEL_ROWS * TS_MODEL_COLUMNS * TS_MODEL_CHANNELS];

void setup() {
  Serial.begin(115200);
}

void loop() {
  const ts_input input = {plane, TS_MODEL_COLUMNS * TS_MODEL_CHANNELS, TS_MODEL_CHANNELS, 0, TS_MODEL_COLUMNS};
  int8_t logits[TS_MODEL_CLASSES];
  ts_model_run(arena, &input, logits);
  int best = 0;
  for (int i = 1; i < TS_MODEL_CLASSES; ++i) {
    best = logits[i] > logits[best] ? i : best;
  }
  Serial.println(ts_model_labels[best]);
  delay(1000);
}
