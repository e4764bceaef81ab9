/*
 * From a problem to library objects: a setter for each word, an args member for each
 * tensor. Everything here fails the test, with the problem and the library's message,
 * if the library refuses.
 */
#ifndef TEST_RUN_H
#define TEST_RUN_H

#include "tests/support/gen.h"
#include "tests/support/outputs.h"

struct test_problem run_parse(const char *text);

/* Fails the test unless status is ATTN_OK. */
void run_need(attn_status status, const struct test_problem *problem, const char *call);

/* A context with the problem's threads and ISA; a descriptor; a plan for the problem's
 * sizes. To be destroyed by the caller. */
attn_context *run_context(const struct test_problem *problem);
attn_desc *run_desc(const struct test_problem *problem);
attn_plan *run_plan(attn_context *context, const struct test_problem *problem);

/* Args for the inputs and outputs, and nothing else. */
void run_args(attn_forward_args *args, const struct test_inputs *inputs,
              const struct test_outputs *outputs);

/* One call, from context to plan and back. */
void run_forward(const struct test_inputs *inputs, const struct test_outputs *outputs);

/* The same on a given context. */
void run_on(attn_context *context, const struct test_inputs *inputs,
            const struct test_outputs *outputs);

/* Makes the data, runs all outputs of the problem, compares with the oracle. Returns
 * the number of wrong outputs. */
int run_and_check(const struct test_problem *problem, int data, unsigned wanted);

/* The last ATTN_ENGINE_... that computes such a problem. */
int32_t run_last_engine(const struct test_problem *problem);

/* run_and_check() by every engine; with text also the parsing. */
int run_engines(const struct test_problem *problem, int data, unsigned wanted);
int run_text(const char *text, int data);

/* EXIT_SKIPPED, with the reason printed, if ATTN_ISA names an instruction set that does
 * not run here; else 0. */
int run_skip_isa(void);

/* A context with this line of tuning, written as attn_context_tuning_export() does. */
attn_context *run_context_tuned(const char *entry);

#endif
