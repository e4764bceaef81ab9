/*
 * The context: threads, memory, kernel set and BLAS policy of the work done with it.
 */
#ifndef ATTN_EXEC_CONTEXT_H
#define ATTN_EXEC_CONTEXT_H

#include <stdatomic.h>

#include "attn/common.h"
#include "base/mem.h"

struct pool;
struct tuning;

struct attn_context {
    atomic_int holders; /* the caller, and every plan */
    atomic_bool planned;
    int32_t threads;
    int32_t isa;
    int32_t blas_policy;
    struct allocator allocator;
    attn_parallel_for *parallel_for; /* NULL: the pool */
    void *parallel_user;
    struct tuning *tuning;       /* NULL: none */
    _Atomic(struct pool *) pool; /* made by the first loop that needs it */
    _Atomic(void *) spare;       /* a block of workspace that no call uses, or NULL */
};

/* Fills in a context with the defaults, this many threads and one holder. */
void attn_context_setup(struct attn_context *context, int32_t threads);

/* Releases what the context came to own; not the context itself. */
void attn_context_clear(struct attn_context *context);

void attn_context_retain(struct attn_context *context);

/* Gives up a hold; the last one frees a context made by attn_context_create(). */
void attn_context_release(struct attn_context *context);

/* Threads of the context to wake for work of so many threads' worth. */
static inline int32_t context_threads(const struct attn_context *context,
                                      double worth) {
    return worth < 2.0                ? 1
           : worth < context->threads ? (int32_t)worth
                                      : context->threads;
}

/* Runs task(argument, i) for 0 <= i < count, count at most context->threads. */
void attn_context_run(struct attn_context *context, int32_t count, attn_task *task,
                      void *argument);

struct text;

/* Appends, or writes, the lines of attn_context_explain(). */
void attn_context_describe(struct text *text, const struct attn_context *context);
size_t attn_context_write(const struct attn_context *context, char *buffer,
                          size_t size);

/* Workspace of at least this size, aligned to MEM_ALIGNMENT, or NULL: no memory. */
void *attn_context_borrow(struct attn_context *context, size_t bytes);

/* Takes back what attn_context_borrow() gave. */
void attn_context_give_back(struct attn_context *context, void *memory);

#endif
