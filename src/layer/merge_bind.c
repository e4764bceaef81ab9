/*
 * Arguments of a merge: out, which gives the sizes, and lse, then state by state its
 * tensors and whether the outputs keep clear of them. Nothing is noted of a state, so
 * that there may be any number of them.
 */
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "desc/tensor.h"
#include "layer/merge.h"

enum { NAME = 32 };

/* A tensor, checked. */
struct checked {
    struct extent extent;
    int64_t stride[4];
};

/* Checks a tensor of this many of the four dimensions of out. */
static attn_status check(struct checked *checked, const struct merge *merge,
                         const attn_tensor *tensor, const char *name, int rank) {
    const struct expected expected = {
        .name = name,
        .axes = "bhiv",
        .rank = rank,
        .shape = {merge->batch, merge->heads, merge->rows, merge->dim},
        .dtype = ATTN_F32,
    };
    *checked = (struct checked){0};
    REQUIRE(tensor != NULL, ATTN_ERR_INVALID, "%s is NULL", name);
    return attn_tensor_check(tensor, &expected, checked->stride, &checked->extent);
}

static attn_status check_output(struct checked *checked, struct view *view,
                                const struct merge *merge, const attn_tensor *tensor,
                                const char *name, int rank) {
    TRY(check(checked, merge, tensor, name, rank));
    TRY(attn_tensor_check_distinct(tensor, name));
    view->data = tensor->data;
    memcpy(view->stride, checked->stride, (size_t)rank * sizeof *view->stride);
    return ATTN_OK;
}

/* Fails if an output meets another tensor; `same` says that it may be that one. */
static attn_status check_apart(const struct checked *output,
                               const struct checked *other, int rank, bool same) {
    const struct extent *a = &output->extent, *b = &other->extent;
    const bool apart = a->begin >= b->end || b->begin >= a->end;
    const bool one = a->begin == b->begin && a->end == b->end &&
                     memcmp(output->stride, other->stride,
                            (size_t)rank * sizeof *output->stride) == 0;
    REQUIRE(apart || (same && one), ATTN_ERR_INVALID,
            "%s overlaps %s: their byte ranges meet", a->name, b->name);
    return ATTN_OK;
}

/* Checks state i, and that the outputs are apart from it or the same. */
static attn_status check_state(const struct merge *merge, int32_t i,
                               const struct checked *out, const struct checked *lse) {
    struct checked of_out, of_lse;
    char out_name[NAME], lse_name[NAME];
    snprintf(out_name, sizeof out_name, "outs[%d]", (int)i);
    snprintf(lse_name, sizeof lse_name, "lses[%d]", (int)i);
    TRY(check(&of_out, merge, merge->outs[i], out_name, 4));
    TRY(check(&of_lse, merge, merge->lses[i], lse_name, 3));
    TRY(check_apart(out, &of_out, 4, true));
    TRY(check_apart(out, &of_lse, 3, false));
    TRY(check_apart(lse, &of_out, 3, false));
    return check_apart(lse, &of_lse, 3, true);
}

attn_status attn_merge_bind(struct merge *merge, int32_t count,
                            const attn_tensor *const *outs,
                            const attn_tensor *const *lses, const attn_tensor *out,
                            const attn_tensor *lse) {
    REQUIRE(count >= 1, ATTN_ERR_INVALID, "count is %d, should be 1 or more",
            (int)count);
    REQUIRE(out->rank == 4, ATTN_ERR_INVALID, "out has rank %d, should be 4",
            (int)out->rank);
    *merge = (struct merge){
        .batch = out->shape[0],
        .heads = out->shape[1],
        .rows = out->shape[2],
        .dim = out->shape[3],
        .count = count,
        .outs = outs,
        .lses = lses,
    };
    struct checked to = {0}, sums = {0};
    TRY(check_output(&to, &merge->out, merge, out, "out", 4));
    if (lse != NULL) {
        TRY(check_output(&sums, &merge->lse, merge, lse, "lse", 3));
        TRY(check_apart(&sums, &to, 3, false));
    }
    for (int32_t i = 0; i < count; i++) {
        TRY(check_state(merge, i, &to, &sums));
    }
    return ATTN_OK;
}
