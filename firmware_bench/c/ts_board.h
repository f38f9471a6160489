/* What a board gives to the firmware: a serial port, a clock and, if energy is measured, a pin. A port is one file,
 * ports/BOARD/board.c, that defines these; nothing else of the firmware knows the hardware. */
#ifndef TS_BOARD_H
#define TS_BOARD_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Once, before everything else: clocks, the serial port at TS_BOARD_BAUD with 8 bits, no parity and 1 stop bit, the
 * timer, the pin high. */
void ts_board_init(void);

/* The next byte from the host, 0..255; waits for it. Negative when there will be no more, which only happens where the
 * port is a file: the firmware then ends. */
int32_t ts_board_read(void);

/* Sends a byte; waits until there is room for it. */
void ts_board_write(uint8_t byte);

/* Microseconds since some moment; 32 bits that wrap, so no two timestamps that belong together may be more than 71
 * minutes apart. */
uint32_t ts_board_microseconds(void);

/* The level, 0 or 1, of the pin that an energy meter watches; a port without one does nothing. Each timestamp of the
 * energy mode is a pulse: low for at least 1 us, and high again. */
void ts_board_pin(int32_t level);

#ifndef TS_BOARD_BAUD
#define TS_BOARD_BAUD 115200u
#endif

#ifdef __cplusplus
}
#endif

#endif
