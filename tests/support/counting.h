/*
 * An allocator for attn_context_set_allocator() that counts, and fails when told to.
 */
#ifndef TEST_COUNTING_H
#define TEST_COUNTING_H

#include <stdatomic.h>
#include <stddef.h>

struct counting {
    atomic_long calls;      /* allocations asked for */
    atomic_long fail_at;    /* the call, counted from 1, that gets NULL; 0: none */
    atomic_long live;       /* blocks handed out and not given back */
    atomic_long bytes;      /* in them */
    atomic_long most;       /* the largest that bytes was */
    atomic_long violations; /* requests that break the contract of attn_allocate, and
                               blocks that were written beyond their end */
};

void *counting_allocate(void *user, size_t bytes, size_t alignment);
void counting_release(void *user, void *memory);

#endif
