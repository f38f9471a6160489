// The serial protocol of MLPerf Tiny on any Arduino board: `tinyscene firmware run BUNDLE --port PORT` compares every
// byte of the logits with the reference and times the inferences. An energy meter may watch pin 2.
#include <@HEADER@.h>

static const int METER_PIN = 2;

extern "C" void ts_board_init(void) {
  Serial.begin(TS_BOARD_BAUD);
  pinMode(METER_PIN, OUTPUT);
  digitalWrite(METER_PIN, HIGH);
}

extern "C" int32_t ts_board_read(void) {
  while (Serial.available() == 0) {
  }
  return Serial.read();
}

extern "C" void ts_board_write(uint8_t byte) {
  Serial.write(byte);
}

extern "C" uint32_t ts_board_microseconds(void) {
  return micros();
}

extern "C" void ts_board_pin(int32_t level) {
  digitalWrite(METER_PIN, level != 0 ? HIGH : LOW);
}

void setup() {
  ts_board_init();
  ts_firmware_start();
}

void loop() {
  ts_firmware_feed((uint8_t)ts_board_read());
}
