/*
 * From a call to the view of one head.
 */
#include "core/call.h"

#include "base/arith.h"

int64_t attn_call_rows(const struct call *call, int64_t b) {
    return call->q_lengths.data != NULL ? integer_at(&call->q_lengths, b, 0)
                                        : call->q_length;
}

int64_t attn_call_keys(const struct call *call, int64_t b) {
    return call->kv_lengths.data != NULL ? integer_at(&call->kv_lengths, b, 0)
                                         : call->kv_length;
}

/* The position of row 0: see ATTN_ALIGN_... in attn/sdpa.h. */
static int64_t first_position(const struct call *call, int64_t b, int64_t rows,
                              int64_t keys) {
    switch (call->problem->alignment) {
    case ALIGN_BOTTOM_RIGHT:
        return keys - rows;
    case ALIGN_KV_LENGTHS:
        return call->problem->kv_lengths ? keys - rows : 0;
    case ALIGN_OFFSETS:
        return integer_at(&call->offsets, b, 0);
    default:
        return 0;
    }
}

/* The matrix of one head in a view whose elements have this many bytes. */
static struct rows matrix(const struct view *view, int64_t b, int64_t h,
                          int64_t bytes) {
    struct rows rows = {view->data, view->stride[ROW], view->stride[COLUMN]};
    if (rows.data != NULL) {
        rows.data += (b * view->stride[BATCH] + h * view->stride[HEAD]) * bytes;
    }
    return rows;
}

static const float *floats(const struct view *view, int64_t b, int64_t h) {
    return (const float *)(const void *)matrix(view, b, h, sizeof(float)).data;
}

void attn_head_bind(struct head *head, const struct call *call, int64_t b, int64_t h) {
    const struct problem *problem = call->problem;
    const int64_t kv_head = h / problem->group;
    head->call = call;
    head->problem = problem;
    head->b = b;
    head->h = h;
    head->rows = attn_call_rows(call, b);
    head->keys = attn_call_keys(call, b);
    head->offset = first_position(call, b, head->rows, head->keys);
    head->prefix = problem->prefix ? integer_at(&call->prefixes, b, 0) : 0;
    head->slope = problem->alibi ? *view_at(&call->slopes, b, h, 0, 0) : 0.0f;
    head->sink = problem->sinks ? *view_at(&call->sinks, b, h, 0, 0) : 0.0f;
    head->query = floats(&call->query, b, h);
    head->key = floats(&call->key, b, kv_head);
    head->value = floats(&call->value, b, kv_head);
    head->grad_out = floats(&call->grad_out, b, h);
    head->query_stride = call->query.stride[ROW];
    head->key_stride = call->key.stride[ROW];
    head->value_stride = call->value.stride[ROW];
    head->grad_out_stride = call->grad_out.stride[ROW];
    head->mask = matrix(&call->mask, b, h, 1);
    head->block_mask = matrix(&call->block_mask, b, h, 1);
    head->bias = matrix(&call->bias, b, h, (int64_t)sizeof(float));
}

int64_t attn_table_rows(const struct call *call, enum table table) {
    switch (table) {
    case TABLE_RELATIVE_BIAS:
        return call->problem->relative_buckets;
    case TABLE_RELATIVE_KEYS:
        return call->relative_rows;
    case TABLE_SEGMENT_KEYS:
        return 2;
    default:
        return 1;
    }
}

int64_t attn_table_columns(const struct call *call, enum table table) {
    return table == TABLE_RELATIVE_BIAS ? 1 : call->problem->key_dim;
}

bool attn_call_wants_tables(const struct call *call) {
    for (int i = 0; i < TABLES; i++) {
        if (call->grad_tables[i].data != NULL) {
            return true;
        }
    }
    return false;
}

bool attn_call_wants_sums(const struct call *call) {
    return call->grad_bias.data != NULL || call->grad_slopes.data != NULL ||
           attn_call_wants_tables(call);
}

struct range attn_integers_range(const struct integers *integers, int64_t b,
                                 int64_t first, int64_t count) {
    struct range range = {INT64_MAX, INT64_MIN};
    for (int64_t i = first; i < first + count; i++) {
        const int64_t number = integer_at(integers, b, i);
        range.low = min_i64(range.low, number);
        range.high = max_i64(range.high, number);
    }
    return range;
}
