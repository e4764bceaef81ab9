/*
 * Dense: all scores of a tile of rows at once, one softmax over whole rows, then the
 * weighted sum. The simplest engine to read, and the fastest for few keys.
 */
#include "base/arith.h"
#include "core/pieces_tile.h"
#include "engine/engine.h"

static bool book(struct layout *layout, const struct toolbox *tools, int64_t keys) {
    const int64_t columns = round_up(max_i64(keys, 1), tools->recipe.tile_k);
    return attn_engine_book(layout, tools) &&
           attn_layout_book(layout, REGION_SCORES, tools->recipe.tile_q,
                            scores_stride(columns), sizeof(float)) &&
           attn_layout_book(layout, REGION_COVER, columns / tools->recipe.tile_k, 1,
                            sizeof(unsigned char));
}

/* A tile of rows and the tiles [first, end) of keys that it may attend. */
struct row_tile {
    const struct head *head;
    int64_t row, first, end, end_key;
    float *scores;
    int64_t ld;
    unsigned char *cover; /* of each tile */
};

static struct tile tile_at(const struct work *work, const struct row_tile *rows,
                           int count, int64_t t) {
    return attn_tile_at(work, rows->row, count, t, rows->end_key);
}

/* The scores, or weights, of tile t. */
static float *scores_at(const struct work *work, const struct row_tile *rows,
                        int64_t t) {
    return rows->scores + (t - rows->first) * work->tools->recipe.tile_k;
}

static enum cover cover_of(const struct row_tile *rows, int64_t t) {
    return (enum cover)rows->cover[t - rows->first];
}

/*
 * The softmax over what the masks leave: tiles that are masked whole take no part in it
 * before the first and behind the last that is not, and between them are -inf.
 */
static void weigh_kept(const struct work *work, const struct row_tile *rows,
                       struct softmax *softmax) {
    const int64_t tile_k = work->tools->recipe.tile_k;
    int64_t first = rows->first, end = rows->end;
    while (first < end && cover_of(rows, first) == COVER_NONE) {
        first++;
    }
    while (end > first && cover_of(rows, end - 1) == COVER_NONE) {
        end--;
    }
    for (int64_t t = first; t < end; t++) {
        if (cover_of(rows, t) == COVER_NONE) {
            const struct tile tile = tile_at(work, rows, softmax->rows, t);
            attn_mask_tile(&tile, scores_at(work, rows, t), rows->ld);
        }
    }
    const int64_t end_key = min_i64(end * tile_k, rows->end_key);
    if (first < end) {
        (void)attn_softmax_weigh(softmax, work->tools->kernels,
                                 scores_at(work, rows, first), rows->ld,
                                 (int)(end_key - first * tile_k), softmax->factor);
    }
}

/* All scores of the rows, turned into weights. */
static void weigh(struct work *work, const struct row_tile *rows,
                  struct softmax *softmax) {
    const struct head *head = rows->head;
    const struct matrix query = attn_query_tile(work, head, rows->row, softmax->rows);
    for (int64_t t = rows->first; t < rows->end && !attn_work_stopped(work, head->call);
         t++) {
        const struct tile tile = tile_at(work, rows, softmax->rows, t);
        rows->cover[t - rows->first] = (unsigned char)attn_scores_tile(
            work, head, &tile, query, scores_at(work, rows, t), rows->ld);
    }
    if (attn_work_stopped(work, head->call)) {
        return; /* covers are not complete */
    }
    const enum stage before = work_turn(work, STAGE_SOFTMAX);
    weigh_kept(work, rows, softmax);
    work_turn(work, before);
    attn_softmax_expect(softmax, head, rows->row);
}

/* True if one product makes the sums of values, and may write them divided. */
static bool is_one_product(struct work *work, const struct row_tile *rows, int count) {
    const struct recipe *recipe = &work->tools->recipe;
    if (rows->end - rows->first != 1 || !recipe->cut.own ||
        work->tools->problem->sinks) {
        return false;
    }
    const struct tile tile = tile_at(work, rows, count, rows->first);
    const enum cover cover = cover_of(rows, rows->first);
    if (attn_pieces_fit(work->tools, rows->head)) {
        return cover != COVER_NONE && !attn_pieces_are_odd(work, rows->head, &tile);
    }
    return tile.keys <= recipe->cut.depth && cover != COVER_NONE &&
           !attn_values_guarded(work, rows->head, &tile, cover);
}

/* The sums of values of the rows, divided and written. */
static void add_values(struct work *work, const struct row_tile *rows,
                       struct softmax *softmax) {
    const struct head *head = rows->head;
    const struct view *out = &head->call->out;
    if (is_one_product(work, rows, softmax->rows)) {
        const struct tile tile = tile_at(work, rows, softmax->rows, rows->first);
        const bool narrow = out->dtype != ATTN_F32;
        attn_softmax_divide(softmax, head, rows->row);
        attn_values_write(work, head, &tile, rows->scores, rows->ld, softmax->factor,
                          narrow ? softmax->values : head_row(head, out, rows->row),
                          narrow ? softmax->dim : out->stride[ROW]);
        if (narrow) {
            attn_softmax_narrow(softmax, work->tools->kernels, head, rows->row);
        }
        return;
    }
    bool begun = false;
    for (int64_t t = rows->first; t < rows->end && !attn_work_stopped(work, head->call);
         t++) {
        const struct tile tile = tile_at(work, rows, softmax->rows, t);
        const enum cover cover = cover_of(rows, t);
        if (cover != COVER_NONE) {
            attn_values_add(work, head, &tile, cover, scores_at(work, rows, t),
                            rows->ld, begun, NULL, softmax->values);
            begun = true;
        }
    }
    if (attn_work_stopped(work, head->call)) {
        return;
    }
    if (!begun) {
        attn_softmax_clear(softmax);
    }
    const enum stage before = work_turn(work, STAGE_OUTPUTS);
    attn_softmax_finish(softmax, work->tools->kernels, head, rows->row);
    work_turn(work, before);
}

static void run(struct work *work, const struct call *call, const struct block *block) {
    const struct toolbox *tools = work->tools;
    struct cursor at = {0};
    while (attn_cursor_next(&at, work, call, block)) {
        struct row_tile rows = {
            .head = &at.head,
            .row = at.row,
            .scores = work_floats(work, REGION_SCORES),
            .cover = layout_at(&tools->layout, work->memory, REGION_COVER),
        };
        struct softmax softmax = attn_cursor_softmax(&at, work);
        attn_tiles_of_rows(work, &at.head, at.row, at.rows, &rows.first, &rows.end,
                           &rows.end_key);
        rows.ld = scores_stride((rows.end - rows.first) * tools->recipe.tile_k);
        attn_softmax_open(&softmax);
        if (rows.first < rows.end) {
            weigh(work, &rows, &softmax);
        }
        if (attn_work_stopped(work, call)) {
            return;
        }
        add_values(work, &rows, &softmax);
    }
}

const struct engine attn_engine_dense = {
    .name = "dense",
    .book = book,
    .run = run,
};
