/*
 * Score terms: what happens to scale * query.key before masks and softmax. Each is one
 * file with the same verbs; they apply in the order of the list.
 */
#ifndef ATTN_CORE_TERM_H
#define ATTN_CORE_TERM_H

#include "core/call.h"
#include "kernel/kernel.h"

/* What gradients need beside the gradients of scores. */
struct term_scratch {
    float *raw;     /* a tile: scores before the softcap, ld as the scores have */
    float *columns; /* a float for each column of a tile */
};

struct term {
    const char *name;
    bool (*present)(const struct problem *problem);
    void (*apply)(const struct head *head, const struct tile *tile,
                  const struct kernels *kernels, float *scores, int64_t ld);
    /*
     * From the gradient of the scores after the term: adds to those of the term's own
     * inputs, if the call asks for them, and makes it that of the scores before. Where
     * it is 0 it stays 0.
     */
    void (*gradient)(const struct head *head, const struct tile *tile,
                     const struct kernels *kernels, const struct term_scratch *scratch,
                     float *gradients, int64_t ld);
};

enum { TERMS_MAX = 3 };

/* The terms that a problem has, in order. */
struct term_list {
    int count;
    const struct term *term[TERMS_MAX];
};

void attn_terms_select(struct term_list *list, const struct problem *problem);

/* With scratch, keeps in it what attn_terms_gradient() will need. */
void attn_terms_apply(const struct term_list *list, const struct head *head,
                      const struct tile *tile, const struct kernels *kernels,
                      const struct term_scratch *scratch, float *scores, int64_t ld);

/* The gradients of all terms, last first. */
void attn_terms_gradient(const struct term_list *list, const struct head *head,
                         const struct tile *tile, const struct kernels *kernels,
                         const struct term_scratch *scratch, float *gradients,
                         int64_t ld);

extern const struct term attn_term_softcap;
extern const struct term attn_term_bias;
extern const struct term attn_term_alibi;

#endif
