/* The generated model behind the serial protocol, with all the memory that it takes: start it once, feed it every byte
 * that comes. The board (ts_board.h) is initialised by the caller. */
#ifndef TS_FIRMWARE_H
#define TS_FIRMWARE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

void ts_firmware_start(void);
void ts_firmware_feed(uint8_t byte);

#ifdef __cplusplus
}
#endif

#endif
