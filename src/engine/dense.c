/*
 * Dense: all scores of a tile of rows at once, one softmax over whole rows, then the
 * weighted sum. The simplest engine to read, and the fastest for few keys.
 */
#include "base/arith.h"
#include "engine/engine.h"

static bool book(struct layout *layout, const struct toolbox *tools, int64_t keys) {
    const int64_t columns = round_up(max_i64(keys, 1), tools->recipe.tile_k);
    return attn_engine_book(layout, tools) &&
           attn_layout_book(layout, REGION_SCORES, tools->recipe.tile_q, columns,
                            sizeof(float)) &&
           attn_layout_book(layout, REGION_COVER, columns / tools->recipe.tile_k, 1,
                            sizeof(unsigned char));
}

/* One tile of rows against all keys. */
static void run_rows(struct work *work, const struct head *head,
                     struct softmax *softmax, int64_t row) {
    const struct toolbox *tools = work->tools;
    const int tile_k = tools->recipe.tile_k;
    const struct matrix query = attn_query_tile(work, head, row, softmax->rows);
    unsigned char *cover = layout_at(&tools->layout, work->memory, REGION_COVER);
    float *scores = work_floats(work, REGION_SCORES);
    int64_t first, end, end_key;
    attn_tiles_of_rows(work, head, row, softmax->rows, &first, &end, &end_key);
    attn_softmax_start(softmax);
    if (first == end) {
        return;
    }

    const int n = (int)(end_key - first * tile_k);
    const int64_t ld = (end - first) * tile_k;
    for (int64_t t = first; t < end && !attn_work_stopped(work, head->call); t++) {
        const struct tile tile = attn_tile_at(work, row, softmax->rows, t, end_key);
        float *at = scores + (t - first) * tile_k;
        cover[t - first] =
            (unsigned char)attn_scores_tile(work, head, &tile, query, at, ld);
        if (cover[t - first] == COVER_NONE) {
            attn_mask_tile(&tile, at, ld);
        }
    }
    const enum stage before = work_turn(work, STAGE_SOFTMAX);
    attn_softmax_step(softmax, tools->kernels, scores, ld, n);
    work_turn(work, before);
    attn_softmax_expect(softmax, head, row);
    for (int64_t t = first; t < end && !attn_work_stopped(work, head->call); t++) {
        const struct tile tile = attn_tile_at(work, row, softmax->rows, t, end_key);
        if (cover[t - first] != COVER_NONE) {
            attn_values_add(work, head, &tile, (enum cover)cover[t - first],
                            scores + (t - first) * tile_k, ld, softmax->values);
        }
    }
}

static void run(struct work *work, const struct call *call, const struct block *block) {
    struct cursor at = {0};
    while (attn_cursor_next(&at, work, call, block)) {
        struct softmax softmax = attn_cursor_softmax(&at, work);
        run_rows(work, &at.head, &softmax, at.row);
        if (attn_work_stopped(work, call)) {
            return;
        }
        const enum stage before = work_turn(work, STAGE_OUTPUTS);
        attn_softmax_finish(&softmax, work->tools->kernels, &at.head, at.row);
        work_turn(work, before);
    }
}

const struct engine attn_engine_dense = {
    .name = "dense",
    .book = book,
    .run = run,
};
