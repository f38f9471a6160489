/* What unicorn calls at every block (UC_HOOK_BLOCK) and, of a part that cannot do them, at accesses to memory. */
#include "ts_count.h"

/* `stop` is unicorn's uc_emu_stop. */
typedef struct {
    ts_count count;
    int64_t *edges, *taken;
    int (*stop)(void *);
    int64_t unaligned; /* address of the first such access + 1, 0 for none */
} ts_hook;

void ts_unicorn_block(void *uc, uint64_t address, uint32_t size, void *user);
void ts_unicorn_access(void *uc, int kind, uint64_t address, int size, int64_t value, void *user);

void ts_unicorn_block(void *uc, uint64_t address, uint32_t size, void *user) {
    ts_hook *hook = user;
    if (!ts_count_block(&hook->count, hook->edges, hook->taken, address, size)) {
        hook->stop(uc);
    }
}

void ts_unicorn_access(void *uc, int kind, uint64_t address, int size, int64_t value, void *user) {
    ts_hook *hook = user;
    (void)kind;
    (void)value;
    if ((address & (uint64_t)(size - 1)) != 0 && hook->unaligned == 0) {
        hook->unaligned = (int64_t)address + 1;
        hook->stop(uc);
    }
}
