/*
 * Score terms: what happens to scale * query.key before masks and softmax. Each is one
 * file with the same verbs; they apply in the order of the list.
 */
#ifndef ATTN_CORE_TERM_H
#define ATTN_CORE_TERM_H

#include "core/call.h"
#include "core/workspace.h"

struct toolbox;
struct work;

struct term {
    const char *name;
    bool (*present)(const struct problem *problem);
    /* Books scratch for one thread; false if a size overflows. NULL: needs none. */
    bool (*book)(struct layout *layout, const struct toolbox *tools);
    /* NULL: the product has it already. */
    void (*apply)(struct work *work, const struct head *head, const struct tile *tile,
                  float *scores, int64_t ld);
    /*
     * From the gradient of the scores after the term: adds to those of the term's own
     * inputs, if the call asks for them, and to work->grad_query what it gives queries,
     * and makes it that of the scores before. Where it is 0 it stays 0, and nothing
     * arrives from there.
     */
    void (*gradient)(struct work *work, const struct head *head,
                     const struct tile *tile, float *gradients, int64_t ld);
};

enum { TERMS_MAX = 7 };

/* The terms that a problem has, in order. */
struct term_list {
    int count;
    const struct term *term[TERMS_MAX];
};

void attn_terms_select(struct term_list *list, const struct problem *problem);

bool attn_terms_book(const struct term_list *list, struct layout *layout,
                     const struct toolbox *tools);

void attn_terms_apply(struct work *work, const struct head *head,
                      const struct tile *tile, float *scores, int64_t ld);

/* The gradients of all terms, last first. */
void attn_terms_gradient(struct work *work, const struct head *head,
                         const struct tile *tile, float *gradients, int64_t ld);

/* How many buckets the relative bias has for one side, 0 without; and fills in where
 * each starts. */
int64_t attn_relative_bias_buckets(const struct problem *problem);
void attn_relative_bias_starts(const struct problem *problem, int64_t *starts);

extern const struct term attn_term_content_bias;
extern const struct term attn_term_softcap;
extern const struct term attn_term_bias;
extern const struct term attn_term_alibi;
extern const struct term attn_term_relative_bias;
extern const struct term attn_term_relative_keys;
extern const struct term attn_term_segments;

#endif
