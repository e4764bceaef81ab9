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

#include "base/arith.h"
#include "engine/strip.h"

/*
 * So many strips are scored and weighed before any of their values, if the stack has
 * few rows: the longer the pieces, the less often does reading start anew. With more
 * rows their scores would be in the way of what is read.
 */
enum { WAVE_STRIPS = 4, WAVE_ROWS = 32 };

static int wave_strips(int rows) {
    return (int)max_i64(1, min_i64(WAVE_STRIPS, WAVE_ROWS / rows));
}

static bool book(struct layout *layout, const struct toolbox *tools, int64_t keys) {
    (void)keys;
    const int rows = tools->recipe.tile_q;
    const int64_t dim = tools->problem->value_dim;
    return attn_engine_book(layout, tools) &&
           attn_layout_book(layout, REGION_SCORES, max_i64(rows, WAVE_ROWS),
                            attn_strip_stride(&tools->recipe), sizeof(float)) &&
           attn_layout_book(layout, REGION_ATTENDED, tools->masks.count > 0 ? rows : 0,
                            attn_strip_stride(&tools->recipe), sizeof(float)) &&
           attn_layout_book(layout, REGION_STACK, rows, 1, sizeof(struct member)) &&
           attn_layout_book(layout, REGION_TILE_VALUES, rows, dim, sizeof(float)) &&
           attn_layout_book(layout, REGION_PART, max_i64(rows, WAVE_ROWS), dim + 3,
                            sizeof(float)) &&
           attn_layout_book(layout, REGION_FACTORS, max_i64(rows, WAVE_ROWS), 1,
                            sizeof(float));
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
    stack.query = (struct matrix){.data = query, .ld = dim};
    return stack;
}

/*
 * The stack against tiles [first, end) of keys. With parts, one for each strip of a
 * wave, each split is summed up in one of those, then taken into the state.
 */
static void run_tiles(struct work *work, const struct stack *stack, int64_t first,
                      int64_t end, int64_t end_key, struct softmax *state,
                      struct softmax *part) {
    const struct recipe *recipe = &work->tools->recipe;
    const struct head *head = &stack->member[0].head;
    const int64_t split = attn_decode_split_tiles(recipe, head->keys);
    const int most = wave_strips(stack->total);
    for (int64_t t = first; t < end && !attn_work_stopped(work, head->call);) {
        struct strip strip[WAVE_STRIPS];
        int strips = 0;
        for (; strips < most && t < end; strips++) {
            struct strip *next = &strip[strips];
            next->first = t;
            next->softmax = part != NULL ? &part[t / split % most] : state;
            t = min_i64((t / split + 1) * split, min_i64(t + recipe->split_tiles, end));
            next->end = t;
            next->ld = attn_strip_stride(recipe);
            next->scores = work_floats(work, REGION_SCORES) +
                           (ptrdiff_t)strips * stack->total * next->ld;
            next->factor =
                work_floats(work, REGION_FACTORS) + (ptrdiff_t)strips * stack->total;
            attn_strip_score(work, stack, next, end_key);
        }
        for (int i = 0; i < strips; i++) {
            if (part != NULL &&
                (strip[i].first % split == 0 || strip[i].first == first)) {
                attn_softmax_start(strip[i].softmax);
            }
            attn_strip_weigh(work, &strip[i]);
        }
        for (int i = 0; i < strips; i++) {
            attn_strip_add(work, stack, &strip[i]);
        }
        for (int i = 0; i < strips; i++) {
            if (part != NULL && (strip[i].end % split == 0 || strip[i].end == end)) {
                attn_softmax_merge(state, strip[i].softmax, work->tools->kernels);
            }
        }
    }
}

static void finish(const struct work *work, const struct stack *stack,
                   const struct softmax *state) {
    const enum stage before = work_turn(work, STAGE_OUTPUTS);
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
    work_turn(work, before);
}

/* The stack against all of its keys. */
static void run_stack(struct work *work, const struct stack *stack, int64_t before) {
    const struct head *head = &stack->member[0].head;
    const bool splits = attn_decode_splits(&work->tools->recipe, head->keys) > 1;
    struct softmax state = attn_block_softmax(work, before, stack->total);
    struct softmax part[WAVE_STRIPS];
    for (int i = 0; splits && i < wave_strips(stack->total); i++) {
        part[i] = part_at(work_floats(work, REGION_PART) +
                              (ptrdiff_t)i * stack->total * (state.dim + 3),
                          stack->total, state.dim);
    }
    int64_t first, end, end_key;
    attn_tiles_of_rows(work, head, stack->row, stack->rows, &first, &end, &end_key);
    attn_softmax_start(&state);
    run_tiles(work, stack, first, end, end_key, &state, splits ? part : NULL);
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

/* The stack against the keys of one split. */
static void run_split(struct work *work, const struct stack *stack, int64_t split,
                      struct softmax *softmax) {
    const struct head *head = &stack->member[0].head;
    const int64_t tiles = attn_decode_split_tiles(&work->tools->recipe, head->keys);
    int64_t first, end, end_key;
    attn_tiles_of_rows(work, head, stack->row, stack->rows, &first, &end, &end_key);
    attn_softmax_start(softmax);
    run_tiles(work, stack, max_i64(first, split * tiles),
              min_i64(end, (split + 1) * tiles), end_key, softmax, NULL);
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
