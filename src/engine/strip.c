/*
 * Scores of a strip, first those of tiles that masks or terms change, then the plain
 * ones in long pieces; and its values, likewise.
 */
#include "engine/strip.h"

#include <string.h>

/*
 * Between rows of a strip's scores: its keys, and a little more, so that rows do not
 * all lie at the same place of a page, where the processor confuses them.
 */
int64_t attn_strip_stride(const struct recipe *recipe) {
    return (int64_t)recipe->split_tiles * recipe->tile_k + 16;
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
        const enum stage before = work_turn(work, STAGE_TERMS);
        attn_terms_apply(work, &member->head, tile, own, ld);
        attn_masks_apply(&tools->masks, &member->head, tile, tools->kernels,
                         member->todo, own, ld);
        work_turn(work, before);
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
                        float *sums, float *total) {
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
        attn_few_values(work, head, &part, stack->total, weights + j, ld, sums, total,
                        j);
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
        add_guarded(work, stack, tile, weights, ld, values, softmax->values);
    } else {
        attn_few_values(work, head, tile, stack->total, weights, ld, values,
                        softmax->values, 0);
    }
    /* of as many as SUM_KEYS, sums are in the total already */
    if (cover == COVER_SOME || tile->keys % SUM_KEYS != 0) {
        work->tools->kernels->add_columns(softmax->values, values, 0, 1,
                                          stack->total * dim);
    }
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
        if (last->plain && last->tile.key + last->tile.keys == tile->key) {
            last->tile.keys += tile->keys;
            return last;
        }
    }
    strip->span[strip->spans] = (struct span){*tile, cover, plain, column};
    return &strip->span[strip->spans++];
}

void attn_strip_score(struct work *work, const struct stack *stack, struct strip *strip,
                      int64_t end_key) {
    const struct call *call = stack->member[0].head.call;
    float *scores = strip->scores;
    strip->spans = strip->columns = 0;
    for (int64_t t = strip->first; t < strip->end && !attn_work_stopped(work, call);
         t++) {
        const struct tile tile =
            attn_tile_at(work, stack->row, stack->rows, t, end_key);
        const enum cover cover = cover_stack(work, stack, &tile);
        const bool plain = is_plain(work, cover);
        if (cover == COVER_NONE) {
            continue;
        }
        const struct span *span = take_tile(strip, &tile, cover, plain);
        if (!plain) {
            score_stack(work, stack, &tile, scores + span->column, strip->ld);
        }
    }
    for (int i = 0; i < strip->spans && !attn_work_stopped(work, call); i++) {
        const struct span *span = &strip->span[i];
        if (span->plain) {
            attn_few_scores(work, &stack->member[0].head, &span->tile, stack->total,
                            stack->query, scores + span->column, strip->ld);
        }
    }
}

void attn_strip_weigh(struct work *work, struct strip *strip) {
    const enum stage before = work_turn(work, STAGE_SOFTMAX);
    strip->rescale =
        strip->spans > 0 &&
        attn_softmax_weigh(strip->softmax, work->tools->kernels, strip->scores,
                           strip->ld, strip->columns, strip->factor);
    work_turn(work, before);
}

void attn_strip_add(struct work *work, const struct stack *stack,
                    const struct strip *strip) {
    const struct call *call = stack->member[0].head.call;
    struct softmax *softmax = strip->softmax;
    if (strip->rescale) {
        attn_softmax_rescale(softmax, work->tools->kernels, strip->factor);
    }
    for (int i = 0; i < strip->spans && !attn_work_stopped(work, call); i++) {
        const struct span *span = &strip->span[i];
        add_values(work, stack, &span->tile, span->cover, strip->scores + span->column,
                   strip->ld, softmax);
    }
}
