/*
 * The second pass: what the first one did not keep. It makes the scores of each tile
 * again by the same products, so that the weights are those that were used, and derives
 * from them whatever the call asks for. Every sum has one owner, which adds in
 * ascending order: heads for the means, rows for the sums per key.
 */
#include <math.h>
#include <string.h>

#include "base/arith.h"
#include "core/dropout.h"
#include "engine/engine.h"

static bool scores_before_masks_wanted(const struct call *call) {
    return call->raw_scores.data != NULL || call->capped_scores.data != NULL;
}

static bool weights_wanted(const struct call *call) {
    return call->biased_scores.data != NULL || call->weights.data != NULL ||
           call->mean_weights.data != NULL || call->key_sums.data != NULL;
}

bool attn_observe_wanted(const struct call *call) {
    return scores_before_masks_wanted(call) || weights_wanted(call) ||
           call->dropout_mask.data != NULL;
}

/* Copies a tile to a view, if the call has it. */
static void write_tile(const struct view *view, const struct head *head,
                       const struct tile *tile, const float *tile_data, int64_t ld) {
    for (int i = 0; view->data != NULL && i < tile->rows; i++) {
        float *to = view_at(view, head->b, head->h, tile->row + i, tile->key);
        memcpy(to, tile_data + i * ld, (size_t)tile->keys * sizeof *to);
    }
}

/* Sets all columns of rows [row, end) of a view, if the call has it. */
static void fill(const struct view *view, const struct call *call, int64_t b, int64_t h,
                 int64_t row, int64_t end, float value) {
    for (int64_t i = row; view->data != NULL && i < end; i++) {
        float *to = view_at(view, b, h, i, 0);
        for (int64_t j = 0; j < call->kv_length; j++) {
            to[j] = value;
        }
    }
}

/* What stands for keys that these rows do not attend. */
static void fill_absent(const struct call *call, int64_t b, int64_t h, int64_t row,
                        int64_t end) {
    fill(&call->raw_scores, call, b, h, row, end, -INFINITY);
    fill(&call->capped_scores, call, b, h, row, end, -INFINITY);
    fill(&call->biased_scores, call, b, h, row, end, -INFINITY);
    fill(&call->weights, call, b, h, row, end, 0.0f);
    if (h == 0) {
        fill(&call->mean_weights, call, b, 0, row, end, 0.0f);
    }
}

/* Which weights dropout keeps, masked ones included. */
static void write_dropout_mask(const struct head *head, const struct kernels *kernels,
                               int64_t row, int64_t end) {
    enum { COLUMNS = 1 << 20 }; /* a tile's size is an int, a row's is not */
    const struct view *view = &head->call->dropout_mask;
    const int64_t keys = head->call->kv_length;
    for (int64_t i = row; view->data != NULL && i < end; i++) {
        for (int64_t j = 0; j < keys; j += COLUMNS) {
            const struct tile tile = {i, j, 1, (int)min_i64(COLUMNS, keys - j)};
            uint8_t *keep = (uint8_t *)view->data + head->b * view->stride[BATCH] +
                            head->h * view->stride[HEAD] + i * view->stride[ROW] + j;
            if (head->problem->dropout > 0.0f) {
                attn_dropout_mask(head, &tile, kernels, keep, 0);
            } else {
                memset(keep, 1, (size_t)tile.keys);
            }
        }
    }
}

/* Scores as they are before masks, for all keys that count. */
static void write_scores(struct work *work, const struct head *head, int64_t row,
                         int rows, struct matrix query) {
    const struct toolbox *tools = work->tools;
    const struct call *call = head->call;
    const int64_t ld = tools->recipe.tile_k, tiles = ceil_div(head->keys, ld);
    float *scores = work_floats(work, REGION_SCORES);
    for (int64_t t = 0; t < tiles && !attn_work_stopped(work, call); t++) {
        const struct tile tile = attn_tile_at(work, row, rows, t, head->keys);
        attn_scores_product(work, head, &tile, query, scores, ld);
        write_tile(&call->raw_scores, head, &tile, scores, ld);
        if (head->problem->softcap > 0.0f) {
            attn_term_softcap.apply(work, head, &tile, scores, ld);
        }
        write_tile(&call->capped_scores, head, &tile, scores, ld);
    }
}

static void add_mean(const struct head *head, const struct tile *tile,
                     const float *weights, int64_t ld) {
    const struct view *mean = &head->call->mean_weights;
    const float share = 1.0f / (float)head->problem->query_heads;
    for (int i = 0; mean->data != NULL && i < tile->rows; i++) {
        float *to = view_at(mean, head->b, 0, tile->row + i, tile->key);
        for (int j = 0; j < tile->keys; j++) {
            to[j] += share * weights[i * ld + j];
        }
    }
}

/* Finished scores and weights of the tiles that these rows may attend. */
static void write_weights(struct work *work, const struct head *head,
                          const struct softmax *softmax, int64_t row,
                          struct matrix query) {
    const struct toolbox *tools = work->tools;
    const struct call *call = head->call;
    const int rows = softmax->rows;
    const int64_t ld = tools->recipe.tile_k;
    float *scores = work_floats(work, REGION_SCORES);
    int64_t first, end, end_key;
    attn_tiles_of_rows(work, head, row, rows, &first, &end, &end_key);
    for (int64_t t = first; t < end && !attn_work_stopped(work, call); t++) {
        const struct tile tile = attn_tile_at(work, row, rows, t, end_key);
        if (attn_scores_tile(work, head, &tile, query, scores, ld) == COVER_NONE) {
            continue;
        }
        write_tile(&call->biased_scores, head, &tile, scores, ld);
        tools->kernels->weights(scores, ld, rows, tile.keys, softmax->maximum,
                                softmax->factor);
        write_tile(&call->weights, head, &tile, scores, ld);
        add_mean(head, &tile, scores, ld);
        if (call->key_sums.data != NULL) {
            tools->kernels->add_columns(
                view_at(&call->key_sums, head->b, head->h, 0, tile.key), scores, ld,
                rows, tile.keys);
        }
    }
}

void attn_observe_empty_rows(const struct head *head, const struct kernels *kernels,
                             int64_t row, int64_t end) {
    fill_absent(head->call, head->b, head->h, row, end);
    write_dropout_mask(head, kernels, row, end);
}

void attn_observe(struct work *work, const struct call *call,
                  const struct block *block) {
    struct cursor at = {0};
    while (attn_cursor_next(&at, work, call, block)) {
        const struct matrix query = attn_query_tile(work, &at.head, at.row, at.rows);
        /* what no tile below writes stays as it is set here */
        attn_observe_empty_rows(&at.head, work->tools->kernels, at.row,
                                at.row + at.rows);
        if (scores_before_masks_wanted(call)) {
            write_scores(work, &at.head, at.row, at.rows, query);
        }
        if (weights_wanted(call)) {
            const struct softmax softmax = attn_cursor_softmax(&at, work);
            write_weights(work, &at.head, &softmax, at.row, query);
        }
    }
}
