/* NOT RUN ON HARDWARE. Raspberry Pi Pico (RP2040, Cortex-M0+), written from the data sheet: 125 MHz from the 12 MHz
 * crystal, UART 0 on GP0 (out) and GP1 (in), the microsecond timer. The pin is GP2.
 *
 * The firmware is linked behind the 256 bytes of the second boot stage (0x10000000), which is not part of this project:
 * take boot2_w25q080 of the Pico SDK, or link these files in a project of that SDK. */
#include "ts_board.h"
#include "ts_registers.h"

#define RESETS 0x4000c000u
#define CLOCKS 0x40008000u
#define XOSC 0x40024000u
#define PLL 0x40028000u
#define WATCHDOG_TICK 0x4005802cu
#define TIMER_LOW 0x40054028u
#define IO_BANK 0x40014000u
#define SIO 0xd0000000u
#define UART 0x40034000u
#define UART_FLAGS (UART + 0x18u) /* bit 4: nothing received, bit 5: no room to send */
#define SET 0x2000u               /* every register again, as one that sets bits .. */
#define CLEAR 0x3000u             /* .. and one that clears them */
#define CRYSTAL_HZ 12000000u

static void leave_reset(uint32_t mask) {
    TS_REGISTER(RESETS + CLEAR) = mask;
    while ((TS_REGISTER(RESETS + 8u) & mask) != mask) {
    }
}

static void clock_init(void) {
    TS_REGISTER(XOSC + 0x0cu) = 47u; /* 1 ms to start */
    TS_REGISTER(XOSC) = 0xfabaa0u;
    ts_wait_for(XOSC + 4u, 1u << 31);
    TS_REGISTER(CLOCKS + 0x3cu + CLEAR) = 1u; /* system from the reference while its other source changes */
    while (TS_REGISTER(CLOCKS + 0x44u) != 1u) {
    }
    TS_REGISTER(CLOCKS + 0x30u) = 2u; /* reference from the crystal */
    while (TS_REGISTER(CLOCKS + 0x38u) != 4u) {
    }
    TS_REGISTER(RESETS + SET) = 1u << 12;
    leave_reset(1u << 12);
    TS_REGISTER(PLL + 0x0u) = 1u;
    TS_REGISTER(PLL + 0x8u) = 125u;                 /* 12 MHz * 125 .. */
    TS_REGISTER(PLL + 0x4u + CLEAR) = 1u | 1u << 5; /* power, oscillator */
    ts_wait_for(PLL, 1u << 31);
    TS_REGISTER(PLL + 0xcu) = 6u << 16 | 2u << 12; /* .. / 6 / 2 = 125 MHz */
    TS_REGISTER(PLL + 0x4u + CLEAR) = 1u << 3;     /* dividers */
    TS_REGISTER(CLOCKS + 0x3cu) = 1u;              /* system from the PLL */
    while (TS_REGISTER(CLOCKS + 0x44u) != 2u) {
    }
    TS_REGISTER(CLOCKS + 0x48u) = 1u << 11 | 4u << 5; /* peripherals from the crystal: the divider below stays true */
    TS_REGISTER(WATCHDOG_TICK) = 1u << 9 | 12u;       /* the timer counts microseconds */
}

void ts_board_init(void) {
    clock_init();
    leave_reset(1u << 5 | 1u << 8 | 1u << 21 | 1u << 22); /* pins, pads, timer, UART 0 */
    const uint32_t divider = CRYSTAL_HZ * 4u / TS_BOARD_BAUD; /* in 64ths: clock / 16 / baud * 64 */
    TS_REGISTER(UART + 0x24u) = divider >> 6;
    TS_REGISTER(UART + 0x28u) = divider & 63u;
    TS_REGISTER(UART + 0x2cu) = 3u << 5 | 1u << 4;         /* 8 bits, FIFO */
    TS_REGISTER(UART + 0x30u) = 1u << 9 | 1u << 8 | 1u;    /* receiver, sender, on */
    TS_REGISTER(IO_BANK + 0x04u) = 2u;                     /* GP0, GP1: UART */
    TS_REGISTER(IO_BANK + 0x0cu) = 2u;
    ts_board_pin(1);
    TS_REGISTER(SIO + 0x24u) = 1u << 2;  /* GP2: output .. */
    TS_REGISTER(IO_BANK + 0x14u) = 5u;   /* .. of the processor */
}

int32_t ts_board_read(void) {
    ts_wait_while(UART_FLAGS, 1u << 4);
    return (int32_t)(TS_REGISTER(UART) & 0xffu);
}

void ts_board_write(uint8_t byte) {
    ts_wait_while(UART_FLAGS, 1u << 5);
    TS_REGISTER(UART) = byte;
}

uint32_t ts_board_microseconds(void) { return TS_REGISTER(TIMER_LOW); }

void ts_board_pin(int32_t level) { TS_REGISTER(SIO + (level != 0 ? 0x14u : 0x18u)) = 1u << 2; }
