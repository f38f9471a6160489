/* Counting executed blocks of code: what the two emulators' hooks have in common. */
#ifndef TS_COUNT_H
#define TS_COUNT_H

#include <stdint.h>

/* Shared with Python (targets/counts.py), which clears it before every call. Addresses are those of the code. */
typedef struct {
    int64_t first, end; /* of the code */
    int64_t budget;     /* bytes of code that may still run */
    int64_t previous;   /* where the block before ended */
    int64_t stopped;    /* 1 once the budget is spent */
} ts_count;

/* One run of the block of `size` bytes at `address`. edges ((end - first) / 2 + 1) counts beginnings up and ends down,
 * taken (the same) counts the ends after which execution went on elsewhere. Returns 0 once the budget is spent. */
static inline int ts_count_block(ts_count *c, int64_t *edges, int64_t *taken, uint64_t address, uint64_t size) {
    const int64_t at = (int64_t)address, past = at + (int64_t)size;
    if (c->previous != at && c->previous >= c->first && c->previous <= c->end) {
        ++taken[(c->previous - c->first) >> 1];
    }
    c->previous = past;
    if (at >= c->first && past <= c->end) {
        ++edges[(at - c->first) >> 1];
        --edges[(past - c->first) >> 1];
    }
    c->budget -= (int64_t)size;
    if (c->budget < 0) {
        c->stopped = 1;
    }
    return c->budget >= 0;
}

#endif
