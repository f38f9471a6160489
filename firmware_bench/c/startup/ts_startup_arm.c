/* Start of an Arm M-profile part for the emulators: vector table, coprocessors on, data in place, then idle. Functions
 * are called from outside, by setting registers, and return to ts_idle. A fault ends in ts_stop with the address of the
 * faulting instruction in r0. With TS_MAIN the part runs its own program first: firmware of a board. */
#include <stdint.h>

extern uint32_t ts_data_load[], ts_data_start[], ts_data_end[], ts_bss_start[], ts_bss_end[], ts_stack_top[];

void Reset(void);
void ts_start(void);
void ts_idle(void);
void ts_fault(void);

/* Entry 0 is the stack pointer; a linker script symbol has no value that C could put between functions, hence the
 * assembly: 16 words, reset second, every other one the same fault. */
__asm__(".section .vectors, \"a\"\n"
        ".balign 128\n"
        ".word ts_stack_top\n"
        ".word Reset\n"
        ".rept 14\n"
        ".word ts_fault\n"
        ".endr\n"
        ".text\n");

/* CPACR (0xE000ED88): full access to coprocessors 10 and 11, the FPU and MVE; parts without ignore it. Before anything
 * that a compiler could vectorise. CCR (0xE000ED14): unaligned words fault, which a part of architecture 6 always does
 * and an M4 that stands in for one does when told. */
__attribute__((naked, used)) void Reset(void) {
    __asm__ volatile(
        ".syntax unified\n"
        "ldr r0, =ts_stack_top\n"
        "mov sp, r0\n"
        "ldr r0, =0xE000ED88\n"
        "movs r1, #15\n"
        "lsls r1, r1, #20\n"
        "str r1, [r0]\n"
#if __ARM_ARCH == 6
        "ldr r0, =0xE000ED14\n"
        "movs r1, #8\n"
        "str r1, [r0]\n"
#endif
        "dsb\n"
        "isb\n"
        "bl ts_start\n"
#ifdef TS_MAIN
        "bl main\n"
#endif
        "bl ts_idle\n"
        ".ltorg\n");
}

__attribute__((used)) void ts_start(void) {
    const uint32_t *from = ts_data_load;
    for (uint32_t *to = ts_data_start; to < ts_data_end; ++to) {
        *to = *from++;
    }
    for (uint32_t *to = ts_bss_start; to < ts_bss_end; ++to) {
        *to = 0;
    }
}

__attribute__((naked, used, section(".idle"))) void ts_idle(void) {
    __asm__ volatile("b ts_idle\n");
}

/* The processor has pushed r0-r3, r12, lr, pc, xpsr. */
__attribute__((naked, used, section(".idle"))) void ts_fault(void) {
    __asm__ volatile(
        ".syntax unified\n"
        "mov r0, sp\n"
        "ldr r0, [r0, #24]\n"
        ".global ts_stop\n"
        ".thumb_func\n"
        "ts_stop:\n"
        "b ts_stop\n");
}
