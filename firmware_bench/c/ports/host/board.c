/* A port for this machine: the serial line is stdin and stdout, best a pseudo-terminal in raw mode. It is what the tests
 * of the protocol run, and a way to see the firmware answer without a board. */
#define _POSIX_C_SOURCE 200809L
#include "ts_board.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

void ts_board_init(void) {}

int32_t ts_board_read(void) {
    uint8_t byte;
    ssize_t got;
    do {
        got = read(STDIN_FILENO, &byte, 1);
    } while (got < 0 && errno == EINTR);
    return got == 1 ? byte : -1;
}

void ts_board_write(uint8_t byte) {
    ssize_t sent;
    do {
        sent = write(STDOUT_FILENO, &byte, 1);
    } while (sent < 0 && errno == EINTR);
    if (sent != 1) {
        exit(1); /* nobody reads any more */
    }
}

uint32_t ts_board_microseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)((uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u);
}

void ts_board_pin(int32_t level) { (void)level; }
