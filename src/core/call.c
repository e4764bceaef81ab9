/*
 * From a call to the view of one head.
 */
#include "core/call.h"

#include "base/arith.h"

/* The length of packed sequence b. */
static int64_t packed_length(const struct integers *starts, int64_t b) {
    return integer_at(starts, b + 1, 0) - integer_at(starts, b, 0);
}

int64_t attn_call_rows(const struct call *call, int64_t b) {
    if (call->q_starts.data != NULL) {
        return packed_length(&call->q_starts, b);
    }
    return call->q_lengths.data != NULL ? integer_at(&call->q_lengths, b, 0)
                                        : call->q_length;
}

const struct kept *attn_call_kept(const struct call *call, int64_t b) {
    return &call->cached
                ->kept[call->sequences.data != NULL ? integer_at(&call->sequences, b, 0)
                                                    : b];
}

int64_t attn_call_keys(const struct call *call, int64_t b) {
    if (call->cached != NULL) {
        return attn_call_kept(call, b)->rows;
    }
    if (call->k_starts.data != NULL) {
        return packed_length(&call->k_starts, b);
    }
    return call->kv_lengths.data != NULL ? integer_at(&call->kv_lengths, b, 0)
                                         : call->kv_length;
}

/*
 * The position of row 0, counted from the first key: see ATTN_ALIGN_... in attn/sdpa.h.
 * The last queries of a cached sequence stand beside its last keys.
 */
static int64_t first_position(const struct call *call, int64_t b, int64_t rows,
                              int64_t keys) {
    const int32_t alignment = call->problem->alignment;
    if (call->cached != NULL) {
        return alignment == ALIGN_OFFSETS ? integer_at(&call->offsets, b, 0) -
                                                attn_call_kept(call, b)->position
                                          : keys - rows;
    }
    switch (alignment) {
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

/* Rows from this one on, of a tensor. */
static struct source tensor_rows(const struct view *view, const struct view *scales,
                                 int64_t b, int64_t h, int64_t row) {
    struct source source = {.dtype = view->dtype, .stride = view->stride[ROW]};
    source.data = (const char *)view->data +
                  view_offset(view, b, h, row, 0) * source_bytes(view->dtype);
    if (scales->data != NULL) {
        source.scales = view_at(scales, b, h, row, 0);
        source.scale_stride = scales->stride[ROW];
    }
    return source;
}

/* What the cache keeps of the sequence of batch element b. */
static struct source cached_rows(const struct call *call, enum order order,
                                 const struct view *view, const struct view *scales,
                                 int64_t b, int64_t g) {
    const struct kept *kept = attn_call_kept(call, b);
    struct source source = tensor_rows(view, scales, 0, g, 0);
    source.order = order;
    source.pages = kept->pages;
    source.first = kept->first;
    source.page_rows = call->cached->page_rows;
    source.page_stride = call->cached->page_stride;
    source.scale_page = call->cached->scale_page;
    return source;
}

static void bind_keys(struct head *head, int64_t g) {
    const struct call *call = head->call;
    const struct cached *cached = call->cached;
    if (cached != NULL) {
        head->key = cached_rows(call, ORDER_KEY_BLOCKS, &cached->key,
                                &cached->key_scales, head->b, g);
        head->value = cached_rows(call, ORDER_VALUE_BLOCKS, &cached->value,
                                  &cached->value_scales, head->b, g);
        return;
    }
    const int64_t first =
        call->k_starts.data != NULL ? integer_at(&call->k_starts, head->b, 0) : 0;
    head->key = tensor_rows(&call->key, &call->key_scales, head->b, g, first);
    head->value = tensor_rows(&call->value, &call->value_scales, head->b, g, first);
}

static int64_t prefix_of(const struct call *call, int64_t b) {
    const int64_t prefix = integer_at(&call->prefixes, b, 0);
    return call->cached != NULL ? prefix - attn_call_kept(call, b)->position : prefix;
}

void attn_head_bind(struct head *head, const struct call *call, int64_t b, int64_t h) {
    const struct problem *problem = call->problem;
    static const struct view no_scales = {0};
    head->call = call;
    head->problem = problem;
    head->b = b;
    head->h = h;
    head->rows = attn_call_rows(call, b);
    head->keys = attn_call_keys(call, b);
    head->offset = first_position(call, b, head->rows, head->keys);
    head->prefix = problem->prefix ? prefix_of(call, b) : 0;
    head->first_row =
        call->q_starts.data != NULL ? integer_at(&call->q_starts, b, 0) : 0;
    head->slope = problem->alibi ? *view_at(&call->slopes, b, h, 0, 0) : 0.0f;
    head->sink = problem->sinks ? *view_at(&call->sinks, b, h, 0, 0) : 0.0f;
    head->query = tensor_rows(&call->query, &no_scales, b, h, head->first_row);
    bind_keys(head, h / problem->group);
    head->grad_out = floats(&call->grad_out, b, h);
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
