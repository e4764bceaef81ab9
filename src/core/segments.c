/*
 * Segments (XLNet, Yang et al. 2019): each query meets two vectors of its head, one for
 * keys of its own segment and one for the others.
 */
#include <string.h>

#include "core/work.h"

enum { SAME, OTHER, KINDS };

static bool present(const struct problem *problem) {
    return problem->segments;
}

static bool book(struct layout *layout, const struct toolbox *tools) {
    const int64_t tile_q = tools->recipe.tile_q, dim = tools->problem->key_dim;
    const size_t size = sizeof(float);
    return attn_layout_book(layout, REGION_SHIFTED_QUERY, tile_q, dim, size) &&
           attn_layout_book(layout, REGION_BAND_KEYS, KINDS, dim, size) &&
           attn_layout_book(layout, REGION_BAND_GRADIENTS, KINDS, dim, size) &&
           attn_layout_book(layout, REGION_SEGMENT_SCORES, tile_q, KINDS, size) &&
           attn_layout_book(layout, REGION_DIFFER, tools->recipe.tile_k, 1,
                            sizeof(int32_t)) &&
           attn_layout_book(layout, REGION_FINITE, tile_q, dim, size);
}

static struct matrix query_of(const struct work *work, const struct head *head,
                              const struct tile *tile) {
    return attn_shifted_query(work, head, REGION_SHIFTED_QUERY, TABLE_SEGMENT_BIAS,
                              tile->row, tile->rows);
}

/* The two vectors of a head, one after the other. */
static const float *keys_of(const struct work *work, const struct head *head) {
    const int64_t dim = head->problem->key_dim;
    float *copy = work_floats(work, REGION_BAND_KEYS);
    for (int kind = SAME; kind < KINDS; kind++) {
        memcpy(copy + kind * dim,
               view_at(&head->call->tables[TABLE_SEGMENT_KEYS], 0, head->h, kind, 0),
               (size_t)dim * sizeof *copy);
    }
    return copy;
}

/*
 * For row r of a tile, -1 for each key of another segment and 0 for the others. Rows
 * that follow one of the same segment find it done.
 */
static const int32_t *differ_of(const struct work *work, const struct head *head,
                                const struct tile *tile, int r) {
    const struct call *call = head->call;
    const int64_t i = tile->row + r;
    const int64_t segment = integer_at(&call->q_segments, head->b, i);
    int32_t *differ = layout_at(&work->tools->layout, work->memory, REGION_DIFFER);
    if (r == 0 || integer_at(&call->q_segments, head->b, i - 1) != segment) {
        for (int j = 0; j < tile->keys; j++) {
            differ[j] = integer_at(&call->k_segments, head->b, tile->key + j) != segment
                            ? -1
                            : 0;
        }
    }
    return differ;
}

static void apply(struct work *work, const struct head *head, const struct tile *tile,
                  float *scores, int64_t ld) {
    const struct toolbox *tools = work->tools;
    const int dim = head->problem->key_dim;
    const struct matrix query = query_of(work, head, tile);
    float *turned = work_floats(work, REGION_BAND_GRADIENTS);
    float *kinds = work_floats(work, REGION_SEGMENT_SCORES);
    tools->kernels->transpose(turned, KINDS, keys_of(work, head), dim, KINDS, dim);
    attn_product(tools->kernels, tools->recipe.cut, tile->rows, KINDS, dim,
                 head->problem->scale, (struct operand){query.data, query.ld, false},
                 factor_rows(turned, KINDS), false, kinds, KINDS);
    for (int r = 0; r < tile->rows; r++) {
        const int32_t *differ = differ_of(work, head, tile, r);
        const float same = kinds[r * KINDS + SAME], other = kinds[r * KINDS + OTHER];
        float *row = scores + r * ld;
        for (int j = 0; j < tile->keys; j++) {
            row[j] += differ[j] != 0 ? other : same;
        }
    }
}

/* The gradients of the two numbers of each row. */
static const float *sums_of_kinds(const struct work *work, const struct head *head,
                                  const struct tile *tile, const float *gradients,
                                  int64_t ld) {
    float *kinds = work_floats(work, REGION_SEGMENT_SCORES);
    for (int r = 0; r < tile->rows; r++) {
        const int32_t *differ = differ_of(work, head, tile, r);
        const float *row = gradients + r * ld;
        float same = 0.0f, other = 0.0f;
        for (int j = 0; j < tile->keys; j++) {
            same += differ[j] != 0 ? 0.0f : row[j];
            other += differ[j] != 0 ? row[j] : 0.0f;
        }
        kinds[r * KINDS + SAME] = same;
        kinds[r * KINDS + OTHER] = other;
    }
    return kinds;
}

static void add_to_keys(struct work *work, const struct head *head,
                        const struct tile *tile, const float *kinds) {
    const struct view *total = &head->call->grad_tables[TABLE_SEGMENT_KEYS];
    const int dim = head->problem->key_dim;
    const struct matrix query = query_of(work, head, tile);
    float *sums = work_floats(work, REGION_BAND_GRADIENTS);
    memset(sums, 0, KINDS * (size_t)dim * sizeof *sums);
    attn_product_add_nonzero(work, KINDS, dim, tile->rows, head->problem->scale,
                             (struct operand){kinds, KINDS, true}, query.data, sums);
    for (int kind = SAME; kind < KINDS; kind++) {
        work->tools->kernels->add_columns(view_at(total, 0, head->h, kind, 0),
                                          sums + (int64_t)kind * dim, dim, 1, dim);
    }
}

static void gradient(struct work *work, const struct head *head,
                     const struct tile *tile, float *gradients, int64_t ld) {
    const struct call *call = head->call;
    const struct view *grad_bias = &call->grad_tables[TABLE_SEGMENT_BIAS];
    const bool for_keys = call->grad_tables[TABLE_SEGMENT_KEYS].data != NULL;
    if (work->grad_query == NULL && grad_bias->data == NULL && !for_keys) {
        return;
    }
    const int dim = head->problem->key_dim;
    const float scale = head->problem->scale;
    const float *kinds = sums_of_kinds(work, head, tile, gradients, ld);
    if (work->grad_query != NULL) {
        attn_product_add_nonzero(work, tile->rows, dim, KINDS, scale,
                                 (struct operand){kinds, KINDS, false},
                                 keys_of(work, head), work->grad_query);
    }
    if (grad_bias->data != NULL) {
        float total[KINDS] = {0.0f, 0.0f};
        work->tools->kernels->add_columns(total, kinds, KINDS, tile->rows, KINDS);
        attn_product_add_nonzero(
            work, 1, dim, KINDS, scale, (struct operand){total, KINDS, false},
            keys_of(work, head), view_at(grad_bias, 0, head->h, 0, 0));
    }
    if (for_keys) {
        add_to_keys(work, head, tile, kinds);
    }
}

const struct term attn_term_segments = {
    .name = "segments",
    .present = present,
    .book = book,
    .apply = apply,
    .gradient = gradient,
};
