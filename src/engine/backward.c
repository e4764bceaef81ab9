/*
 * The backward pass over a block of rows (Dao et al. 2022).
 *
 * Key tiles go by in ascending order; each meets all tiles of rows of the block before
 * the next one comes. The gradients of its keys and values stay at hand meanwhile, and
 * those of the block's queries all the time. So each sum has a fixed order, heads
 * first, then rows or keys, however blocks and tiles are shared out to threads.
 */
#include "engine/backward.h"

#include <math.h>
#include <string.h>

#include "base/arith.h"

bool attn_backward_book(struct layout *layout, const struct toolbox *tools) {
    const struct problem *problem = tools->problem;
    const int64_t tile_q = tools->recipe.tile_q, tile_k = tools->recipe.tile_k;
    const int64_t keys = tools->panel_slots * tile_k;
    const int64_t capped = problem->softcap > 0.0f ? tile_q : 0;
    const int64_t keep = problem->dropout > 0.0f ? tile_q : 0;
    const int key_dim = problem->key_dim, value_dim = problem->value_dim;
    const struct {
        enum region region;
        int64_t count, count2;
        size_t size;
    } books[] = {
        {REGION_PANEL_KEYS, keys, key_dim, sizeof(float)},
        {REGION_PANEL_PLAIN_KEYS, keys, key_dim, sizeof(float)},
        {REGION_PANEL_TURNED_VALUES, keys, value_dim, sizeof(float)},
        {REGION_PANEL_SLOTS, tools->panel_slots, 1, sizeof(struct panel_slot)},
        {REGION_QUERY, tile_q, key_dim, sizeof(float)},
        {REGION_GRAD_OUT, tile_q, value_dim, sizeof(float)},
        {REGION_SCORES, tile_q, tile_k, sizeof(float)},
        {REGION_GRAD_SCORES, tile_q, tile_k, sizeof(float)},
        {REGION_CAPPED, capped, tile_k, sizeof(float)},
        {REGION_KEEP, keep, tile_k, 1},
        {REGION_COLUMN_SUMS, tile_k, 1, sizeof(float)},
        {REGION_MAXIMUM, tools->block_rows, 1, sizeof(float)},
        {REGION_FACTOR, tools->block_rows, 1, sizeof(float)},
        {REGION_DELTA, tools->block_rows, 1, sizeof(float)},
        {REGION_GRAD_QUERY, tools->block_rows, key_dim, sizeof(float)},
        {REGION_GRAD_KEY, tile_k, key_dim, sizeof(float)},
        {REGION_GRAD_VALUE, tile_k, value_dim, sizeof(float)},
        {REGION_FINITE, max_i64(tile_q, tile_k), max_i64(key_dim, value_dim),
         sizeof(float)},
    };
    for (size_t i = 0; i < COUNT_OF(books); i++) {
        if (!attn_layout_book(layout, books[i].region, books[i].count, books[i].count2,
                              books[i].size)) {
            return false;
        }
    }
    return true;
}

static struct rows_state state_of(const struct cursor *at, const struct work *work) {
    const int64_t dim = work->tools->problem->key_dim;
    return (struct rows_state){
        .head = &at->head,
        .row = at->row,
        .count = at->rows,
        .maximum = work_floats(work, REGION_MAXIMUM) + at->before,
        .factor = work_floats(work, REGION_FACTOR) + at->before,
        .delta = work_floats(work, REGION_DELTA) + at->before,
        .grad_query = work_floats(work, REGION_GRAD_QUERY) + at->before * dim,
    };
}

/*
 * From the row's maximum and sum, or its LSE, to what weights are made of. A row that
 * attends nothing gets a maximum that makes every weight 0, whatever the scores.
 */
static void start_row(const struct rows_state *rows, int r) {
    const struct head *head = rows->head;
    const struct call *call = head->call;
    const int64_t i = rows->row + r;
    float maximum, sum = 1.0f;
    if (call->row_max.data != NULL && call->row_sum.data != NULL) {
        maximum = *view_at(&call->row_max, head->b, head->h, i, 0);
        sum = *view_at(&call->row_sum, head->b, head->h, i, 0);
    } else {
        maximum = *view_at(&call->lse, head->b, head->h, i, 0);
    }
    const bool empty = sum == 0.0f || maximum == -INFINITY;
    rows->maximum[r] = empty ? INFINITY : maximum;
    rows->factor[r] = empty ? 0.0f : 1.0f / sum;
    rows->delta[r] = 0.0f;
    if (call->grad_lse.data != NULL && !empty) {
        rows->delta[r] = -*view_at(&call->grad_lse, head->b, head->h, i, 0);
    }
}

static void start_rows(const struct work *work, const struct rows_state *rows) {
    const struct head *head = rows->head;
    const struct call *call = head->call;
    for (int r = 0; r < rows->count; r++) {
        start_row(rows, r);
    }
    if (head->grad_out != NULL) {
        /* out is 0 where a row attends nothing: there grad_out may be NaN */
        work->tools->kernels->dot_rows(
            rows->delta, view_at(&call->out, head->b, head->h, rows->row, 0),
            call->out.stride[ROW], head->grad_out + rows->row * head->grad_out_stride,
            head->grad_out_stride, rows->count, head->problem->value_dim);
    }
    memset(rows->grad_query, 0,
           (size_t)rows->count * (size_t)head->problem->key_dim * sizeof(float));
}

/* The part of a key tile that these rows may attend; false if there is none. */
static bool tile_of(const struct work *work, const struct rows_state *rows, int64_t t,
                    struct tile *tile) {
    int64_t first, end, end_key;
    attn_tiles_of_rows(work, rows->head, rows->row, rows->count, &first, &end,
                       &end_key);
    *tile = attn_tile_at(work, rows->row, rows->count, t, end_key);
    return first <= t && t < end;
}

/* Moves rows of a key tile's gradient between scratch and view, if it is there. */
static void load(const struct view *view, const struct head *head, int64_t key,
                 int keys, int dim, bool fresh, float *scratch) {
    const int64_t g = head->h / head->problem->group;
    for (int64_t j = 0; view->data != NULL && j < keys; j++) {
        if (fresh) {
            memset(scratch + j * dim, 0, (size_t)dim * sizeof *scratch);
        } else {
            memcpy(scratch + j * dim, view_at(view, head->b, g, key + j, 0),
                   (size_t)dim * sizeof *scratch);
        }
    }
}

static void store(const struct view *view, const struct head *head, int64_t key,
                  int keys, int dim, const float *scratch) {
    const int64_t g = head->h / head->problem->group;
    for (int64_t j = 0; view->data != NULL && j < keys; j++) {
        memcpy(view_at(view, head->b, g, key + j, 0), scratch + j * dim,
               (size_t)dim * sizeof *scratch);
    }
}

/* One tile of keys against all rows of the block. */
static void run_keys(struct work *work, const struct call *call,
                     const struct block *block, int64_t t, bool fresh) {
    const struct problem *problem = call->problem;
    const int64_t key = t * work->tools->recipe.tile_k;
    float *grad_key = work_floats(work, REGION_GRAD_KEY);
    float *grad_value = work_floats(work, REGION_GRAD_VALUE);
    struct head head;
    attn_head_bind(&head, call, block->b, block->head);
    const int keys = (int)min_i64(work->tools->recipe.tile_k, head.keys - key);
    load(&call->grad_key, &head, key, keys, problem->key_dim, fresh, grad_key);
    load(&call->grad_value, &head, key, keys, problem->value_dim, fresh, grad_value);
    struct cursor at = {0};
    while (attn_cursor_next(&at, work, call, block) && !attn_work_stopped(work, call)) {
        const struct rows_state rows = state_of(&at, work);
        struct tile tile;
        if (tile_of(work, &rows, t, &tile)) {
            attn_backward_tile(work, &rows, &tile);
        }
    }
    store(&call->grad_key, &head, key, keys, problem->key_dim, grad_key);
    store(&call->grad_value, &head, key, keys, problem->value_dim, grad_value);
}

/* State of all rows but for what needs all tiles of keys. */
static void start(struct work *work, const struct call *call,
                  const struct block *block) {
    struct cursor at = {0};
    while (attn_cursor_next(&at, work, call, block)) {
        const struct rows_state rows = state_of(&at, work);
        start_rows(work, &rows);
    }
    if (call->grad_weights.data == NULL && call->grad_key_sums.data == NULL) {
        return;
    }
    const int64_t tiles =
        ceil_div(attn_call_keys(call, block->b), work->tools->recipe.tile_k);
    for (int64_t t = 0; t < tiles; t++) {
        at = (struct cursor){0};
        while (attn_cursor_next(&at, work, call, block) &&
               !attn_work_stopped(work, call)) {
            const struct rows_state rows = state_of(&at, work);
            struct tile tile;
            if (tile_of(work, &rows, t, &tile)) {
                attn_backward_add_delta(work, &rows, &tile);
            }
        }
    }
}

/* grad_sink -= sum_i exp(sink - lse) delta for a tile of rows. */
static void add_to_sink(const struct rows_state *rows) {
    const struct head *head = rows->head;
    float sum = 0.0f;
    for (int r = 0; r < rows->count; r++) {
        /* a row without even a sink has factor 0 */
        if (rows->factor[r] != 0.0f) {
            sum +=
                expf(head->sink - rows->maximum[r]) * rows->factor[r] * rows->delta[r];
        }
    }
    *view_at(&head->call->grad_sinks, head->b, head->h, 0, 0) -= sum;
}

static void write_grad_query(const struct rows_state *rows) {
    const struct head *head = rows->head;
    const struct call *call = head->call;
    const int64_t dim = head->problem->key_dim;
    for (int64_t r = 0; r < rows->count; r++) {
        const float *from = rows->grad_query + r * dim;
        float *to = view_at(&call->grad_query, head->b, head->h, rows->row + r, 0);
        for (int64_t c = 0; c < dim; c++) {
            to[c] = call->accumulate ? to[c] + from[c] : from[c];
        }
    }
}

void attn_backward_run(struct work *work, const struct call *call,
                       const struct block *block, int64_t tile, int64_t tile_end,
                       bool fresh) {
    work->keep_scratch = true;
    start(work, call, block);
    for (int64_t t = tile; t < tile_end && !attn_work_stopped(work, call); t++) {
        run_keys(work, call, block, t, fresh);
    }
    struct cursor at = {0};
    while (attn_cursor_next(&at, work, call, block)) {
        const struct rows_state rows = state_of(&at, work);
        if (call->grad_sinks.data != NULL) {
            add_to_sink(&rows);
        }
        if (call->grad_query.data != NULL) {
            write_grad_query(&rows);
        }
    }
}
