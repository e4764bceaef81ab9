/*
 * A pool of threads that sleep until there is work: one loop at a time, made on
 * first use, made again in the child after fork.
 */
#ifndef ATTN_EXEC_POOL_H
#define ATTN_EXEC_POOL_H

#include "attn/common.h"
#include "base/mem.h"

struct pool;

/* A pool for `threads` threads, the caller's included; starts none. NULL: no memory. */
struct pool *attn_pool_create(const struct allocator *allocator, int32_t threads);

/* Ends the threads; no loop may run. NULL is allowed. */
void attn_pool_destroy(struct pool *pool);

/*
 * Runs task(argument, i) for 0 <= i < count, count at most the pool's threads, one
 * of them on the calling thread. If the pool is busy with another caller's loop
 * or has no threads, all run on the calling thread.
 */
void attn_pool_run(struct pool *pool, int32_t count, attn_task *task, void *argument);

#endif
