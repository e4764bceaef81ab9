/*
 * One tensor after the other: checks, strides, extents.
 */
#include "desc/binding.h"

#include "base/status.h"

/* Checks a tensor against its row; notes its extent and strides. */
static attn_status check(struct binding *binding, const struct row *row,
                         const attn_tensor *tensor, bool input, int64_t stride[AXES]) {
    struct expected expected = {
        .name = row->name,
        .axes = row->axes,
        .rank = row->rank,
        .optional = row->optional,
        .dtype = row->dtype & 0xff,
        .dtype2 = row->dtype == ATTN_I32 ? ATTN_I64 : 0,
        .halves = (row->dtype & ALSO_HALVES) != 0,
        .bytes = (row->dtype & ALSO_BYTES) != 0,
        /* mask and bias */
        .repeat_last = input && row->optional == 4 && row->axes[3] == 'j',
    };
    for (int i = 0; i < expected.rank; i++) {
        expected.shape[i] = binding->axis_size(binding->views, row->axes[i]);
    }
    int64_t strides[4];
    TRY(attn_tensor_check(tensor, &expected, strides,
                          &binding->extent[binding->extents]));
    binding->tensor[binding->extents] = tensor;
    binding->extents++;
    for (int i = 0; i < expected.rank; i++) {
        stride[(int)row->index[i]] = strides[i];
    }
    return ATTN_OK;
}

static attn_status bind(struct binding *binding, const struct row *row,
                        const attn_tensor *tensor, bool input) {
    void *at = (char *)binding->views + row->view;
    if (row->dtype == ATTN_I32) {
        struct integers *view = at;
        TRY(check(binding, row, tensor, input, view->stride));
        view->data = tensor->data;
        view->wide = tensor->dtype == ATTN_I64;
        return ATTN_OK;
    }
    struct view *view = at;
    TRY(check(binding, row, tensor, input, view->stride));
    view->dtype = tensor->dtype;
    /* an output without elements is nothing to write */
    const struct extent *extent = &binding->extent[binding->extents - 1];
    view->data = input || extent->begin < extent->end ? tensor->data : NULL;
    return ATTN_OK;
}

attn_status attn_bind_input(struct binding *binding, const void *args,
                            const struct row *row) {
    const attn_tensor *tensor = attn_bind_tensor(args, row);
    if (tensor != NULL) {
        TRY(bind(binding, row, tensor, true));
        binding->inputs = binding->extents;
    }
    return ATTN_OK;
}

attn_status attn_bind_output(struct binding *binding, const void *args,
                             const struct row *row) {
    const attn_tensor *tensor = attn_bind_tensor(args, row);
    if (tensor != NULL) {
        TRY(bind(binding, row, tensor, false));
        TRY(attn_tensor_check_distinct(tensor, row->name));
    }
    return ATTN_OK;
}

/* Takes in what is no tensor. */
static void add_memory(struct binding *binding, const char *name, const void *memory,
                       size_t bytes) {
    const uintptr_t begin = (uintptr_t)memory;
    binding->extent[binding->extents] = (struct extent){name, begin, begin + bytes};
    binding->tensor[binding->extents] = NULL;
    binding->extents++;
}

void attn_bind_memory(struct binding *binding, const char *name, const void *memory,
                      size_t bytes) {
    add_memory(binding, name, memory, bytes);
    binding->inputs = binding->extents;
}

static bool meet(const struct binding *binding, int i, int j) {
    const struct extent *a = &binding->extent[i], *b = &binding->extent[j];
    return a->begin < b->end && b->begin < a->end && a->begin != a->end &&
           b->begin != b->end;
}

/* True if i is an output of somebody who knows where j is. */
static bool own(const struct binding *binding, int i, int j) {
    const uintptr_t tensor = (uintptr_t)binding->tensor[i];
    return j < binding->others && tensor >= binding->own && tensor < binding->own_end;
}

/* True if both are outputs, one in the gaps of the other. */
static bool interleaved(const struct binding *binding, int i, int j) {
    const attn_tensor *a = binding->tensor[i], *b = binding->tensor[j];
    return i >= binding->inputs && j >= binding->inputs && a != NULL && b != NULL &&
           attn_tensor_interleaved(a, b);
}

attn_status attn_bind_apart(struct binding *binding, const void *workspace,
                            int64_t workspace_size) {
    if (workspace != NULL) {
        add_memory(binding, "workspace", workspace, (size_t)workspace_size);
    }
    for (int i = binding->inputs; i < binding->extents; i++) {
        for (int j = 0; j < i; j++) {
            REQUIRE(!meet(binding, i, j) || own(binding, i, j) ||
                        interleaved(binding, i, j),
                    ATTN_ERR_INVALID, "%s overlaps %s: their byte ranges meet",
                    binding->extent[i].name, binding->extent[j].name);
        }
    }
    return ATTN_OK;
}
