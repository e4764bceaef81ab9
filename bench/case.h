/*
 * A problem ready to run: its inputs, the context, descriptor and plan, and the samples
 * that timing takes. With the word backward, running it is a forward call that keeps
 * each row's maximum and sum, and the backward call for query, key and value; with the
 * word cache the call reads key and value from a cache.
 */
#ifndef BENCH_CASE_H
#define BENCH_CASE_H

#include "attn.h"
#include "bench/cached.h"
#include "bench/inputs.h"
#include "bench/stats.h"
#include "bench/suite.h"

enum { CASE_TEXT = 512 };

struct bench_case {
    const char *name;     /* "" if it has none; belongs to the suite */
    char text[CASE_TEXT]; /* the problem, as problem_format() writes it, and
                             backward and cache */
    char *title;          /* "name: text", or only the text */
    struct test_problem problem;
    int backward, cached, tuned;
    struct inputs inputs;
    struct bench_cached cache; /* if cached */

    attn_context *context;
    attn_plan *plan;
    void *workspace;        /* of both calls */
    attn_forward_args args; /* these two point to the tensors below */
    attn_backward_args backward_args;
    struct {
        attn_tensor query, key, value, out, key_scales, value_scales;
        attn_tensor row_max, row_sum, grad_out, grad_query, grad_key, grad_value;
        attn_tensor q_lengths, kv_lengths, offsets, prefix;
        attn_tensor q_documents, k_documents, block_mask, mask, bias, slopes, sinks;
    } tensor;
    int turn; /* copy of key and value that the next call reads */

    int checked;            /* rows compared */
    double worst;           /* largest error, as a part of what is allowed */
    int64_t calls;          /* that make one sample */
    struct samples seconds; /* of one run, one sample a round */
    struct samples forward_seconds, backward_seconds; /* its parts, with backward */
    attn_profile profile; /* of one more sample; no calls: not taken */
};

/* threads: of the call, 0: as the problem says, or one. Fills *c, which must not move
 * afterwards. Ends the program with the library's message if it refuses. */
void case_open(struct bench_case *c, const struct suite_entry *entry, int32_t threads);
void case_close(struct bench_case *c);

/* One call of the library, or both. Ends the program if one fails. */
void case_run(struct bench_case *c);
void case_forward(struct bench_case *c);
void case_backward(struct bench_case *c);

/* The text of attn_plan_explain(); release with free(). */
char *case_explain(const struct bench_case *c);

#endif
