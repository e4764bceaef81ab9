/*
 * Decode: few queries against many keys, one token of a growing sequence above all.
 *
 * The queries of all heads that share keys are stacked, so that each key and value is
 * read once, by kernels for a few rows. Tiles go by in strips, all keys of a strip
 * before its values, since memory is read fastest in long pieces. The keys are cut into
 * splits at fixed places; each has a softmax of its own, and their sums come together
 * in ascending order. So threads may share the splits of a sequence and change no bit.
 */
#include "engine/decode.h"

#include <string.h>

#include "base/arith.h"

/* A tile, or plain ones side by side that are met at once. */
struct span {
    struct tile tile;
    enum cover cover;
    bool plain;
    int column; /* of its first score */
};

/* The most keys of a span of several tiles: so many values are one sum. */
enum { SPAN_KEYS = 512 };

/* What of a strip some head attends, the scores side by side. */
struct strip {
    int spans, columns;
    struct span span[SPLIT_TILES_MAX];
};

/* A head of the stack, and what the masks leave of its rows in the tile at hand. */
struct member {
    struct head head;
    enum cover cover;
    unsigned todo;
};

/* Rows [row, row + rows) of some heads that share keys, one head below the other. */
struct stack {
    struct member *member;
    int members, rows, total;
    int64_t row;
    struct matrix query;
};

/*
 * Between rows of a strip's scores: its keys, and a little more, so that rows do not
 * all lie at the same place of a page, where the processor confuses them.
 */
static int64_t strip_stride(const struct recipe *recipe) {
    return (int64_t)recipe->split_tiles * recipe->tile_k + 16;
}

static bool book(struct layout *layout, const struct toolbox *tools, int64_t keys) {
    (void)keys;
    const int rows = tools->recipe.tile_q;
    const int64_t dim = tools->problem->value_dim;
    return attn_engine_book(layout, tools) &&
           attn_layout_book(layout, REGION_SCORES, rows, strip_stride(&tools->recipe),
                            sizeof(float)) &&
           attn_layout_book(layout, REGION_ATTENDED, tools->masks.count > 0 ? rows : 0,
                            strip_stride(&tools->recipe), sizeof(float)) &&
           attn_layout_book(layout, REGION_STACK, rows, 1, sizeof(struct member)) &&
           attn_layout_book(layout, REGION_TILE_VALUES, rows, dim, sizeof(float)) &&
           attn_layout_book(layout, REGION_PART, rows, dim + 3, sizeof(float));
}

int64_t attn_decode_split_tiles(const struct recipe *recipe, int64_t keys) {
    const int64_t tiles = ceil_div(keys, recipe->tile_k);
    return max_i64(recipe->split_tiles, ceil_div(tiles, DECODE_SPLITS_MAX));
}

int64_t attn_decode_splits(const struct recipe *recipe, int64_t keys) {
    return ceil_div(ceil_div(keys, recipe->tile_k),
                    attn_decode_split_tiles(recipe, keys));
}

/* The softmax state of a part of the keys, in this memory. */
static struct softmax part_at(float *memory, int rows, int dim) {
    return (struct softmax){
        .rows = rows,
        .dim = dim,
        .maximum = memory,
        .sum = memory + rows,
        .factor = memory + 2 * (ptrdiff_t)rows,
        .values = memory + 3 * (ptrdiff_t)rows,
    };
}

/* Binds heads from this one on, and gathers their queries. */
static struct stack stack_heads(struct work *work, const struct call *call, int64_t b,
                                int64_t head, int heads, int64_t row, int rows) {
    struct stack stack = {
        .member = layout_at(&work->tools->layout, work->memory, REGION_STACK),
        .members = heads,
        .rows = rows,
        .total = heads * rows,
        .row = row,
    };
    const int dim = call->problem->key_dim;
    float *query = work_floats(work, REGION_QUERY);
    for (int i = 0; i < heads; i++) {
        attn_head_bind(&stack.member[i].head, call, b, head + i);
        attn_query_copy(work, &stack.member[i].head, row, rows,
                        query + (int64_t)i * rows * dim);
    }
    attn_panel_bind(&work->panel, &stack.member[0].head);
    stack.query = (struct matrix){query, dim};
    return stack;
}

/* Asks the masks of all members; the cover of the whole. */
static enum cover cover_stack(const struct work *work, const struct stack *stack,
                              const struct tile *tile) {
    const struct toolbox *tools = work->tools;
    int none = 0, all = 0;
    for (int i = 0; i < stack->members; i++) {
        struct member *member = &stack->member[i];
        member->cover = attn_masks_cover(&tools->masks, &member->head, tile,
                                         tools->kernels, &member->todo);
        none += member->cover == COVER_NONE;
        all += member->cover == COVER_ALL;
    }
    return none == stack->members  ? COVER_NONE
           : all == stack->members ? COVER_ALL
                                   : COVER_SOME;
}

/* The finished scores of a tile that some member attends. */
static void score_stack(struct work *work, const struct stack *stack,
                        const struct tile *tile, float *scores, int64_t ld) {
    const struct toolbox *tools = work->tools;
    attn_few_scores(work, &stack->member[0].head, tile, stack->total, stack->query,
                    scores, ld);
    for (int i = 0; i < stack->members; i++) {
        struct member *member = &stack->member[i];
        float *own = scores + (int64_t)i * stack->rows * ld;
        if (member->cover == COVER_NONE) {
            attn_mask_tile(tile, own, ld);
            continue;
        }
        attn_terms_apply(work, &member->head, tile, own, ld);
        attn_masks_apply(&tools->masks, &member->head, tile, tools->kernels,
                         member->todo, own, ld);
    }
}

/* Value j of a tile, which is not finite, for the rows that attend it. */
static void add_attended(const struct work *work, const struct stack *stack, int j,
                         const float *value, int dim, const float *weights, int64_t ld,
                         float *sums) {
    const float *attended = work_floats(work, REGION_ATTENDED);
    for (int64_t r = 0; r < stack->total; r++) {
        for (int c = 0; c < dim && attended[r * ld + j] == 0.0f; c++) {
            sums[r * dim + c] += weights[r * ld + j] * value[c];
        }
    }
}

/*
 * Values of which some are not finite, and some weights 0 for masks: finite ones go by
 * as they always do, in the parts that the others leave.
 */
static void add_guarded(struct work *work, const struct stack *stack,
                        const struct tile *tile, float *weights, int64_t ld,
                        float *sums) {
    const struct kernels *kernels = work->tools->kernels;
    const struct head *head = &stack->member[0].head;
    const int dim = head->problem->value_dim;
    const float *values =
        attn_panel_values(&work->panel, head, tile->key / work->tools->recipe.tile_k);
    for (int i = 0; i < stack->members; i++) {
        attn_attended(
            work, &stack->member[i].head, tile,
            work_floats(work, REGION_ATTENDED) + (int64_t)i * stack->rows * ld, ld);
    }
    for (int j = 0; j < tile->keys;) {
        struct tile part = {tile->row, tile->key + j, tile->rows, 0};
        while (
            j + part.keys < tile->keys &&
            kernels->all_finite(values + (int64_t)(j + part.keys) * dim, dim, 1, dim)) {
            part.keys++;
        }
        attn_few_values(work, head, &part, stack->total, weights + j, ld, sums);
        j += part.keys;
        if (j < tile->keys) {
            add_attended(work, stack, j, values + (int64_t)j * dim, dim, weights, ld,
                         sums);
            j++;
        }
    }
}

/* Adds the values of a tile. */
static void add_values(struct work *work, const struct stack *stack,
                       const struct tile *tile, enum cover cover, float *weights,
                       int64_t ld, struct softmax *softmax) {
    const int dim = softmax->dim;
    const struct head *head = &stack->member[0].head;
    for (int i = 0; i < stack->members; i++) {
        attn_weights_drop(work, &stack->member[i].head, tile,
                          weights + (int64_t)i * stack->rows * ld, ld);
    }
    /* short sums of their own are more exact than one long one */
    float *values = work_floats(work, REGION_TILE_VALUES);
    memset(values, 0, (size_t)stack->total * (size_t)dim * sizeof *values);
    const int64_t t = tile->key / work->tools->recipe.tile_k;
    if (cover == COVER_SOME && !attn_panel_finite(&work->panel, head, t)) {
        add_guarded(work, stack, tile, weights, ld, values);
    } else {
        attn_few_values(work, head, tile, stack->total, weights, ld, values);
    }
    work->tools->kernels->add_columns(softmax->values, values, 0, 1,
                                      stack->total * dim);
}

/* True if nothing but the product makes the scores of a tile, and all of them count. */
static bool is_plain(const struct work *work, enum cover cover) {
    const struct toolbox *tools = work->tools;
    return cover == COVER_ALL && tools->terms.count == 0 &&
           tools->problem->dropout == 0.0f;
}

/* Adds a tile to a strip; the span that it is part of. */
static const struct span *take_tile(struct strip *strip, const struct tile *tile,
                                    enum cover cover, bool plain) {
    const int column = strip->columns;
    strip->columns += tile->keys;
    if (strip->spans > 0 && plain) {
        struct span *last = &strip->span[strip->spans - 1];
        const int keys = last->tile.keys + tile->keys;
        if (last->plain && last->tile.key + last->tile.keys == tile->key &&
            keys <= SPAN_KEYS) {
            last->tile.keys = keys;
            return last;
        }
    }
    strip->span[strip->spans] = (struct span){*tile, cover, plain, column};
    return &strip->span[strip->spans++];
}

/* The scores of the tiles [first, end) of keys, which make a strip at most. */
static void score_strip(struct work *work, const struct stack *stack, int64_t first,
                        int64_t end, int64_t end_key, float *scores,
                        struct strip *strip) {
    const struct call *call = stack->member[0].head.call;
    const int64_t ld = strip_stride(&work->tools->recipe);
    strip->spans = strip->columns = 0;
    for (int64_t t = first; t < end && !attn_work_stopped(work, call); t++) {
        const struct tile tile =
            attn_tile_at(work, stack->row, stack->rows, t, end_key);
        const enum cover cover = cover_stack(work, stack, &tile);
        const bool plain = is_plain(work, cover);
        if (cover == COVER_NONE) {
            continue;
        }
        const struct span *span = take_tile(strip, &tile, cover, plain);
        if (!plain) {
            score_stack(work, stack, &tile, scores + span->column, ld);
        }
    }
    for (int i = 0; i < strip->spans && !attn_work_stopped(work, call); i++) {
        const struct span *span = &strip->span[i];
        if (span->plain) {
            attn_few_scores(work, &stack->member[0].head, &span->tile, stack->total,
                            stack->query, scores + span->column, ld);
        }
    }
}

/* The stack against the tiles [first, end). */
static void run_strip(struct work *work, const struct stack *stack, int64_t first,
                      int64_t end, int64_t end_key, struct softmax *softmax) {
    const struct call *call = stack->member[0].head.call;
    const int64_t ld = strip_stride(&work->tools->recipe);
    float *scores = work_floats(work, REGION_SCORES);
    struct strip strip;
    score_strip(work, stack, first, end, end_key, scores, &strip);
    if (strip.spans == 0) {
        return;
    }
    attn_softmax_step(softmax, work->tools->kernels, scores, ld, strip.columns);
    for (int i = 0; i < strip.spans && !attn_work_stopped(work, call); i++) {
        const struct span *span = &strip.span[i];
        add_values(work, stack, &span->tile, span->cover, scores + span->column, ld,
                   softmax);
    }
}

static void run_tiles(struct work *work, const struct stack *stack, int64_t first,
                      int64_t end, int64_t end_key, struct softmax *softmax) {
    const int64_t tiles = work->tools->recipe.split_tiles;
    for (int64_t t = first; t < end; t += tiles) {
        run_strip(work, stack, t, min_i64(t + tiles, end), end_key, softmax);
    }
}

/* The stack against the keys of one split. */
static void run_split(struct work *work, const struct stack *stack, int64_t split,
                      struct softmax *softmax) {
    const struct head *head = &stack->member[0].head;
    const int64_t tiles = attn_decode_split_tiles(&work->tools->recipe, head->keys);
    int64_t first, end, end_key;
    attn_tiles_of_rows(work, head, stack->row, stack->rows, &first, &end, &end_key);
    attn_softmax_start(softmax);
    run_tiles(work, stack, max_i64(first, split * tiles),
              min_i64(end, (split + 1) * tiles), end_key, softmax);
}

static void finish(const struct work *work, const struct stack *stack,
                   const struct softmax *state) {
    for (int i = 0; i < stack->members; i++) {
        const int64_t at = (int64_t)i * stack->rows;
        struct softmax own = *state;
        own.rows = stack->rows;
        own.maximum += at;
        own.sum += at;
        own.factor += at;
        own.values += at * state->dim;
        attn_softmax_finish(&own, work->tools->kernels, &stack->member[i].head,
                            stack->row);
    }
}

static void run_stack(struct work *work, const struct stack *stack, int64_t before) {
    const struct toolbox *tools = work->tools;
    const struct head *head = &stack->member[0].head;
    const int64_t splits = attn_decode_splits(&tools->recipe, head->keys);
    struct softmax state = attn_block_softmax(work, before, stack->total);
    if (splits <= 1) {
        run_split(work, stack, 0, &state);
    } else {
        struct softmax part =
            part_at(work_floats(work, REGION_PART), stack->total, state.dim);
        attn_softmax_start(&state);
        for (int64_t s = 0; s < splits; s++) {
            run_split(work, stack, s, &part);
            attn_softmax_merge(&state, &part, tools->kernels);
        }
    }
    if (!attn_work_stopped(work, head->call)) {
        finish(work, stack, &state);
    }
}

/*
 * Rows and heads of a stack, of a sequence of so many queries. They follow from that
 * alone: which heads share a strip decides which tiles lie side by side in it.
 */
static int stack_rows(const struct recipe *recipe, int64_t rows) {
    return (int)max_i64(1, min_i64(rows, recipe->tile_q));
}

static int stack_heads_most(const struct recipe *recipe, int64_t rows) {
    return recipe->tile_q / stack_rows(recipe, rows);
}

int64_t attn_decode_whole_stacks(const struct recipe *recipe, int64_t rows,
                                 int64_t heads) {
    const int64_t most = stack_heads_most(recipe, rows);
    return max_i64(most, heads / most * most);
}

static void run(struct work *work, const struct call *call, const struct block *block) {
    const struct recipe *recipe = &work->tools->recipe;
    const int64_t length = block->row_end - block->row;
    const int64_t queries = attn_call_rows(call, block->b);
    const int rows = stack_rows(recipe, queries);
    const int heads = stack_heads_most(recipe, queries);
    for (int64_t h = block->head; h < block->head_end; h += heads) {
        const int members = (int)min_i64(heads, block->head_end - h);
        for (int64_t row = block->row; row < block->row_end; row += rows) {
            const int count = (int)min_i64(rows, block->row_end - row);
            const struct stack stack =
                stack_heads(work, call, block->b, h, members, row, count);
            run_stack(work, &stack, (h - block->head) * length + row - block->row);
            if (attn_work_stopped(work, call)) {
                return;
            }
        }
    }
}

void attn_decode_part(struct work *work, const struct call *call,
                      const struct block *block, int64_t split, float *memory) {
    const struct stack stack = stack_heads(
        work, call, block->b, block->head, (int)(block->head_end - block->head),
        block->row, (int)(block->row_end - block->row));
    struct softmax part = part_at(memory, stack.total, work->tools->problem->value_dim);
    run_split(work, &stack, split, &part);
}

void attn_decode_join(struct work *work, const struct call *call,
                      const struct block *block, int64_t splits, float *memory,
                      int64_t apart) {
    const struct stack stack = stack_heads(
        work, call, block->b, block->head, (int)(block->head_end - block->head),
        block->row, (int)(block->row_end - block->row));
    struct softmax state = attn_block_softmax(work, 0, stack.total);
    attn_softmax_start(&state);
    for (int64_t s = 0; s < splits; s++) {
        struct softmax part = part_at(memory + s * apart, stack.total, state.dim);
        attn_softmax_merge(&state, &part, work->tools->kernels);
    }
    finish(work, &stack, &state);
}

const struct engine attn_engine_decode = {
    .name = "decode",
    .book = book,
    .run = run,
};
