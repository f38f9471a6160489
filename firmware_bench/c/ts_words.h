/* The words of a command line: where they end, and the numbers that they spell. */
#ifndef TS_WORDS_H
#define TS_WORDS_H

#include <stdint.h>

static inline int32_t ts_same(const char *a, const char *b) {
    while (*a != 0 && *a == *b) {
        ++a;
        ++b;
    }
    return *a == *b;
}

/* Cuts the next word off `*rest` and moves it on; an empty word when there is none. */
static inline char *ts_word(char **rest) {
    while (**rest == ' ') {
        ++*rest;
    }
    char *word = *rest;
    while (**rest != 0 && **rest != ' ') {
        ++*rest;
    }
    if (**rest == ' ') {
        *(*rest)++ = 0;
    }
    return word;
}

/* A whole decimal number of at most nine digits; -1 for anything else. */
static inline int32_t ts_decimal(const char *word) {
    int32_t value = 0, digits = 0;
    for (; word[digits] >= '0' && word[digits] <= '9' && digits < 9; ++digits) {
        value = value * 10 + (word[digits] - '0');
    }
    return digits > 0 && word[digits] == 0 ? value : -1;
}

static inline int32_t ts_hex_digit(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

#endif
