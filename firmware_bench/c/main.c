/* The firmware of a board: whatever comes over its serial port goes to the protocol. */
#include "ts_board.h"
#include "ts_firmware.h"

int main(void) {
    ts_board_init();
    ts_firmware_start();
    for (;;) {
        const int32_t byte = ts_board_read();
        if (byte < 0) {
            return 0;
        }
        ts_firmware_feed((uint8_t)byte);
    }
}
