/*
 * Expects of refusals: the status, and what the message must say; and of explanations.
 */
#ifndef TEST_EXPECT_H
#define TEST_EXPECT_H

#include "tests/support/test.h"

/*
 * Fails the test unless status is `expected` and attn_last_error() holds each of the
 * parts of `says`, which are separated by "|".
 */
#define expect_refusal(status, expected, says)                                         \
    expect_refusal_at(status, expected, says, __FILE__, __LINE__)

void expect_refusal_at(attn_status status, attn_status expected, const char *says,
                       const char *file, int line);

/* Whether the thread's message is still the one that expect_mark() put there: a call
 * that succeeds leaves it alone. */
void expect_mark(void);
void expect_marked(void);

typedef size_t explaining(const void *object, char *text, size_t size);

/* A text under the rules of snprintf, with "name: value" on every line. */
void expect_explaining(explaining *explain, const void *object);

#endif
