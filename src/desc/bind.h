/*
 * From the arguments of a call to the call that engines see.
 */
#ifndef ATTN_DESC_BIND_H
#define ATTN_DESC_BIND_H

#include "attn/backward.h"
#include "core/call.h"
#include "desc/tensor.h"

/* Zeroes a public struct of this size and type, and notes the size in its first member.
 */
attn_status attn_struct_init(void *theirs, size_t size, const char *type);

/*
 * Copies a public struct that starts with its size: what the caller's is too old to
 * have is 0 in *mine; what it has beyond mine must be 0.
 */
attn_status attn_struct_take(void *mine, size_t mine_size, const void *theirs,
                             const char *name);

/*
 * Memory beside that of a call's tensors, which outputs must not meet, but for those
 * whose attn_tensor lies within `own`: who made these knows where they are.
 */
struct others {
    int count; /* at most OTHERS_MAX */
    const struct extent *extent;
    const void *own;
    size_t own_bytes;
};
enum { OTHERS_MAX = 12 };

/*
 * Checks arguments against the problem, the bounds, each other and the others, which
 * may be NULL; fills in *call. `cached` is what the cache of the arguments holds, NULL
 * without one, and must live as long as the call. Reads lengths and offsets, no other
 * data.
 */
attn_status attn_call_bind(struct call *call, const struct problem *problem,
                           const attn_bounds *bounds, const attn_forward_args *args,
                           const struct others *others, const struct cached *cached);

/* The same for a backward call and the arguments of its forward call. */
attn_status attn_call_bind_backward(struct call *call, const struct problem *problem,
                                    const attn_bounds *bounds,
                                    const attn_backward_args *args,
                                    const attn_forward_args *forward,
                                    const struct others *others);

struct binding;

/* Takes batch and lengths of a call, with the tensors that say them. */
attn_status attn_bind_sizes(struct binding *binding, struct call *call,
                            const attn_bounds *bounds, const attn_forward_args *args);

/* Binds what a backward call has beyond its forward call. */
attn_status attn_bind_gradients(struct binding *binding, const attn_backward_args *args,
                                const attn_forward_args *forward);

#endif
