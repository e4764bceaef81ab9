/*
 * The plan: a problem with everything decided that does not depend on the call.
 */
#ifndef ATTN_PLAN_PLAN_H
#define ATTN_PLAN_PLAN_H

#include "attn/backward.h"
#include "core/work.h"
#include "desc/desc.h"
#include "engine/engine.h"
#include "exec/context.h"

struct tuned;

struct attn_plan {
    struct attn_context *context;
    struct problem problem;
    attn_bounds bounds;
    int32_t forced;                        /* ATTN_ENGINE_... */
    struct toolbox tools, dense, backward; /* dense: of that engine */
    size_t workspace, backward_workspace;  /* bytes, all threads */
    int64_t part_floats;    /* sums of a split that threads share, 0: they share none */
    size_t parts;           /* where those begin in the workspace */
    int64_t *bucket_starts; /* of tools; NULL: none */
};

/*
 * Prepares *plan. Takes no hold on the context, and allocates nothing but for a
 * relative bias; attn_plan_clear() frees it, also after a failure.
 */
attn_status attn_plan_setup(struct attn_plan *plan, struct attn_context *context,
                            const struct attn_desc *desc, const attn_bounds *bounds);

void attn_plan_clear(struct attn_plan *plan);

/* Runs a call that was bound to plan->problem. */
attn_status attn_plan_run(const struct attn_plan *plan, const struct call *call,
                          void *workspace);

/* The same for a backward call. */
attn_status attn_plan_run_backward(const struct attn_plan *plan,
                                   const struct call *call, void *workspace);

/* Fills in tiles, block and panel of plan->tools, and makes plan->dense and
 * plan->backward of it, from problem, kernels and BLAS. */
void attn_plan_choose_tiles(struct attn_plan *plan);

/* What the plan's context was tuned to for such problems, or NULL. */
const struct tuned *attn_plan_tuned(const struct attn_plan *plan);

/* The engine for a sequence with this many queries and keys. */
const struct engine *attn_plan_engine(const struct attn_plan *plan, int64_t rows,
                                      int64_t keys);

/* The tools of that engine for a sequence with this many keys. */
const struct toolbox *attn_plan_tools(const struct attn_plan *plan,
                                      const struct engine *engine, int64_t keys);

/* The most keys for which attn_plan_engine() can choose dense within the bounds. */
int64_t attn_plan_dense_keys(const struct attn_plan *plan);

/* True if plan->dense can be used within the bounds. */
bool attn_plan_uses_dense(const struct attn_plan *plan);

/* How a call is cut into pieces of work that have their outputs to themselves. */
struct split {
    int64_t chunks; /* ranges of rows */
    int64_t rows;   /* rows of a chunk */
    int64_t groups; /* ranges of heads */
    int64_t heads;  /* heads of a group */
    int64_t pieces; /* batch * chunks * groups */
    int32_t tasks;  /* threads worth using */
};

void attn_plan_split(struct split *split, const struct attn_plan *plan,
                     const struct call *call);

/* The number of threads that a call keeps busy. */
int32_t attn_plan_threads_worth(const struct attn_plan *plan, const struct call *call);

/* Piece number i as a range of heads and rows of a batch element. */
struct block attn_plan_piece(const struct split *split, const struct call *call,
                             int64_t i);

/* Books room for the sums of splits behind the scratch of the threads. */
void attn_plan_book_parts(struct attn_plan *plan);

/* True if the threads should share the keys of each sequence of a call. */
bool attn_plan_shares_keys(const struct attn_plan *plan, const struct call *call);

/* Runs such a call; false if it was stopped. */
bool attn_plan_run_keys(const struct attn_plan *plan, const struct call *call,
                        char *workspace);

/* Key-value heads of all sequences, at most, whose keys threads share. */
int64_t attn_plan_shared_units(const struct attn_plan *plan);

/* Writes rows of a block from this one on as rows with nothing to attend to. */
void attn_plan_empty_rows(const struct call *call, const struct kernels *kernels,
                          const struct block *block, int64_t row);

struct text;

/* Appends what attn_plan_explain() says of the plan alone. */
void attn_plan_describe(struct text *text, const struct attn_plan *plan);

/* Writes the explanation of attn_plan_explain(). */
size_t attn_plan_write(const struct attn_plan *plan, char *buffer, size_t size);

#endif
