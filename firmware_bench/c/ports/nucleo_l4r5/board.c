/* NOT RUN ON HARDWARE. ST Nucleo-L4R5ZI (Cortex-M4F), written from the reference manual RM0432 and the board's UM2179:
 * 120 MHz from the internal oscillator, LPUART1 on PG7 and PG8, which the ST-LINK shows as a serial port, timer 2 as
 * the clock. The pin is PF13. */
#include "ts_board.h"
#include "ts_registers.h"

#define RCC 0x40021000u
#define RCC_CR (RCC + 0x00u)
#define RCC_CFGR (RCC + 0x08u)
#define RCC_PLLCFGR (RCC + 0x0cu)
#define RCC_AHB2ENR (RCC + 0x4cu)
#define RCC_APB1ENR1 (RCC + 0x58u)
#define RCC_APB1ENR2 (RCC + 0x5cu)
#define RCC_CCIPR (RCC + 0x88u)
#define FLASH_ACR 0x40022000u
#define PWR_CR2 0x40007004u
#define PWR_CR5 0x40007080u
#define GPIOF 0x48001400u
#define GPIOG 0x48001800u
#define LPUART 0x40008000u
#define LPUART_ISR (LPUART + 0x1cu) /* bit 3: overrun, bit 5: byte received, bit 7: room to send */
#define TIMER 0x40000000u
#define SYSTEM_MHZ 120u
#define HSI_HZ 16000000u

static void change(uint32_t address, uint32_t clear, uint32_t set) {
    TS_REGISTER(address) = (TS_REGISTER(address) & ~clear) | set;
}

static void clock_init(void) {
    change(RCC_CR, 0, 1u << 8); /* the 16 MHz oscillator */
    ts_wait_for(RCC_CR, 1u << 10);
    change(RCC_APB1ENR1, 0, 1u << 28);               /* power control */
    change(PWR_CR5, 1u << 8, 0);                     /* range 1 boost: above 80 MHz */
    change(FLASH_ACR, 15u, 5u | 1u << 9 | 1u << 10); /* five wait states, both caches */
    while ((TS_REGISTER(FLASH_ACR) & 15u) != 5u) {
    }
    /* 16 MHz / 2 * 30 / 2: source HSI, M - 1 = 1, N = 30, R = 2 and on */
    TS_REGISTER(RCC_PLLCFGR) = 2u | 1u << 4 | 30u << 8 | 1u << 24;
    change(RCC_CR, 0, 1u << 24);
    ts_wait_for(RCC_CR, 1u << 25);
    change(RCC_CFGR, 15u << 4, 8u << 4); /* half speed for 1 us on the way above 80 MHz */
    change(RCC_CFGR, 3u, 3u);
    while ((TS_REGISTER(RCC_CFGR) >> 2 & 3u) != 3u) {
    }
    for (volatile uint32_t i = 0; i < 100u; ++i) { /* at least 1 us */
    }
    change(RCC_CFGR, 15u << 4, 0);
}

void ts_board_init(void) {
    clock_init();
    change(RCC_AHB2ENR, 0, 1u << 5 | 1u << 6);   /* ports F and G */
    change(PWR_CR2, 0, 1u << 9);                 /* PG2 to PG15 have a supply of their own: it is there */
    change(GPIOG + 0x00u, 15u << 14, 10u << 14); /* PG7, PG8: alternate function */
    change(GPIOG + 0x20u, 15u << 28, 8u << 28);  /* which is 8, LPUART1 */
    change(GPIOG + 0x24u, 15u, 8u);
    change(GPIOF + 0x00u, 3u << 26, 1u << 26); /* PF13: output */
    ts_board_pin(1);

    change(RCC_CCIPR, 3u << 10, 2u << 10); /* LPUART1 runs from the 16 MHz oscillator */
    change(RCC_APB1ENR2, 0, 1u);
    TS_REGISTER(LPUART + 0x0cu) = (uint32_t)((uint64_t)HSI_HZ * 256u / TS_BOARD_BAUD);
    TS_REGISTER(LPUART + 0x00u) = 1u << 29 | 1u << 3 | 1u << 2 | 1u; /* FIFO, sender, receiver, on */

    change(RCC_APB1ENR1, 0, 1u); /* timer 2: 32 bits */
    TS_REGISTER(TIMER + 0x28u) = SYSTEM_MHZ - 1u;
    TS_REGISTER(TIMER + 0x2cu) = 0xffffffffu;
    TS_REGISTER(TIMER + 0x14u) = 1u; /* take the prescaler over */
    TS_REGISTER(TIMER + 0x00u) = 1u;
}

int32_t ts_board_read(void) {
    ts_wait_for(LPUART_ISR, 1u << 5 | 1u << 3);
    if ((TS_REGISTER(LPUART_ISR) & 1u << 3) != 0) {
        TS_REGISTER(LPUART + 0x20u) = 1u << 3; /* an overrun would block the receiver; the protocol survives a loss */
        ts_wait_for(LPUART_ISR, 1u << 5);
    }
    return (int32_t)(TS_REGISTER(LPUART + 0x24u) & 0xffu);
}

void ts_board_write(uint8_t byte) {
    ts_wait_for(LPUART_ISR, 1u << 7);
    TS_REGISTER(LPUART + 0x28u) = byte;
}

uint32_t ts_board_microseconds(void) { return TS_REGISTER(TIMER + 0x24u); }

void ts_board_pin(int32_t level) { TS_REGISTER(GPIOF + 0x18u) = level != 0 ? 1u << 13 : 1u << 29; }
