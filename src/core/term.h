/*
 * Score terms: what happens to scale * query.key before masks and softmax. Each is one
 * file with the same verbs; they apply in the order of the list.
 */
#ifndef ATTN_CORE_TERM_H
#define ATTN_CORE_TERM_H

#include "core/call.h"
#include "kernel/kernel.h"

struct term {
    const char *name;
    bool (*present)(const struct problem *problem);
    void (*apply)(const struct head *head, const struct tile *tile,
                  const struct kernels *kernels, float *scores, int64_t ld);
};

enum { TERMS_MAX = 3 };

/* The terms that a problem has, in order. */
struct term_list {
    int count;
    const struct term *term[TERMS_MAX];
};

void attn_terms_select(struct term_list *list, const struct problem *problem);

void attn_terms_apply(const struct term_list *list, const struct head *head,
                      const struct tile *tile, const struct kernels *kernels,
                      float *scores, int64_t ld);

extern const struct term attn_term_softcap;
extern const struct term attn_term_bias;
extern const struct term attn_term_alibi;

#endif
