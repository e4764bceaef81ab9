/*
 * How a function says no: it returns a status and leaves one sentence, with the
 * numbers in it, for attn_last_error().
 */
#ifndef ATTN_BASE_STATUS_H
#define ATTN_BASE_STATUS_H

#include "attn/common.h"
#include "base/compiler.h"

/* Keeps the sentence for this thread and returns status. */
attn_status attn_fail(attn_status status, const char *format, ...) PRINTF_LIKE(2, 3);

/* Puts "where: " before the sentence that is kept; returns status. */
attn_status attn_fail_in(attn_status status, const char *where);

/* REQUIRE(condition, status, format, ...) - leaves the function unless it holds */
#define REQUIRE(condition, ...)                                                        \
    do {                                                                               \
        if (!(condition)) {                                                            \
            return attn_fail(__VA_ARGS__);                                             \
        }                                                                              \
    } while (0)

/* TRY(call) - leaves the function with the call's status unless that is ATTN_OK */
#define TRY(call)                                                                      \
    do {                                                                               \
        attn_status try_status = (call);                                               \
        if (try_status != ATTN_OK) {                                                   \
            return try_status;                                                         \
        }                                                                              \
    } while (0)

#endif
