/*
 * Turns samples into rates and ratios. Every ratio is the median of the ratios of the
 * single rounds, since what slows a round down slows both of its sides.
 */
#include "bench/result.h"

#include <math.h>
#include <string.h>

#include "bench/reference.h"
#include "bench/storage.h"

double case_flops(const struct bench_case *c) {
    const struct test_problem *p = &c->problem;
    double pairs =
        (double)p->batch * p->q_heads * (double)p->q_length * (double)p->kv_length;
    double key = 2 * pairs * p->key_dim, value = 2 * pairs * p->value_dim;
    double forward = key + value;
    /* scores again, gradients of weights, value, query and key */
    return c->backward ? forward + 3 * key + 2 * value : forward;
}

double case_kv_bytes(const struct bench_case *c) {
    const struct test_problem *p = &c->problem;
    double rows = 0;
    for (int64_t b = 0; b < p->batch; b++) {
        rows += (double)(c->inputs.kv_lengths ? c->inputs.kv_lengths[b] : p->kv_length);
    }
    double bytes = (double)p->key_dim * (double)storage_bytes(p->key_type) +
                   (double)p->value_dim * (double)storage_bytes(p->value_type);
    return rows * p->kv_heads * bytes;
}

const struct limits *limits_of(const struct run *run, int32_t threads) {
    const struct limits *limits = run->limits;
    while (limits->threads != threads) {
        limits++;
    }
    return limits;
}

/* The problem with nothing masked and no term added to the scores. */
static struct test_problem without_masks(struct test_problem problem) {
    problem.causal = 0;
    problem.alignment = ATTN_ALIGN_TOP_LEFT;
    problem.left = problem.right = -1;
    problem.q_lengths = problem.kv_lengths = problem.documents = problem.prefix = 0;
    problem.q_block = problem.k_block = 0;
    problem.mask = problem.bias = problem.alibi = problem.sinks = 0;
    problem.softcap = problem.dropout = 0;
    return problem;
}

/* Whether two problems differ in nothing but their seed. */
static int same_work(struct test_problem a, struct test_problem b) {
    char text_a[CASE_TEXT], text_b[CASE_TEXT];
    a.seed = b.seed = 0;
    problem_format(&a, text_a, sizeof text_a);
    problem_format(&b, text_b, sizeof text_b);
    return strcmp(text_a, text_b) == 0;
}

/* The case that *c would be without masks. NULL if *c is without, or none is. */
static const struct bench_case *find_full(const struct run *run,
                                          const struct bench_case *c) {
    struct test_problem full = without_masks(c->problem);
    if (same_work(c->problem, full)) {
        return NULL;
    }
    for (int i = 0; i < run->case_count; i++) {
        if (run->cases[i].backward == c->backward &&
            same_work(run->cases[i].problem, full)) {
            return &run->cases[i];
        }
    }
    return NULL;
}

/* How close amount / seconds comes to the rate of a limit. */
static double part_of(double amount, const struct samples *seconds,
                      const struct samples *rate) {
    struct samples limit = {0};
    for (int i = 0; i < rate->count; i++) {
        samples_add(&limit, amount / rate->value[i]);
    }
    double part = samples_median_ratio(&limit, seconds);
    samples_free(&limit);
    return part;
}

/* How close a call that both multiplies and reads comes to the slower of the limits. */
static double part_of_both(double flops, double bytes, const struct samples *seconds,
                           const struct limits *limits) {
    struct samples least = {0};
    for (int i = 0; i < limits->fma.count; i++) {
        samples_add(&least,
                    fmax(flops / limits->fma.value[i], bytes / limits->read.value[i]));
    }
    double part = samples_median_ratio(&least, seconds);
    samples_free(&least);
    return part;
}

struct result result_of(const struct run *run, const struct bench_case *c) {
    const struct limits *limits = limits_of(run, c->problem.threads);
    double flops = case_flops(c), bytes = case_kv_bytes(c);
    struct result result = {
        .median = samples_median(&c->seconds),
        .least = samples_min(&c->seconds),
        .of_peak = part_of(flops, &c->seconds, &limits->fma),
        .bytes = NAN,
        .of_read = NAN,
        .of_limit = NAN,
        .of_full = NAN,
        .kept = reference_kept(c),
        .of_forward = samples_median_ratio(&c->backward_seconds, &c->forward_seconds),
        .full = find_full(run, c),
    };
    result.flops = flops / result.median;
    if (c->problem.q_length < INPUTS_FEW_QUERIES && !c->backward) {
        result.bytes = bytes / result.median;
        result.of_read = part_of(bytes, &c->seconds, &limits->read);
        result.of_limit = part_of_both(flops, bytes, &c->seconds, limits);
    }

    if (result.full != NULL) {
        result.of_full = samples_median_ratio(&c->seconds, &result.full->seconds);
    }
    return result;
}
