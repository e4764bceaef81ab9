/*
 * Flash: tiles of keys, online softmax (Dao et al. 2022), for any length.
 *
 * The keys go by in panels that stay in the cache, in ascending order; each panel meets
 * all tiles of rows of the block before the next one comes. The state of every tile of
 * rows stays open meanwhile, and so the result is the same as if one tile of rows met
 * all keys in order.
 */
#include "base/arith.h"
#include "engine/engine.h"

static bool book(struct layout *layout, const struct toolbox *tools, int64_t keys) {
    (void)keys;
    return attn_engine_book(layout, tools);
}

/* One tile of rows against the tiles [first, end) of keys. */
static void run_tiles(struct work *work, const struct head *head,
                      struct softmax *softmax, int64_t row, int64_t first, int64_t end,
                      int64_t end_key) {
    if (first >= end) {
        return;
    }
    const struct toolbox *tools = work->tools;
    const int64_t ld = scores_stride(tools->recipe.tile_k);
    float *scores = work_floats(work, REGION_SCORES);
    const struct matrix query = attn_query_tile(work, head, row, softmax->rows);
    for (int64_t t = first; t < end && !attn_work_stopped(work, head->call); t++) {
        const struct tile tile = attn_tile_at(work, row, softmax->rows, t, end_key);
        enum cover cover = attn_scores_tile(work, head, &tile, query, scores, ld);
        if (cover != COVER_NONE) {
            const enum stage before = work_turn(work, STAGE_SOFTMAX);
            const bool moved = attn_softmax_weigh(softmax, tools->kernels, scores, ld,
                                                  tile.keys, softmax->factor);
            work_turn(work, before);
            attn_values_add(work, head, &tile, cover, scores, ld, true,
                            moved ? softmax->factor : NULL, softmax->values);
        }
    }
}

/* Opens the softmax of all rows; returns the end of the tiles that any may attend. */
static int64_t start(struct work *work, const struct call *call,
                     const struct block *block) {
    struct cursor at = {0};
    int64_t last = 0;
    while (attn_cursor_next(&at, work, call, block)) {
        int64_t first, end, end_key;
        attn_tiles_of_rows(work, &at.head, at.row, at.rows, &first, &end, &end_key);
        last = max_i64(last, end);
        struct softmax softmax = attn_cursor_softmax(&at, work);
        attn_softmax_start(&softmax);
    }
    return last;
}

/* All rows against the panel's worth of tiles from `panel` on. */
static void run_panel(struct work *work, const struct call *call,
                      const struct block *block, int64_t panel) {
    const int64_t panel_end = panel + work->tools->panel_slots;
    struct cursor at = {0};
    while (attn_cursor_next(&at, work, call, block)) {
        int64_t first, end, end_key;
        attn_tiles_of_rows(work, &at.head, at.row, at.rows, &first, &end, &end_key);
        struct softmax softmax = attn_cursor_softmax(&at, work);
        softmax.begun = first < panel;
        if (panel < end && end <= panel_end) {
            attn_softmax_expect(&softmax, &at.head, at.row);
        }
        run_tiles(work, &at.head, &softmax, at.row, max_i64(first, panel),
                  min_i64(end, panel_end), end_key);
    }
}

static void run(struct work *work, const struct call *call, const struct block *block) {
    const int64_t end = start(work, call, block);
    for (int64_t panel = 0; panel < end; panel += work->tools->panel_slots) {
        run_panel(work, call, block, panel);
        if (attn_work_stopped(work, call)) {
            return;
        }
    }
    const enum stage before = work_turn(work, STAGE_OUTPUTS);
    struct cursor at = {0};
    while (attn_cursor_next(&at, work, call, block)) {
        struct softmax softmax = attn_cursor_softmax(&at, work);
        attn_softmax_finish(&softmax, work->tools->kernels, &at.head, at.row);
    }
    work_turn(work, before);
}

const struct engine attn_engine_flash = {
    .name = "flash",
    .book = book,
    .run = run,
};
