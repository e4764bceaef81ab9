/*
 * Template: which integers stand in a relation to one. Plain loops, without branches,
 * that compilers make vectors of.
 */
#ifndef ATTN_KERNEL_TMPL_RELATE_H
#define ATTN_KERNEL_TMPL_RELATE_H

#include "kernel/kernel.h"

#define RELATE_LOOP(operator)                                                          \
    for (int j = 0; j < n; j++) {                                                      \
        keep[j] = numbers[j] operator value;                                           \
    }

/* The body of a function for integers of one size. */
#define RELATE_BODY                                                                    \
    switch (relation) {                                                                \
    case RELATION_EQUAL:                                                               \
        RELATE_LOOP(==)                                                                \
        break;                                                                         \
    case RELATION_UP_TO:                                                               \
        RELATE_LOOP(<=)                                                                \
        break;                                                                         \
    default:                                                                           \
        RELATE_LOOP(<)                                                                 \
    }

static inline __attribute__((always_inline)) void relate_int32(uint8_t *keep,
                                                               enum relation relation,
                                                               const int32_t *numbers,
                                                               int n, int32_t value) {
    RELATE_BODY
}

static inline __attribute__((always_inline)) void relate_int64(uint8_t *keep,
                                                               enum relation relation,
                                                               const int64_t *numbers,
                                                               int n, int64_t value) {
    RELATE_BODY
}

/* A value that no int32 is relates to all of them as the one beside it does, but for
 * one that would be equal. */
static inline void relate_narrow(uint8_t *keep, enum relation relation,
                                 const int32_t *numbers, int n, int64_t value) {
    if (value == (int32_t)value) {
        relate_int32(keep, relation, numbers, n, (int32_t)value);
        return;
    }
    for (int j = 0; j < n; j++) {
        keep[j] = relation != RELATION_EQUAL && value > 0;
    }
}

static void kernel_relate(uint8_t *keep, enum relation relation, const void *numbers,
                          bool wide, int n, int64_t value) {
    if (wide) {
        relate_int64(keep, relation, numbers, n, value);
    } else {
        relate_narrow(keep, relation, numbers, n, value);
    }
}

#endif
