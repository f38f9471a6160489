/* A plugin of QEMU's translator that counts blocks into a file that Python has mapped too: ts_count, edges, taken, and
 * last whether the instruction at each place is a wide one. Loaded by `-plugin LIBRARY,counts=FILE`. Of the plugin interface only what is used is declared here, so that
 * nothing but a compiler is needed to build it. */
#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ts_count.h"

#ifndef TS_PLUGIN_VERSION
#define TS_PLUGIN_VERSION 1
#endif
#define TS_EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*ts_translated)(qemu_plugin_id_t id, struct qemu_plugin_tb *block);
typedef void (*ts_executed)(unsigned int cpu, void *user);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, ts_translated callback);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *block, ts_executed callback, int flags, void *user);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *block);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *instruction);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *instruction);

TS_EXPORT int qemu_plugin_version = TS_PLUGIN_VERSION;
TS_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv);

typedef struct {
    uint64_t address, size;
} ts_block;

static ts_count *ts_counter;
static int64_t *ts_edges, *ts_taken, *ts_wide;

static void ts_on_execution(unsigned int cpu, void *user) {
    (void)cpu;
    const ts_block *block = user;
    (void)ts_count_block(ts_counter, ts_edges, ts_taken, block->address, block->size);
}

/* QEMU's own size of a block's last instruction is 2 too much where the one behind it crosses a page of memory, because
 * the translator has looked at that one already. */
static uint64_t ts_size(const struct qemu_plugin_insn *instruction) {
    const int64_t at = (int64_t)qemu_plugin_insn_vaddr(instruction);
    if (at < ts_counter->first || at >= ts_counter->end) {
        return qemu_plugin_insn_size(instruction);
    }
    return ts_wide[(at - ts_counter->first) >> 1] != 0 ? 4 : 2;
}

static void ts_on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    (void)id;
    const size_t n = qemu_plugin_tb_n_insns(block);
    ts_block *seen = malloc(sizeof *seen); /* QEMU may run the block until it ends */
    if (seen == NULL || n == 0) {
        free(seen);
        return;
    }
    const struct qemu_plugin_insn *last = qemu_plugin_tb_get_insn(block, n - 1);
    seen->address = qemu_plugin_tb_vaddr(block);
    seen->size = qemu_plugin_insn_vaddr(last) + ts_size(last) - seen->address;
    qemu_plugin_register_vcpu_tb_exec_cb(block, ts_on_execution, 0, seen);
}

/* Ends QEMU with the program that started it, however that one ends. */
static void *ts_watch(void *user) {
    const pid_t *parent = user;
    while (getppid() == *parent) {
        sleep(1);
    }
    _exit(1);
}

TS_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv) {
    static const char key[] = "counts=";
    static pid_t parent;
    (void)info;
    if (argc != 1 || strncmp(argv[0], key, sizeof key - 1) != 0) {
        return 1;
    }
    const int file = open(argv[0] + sizeof key - 1, O_RDWR);
    struct stat status;
    if (file < 0 || fstat(file, &status) != 0) {
        return 1;
    }
    void *shared = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (shared == MAP_FAILED) {
        return 1;
    }
    ts_counter = shared;
    ts_edges = (int64_t *)(ts_counter + 1);
    ts_taken = ts_edges + ((ts_counter->end - ts_counter->first + 1) / 2 + 1);
    ts_wide = ts_taken + ((ts_counter->end - ts_counter->first + 1) / 2 + 1);
    qemu_plugin_register_vcpu_tb_trans_cb(id, ts_on_translation);
    parent = getppid();
    pthread_t watch;
    return pthread_create(&watch, NULL, ts_watch, &parent) == 0 && pthread_detach(watch) == 0 ? 0 : 1;
}
