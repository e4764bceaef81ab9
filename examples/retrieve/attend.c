/*
 * How to compute attention with libattn, start to end:
 *
 *     context      where work runs: threads, memory, processor; once in a program
 *     descriptor   which attention: heads, dimensions, scale, masks; no data
 *     plan         the descriptor made ready for sizes up to the bounds
 *     arguments    the data of one call, as tensors: views of the caller's arrays
 *     forward      the call
 *
 * A program that attends more than once makes the plan once and keeps it: it is
 * immutable, any number of threads may run it, and any sizes within its bounds will do.
 */
#include "attend.h"

#include <math.h>

#include "progress.h"

enum { TIMED_CALLS = 3 }; /* enough to see past other programs */

/* The library polls this about once a tile, on any of its threads, and cancels the call
 * if it returns something else than 0. Here it only shows that work goes on. */
static int32_t still_wanted(void *user) {
    (void)user;
    progress_tick(0, 0);
    return 0;
}

attn_status attend_open(attn_context **context, int32_t threads) {
    attn_status status = attn_context_create(context);
    if (status != ATTN_OK) {
        return status;
    }
    status = attn_context_set_threads(*context, threads);
    if (status != ATTN_OK) {
        attn_context_destroy(*context);
    }
    return status;
}

/* Step 1: the facts. Setters that are not called leave out what they stand for: causal
 * masks, windows, lengths, biases and so on. */
static attn_status describe(attn_desc *desc, const struct attention *attention) {
    /* As many key heads as query heads: plain multi-head attention. */
    attn_status status = attn_desc_set_heads(desc, attention->heads, attention->heads);
    if (status == ATTN_OK) {
        status = attn_desc_set_dims(desc, attention->dim, attention->dim);
    }
    /* Without this the scale is 1 / sqrt(dim), right for the vectors of a network.
     * These have length 1, so that query.key is a cosine, at most 1. */
    if (status == ATTN_OK) {
        status = attn_desc_set_scale(desc, 1 / attention->temperature);
    }
    if (status == ATTN_OK && attention->mask != NULL) {
        status = attn_desc_set_mask(desc, ATTN_BOOL);
    }
    return status;
}

/* Step 2: the plan. All sizes are known here, so the bounds are exact. */
static attn_status make_plan(attn_plan **plan, attn_context *context,
                             const struct attention *attention) {
    attn_desc *desc = NULL;
    attn_status status = attn_desc_create(&desc);
    if (status == ATTN_OK) {
        status = describe(desc, attention);
    }
    if (status == ATTN_OK) {
        const attn_bounds bounds = {
            .size = sizeof bounds,
            .batch = 1,
            .q_length = attention->queries,
            .kv_length = attention->keys,
        };
        status = attn_plan_create(plan, context, desc, &bounds);
    }
    attn_desc_destroy(desc); /* the plan has its own copy */
    return status;
}

/* Step 3: the data. A tensor is a view: it points to the caller's memory and says how
 * it is laid out, in the order batch, heads, sequence, dimension. */
struct tensors {
    attn_tensor query, key, value, mask, out, raw_scores, weights, mean_weights;
};

static void view(attn_tensor *tensor, int64_t heads, int64_t rows, int64_t columns,
                 float *data) {
    /* With these arguments it cannot fail; a wrong shape is found by the call. */
    const int64_t shape[] = {1, heads, rows, columns};
    (void)attn_tensor_init(tensor, ATTN_F32, 4, shape, data);
}

static void fill_args(attn_forward_args *args, struct tensors *t,
                      const struct attention *a) {
    attn_forward_args_init(args, sizeof *args); /* every member NULL or 0: not there */
    view(&t->query, a->heads, a->queries, a->dim, a->query);
    view(&t->key, a->heads, a->keys, a->dim, a->key);
    view(&t->value, a->heads, a->keys, a->dim, a->value);
    view(&t->out, a->heads, a->queries, a->dim, a->out);
    args->query = &t->query;
    args->key = &t->key;
    args->value = &t->value;
    args->out = &t->out;
    if (a->mask != NULL) { /* without batch and heads it holds for all of them */
        const int64_t shape[] = {a->queries, a->keys};
        (void)attn_tensor_init(&t->mask, ATTN_BOOL, 2, shape, a->mask);
        args->mask = &t->mask;
    }
    args->should_stop = still_wanted;
}

/* The weights and scores of every query and key need memory of queries times keys. The
 * output never does: the library goes through the keys by tiles, and works these out in
 * a second pass if they are wanted. */
static void ask_for_more(attn_forward_args *args, struct tensors *t,
                         const struct attention *a) {
    if (a->raw_scores != NULL) {
        view(&t->raw_scores, a->heads, a->queries, a->keys, a->raw_scores);
        args->raw_scores = &t->raw_scores;
    }
    if (a->weights != NULL) {
        view(&t->weights, a->heads, a->queries, a->keys, a->weights);
        args->weights = &t->weights;
    }
    if (a->mean_weights != NULL) {
        const int64_t shape[] = {1, a->queries, a->keys};
        (void)attn_tensor_init(&t->mean_weights, ATTN_F32, 3, shape, a->mean_weights);
        args->mean_weights = &t->mean_weights;
    }
}

/* Step 4: the call. No workspace is given, so it comes from the context, which keeps it
 * for the next call. */
static attn_status timed_forward(const attn_plan *plan, const attn_forward_args *args,
                                 double *seconds) {
    double start = progress_clock();
    attn_status status = attn_plan_forward(plan, args);
    *seconds = progress_clock() - start;
    return status;
}

attn_status attend(attn_context *context, struct attention *attention) {
    attn_plan *plan = NULL;
    attn_status status = make_plan(&plan, context, attention);
    if (status != ATTN_OK) {
        return status; /* *plan is NULL: nothing to destroy */
    }
    attn_plan_explain(plan, attention->explain, sizeof attention->explain);

    attn_forward_args args;
    struct tensors tensors;
    fill_args(&args, &tensors, attention);
    ask_for_more(&args, &tensors, attention);
    status = timed_forward(plan, &args, &attention->seconds_more);

    /* Now for the clock: out alone, with threads and workspace already there, the best
     * of a few. It gets the same bits as before: asking for more never changes them. */
    fill_args(&args, &tensors, attention);
    attention->seconds = INFINITY;
    for (int i = 0; i < TIMED_CALLS && status == ATTN_OK; i++) {
        double seconds;
        status = timed_forward(plan, &args, &seconds);
        attention->seconds = fmin(attention->seconds, seconds);
    }
    attn_plan_destroy(plan);

    /* Two products, query by key and weight by value, of two operations an element. */
    double operations = 4.0 * attention->heads * (double)attention->queries *
                        (double)attention->keys * attention->dim;
    attention->gflops = operations / attention->seconds / 1e9;
    return status;
}
