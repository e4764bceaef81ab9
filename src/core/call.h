/*
 * The call: the tensors of one attn_plan_forward() or attn_plan_backward(), checked and
 * reduced to pointers and strides, and the view of one head that engines work on.
 */
#ifndef ATTN_CORE_CALL_H
#define ATTN_CORE_CALL_H

#include "core/problem.h"
#include "core/source.h"

/* Where the four indices of attention go. A tensor without one has stride 0 there. */
enum { BATCH, HEAD, ROW, COLUMN, AXES };

struct view {
    void *data; /* NULL: not there */
    int32_t dtype;
    int64_t stride[AXES];
};

/* A tensor of int32 or int64. */
struct integers {
    const void *data; /* NULL: not there */
    bool wide;        /* int64 */
    int64_t stride[AXES];
};

/* What the score terms of attn/desc.h have for each head, whatever the tokens. */
enum table {
    TABLE_RELATIVE_BIAS,
    TABLE_RELATIVE_KEYS,
    TABLE_CONTENT_BIAS,
    TABLE_POSITION_BIAS,
    TABLE_SEGMENT_KEYS,
    TABLE_SEGMENT_BIAS,
    TABLE_SCORE_VECTOR,
    TABLES
};

/* What a cache keeps of a sequence. */
struct kept {
    const int32_t *pages;
    int64_t first;    /* its first row is this row of pages[0] */
    int64_t rows;     /* how many */
    int64_t position; /* of the first */
};

/* Keys and values in a cache. */
struct cached {
    struct view key, value;               /* in page 0; the batch has no stride */
    struct view key_scales, value_scales; /* of int8 */
    int64_t page_rows;                    /* as in struct source */
    int64_t page_stride, scale_page;
    const struct kept *kept; /* of every sequence */
    int64_t sequences;
    int32_t kv_heads, key_dim, value_dim;
    const void *memory; /* where all of it lies */
    size_t bytes;
};

struct call {
    const struct problem *problem;
    int64_t batch;
    int64_t q_length, kv_length; /* of the longest sequence that the call may have */
    int64_t q_rows, kv_rows;     /* of the tensors: more if sequences are packed */
    /* inputs */
    struct view query, key, value, mask, block_mask, bias, slopes, sinks;
    struct view key_scales, value_scales;
    struct integers q_lengths, kv_lengths, offsets, prefixes, q_documents, k_documents;
    struct integers q_starts, k_starts; /* of packed sequences */
    const struct cached *cached;        /* in place of key and value; or NULL */
    struct integers sequences;          /* of the cache; without data: b */
    struct integers q_segments, k_segments, q_ranks, k_ranks;
    struct integers rng_indices;
    struct view tables[TABLES];
    int64_t relative_rows, relative_zero; /* rows of relative_keys; that of j = p */
    uint64_t dropout_seed;
    /* outputs; of a backward call the first four are inputs and the others absent */
    struct view out, lse, row_max, row_sum;
    struct view weights, mean_weights, key_sums, raw_scores, capped_scores,
        biased_scores, dropout_mask;
    /* of a backward call: gradients of outputs, which are inputs, and of inputs */
    struct view grad_out, grad_lse, grad_weights, grad_key_sums;
    struct view grad_query, grad_key, grad_value, grad_bias, grad_slopes, grad_sinks;
    struct view grad_tables[TABLES];
    bool accumulate;
    int32_t (*should_stop)(void *user);
    void *should_stop_user;
    struct profile *profile; /* NULL: not asked for */
};

/* A matrix of one head. */
struct rows {
    char *data;
    int64_t row, column; /* strides in elements */
};

/*
 * One query head of one batch element. Lengths are those that count: rows and keys
 * beyond them are not there.
 */
struct head {
    const struct call *call;
    const struct problem *problem;
    int64_t b, h;
    int64_t rows, keys;
    int64_t offset; /* position of row 0 */
    int64_t prefix;
    int64_t first_row; /* row 0 in tensors that have sequences packed */
    float slope, sink;
    struct source query, key, value;
    const float *grad_out;   /* NULL: not there */
    int64_t grad_out_stride; /* between rows, in floats */
    struct rows mask, block_mask, bias;
};

/* One rectangle of a head's scores. */
struct tile {
    int64_t row, key; /* the first */
    int rows, keys;
};

/* The view of query head h of batch element b. */
void attn_head_bind(struct head *head, const struct call *call, int64_t b, int64_t h);

/* Rows and columns of a table, for each head. */
int64_t attn_table_rows(const struct call *call, enum table table);
int64_t attn_table_columns(const struct call *call, enum table table);

/* True if the call asks for the gradient of a table. */
bool attn_call_wants_tables(const struct call *call);

/* True if the call asks for gradients that are summed over rows and keys, the sinks'
 * aside. */
bool attn_call_wants_sums(const struct call *call);

/* The number of rows and keys that count in batch element b. */
int64_t attn_call_rows(const struct call *call, int64_t b);
int64_t attn_call_keys(const struct call *call, int64_t b);

/* What the cache keeps of batch element b. */
const struct kept *attn_call_kept(const struct call *call, int64_t b);

/* j - p of the first key and the first row of a tile. */
static inline int64_t tile_distance(const struct head *head, const struct tile *tile) {
    return tile->key - (tile->row + head->offset);
}

/* How many elements after the first of a view this one lies. */
static inline int64_t view_offset(const struct view *view, int64_t b, int64_t h,
                                  int64_t row, int64_t column) {
    return b * view->stride[BATCH] + h * view->stride[HEAD] + row * view->stride[ROW] +
           column * view->stride[COLUMN];
}

/* The address of an element of a view of floats. */
static inline float *view_at(const struct view *view, int64_t b, int64_t h, int64_t row,
                             int64_t column) {
    return (float *)view->data + view_offset(view, b, h, row, column);
}

/* The number that a row of this head has in a view of floats. */
static inline float *head_at(const struct head *head, const struct view *view,
                             int64_t row) {
    return view_at(view, head->b, head->h, head->first_row + row, 0);
}

/* A row of this head in a view of any type. */
static inline void *head_row(const struct head *head, const struct view *view,
                             int64_t row) {
    return (char *)view->data +
           view_offset(view, head->b, head->h, head->first_row + row, 0) *
               source_bytes(view->dtype);
}

struct range {
    int64_t low, high;
};

/* The smallest and the largest of `count` integers of a batch element. */
struct range attn_integers_range(const struct integers *integers, int64_t b,
                                 int64_t first, int64_t count);

/* An element of a tensor of integers that has a batch and a column axis. */
static inline int64_t integer_at(const struct integers *integers, int64_t b,
                                 int64_t i) {
    int64_t at = b * integers->stride[BATCH] + i * integers->stride[COLUMN];
    return integers->wide ? ((const int64_t *)integers->data)[at]
                          : ((const int32_t *)integers->data)[at];
}

#endif
