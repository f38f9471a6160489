/* NOT RUN ON HARDWARE. Nordic nRF52840 DK (Cortex-M4F at 64 MHz), written from the product specification: the UART
 * without DMA on P0.06 (out) and P0.08 (in), which the board's J-Link shows as a serial port, timer 0 as the clock. The
 * pin is P0.03. */
#include "ts_board.h"
#include "ts_registers.h"

#if TS_BOARD_BAUD != 115200
#error "this port knows the divider of 115200 baud only"
#endif

#define CLOCK 0x40000000u
#define UART 0x40002000u
#define UART_RECEIVED (UART + 0x108u)
#define UART_SENT (UART + 0x11cu)
#define TIMER 0x40008000u
#define GPIO 0x50000000u
#define CACHE 0x4001e540u
#define PIN_TX 6u
#define PIN_RX 8u
#define PIN_METER 3u

void ts_board_init(void) {
    TS_REGISTER(CACHE) = 1u; /* of the flash */
    TS_REGISTER(CLOCK + 0x100u) = 0;
    TS_REGISTER(CLOCK + 0x000u) = 1u; /* the crystal: the UART and the timer are to be exact */
    ts_wait_for(CLOCK + 0x100u, 1u);

    TS_REGISTER(GPIO + 0x508u) = 1u << PIN_TX | 1u << PIN_METER; /* high */
    TS_REGISTER(GPIO + 0x518u) = 1u << PIN_TX | 1u << PIN_METER; /* output */
    TS_REGISTER(GPIO + 0x700u + 4u * PIN_RX) = 0;                /* input, connected */
    TS_REGISTER(UART + 0x50cu) = PIN_TX;
    TS_REGISTER(UART + 0x514u) = PIN_RX;
    TS_REGISTER(UART + 0x524u) = 0x01d60000u; /* 115200 */
    TS_REGISTER(UART + 0x56cu) = 0;           /* no parity, no flow control */
    TS_REGISTER(UART + 0x500u) = 4u;
    TS_REGISTER(UART_RECEIVED) = 0;
    TS_REGISTER(UART_SENT) = 0;
    TS_REGISTER(UART + 0x000u) = 1u; /* receive */
    TS_REGISTER(UART + 0x008u) = 1u; /* send */

    TS_REGISTER(TIMER + 0x504u) = 0;  /* timer, not counter */
    TS_REGISTER(TIMER + 0x508u) = 3u; /* 32 bits */
    TS_REGISTER(TIMER + 0x510u) = 4u; /* 16 MHz / 2^4 */
    TS_REGISTER(TIMER + 0x00cu) = 1u; /* from zero */
    TS_REGISTER(TIMER + 0x000u) = 1u;
}

int32_t ts_board_read(void) {
    ts_wait_for(UART_RECEIVED, 1u);
    TS_REGISTER(UART_RECEIVED) = 0;
    return (int32_t)(TS_REGISTER(UART + 0x518u) & 0xffu);
}

void ts_board_write(uint8_t byte) {
    TS_REGISTER(UART + 0x51cu) = byte;
    ts_wait_for(UART_SENT, 1u);
    TS_REGISTER(UART_SENT) = 0;
}

uint32_t ts_board_microseconds(void) {
    TS_REGISTER(TIMER + 0x040u) = 1u; /* capture into register 0 */
    return TS_REGISTER(TIMER + 0x540u);
}

void ts_board_pin(int32_t level) { TS_REGISTER(GPIO + (level != 0 ? 0x508u : 0x50cu)) = 1u << PIN_METER; }
