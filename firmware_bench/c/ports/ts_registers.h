/* Memory-mapped registers, and the waits that every port has. */
#ifndef TS_REGISTERS_H
#define TS_REGISTERS_H

#include <stdint.h>

#define TS_REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))

static inline void ts_wait_for(uint32_t address, uint32_t mask) { /* until one of the bits is 1 */
    while ((TS_REGISTER(address) & mask) == 0) {
    }
}

static inline void ts_wait_while(uint32_t address, uint32_t mask) { /* until all of the bits are 0 */
    while ((TS_REGISTER(address) & mask) != 0) {
    }
}

#endif
