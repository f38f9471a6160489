/* QEMU's RISC-V machine `virt`: 16550 UART and the timer of the core-local interruptor, 10 MHz. It has no pin. */
#include "ts_board.h"
#include "ts_registers.h"

#define UART 0x10000000u
#define UART_LINE_STATUS (UART + 5u) /* registers of one byte; bit 0: data there, bit 5: room to send */
#define TIME_LOW 0x0200bff8u
#define TIME_HIGH 0x0200bffcu
#define TICKS_PER_US 10u

static volatile uint8_t *byte_at(uint32_t address) { return (volatile uint8_t *)(uintptr_t)address; }

void ts_board_init(void) { *byte_at(UART + 1u) = 0; /* no interrupts */ }

int32_t ts_board_read(void) {
    while ((*byte_at(UART_LINE_STATUS) & 1u) == 0) {
    }
    return *byte_at(UART);
}

void ts_board_write(uint8_t byte) {
    while ((*byte_at(UART_LINE_STATUS) & 0x20u) == 0) {
    }
    *byte_at(UART) = byte;
}

/* The 64 bits in two halves, read again when the low one wrapped between; only then does the division wrap at 2^32. */
uint32_t ts_board_microseconds(void) {
    uint32_t high, low;
    do {
        high = TS_REGISTER(TIME_HIGH);
        low = TS_REGISTER(TIME_LOW);
    } while (high != TS_REGISTER(TIME_HIGH));
    return (uint32_t)(((uint64_t)high << 32 | low) / TICKS_PER_US);
}

void ts_board_pin(int32_t level) { (void)level; }
