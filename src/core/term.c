/*
 * The list of score terms, and the two that are a line of work each: the softcap and
 * ALiBi (Press et al. 2022), whose distance is that of positions, not of indices.
 */
#include "core/term.h"

#include <string.h>

#include "core/work.h"

static const struct term *const all_terms[TERMS_MAX] = {
    &attn_term_content_bias, &attn_term_softcap,       &attn_term_bias,
    &attn_term_alibi,        &attn_term_relative_bias, &attn_term_relative_keys,
    &attn_term_segments,
};

void attn_terms_select(struct term_list *list, const struct problem *problem) {
    list->count = 0;
    for (int i = 0; i < TERMS_MAX; i++) {
        if (all_terms[i]->present(problem)) {
            list->term[list->count++] = all_terms[i];
        }
    }
}

bool attn_terms_book(const struct term_list *list, struct layout *layout,
                     const struct toolbox *tools) {
    for (int i = 0; i < list->count; i++) {
        if (list->term[i]->book != NULL && !list->term[i]->book(layout, tools)) {
            return false;
        }
    }
    return true;
}

void attn_terms_apply(struct work *work, const struct head *head,
                      const struct tile *tile, float *scores, int64_t ld) {
    const struct term_list *list = &work->tools->terms;
    for (int i = 0; i < list->count; i++) {
        if (list->term[i]->apply != NULL) {
            list->term[i]->apply(work, head, tile, scores, ld);
        }
    }
}

void attn_terms_gradient(struct work *work, const struct head *head,
                         const struct tile *tile, float *gradients, int64_t ld) {
    const struct term_list *list = &work->tools->terms;
    for (int i = list->count - 1; i >= 0; i--) {
        list->term[i]->gradient(work, head, tile, gradients, ld);
    }
}

static bool has_softcap(const struct problem *problem) {
    return problem->softcap > 0.0f;
}

/* The gradient needs the scores before the softcap: a backward pass keeps them. */
static void apply_softcap(struct work *work, const struct head *head,
                          const struct tile *tile, float *scores, int64_t ld) {
    float *raw = work_floats(work, REGION_RAW);
    for (int64_t r = 0; work->keep_raw && r < tile->rows; r++) {
        memcpy(raw + r * ld, scores + r * ld, (size_t)tile->keys * sizeof *raw);
    }
    work->tools->kernels->softcap(scores, ld, tile->rows, tile->keys,
                                  head->problem->softcap);
}

static void gradient_of_softcap(struct work *work, const struct head *head,
                                const struct tile *tile, float *gradients, int64_t ld) {
    work->tools->kernels->softcap_gradients(gradients, ld, tile->rows, tile->keys,
                                            work_floats(work, REGION_RAW), ld,
                                            head->problem->softcap);
}

const struct term attn_term_softcap = {
    .name = "softcap",
    .present = has_softcap,
    .apply = apply_softcap,
    .gradient = gradient_of_softcap,
};

static bool has_alibi(const struct problem *problem) {
    return problem->alibi;
}

static void apply_alibi(struct work *work, const struct head *head,
                        const struct tile *tile, float *scores, int64_t ld) {
    work->tools->kernels->add_alibi(scores, ld, tile->rows, tile->keys, head->slope,
                                    -tile_distance(head, tile));
}

static void gradient_of_alibi(struct work *work, const struct head *head,
                              const struct tile *tile, float *gradients, int64_t ld) {
    const struct view *total = &head->call->grad_slopes;
    if (total->data != NULL) {
        *view_at(total, head->b, head->h, 0, 0) -= work->tools->kernels->sum_alibi(
            gradients, ld, tile->rows, tile->keys, -tile_distance(head, tile));
    }
}

const struct term attn_term_alibi = {
    .name = "alibi",
    .present = has_alibi,
    .apply = apply_alibi,
    .gradient = gradient_of_alibi,
};
