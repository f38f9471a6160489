/* The generated model behind the serial protocol, see ts_firmware.h. With TS_ENERGY_MODE timestamps are pulses of the pin
 * and no clock is shown. */
#include "ts_firmware.h"

#include "model.h"
#include "ts_board.h"
#include "ts_protocol.h"

#ifndef TS_VENDOR
#define TS_VENDOR "tinyscene"
#endif

#define TS_INPUT_BYTES ((uint32_t)TS_MODEL_ROWS * TS_MODEL_COLUMNS * TS_MODEL_CHANNELS)

static int8_t arena[TS_MODEL_ARENA_BYTES] __attribute__((aligned(16)));
static uint8_t plane[TS_INPUT_BYTES] __attribute__((aligned(4))); /* (rows, columns, channels); zeros before a load */
static int8_t logits[TS_MODEL_CLASSES];
static ts_protocol protocol;
static ts_dut dut;

static void infer(void) {
    const ts_input input = {(const int8_t *)plane, TS_MODEL_COLUMNS * TS_MODEL_CHANNELS, TS_MODEL_CHANNELS, 0,
                            TS_MODEL_COLUMNS};
    ts_model_run(arena, &input, logits);
}

void ts_firmware_start(void) {
    dut.vendor = TS_VENDOR;
    dut.model = TS_MODEL_NAME;
    dut.contract = TS_MODEL_CONTRACT_HASH;
    dut.labels = ts_model_labels;
    dut.input = plane;
    dut.input_bytes = TS_INPUT_BYTES;
    dut.logits = logits;
    dut.classes = TS_MODEL_CLASSES;
    dut.logit_scale = TS_MODEL_OUTPUT_SCALE;
    dut.arena_bytes = TS_MODEL_ARENA_BYTES;
    dut.infer = infer;
    dut.write = ts_board_write;
    dut.microseconds = ts_board_microseconds;
#ifdef TS_ENERGY_MODE
    dut.pin = ts_board_pin;
#endif
    ts_protocol_start(&protocol, &dut);
}

void ts_firmware_feed(uint8_t byte) { ts_protocol_feed(&protocol, byte); }
