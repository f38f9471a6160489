/* What unicorn calls at every block (UC_HOOK_BLOCK). */
#include "ts_count.h"

/* `stop` is unicorn's uc_emu_stop. */
typedef struct {
    ts_count count;
    int64_t *edges, *taken;
    int (*stop)(void *);
} ts_hook;

void ts_unicorn_block(void *uc, uint64_t address, uint32_t size, void *user);

void ts_unicorn_block(void *uc, uint64_t address, uint32_t size, void *user) {
    ts_hook *hook = user;
    if (!ts_count_block(&hook->count, hook->edges, hook->taken, address, size)) {
        hook->stop(uc);
    }
}
