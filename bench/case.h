/*
 * A problem ready to run: its inputs, the context, descriptor and plan, and the samples
 * that timing takes.
 */
#ifndef BENCH_CASE_H
#define BENCH_CASE_H

#include "attn.h"
#include "bench/inputs.h"
#include "bench/stats.h"
#include "bench/suite.h"

enum { CASE_TEXT = 512 };

struct bench_case {
    const char *name;     /* "" if it has none; belongs to the suite */
    char text[CASE_TEXT]; /* the problem, as problem_format() writes it */
    char *title;          /* "name: text", or only the text */
    struct test_problem problem;
    struct inputs inputs;

    attn_context *context;
    attn_plan *plan;
    void *workspace;
    attn_forward_args args; /* points to the tensors below */
    struct {
        attn_tensor query, key, value, out;
        attn_tensor q_lengths, kv_lengths, offsets, prefix;
        attn_tensor q_documents, k_documents, block_mask, mask, bias, slopes, sinks;
    } tensor;
    int turn; /* copy of key and value that the next call reads */

    int checked;            /* rows compared */
    double worst;           /* largest error, as a part of what is allowed */
    int64_t calls;          /* that make one sample */
    struct samples seconds; /* of one call, one sample a round */
};

/* threads: of the call, 0: as the problem says, or one. Fills *c, which must not move
 * afterwards. Ends the program with the library's message if it refuses. */
void case_open(struct bench_case *c, const struct suite_entry *entry, int32_t threads);
void case_close(struct bench_case *c);

/* One call of the library. Ends the program if it fails. */
void case_run(struct bench_case *c);

/* The text of attn_plan_explain(); release with free(). */
char *case_explain(const struct bench_case *c);

#endif
