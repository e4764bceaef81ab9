/*
 * The list of score terms, and the two that are a line of work each: the softcap and
 * ALiBi (Press et al. 2022), whose distance is that of positions, not of indices.
 */
#include "core/term.h"

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

void attn_terms_apply(const struct term_list *list, const struct head *head,
                      const struct tile *tile, const struct kernels *kernels,
                      float *scores, int64_t ld) {
    for (int i = 0; i < list->count; i++) {
        list->term[i]->apply(head, tile, kernels, scores, ld);
    }
}

static bool has_softcap(const struct problem *problem) {
    return problem->softcap > 0.0f;
}

static void apply_softcap(const struct head *head, const struct tile *tile,
                          const struct kernels *kernels, float *scores, int64_t ld) {
    kernels->softcap(scores, ld, tile->rows, tile->keys, head->problem->softcap);
}

const struct term attn_term_softcap = {
    .name = "softcap",
    .present = has_softcap,
    .apply = apply_softcap,
};

static bool has_alibi(const struct problem *problem) {
    return problem->alibi;
}

static void apply_alibi(const struct head *head, const struct tile *tile,
                        const struct kernels *kernels, float *scores, int64_t ld) {
    int64_t distance = tile->row + head->offset - tile->key;
    kernels->add_alibi(scores, ld, tile->rows, tile->keys, head->slope, distance);
}

const struct term attn_term_alibi = {
    .name = "alibi",
    .present = has_alibi,
    .apply = apply_alibi,
};
