/*
 * What the binding of forward and of backward calls shares: tables of tensors, and the
 * checks that go along them.
 */
#ifndef ATTN_DESC_BINDING_H
#define ATTN_DESC_BINDING_H

#include <string.h>

#include "attn/sdpa.h"
#include "core/call.h"
#include "desc/tensor.h"

/*
 * A tensor of an argument struct: which member, which view of the call, its axes as
 * letters (see desc/tensor.h), and which index of attention each axis is.
 */
struct row {
    const char *name;
    size_t argument;  /* offset of the tensor in the argument struct */
    size_t view;      /* offset of the view in the struct of views */
    const char *axes; /* a letter each */
    int rank;         /* how many */
    char index[4];    /* BATCH, HEAD, ROW or COLUMN for each axis */
    int optional;     /* leading axes that may be missing or 1 */
    int32_t dtype;    /* ATTN_I32: also ATTN_I64, and the view is of integers */
};

/* Types of numbers beside ATTN_F32 that a tensor may have, added to its dtype. */
enum { ALSO_HALVES = 0x100, ALSO_BYTES = 0x200 };

/* ROW_IN(struct of arguments, struct of views, member, view, axes, optional, dtype,
 * index...) */
#define ROW_IN(args, views, member, view, axes, optional, dtype, ...)                  \
    {                                                                                  \
#member, offsetof(args, member), offsetof(views, view), axes,                  \
            (int)sizeof(axes) - 1, {__VA_ARGS__ }, optional, dtype                     \
    }

/* The same with views of a call. */
#define ROW_OF(args, member, view, axes, optional, dtype, ...)                         \
    ROW_IN(args, struct call, member, view, axes, optional, dtype, __VA_ARGS__)

enum { EXTENTS_MAX = 78 };

/* What the checks of one call collect. */
struct binding {
    void *views; /* the struct whose members the tables name */
    int64_t (*axis_size)(const void *views, char axis);
    int extents;
    int inputs; /* extents before the first output */
    int others; /* the first extents, which outputs of `own` may meet */
    uintptr_t own, own_end;
    struct extent extent[EXTENTS_MAX];
    const attn_tensor *tensor[EXTENTS_MAX]; /* NULL for the workspace */
};

/* Nothing has been bound yet. The arrays are left as they are: they are long. */
static inline void attn_binding_start(struct binding *binding, void *views,
                                      int64_t (*axis_size)(const void *views,
                                                           char axis)) {
    binding->views = views;
    binding->axis_size = axis_size;
    binding->extents = binding->inputs = binding->others = 0;
    binding->own = binding->own_end = 0;
}

/* The tensor of a row in an argument struct, NULL if it is not there. */
static inline const attn_tensor *attn_bind_tensor(const void *args,
                                                  const struct row *row) {
    const attn_tensor *tensor;
    memcpy(&tensor, (const char *)args + row->argument, sizeof tensor);
    return tensor;
}

/* Checks the tensor of a row, if it is there, and fills in its view. */
attn_status attn_bind_input(struct binding *binding, const void *args,
                            const struct row *row);

/* The same for an output. All inputs must have been bound. */
attn_status attn_bind_output(struct binding *binding, const void *args,
                             const struct row *row);

/*
 * Fails unless packed sequences lie within `rows`, none before the one before it; the
 * longest length of one.
 */
attn_status attn_check_starts(const struct integers *starts, const char *name,
                              int64_t batch, int64_t rows, int64_t *longest);

/* Takes in memory that outputs must not meet. All outputs come after. */
void attn_bind_memory(struct binding *binding, const char *name, const void *memory,
                      size_t bytes);

/* Takes in the workspace, and fails if an output or it meets anything else. */
attn_status attn_bind_apart(struct binding *binding, const void *workspace,
                            int64_t workspace_size);

#endif
