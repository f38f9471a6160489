/* NOT RUN ON HARDWARE. ST Nucleo-H743ZI2 (Cortex-M7), written from the reference manual RM0433 and the board's UM2407:
 * USART3 on PD8 and PD9, which the ST-LINK shows as a serial port, timer 2 as the clock. The pin is PF13.
 *
 * It runs from the internal oscillator at 64 MHz, as after a reset. A firmware that sets the processor faster defines
 * ts_board_clock (for instance with the code that STM32CubeMX writes) and the two clocks below. */
#include "ts_board.h"
#include "ts_registers.h"

#ifndef TS_USART_CLOCK_HZ
#define TS_USART_CLOCK_HZ 64000000u
#endif
#ifndef TS_TIMER_CLOCK_HZ
#define TS_TIMER_CLOCK_HZ 64000000u
#endif

#define RCC_AHB4ENR 0x580244e0u
#define RCC_APB1LENR 0x580244e8u
#define GPIOD 0x58020c00u
#define GPIOF 0x58021400u
#define USART 0x40004800u
#define USART_ISR (USART + 0x1cu) /* bit 3: overrun, bit 5: byte received, bit 7: room to send */
#define TIMER 0x40000000u

void ts_board_clock(void);
__attribute__((weak)) void ts_board_clock(void) {}

static void change(uint32_t address, uint32_t clear, uint32_t set) {
    TS_REGISTER(address) = (TS_REGISTER(address) & ~clear) | set;
}

/* Both caches, invalidated and switched on; the data cache has 128 sets of 4 ways, lines of 32 bytes. */
static void caches_on(void) {
    __asm__ volatile("dsb\nisb" ::: "memory");
    TS_REGISTER(0xe000ef50u) = 0; /* ICIALLU */
    for (uint32_t set = 0; set < 128u; ++set) {
        for (uint32_t way = 0; way < 4u; ++way) {
            TS_REGISTER(0xe000ef60u) = way << 30 | set << 5; /* DCISW */
        }
    }
    __asm__ volatile("dsb\nisb" ::: "memory");
    change(0xe000ed14u, 0, 1u << 16 | 1u << 17); /* CCR: DC, IC */
    __asm__ volatile("dsb\nisb" ::: "memory");
}

void ts_board_init(void) {
    ts_board_clock();
    caches_on();
    change(RCC_AHB4ENR, 0, 1u << 3 | 1u << 5); /* ports D and F */
    change(RCC_APB1LENR, 0, 1u << 18 | 1u);    /* USART3, timer 2 */
    (void)TS_REGISTER(RCC_APB1LENR);           /* a clock needs two cycles to come */
    change(GPIOD + 0x00u, 15u << 16, 10u << 16); /* PD8, PD9: alternate function */
    change(GPIOD + 0x24u, 0xffu, 0x77u);         /* which is 7, USART3 */
    change(GPIOF + 0x00u, 3u << 26, 1u << 26);   /* PF13: output */
    ts_board_pin(1);

    TS_REGISTER(USART + 0x0cu) = (TS_USART_CLOCK_HZ + TS_BOARD_BAUD / 2u) / TS_BOARD_BAUD;
    TS_REGISTER(USART + 0x00u) = 1u << 29 | 1u << 3 | 1u << 2 | 1u; /* FIFO, sender, receiver, on */

    TS_REGISTER(TIMER + 0x28u) = TS_TIMER_CLOCK_HZ / 1000000u - 1u;
    TS_REGISTER(TIMER + 0x2cu) = 0xffffffffu;
    TS_REGISTER(TIMER + 0x14u) = 1u; /* take the prescaler over */
    TS_REGISTER(TIMER + 0x00u) = 1u;
}

int32_t ts_board_read(void) {
    ts_wait_for(USART_ISR, 1u << 5 | 1u << 3);
    if ((TS_REGISTER(USART_ISR) & 1u << 3) != 0) {
        TS_REGISTER(USART + 0x20u) = 1u << 3; /* an overrun would block the receiver; the protocol survives a loss */
        ts_wait_for(USART_ISR, 1u << 5);
    }
    return (int32_t)(TS_REGISTER(USART + 0x24u) & 0xffu);
}

void ts_board_write(uint8_t byte) {
    ts_wait_for(USART_ISR, 1u << 7);
    TS_REGISTER(USART + 0x28u) = byte;
}

uint32_t ts_board_microseconds(void) { return TS_REGISTER(TIMER + 0x24u); }

void ts_board_pin(int32_t level) { TS_REGISTER(GPIOF + 0x18u) = level != 0 ? 1u << 13 : 1u << 29; }
