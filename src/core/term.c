/*
 * The list of score terms, and the two that are a line of work each: the softcap and
 * ALiBi (Press et al. 2022), whose distance is that of positions, not of indices.
 */
#include "core/term.h"

#include <string.h>

static const struct term *const all_terms[TERMS_MAX] = {
    &attn_term_softcap,
    &attn_term_bias,
    &attn_term_alibi,
};

void attn_terms_select(struct term_list *list, const struct problem *problem) {
    list->count = 0;
    for (int i = 0; i < TERMS_MAX; i++) {
        if (all_terms[i]->present(problem)) {
            list->term[list->count++] = all_terms[i];
        }
    }
}

static void keep(const struct tile *tile, float *to, const float *scores, int64_t ld) {
    for (int64_t r = 0; r < tile->rows; r++) {
        memcpy(to + r * ld, scores + r * ld, (size_t)tile->keys * sizeof *to);
    }
}

void attn_terms_apply(const struct term_list *list, const struct head *head,
                      const struct tile *tile, const struct kernels *kernels,
                      const struct term_scratch *scratch, float *scores, int64_t ld) {
    for (int i = 0; i < list->count; i++) {
        if (scratch != NULL && list->term[i] == &attn_term_softcap) {
            keep(tile, scratch->raw, scores, ld);
        }
        list->term[i]->apply(head, tile, kernels, scores, ld);
    }
}

void attn_terms_gradient(const struct term_list *list, const struct head *head,
                         const struct tile *tile, const struct kernels *kernels,
                         const struct term_scratch *scratch, float *gradients,
                         int64_t ld) {
    for (int i = list->count - 1; i >= 0; i--) {
        list->term[i]->gradient(head, tile, kernels, scratch, gradients, ld);
    }
}

static bool has_softcap(const struct problem *problem) {
    return problem->softcap > 0.0f;
}

static void apply_softcap(const struct head *head, const struct tile *tile,
                          const struct kernels *kernels, float *scores, int64_t ld) {
    kernels->softcap(scores, ld, tile->rows, tile->keys, head->problem->softcap);
}

static void gradient_of_softcap(const struct head *head, const struct tile *tile,
                                const struct kernels *kernels,
                                const struct term_scratch *scratch, float *gradients,
                                int64_t ld) {
    kernels->softcap_gradients(gradients, ld, tile->rows, tile->keys, scratch->raw, ld,
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

/* The distance from the first row's position to the first key. */
static int64_t distance(const struct head *head, const struct tile *tile) {
    return tile->row + head->offset - tile->key;
}

static void apply_alibi(const struct head *head, const struct tile *tile,
                        const struct kernels *kernels, float *scores, int64_t ld) {
    kernels->add_alibi(scores, ld, tile->rows, tile->keys, head->slope,
                       distance(head, tile));
}

static void gradient_of_alibi(const struct head *head, const struct tile *tile,
                              const struct kernels *kernels,
                              const struct term_scratch *scratch, float *gradients,
                              int64_t ld) {
    (void)scratch;
    const struct view *total = &head->call->grad_slopes;
    if (total->data != NULL) {
        *view_at(total, head->b, head->h, 0, 0) -= kernels->sum_alibi(
            gradients, ld, tile->rows, tile->keys, distance(head, tile));
    }
}

const struct term attn_term_alibi = {
    .name = "alibi",
    .present = has_alibi,
    .apply = apply_alibi,
    .gradient = gradient_of_alibi,
};
