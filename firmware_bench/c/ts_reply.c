/* Text for the serial line, see ts_reply.h. */
#include "ts_reply.h"

uint32_t ts_crc32_step(uint32_t crc, uint8_t byte) {
    crc ^= byte;
    for (int32_t bit = 0; bit < 8; ++bit) {
        crc = (crc >> 1) ^ (0xedb88320u & (0u - (crc & 1u)));
    }
    return crc;
}

void ts_reply_start(ts_reply *reply) { reply->crc = 0xffffffffu; }

void ts_reply_byte(ts_reply *reply, uint8_t byte) {
    reply->crc = ts_crc32_step(reply->crc, byte);
    reply->write(byte);
}

void ts_reply_text(ts_reply *reply, const char *text) {
    while (*text != 0) {
        ts_reply_byte(reply, (uint8_t)*text++);
    }
}

void ts_reply_echo(ts_reply *reply, const char *text) {
    for (; *text != 0; ++text) {
        const uint8_t byte = (uint8_t)*text;
        ts_reply_byte(reply, byte >= 0x20 && byte < 0x7f ? byte : (uint8_t)'?');
    }
}

void ts_reply_number(ts_reply *reply, uint64_t value) {
    char digits[20]; /* 2^64 - 1 has twenty */
    int32_t count = 0;
    do {
        digits[count++] = (char)('0' + (int32_t)(value % 10u));
        value /= 10u;
    } while (value != 0);
    while (count > 0) {
        ts_reply_byte(reply, (uint8_t)digits[--count]);
    }
}

void ts_reply_signed(ts_reply *reply, int32_t value) {
    if (value < 0) {
        ts_reply_byte(reply, '-');
    }
    ts_reply_number(reply, value < 0 ? 0u - (uint32_t)value : (uint32_t)value);
}

void ts_reply_hex(ts_reply *reply, uint32_t value, int32_t digits) {
    while (digits-- > 0) {
        ts_reply_byte(reply, (uint8_t)"0123456789abcdef"[(value >> (4 * digits)) & 15u]);
    }
}

void ts_reply_share(ts_reply *reply, float value) {
    const float bounded = value > 0.0f ? (value < 1.0f ? value : 1.0f) : 0.0f;
    uint32_t millionths = (uint32_t)(bounded * 1e6f + 0.5f);
    ts_reply_number(reply, millionths / 1000000u);
    ts_reply_byte(reply, '.');
    millionths %= 1000000u;
    for (uint32_t unit = 100000u; unit > 0; unit /= 10u) {
        ts_reply_byte(reply, (uint8_t)('0' + millionths / unit % 10u));
    }
}

void ts_reply_end(ts_reply *reply) { ts_reply_text(reply, "\r\n"); }
