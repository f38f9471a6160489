/* Start of a RISC-V part for the emulators: stack, trap vector, data in place, then idle. Functions are called from
 * outside, by setting registers, and return to ts_idle. A trap ends in ts_stop with the address of the instruction in
 * a0. The CSR instructions are spelt in numbers because not every -march of this core names Zicsr. */
#include <stdint.h>

extern uint32_t ts_data_load[], ts_data_start[], ts_data_end[], ts_bss_start[], ts_bss_end[];

void Reset(void);
void ts_start(void);
void ts_idle(void);
void ts_fault(void);

__attribute__((naked, used, section(".vectors"))) void Reset(void) {
    __asm__ volatile(
        "la sp, ts_stack_top\n"
        "la a0, ts_fault\n"
        ".word 0x30551073\n" /* csrw mtvec, a0 */
        "call ts_start\n"
#ifdef TS_MAIN
        "call main\n"
#endif
        "la t0, ts_idle\n"
        "jr t0\n");
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
    __asm__ volatile("j ts_idle\n");
}

__attribute__((naked, used, aligned(4), section(".idle"))) void ts_fault(void) {
    __asm__ volatile(
        ".word 0x34102573\n" /* csrr a0, mepc */
        ".global ts_stop\n"
        "ts_stop:\n"
        "j ts_stop\n");
}
