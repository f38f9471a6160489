/* Text for the serial line without printf: every byte that leaves goes through ts_reply_byte, which keeps a CRC-32 of the
 * reply so that the host can ask whether it read what was sent. */
#ifndef TS_REPLY_H
#define TS_REPLY_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    void (*write)(uint8_t byte);
    uint32_t crc; /* of the bytes since ts_reply_start, not yet inverted */
} ts_reply;

/* CRC-32 as in Ethernet and zlib (polynomial 0x04c11db7, reflected), one byte further; starts at 0xffffffff, and the
 * value to compare is its inverse. */
uint32_t ts_crc32_step(uint32_t crc, uint8_t byte);

void ts_reply_start(ts_reply *reply); /* forgets what was sent */
void ts_reply_byte(ts_reply *reply, uint8_t byte);
void ts_reply_text(ts_reply *reply, const char *text);  /* up to its 0 */
void ts_reply_echo(ts_reply *reply, const char *text);  /* the same, with ? for what is not printable ASCII */
void ts_reply_number(ts_reply *reply, uint64_t value);  /* decimal */
void ts_reply_signed(ts_reply *reply, int32_t value);   /* decimal */
void ts_reply_hex(ts_reply *reply, uint32_t value, int32_t digits); /* its lowest digits, 1..8 */
void ts_reply_share(ts_reply *reply, float value);      /* [0, 1] with six decimals, halves away from zero */
void ts_reply_end(ts_reply *reply);                     /* CR LF */

#ifdef __cplusplus
}
#endif

#endif
