/*
 * Arguments of a call, checked in the order of the tables below.
 *
 * Each tensor has one row: which member, which view of the call, its axes as letters
 * (see desc/tensor.h), and which index of attention each axis is. Query and key give
 * the sizes of the axes b, i and j, the problem the others.
 */
#include "desc/bind.h"

#include <string.h>

#include "base/arith.h"
#include "base/status.h"
#include "desc/desc.h"
#include "desc/tensor.h"

struct row {
    const char *name;
    size_t argument;  /* offset of the tensor in attn_forward_args */
    size_t view;      /* offset of the view in struct call */
    const char *axes; /* a letter each */
    char index[4];    /* BATCH, HEAD, ROW or COLUMN for each axis */
    int optional;     /* leading axes that may be missing or 1 */
};

#define ROW_OF(member, view, axes, optional, ...)                                      \
    {                                                                                  \
#member, offsetof(attn_forward_args, member), offsetof(struct call, view),     \
            axes, {__VA_ARGS__ }, optional                                             \
    }

static const struct row inputs[] = {
    ROW_OF(query, query, "bhid", 0, BATCH, HEAD, ROW, COLUMN),
    ROW_OF(key, key, "bgjd", 0, BATCH, HEAD, ROW, COLUMN),
    ROW_OF(value, value, "bgjv", 0, BATCH, HEAD, ROW, COLUMN),
    ROW_OF(block_mask, block_mask, "bhpr", 4, BATCH, HEAD, ROW, COLUMN),
    ROW_OF(mask, mask, "bhij", 4, BATCH, HEAD, ROW, COLUMN),
    ROW_OF(bias, bias, "bhij", 4, BATCH, HEAD, ROW, COLUMN),
    ROW_OF(alibi_slopes, slopes, "bh", 1, BATCH, HEAD),
    ROW_OF(sinks, sinks, "h", 0, HEAD),
};

static const struct row integers[] = {
    ROW_OF(q_lengths, q_lengths, "b", 0, BATCH),
    ROW_OF(kv_lengths, kv_lengths, "b", 0, BATCH),
    ROW_OF(query_offsets, offsets, "b", 0, BATCH),
    ROW_OF(prefix_lengths, prefixes, "b", 0, BATCH),
    ROW_OF(q_documents, q_documents, "bi", 1, BATCH, COLUMN),
    ROW_OF(k_documents, k_documents, "bj", 1, BATCH, COLUMN),
};

static const struct row outputs[] = {
    ROW_OF(out, out, "bhiv", 0, BATCH, HEAD, ROW, COLUMN),
    ROW_OF(lse, lse, "bhi", 0, BATCH, HEAD, ROW),
    ROW_OF(row_max, row_max, "bhi", 0, BATCH, HEAD, ROW),
    ROW_OF(row_sum, row_sum, "bhi", 0, BATCH, HEAD, ROW),
    ROW_OF(weights, weights, "bhij", 0, BATCH, HEAD, ROW, COLUMN),
    ROW_OF(mean_weights, mean_weights, "bij", 0, BATCH, ROW, COLUMN),
    ROW_OF(key_sums, key_sums, "bhj", 0, BATCH, HEAD, COLUMN),
    ROW_OF(raw_scores, raw_scores, "bhij", 0, BATCH, HEAD, ROW, COLUMN),
    ROW_OF(capped_scores, capped_scores, "bhij", 0, BATCH, HEAD, ROW, COLUMN),
    ROW_OF(biased_scores, biased_scores, "bhij", 0, BATCH, HEAD, ROW, COLUMN),
};

enum { EXTENTS_MAX = COUNT_OF(inputs) + COUNT_OF(integers) + COUNT_OF(outputs) + 1 };

/* What the checks of one call collect. */
struct binding {
    struct call *call;
    const attn_forward_args *args;
    int extents;
    struct extent extent[EXTENTS_MAX];
};

static const attn_tensor *tensor_of(const attn_forward_args *args,
                                    const struct row *row) {
    const attn_tensor *tensor;
    memcpy(&tensor, (const char *)args + row->argument, sizeof tensor);
    return tensor;
}

/* Whether the descriptor announces an input; outputs are never required but for out. */
static bool required(const struct problem *problem, size_t argument) {
    switch (argument) {
    case offsetof(attn_forward_args, q_lengths):
        return problem->q_lengths;
    case offsetof(attn_forward_args, kv_lengths):
        return problem->kv_lengths;
    case offsetof(attn_forward_args, query_offsets):
        return problem->alignment == ATTN_ALIGN_OFFSETS;
    case offsetof(attn_forward_args, prefix_lengths):
        return problem->prefix;
    case offsetof(attn_forward_args, q_documents):
    case offsetof(attn_forward_args, k_documents):
        return problem->documents;
    case offsetof(attn_forward_args, block_mask):
        return problem->q_block > 0;
    case offsetof(attn_forward_args, mask):
        return problem->mask;
    case offsetof(attn_forward_args, bias):
        return problem->bias;
    case offsetof(attn_forward_args, alibi_slopes):
        return problem->alibi;
    case offsetof(attn_forward_args, sinks):
        return problem->sinks;
    default:
        return true; /* query, key, value, out */
    }
}

static attn_status check_presence(const struct binding *binding,
                                  const struct row *row) {
    const bool there = tensor_of(binding->args, row) != NULL;
    const bool wanted = required(binding->call->problem, row->argument);
    REQUIRE(there || !wanted, ATTN_ERR_INVALID, "%s is missing", row->name);
    REQUIRE(!there || wanted, ATTN_ERR_INVALID,
            "%s is given, but the descriptor does not announce it", row->name);
    return ATTN_OK;
}

static int64_t axis_size(const struct call *call, char axis) {
    const struct problem *problem = call->problem;
    switch (axis) {
    case 'b':
        return call->batch;
    case 'h':
        return problem->query_heads;
    case 'g':
        return problem->kv_heads;
    case 'i':
        return call->q_length;
    case 'j':
        return call->kv_length;
    case 'd':
        return problem->key_dim;
    case 'v':
        return problem->value_dim;
    case 'p':
        return ceil_div(call->q_length, problem->q_block);
    default:
        return ceil_div(call->kv_length, problem->k_block);
    }
}

/* Checks a tensor against its row; notes its extent and strides. */
static attn_status check(struct binding *binding, const struct row *row, int32_t dtype,
                         int32_t dtype2, int64_t stride[AXES]) {
    struct expected expected = {
        .name = row->name,
        .axes = row->axes,
        .rank = (int)strlen(row->axes),
        .optional = row->optional,
        .dtype = dtype,
        .dtype2 = dtype2,
        .repeat_last = row->argument == offsetof(attn_forward_args, mask) ||
                       row->argument == offsetof(attn_forward_args, bias),
    };
    for (int i = 0; i < expected.rank; i++) {
        expected.shape[i] = axis_size(binding->call, row->axes[i]);
    }
    int64_t strides[4];
    TRY(attn_tensor_check(tensor_of(binding->args, row), &expected, strides,
                          &binding->extent[binding->extents]));
    binding->extents++;
    for (int i = 0; i < expected.rank; i++) {
        stride[(int)row->index[i]] = strides[i];
    }
    return ATTN_OK;
}

static attn_status bind_floats(struct binding *binding, const struct row *row,
                               int32_t dtype) {
    struct view *view = (struct view *)(void *)((char *)binding->call + row->view);
    TRY(check(binding, row, dtype, 0, view->stride));
    view->data = tensor_of(binding->args, row)->data;
    return ATTN_OK;
}

static attn_status bind_integers(struct binding *binding, const struct row *row) {
    struct integers *view =
        (struct integers *)(void *)((char *)binding->call + row->view);
    TRY(check(binding, row, ATTN_I32, ATTN_I64, view->stride));
    view->data = tensor_of(binding->args, row)->data;
    view->wide = tensor_of(binding->args, row)->dtype == ATTN_I64;
    return ATTN_OK;
}

static attn_status bind_inputs(struct binding *binding) {
    const attn_forward_args *args = binding->args;
    for (size_t i = 0; i < COUNT_OF(inputs); i++) {
        TRY(check_presence(binding, &inputs[i]));
    }
    for (size_t i = 0; i < COUNT_OF(integers); i++) {
        TRY(check_presence(binding, &integers[i]));
    }
    for (size_t i = 0; i < COUNT_OF(inputs); i++) {
        const bool is_mask =
            inputs[i].argument == offsetof(attn_forward_args, mask) ||
            inputs[i].argument == offsetof(attn_forward_args, block_mask);
        if (tensor_of(args, &inputs[i]) != NULL) {
            TRY(bind_floats(binding, &inputs[i], is_mask ? ATTN_BOOL : ATTN_F32));
        }
    }
    for (size_t i = 0; i < COUNT_OF(integers); i++) {
        if (tensor_of(args, &integers[i]) != NULL) {
            TRY(bind_integers(binding, &integers[i]));
        }
    }
    return ATTN_OK;
}

static bool meet(const struct extent *a, const struct extent *b) {
    return a->begin < b->end && b->begin < a->end && a->begin != a->end &&
           b->begin != b->end;
}

static attn_status bind_outputs(struct binding *binding) {
    const struct row *out = &outputs[0];
    REQUIRE(tensor_of(binding->args, out) != NULL, ATTN_ERR_INVALID, "out is missing");
    const int first = binding->extents;
    for (size_t i = 0; i < COUNT_OF(outputs); i++) {
        const attn_tensor *tensor = tensor_of(binding->args, &outputs[i]);
        if (tensor != NULL) {
            TRY(bind_floats(binding, &outputs[i], ATTN_F32));
            TRY(attn_tensor_check_distinct(tensor, outputs[i].name));
        }
    }
    if (binding->args->workspace != NULL) {
        uintptr_t begin = (uintptr_t)binding->args->workspace;
        binding->extent[binding->extents++] = (struct extent){
            "workspace", begin, begin + (uintptr_t)binding->args->workspace_size};
    }
    for (int i = first; i < binding->extents; i++) {
        for (int j = 0; j < i; j++) {
            REQUIRE(!meet(&binding->extent[i], &binding->extent[j]), ATTN_ERR_INVALID,
                    "%s overlaps %s: their byte ranges meet", binding->extent[i].name,
                    binding->extent[j].name);
        }
    }
    return ATTN_OK;
}

/* Each of the integers of a batch must lie within [low, high]. */
static attn_status check_range(const struct call *call,
                               const struct integers *integers_, const char *name,
                               int64_t low, int64_t high) {
    for (int64_t b = 0; integers_->data != NULL && b < call->batch; b++) {
        const int64_t value = integer_at(integers_, b, 0);
        REQUIRE(value >= low && value <= high, ATTN_ERR_INVALID,
                "%s[%lld] is %lld, which is not within %lld to %lld", name,
                (long long)b, (long long)value, (long long)low, (long long)high);
    }
    return ATTN_OK;
}

static attn_status check_values(const struct call *call) {
    TRY(check_range(call, &call->q_lengths, "q_lengths", 0, call->q_length));
    TRY(check_range(call, &call->kv_lengths, "kv_lengths", 0, call->kv_length));
    TRY(check_range(call, &call->prefixes, "prefix_lengths", 0, call->kv_length));
    return check_range(call, &call->offsets, "query_offsets", -OFFSET_MAX, OFFSET_MAX);
}

/* Sizes that all tensors share come from query and key. */
static attn_status take_sizes(struct call *call, const attn_bounds *bounds,
                              const attn_forward_args *args) {
    REQUIRE(args->query != NULL && args->key != NULL, ATTN_ERR_INVALID, "%s is missing",
            args->query == NULL ? "query" : "key");
    REQUIRE(args->query->rank == 4, ATTN_ERR_INVALID, "query has rank %d, should be 4",
            (int)args->query->rank);
    REQUIRE(args->key->rank == 4, ATTN_ERR_INVALID, "key has rank %d, should be 4",
            (int)args->key->rank);
    call->batch = args->query->shape[0];
    call->q_length = args->query->shape[2];
    call->kv_length = args->key->shape[2];
    const struct {
        const char *name;
        int64_t size, bound;
    } sizes[] = {
        {"batch", call->batch, bounds->batch},
        {"q_length", call->q_length, bounds->q_length},
        {"kv_length", call->kv_length, bounds->kv_length},
    };
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        REQUIRE(sizes[i].size <= sizes[i].bound, ATTN_ERR_INVALID,
                "%s is %lld, beyond the plan's bound of %lld", sizes[i].name,
                (long long)sizes[i].size, (long long)sizes[i].bound);
    }
    return ATTN_OK;
}

attn_status attn_call_bind(struct call *call, const struct problem *problem,
                           const attn_bounds *bounds, const attn_forward_args *args) {
    *call = (struct call){
        .problem = problem,
        .should_stop = args->should_stop,
        .should_stop_user = args->should_stop_user,
    };
    struct binding binding = {.call = call, .args = args};
    TRY(take_sizes(call, bounds, args));
    TRY(bind_inputs(&binding));
    TRY(bind_outputs(&binding));
    return check_values(call);
}
