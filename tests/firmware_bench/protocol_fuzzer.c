/* The parser of the serial protocol under libFuzzer: any bytes, no overrun, and every command ends in m-ready.
 *
 *   clang-19 -std=c99 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -I firmware_bench/c \
 *     tests/firmware_bench/protocol_fuzzer.c firmware_bench/c/ts_protocol.c firmware_bench/c/ts_reply.c -o /tmp/protocol_fuzzer
 *   /tmp/protocol_fuzzer -max_len=4096 -max_total_time=600
 */
#include <stdlib.h>
#include <string.h>

#include "ts_protocol.h"

#define INPUT 64
#define GUARD 16

static struct {
    uint8_t before[GUARD], input[INPUT], after[GUARD];
} memory;
static int8_t logits[3];
static uint32_t ticks, commands, answered, infers;
static char tail[10]; /* the last bytes that were sent, "m-ready\r\n" after a command */

static void infer(void) {
    logits[infers % 3] = (int8_t)memory.input[infers % INPUT];
    ++infers;
}

static void take(uint8_t byte) {
    if (byte >= 0x80 || (byte < 0x20 && byte != '\r' && byte != '\n')) {
        abort(); /* nothing of the host's bytes may come back raw */
    }
    memmove(tail, tail + 1, 8);
    tail[8] = (char)byte;
    answered += memcmp(tail, "m-ready\r\n", 9) == 0;
}

static uint32_t now(void) { return ticks += 3; }

static void pin(int32_t level) { (void)level; }

static const char *const labels[3] = {"a", "b", "c"};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ts_dut dut = {"v", "m", "c", labels, memory.input, INPUT, logits, 3, 0.1f, 1, infer, take, now, 0};
    memset(&memory, 0x5a, sizeof memory);
    ts_protocol *protocol = malloc(sizeof *protocol); /* so that the sanitizer sees its very end */
    if (protocol == 0) {
        return 0;
    }
    memset(protocol, 0xa5, sizeof *protocol);
    dut.pin = size > 0 && data[0] == '!' ? pin : 0;
    commands = answered = 0;
    ts_protocol_start(protocol, &dut);
    if (answered != 1) {
        abort();
    }
    for (size_t i = 0; i < size; ++i) {
        ts_protocol_feed(protocol, data[i]);
        commands += data[i] == '%';
        if (answered != commands + 1 || protocol->loaded > protocol->expected || protocol->expected > INPUT) {
            abort();
        }
    }
    for (int32_t i = 0; i < GUARD; ++i) {
        if (memory.before[i] != 0x5a || memory.after[i] != 0x5a) {
            abort();
        }
    }
    free(protocol);
    return 0;
}
