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
    const struct toolbox *tools = work->tools;
    const int64_t ld = tools->recipe.tile_k;
    float *scores = work_floats(work, REGION_SCORES);
    const struct matrix query = attn_query_tile(work, head, row, softmax->rows);
    for (int64_t t = first; t < end && !attn_work_stopped(work, head->call); t++) {
        const struct tile tile = attn_tile_at(work, row, softmax->rows, t, end_key);
        enum cover cover = attn_scores_tile(work, head, &tile, query, scores, ld);
        if (cover != COVER_NONE) {
            attn_softmax_step(softmax, tools->kernels, scores, ld, tile.keys);
            attn_values_add(work, head, &tile, cover, scores, ld, softmax->values);
        }
    }
}

/* What to do with each tile of rows of a block. */
enum phase { START, PANEL, FINISH };

/*
 * One pass over the tiles of rows. In phase PANEL they meet the tiles of keys from
 * `first` on, as many as the panel holds. Returns the end of the tiles of keys that any
 * row may attend.
 */
static int64_t pass(struct work *work, const struct call *call,
                    const struct block *block, enum phase phase, int64_t first) {
    const struct toolbox *tools = work->tools;
    const int tile_q = tools->recipe.tile_q;
    int64_t before = 0, last = 0;
    for (int64_t h = block->head; h < block->head_end; h++) {
        struct head head;
        attn_head_bind(&head, call, block->b, h);
        attn_panel_bind(&work->panel, &head);
        for (int64_t row = block->row; row < block->row_end; row += tile_q) {
            const int rows = (int)min_i64(tile_q, block->row_end - row);
            struct softmax softmax = attn_engine_softmax(work, before, rows);
            before += rows;
            if (phase == FINISH) {
                attn_softmax_finish(&softmax, tools->kernels, &head, row);
                continue;
            }
            int64_t start, end, end_key;
            attn_tiles_of_rows(work, &head, row, rows, &start, &end, &end_key);
            last = max_i64(last, end);
            if (phase == START) {
                attn_softmax_start(&softmax);
                continue;
            }
            softmax.begun = start < first;
            run_tiles(work, &head, &softmax, row, max_i64(start, first),
                      min_i64(end, first + tools->panel_slots), end_key);
        }
    }
    return last;
}

static void run(struct work *work, const struct call *call, const struct block *block) {
    const int slots = work->tools->panel_slots;
    const int64_t end = pass(work, call, block, START, 0);
    for (int64_t first = 0; first < end; first += slots) {
        pass(work, call, block, PANEL, first);
        if (attn_work_stopped(work, call)) {
            return;
        }
    }
    pass(work, call, block, FINISH, 0);
}

const struct engine attn_engine_flash = {
    .name = "flash",
    .book = book,
    .run = run,
};
