/* Arm's MPS2 and MPS3 boards, which QEMU emulates: CMSDK UART 0 and the free-running counter of the FPGA's I/O block.
 * The places and the clock differ from image to image:
 *
 *   AN386 (M4), AN500 (M7)   TS_UART 0x40004000  TS_FPGA_IO 0x40028000  TS_CLOCK_HZ 25000000
 *   AN505 (M33, secure)      TS_UART 0x50200000  TS_FPGA_IO 0x50302000  TS_CLOCK_HZ 20000000
 *   AN547 (M55, secure)      TS_UART 0x59303000  TS_FPGA_IO 0x59302000  TS_CLOCK_HZ 32000000, TS_COUNTER_HZ 20000000
 *
 * The pin is LED 0. Run in QEMU, whose AN547 counts at 20 MHz; NOT RUN ON HARDWARE. */
#include "ts_board.h"
#include "ts_registers.h"

#ifndef TS_COUNTER_HZ
#define TS_COUNTER_HZ TS_CLOCK_HZ
#endif

#define UART_DATA (TS_UART + 0x00u)
#define UART_STATE (TS_UART + 0x04u) /* bit 0: sending buffer full, bit 1: receiving buffer full */
#define UART_CONTROL (TS_UART + 0x08u)
#define UART_DIVIDER (TS_UART + 0x10u)
#define FPGA_LED (TS_FPGA_IO + 0x00u)
#define FPGA_COUNTER (TS_FPGA_IO + 0x18u)
#define FPGA_PRESCALE (TS_FPGA_IO + 0x1cu)

void ts_board_init(void) {
    TS_REGISTER(UART_DIVIDER) = TS_CLOCK_HZ / TS_BOARD_BAUD;
    TS_REGISTER(UART_CONTROL) = 3u;                             /* send and receive */
    TS_REGISTER(FPGA_PRESCALE) = TS_COUNTER_HZ / 1000000u - 1u; /* one count a microsecond */
    ts_board_pin(1);
}

int32_t ts_board_read(void) {
    ts_wait_for(UART_STATE, 2u);
    return (int32_t)(TS_REGISTER(UART_DATA) & 0xffu);
}

void ts_board_write(uint8_t byte) {
    ts_wait_while(UART_STATE, 1u);
    TS_REGISTER(UART_DATA) = byte;
}

uint32_t ts_board_microseconds(void) { return TS_REGISTER(FPGA_COUNTER); }

void ts_board_pin(int32_t level) { TS_REGISTER(FPGA_LED) = level != 0 ? 1u : 0u; }
