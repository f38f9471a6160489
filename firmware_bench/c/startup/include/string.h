/* What a bare machine has of <string.h>: found only where the compiler brings none. The macros let a compiler that was
 * told that there is no C library still turn a copy of four bytes into a load and a store. */
#ifndef TS_STRING_H
#define TS_STRING_H

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int value, size_t n);
int memcmp(const void *a, const void *b, size_t n);

#define memcpy(to, from, n) __builtin_memcpy((to), (from), (n))
#define memmove(to, from, n) __builtin_memmove((to), (from), (n))
#define memset(to, value, n) __builtin_memset((to), (value), (n))

#endif
