/*
 * The sequences of a layer's call, and what comes with them.
 */
#include <limits.h>
#include <string.h>

#include "base/status.h"
#include "layer/layer_bind.h"

/* strides: as attn_tensor_check() writes them. */
static struct sequences sequences_of(const attn_tensor *tensor,
                                     const int64_t strides[]) {
    struct sequences sequences = {tensor->data, strides[0], strides[1]};
    if (tensor->shape[1] <= 1) {
        /* then rows of the batch elements may be those of one sequence */
        sequences.row_stride =
            tensor->shape[0] > 1 ? strides[0] : max_i64(1, tensor->shape[2]);
    }
    return sequences;
}

static attn_status check_shape(const struct sequence_row *row) {
    const attn_tensor *t = row->tensor;
    REQUIRE(t->rank == 3, ATTN_ERR_INVALID,
            "%s has rank %d, should be 3: (batch, length, features)", row->name,
            (int)t->rank);
    const int64_t want[] = {row->batch, row->rows, row->features};
    static const char *const what[] = {"a batch", "a length", "features"};
    for (int i = 0; i < 3; i++) {
        REQUIRE(want[i] < 0 || t->shape[i] == want[i], ATTN_ERR_INVALID,
                "%s has %s of %lld, should be %lld", row->name, what[i],
                (long long)t->shape[i], (long long)want[i]);
    }
    return ATTN_OK;
}

attn_status attn_layer_bind_row(struct layer_call *call, const struct sequence_row *row,
                                struct sequences *sequences) {
    if (row->tensor == NULL) {
        *sequences = (struct sequences){0};
        return ATTN_OK;
    }
    TRY(check_shape(row));
    struct extent *extent = &call->extent[call->others.count++];
    struct expected expected = {
        .name = row->name, .axes = "bij", .rank = 3, .dtype = ATTN_F32};
    memcpy(expected.shape, row->tensor->shape, 3 * sizeof *expected.shape);
    int64_t strides[4];
    TRY(attn_tensor_check(row->tensor, &expected, strides, extent));
    *sequences = sequences_of(row->tensor, strides);
    REQUIRE(sequences->row_stride <= INT_MAX, ATTN_ERR_UNSUPPORTED,
            "%s has a stride of %lld between rows, more than BLAS takes: %d", row->name,
            (long long)sequences->row_stride, INT_MAX);
    if (row->output) {
        TRY(attn_tensor_check_distinct(row->tensor, row->name));
        TRY(attn_layer_apart(call));
    }
    return ATTN_OK;
}

/* Which queries the rows of input are, if not all. */
static attn_status bind_targets(struct layer_call *call) {
    const attn_layer_args *args = &call->args;
    const bool wanted =
        call->layer->kind == LAYER_MULTIHEAD && call->layer->self.facts.targets == 1;
    REQUIRE((args->targets != NULL) == wanted, ATTN_ERR_INVALID,
            "targets is %s, but the layer has %s", wanted ? "missing" : "given",
            wanted ? "them" : "none");
    REQUIRE(wanted || args->query_length == 0, ATTN_ERR_INVALID,
            "query_length is %lld, but the layer has no targets",
            (long long)args->query_length);
    if (!wanted) {
        return ATTN_OK;
    }
    REQUIRE(args->key != NULL, ATTN_ERR_INVALID, "key is missing: targets need it");
    REQUIRE(args->query_length > 0 || call->rows == 0, ATTN_ERR_INVALID,
            "query_length is %lld: targets need the number of all queries",
            (long long)args->query_length);
    const struct expected expected = {
        .name = "targets",
        .axes = "bi",
        .rank = 2,
        .shape = {call->batch, call->rows},
        .optional = 1,
        .dtype = ATTN_I32,
        .dtype2 = ATTN_I64,
    };
    int64_t strides[4];
    TRY(attn_tensor_check(args->targets, &expected, strides,
                          &call->extent[call->others.count++]));
    call->targets = (struct integers){
        args->targets->data,
        args->targets->dtype == ATTN_I64,
        {[BATCH] = strides[0], [COLUMN] = strides[1]},
    };
    call->q_length = args->query_length;
    for (int64_t b = 0; b < call->batch; b++) {
        for (int64_t t = 0; t < call->rows; t++) {
            const long long target = integer_at(&call->targets, b, t);
            REQUIRE(
                target >= 0 && target < call->q_length, ATTN_ERR_INVALID,
                "targets[%lld][%lld] is %lld, not within 0 to query_length - 1, %lld",
                (long long)b, (long long)t, target, (long long)call->q_length - 1);
        }
    }
    return ATTN_OK;
}

static attn_status bind_inputs(struct layer_call *call) {
    const attn_layer_args *args = &call->args;
    const struct attn_layer *layer = call->layer;
    const struct multihead *keys =
        layer->kind == LAYER_STACK ? &layer->cross : &layer->self;
    const bool stack = layer->kind == LAYER_STACK;
    REQUIRE(args->input != NULL, ATTN_ERR_INVALID, "input is missing");
    const struct sequence_row input = {
        "input", args->input, -1, -1, layer->self.facts.embed_dim, false};
    TRY(attn_layer_bind_row(call, &input, &call->input));
    call->batch = args->input->shape[0];
    call->rows = call->q_length = args->input->shape[1];
    TRY(bind_targets(call));
    call->kv_length = stack ? 0 : call->q_length;
    const bool cross = attn_layer_has_cross(layer);
    REQUIRE(!stack || (args->key != NULL) == cross, ATTN_ERR_INVALID,
            "key, the memory, is %s: the stack has %s cross attention",
            args->key != NULL ? "given" : "missing", cross ? "a" : "no");
    REQUIRE(args->value == NULL || (!stack && args->key != NULL), ATTN_ERR_INVALID,
            "value is given, but %s", stack ? "the layer is a stack" : "key is not");
    const struct sequence_row key = {
        "key", args->key, call->batch, -1, keys->facts.key_embed_dim, false};
    TRY(attn_layer_bind_row(call, &key, &call->key));
    if (args->key != NULL) {
        call->kv_length = args->key->shape[1];
    }
    const struct sequence_row value = {
        "value", args->value, call->batch, call->kv_length, keys->facts.value_embed_dim,
        false};
    return attn_layer_bind_row(call, &value, &call->value);
}

attn_status attn_layer_bind_encoding(struct layer_call *call, const char *name,
                                     const attn_tensor *tensor, int64_t rows) {
    const struct expected expected = {
        .name = name,
        .axes = "ij",
        .rank = 2,
        .shape = {rows, call->layer->self.facts.embed_dim},
        .dtype = ATTN_F32,
    };
    REQUIRE(tensor->rank == 2 && tensor->shape[0] == rows &&
                tensor->shape[1] == expected.shape[1],
            ATTN_ERR_INVALID, "%s should have rank 2 and shape (%lld, %lld)", name,
            (long long)rows, (long long)expected.shape[1]);
    int64_t strides[4];
    struct extent *extent = &call->extent[call->others.count++];
    TRY(attn_tensor_check(tensor, &expected, strides, extent));
    REQUIRE(strides[0] <= INT_MAX, ATTN_ERR_UNSUPPORTED,
            "%s has stride %lld in dimension 0, more than BLAS takes: %d", name,
            (long long)strides[0], INT_MAX);
    return ATTN_OK;
}

static attn_status bind_positions(struct layer_call *call) {
    const attn_layer_args *args = &call->args;
    const bool relative = call->layer->self.facts.relative == 1;
    REQUIRE((args->positions != NULL) == relative, ATTN_ERR_INVALID,
            "positions is %s, but the layer is %s", relative ? "missing" : "given",
            relative ? "relative" : "not relative");
    REQUIRE(
        relative || args->relative_zero == 0, ATTN_ERR_INVALID,
        "relative_zero is %lld, but the layer is not relative: that of relative_keys "
        "goes into attention",
        (long long)args->relative_zero);
    if (!relative) {
        return ATTN_OK;
    }
    REQUIRE(args->positions->rank == 2, ATTN_ERR_INVALID,
            "positions has rank %d, should be 2", (int)args->positions->rank);
    const int64_t keys =
        call->layer->kind == LAYER_STACK ? call->q_length : call->kv_length;
    const int64_t rows = args->positions->shape[0];
    REQUIRE(rows >= 1 && rows <= max_i64(1, call->q_length + keys), ATTN_ERR_INVALID,
            "positions has %lld rows, not within 1 to queries and keys together, %lld",
            (long long)rows, (long long)(call->q_length + keys));
    return attn_layer_bind_encoding(call, "positions", args->positions, rows);
}

static attn_status check_bound(const char *name, int64_t size, int64_t bound) {
    REQUIRE(size <= bound, ATTN_ERR_INVALID, "%s is %lld, beyond the bound of %lld",
            name, (long long)size, (long long)bound);
    return ATTN_OK;
}

static attn_status check_bounds(const struct layer_call *call) {
    const attn_bounds *bounds = &call->layer->bounds;
    TRY(check_bound("batch", call->batch, bounds->batch));
    TRY(check_bound("the length of input", call->rows, bounds->q_length));
    TRY(check_bound("query_length", call->q_length, bounds->q_length));
    return check_bound("the length of key", call->kv_length, bounds->kv_length);
}

attn_status attn_layer_bind_sequences(struct layer_call *call) {
    TRY(bind_inputs(call));
    TRY(check_bounds(call));
    return bind_positions(call);
}
