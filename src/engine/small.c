/*
 * Small: heads of so few keys that steps over tiles would cost more than the
 * arithmetic. One kernel does all of it, with the bits of the dense engine. Scratch is
 * what that has booked, and some of its own.
 */
#include "base/arith.h"
#include "engine/engine.h"

/* A band reaches no further, so that its ends fit the kernel's. */
enum { BAND_MOST = 1 << 20 };

/* Heads of more features are never small, unless they have one key or query. */
enum { DIM_MOST = 1024 };

/* True if a head is nothing but products and a softmax, perhaps with a band. */
static bool plain(const struct toolbox *tools) {
    const struct problem *problem = tools->problem;
    const struct mask_list *masks = &tools->masks;
    const bool only_band =
        masks->count == 0 || (masks->count == 1 && masks->mask[0] == &attn_mask_band);
    return only_band && !problem->additive && !problem->prefix &&
           tools->terms.count == 0 && !problem->sinks && problem->dropout == 0.0f;
}

int64_t attn_small_keys(const struct toolbox *tools) {
    const struct recipe *recipe = &tools->recipe;
    if (!plain(tools) || !recipe->turn_keys || tools->problem->key_dim > DIM_MOST ||
        tools->problem->key_dim > recipe->cut.depth) {
        return 0;
    }
    const int64_t most = min_i64(SMALL_KEYS, recipe->dense_keys);
    /* sums over keys in one chain, as the dense engine has them */
    return min_i64(most, min_i64(recipe->tile_k, recipe->cut.depth));
}

static bool book(struct layout *layout, const struct toolbox *tools, int64_t keys) {
    const int64_t width = tools->kernels->width;
    (void)keys;
    return attn_small_keys(tools) == 0 ||
           attn_layout_book(layout, REGION_SMALL,
                            SMALL_KEYS + round_up(tools->problem->key_dim, width),
                            width, sizeof(float));
}

bool attn_small_fits(const struct toolbox *tools, const struct call *call, int64_t rows,
                     int64_t keys) {
    const struct problem *problem = tools->problem;
    return keys > 0 && keys <= attn_small_keys(tools) && rows <= tools->recipe.tile_q &&
           (tools->recipe.cut.own ||
            (product_is_small((int)rows, (int)keys, problem->key_dim) &&
             product_is_small((int)rows, problem->value_dim, (int)keys))) &&
           call->profile == NULL && call->cached == NULL &&
           call->query.dtype == ATTN_F32 && call->key.dtype == ATTN_F32 &&
           call->value.dtype == ATTN_F32 && call->out.dtype == ATTN_F32;
}

static const float *floats_of(const struct source *source, int64_t row) {
    return (const float *)(const void *)source->data + row * source->stride;
}

/* True if masked values may be multiplied by 0. */
static bool finite(const struct work *work, const struct head *head) {
    return work->tools->kernels->all_finite(floats_of(&head->value, 0),
                                            head->value.stride, (int)head->keys,
                                            head->problem->value_dim);
}

static void run_head(struct work *work, const struct head *head,
                     struct softmax *softmax, int64_t row) {
    const struct problem *problem = head->problem;
    const struct view *out = &head->call->out;
    struct small small = {
        .rows = softmax->rows,
        .keys = (int)head->keys,
        .key_dim = problem->key_dim,
        .value_dim = problem->value_dim,
        .scale = problem->scale,
        .band = work->tools->masks.count > 0,
        .query = floats_of(&head->query, row),
        .key = floats_of(&head->key, 0),
        .value = floats_of(&head->value, 0),
        .ld_query = head->query.stride,
        .ld_key = head->key.stride,
        .ld_value = head->value.stride,
        .out = head_row(head, out, row),
        .ld_out = out->stride[ROW],
        .maximum = softmax->maximum,
        .sum = softmax->sum,
        .factor = softmax->factor,
    };
    if (small.band) {
        int64_t first, end;
        /* sums of weights are in an order that depends on how many keys there are */
        attn_band_keys(head, row, small.rows, &first, &end);
        small.keys = (int)max_i64(1, end);
        attn_band_line(head, row, &first, &end);
        small.first = (int)max_i64(-BAND_MOST, min_i64(first, BAND_MOST));
        small.end = (int)max_i64(-BAND_MOST, min_i64(end, BAND_MOST));
    }
    work->tools->kernels->small(&small, work_floats(work, REGION_SMALL));
}

static void run(struct work *work, const struct call *call, const struct block *block) {
    struct head head;
    int64_t before = 0;
    const int rows = (int)(block->row_end - block->row);
    if (work->tools->masks.count > 0) {
        /* the heads of a block share values */
        attn_head_bind(&head, call, block->b, block->head);
        if (!finite(work, &head)) {
            attn_engine_dense.run(work, call, block);
            return;
        }
    }
    for (int64_t h = block->head; h < block->head_end; h++, before += rows) {
        attn_head_bind(&head, call, block->b, h);
        struct softmax softmax = attn_block_softmax(work, before, rows);
        run_head(work, &head, &softmax, block->row);
        attn_softmax_write_rows(&softmax, &head, block->row);
        if (attn_work_stopped(work, call)) {
            return;
        }
    }
}

const struct engine attn_engine_small = {
    .name = "small",
    .book = book,
    .run = run,
};
