/* The serial protocol of MLPerf Tiny on Zephyr's console UART: `tinyscene firmware run BUNDLE --port PORT` compares every
 * byte of the logits with the reference and times the inferences. */
#include <zephyr/device.h>
#include <zephyr/drivers/uart.h>
#include <zephyr/kernel.h>

#include "ts_board.h"
#include "ts_firmware.h"

static const struct device *const uart = DEVICE_DT_GET(DT_CHOSEN(zephyr_console));

void ts_board_init(void) {}

int32_t ts_board_read(void) {
    unsigned char byte;
    while (uart_poll_in(uart, &byte) != 0) {
    }
    return byte;
}

void ts_board_write(uint8_t byte) { uart_poll_out(uart, byte); }

/* Ticks where the board has no cycle counter of 64 bits: one of 32 may wrap twice in a long `infer N`. */
uint32_t ts_board_microseconds(void) {
#ifdef CONFIG_TIMER_HAS_64BIT_CYCLE_COUNTER
    return (uint32_t)k_cyc_to_us_floor64(k_cycle_get_64());
#else
    return (uint32_t)k_ticks_to_us_floor64((uint64_t)k_uptime_ticks());
#endif
}

void ts_board_pin(int32_t level) { (void)level; }

int main(void) {
    if (!device_is_ready(uart)) {
        return 0;
    }
    ts_board_init();
    ts_firmware_start();
    for (;;) {
        ts_firmware_feed((uint8_t)ts_board_read());
    }
}
