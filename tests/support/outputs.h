/*
 * The output tensors of a call. Their memory is filled with a pattern before the call,
 * with gaps between rows and a margin at both ends, so that an element left out, and a
 * byte written beside them, both show.
 */
#ifndef TEST_OUTPUTS_H
#define TEST_OUTPUTS_H

#include "tests/support/gen.h"

/* What attn_plan_forward() writes, and what attn_plan_backward() does. */
enum {
    OUT,
    LSE,
    ROW_MAX,
    ROW_SUM,
    WEIGHTS,
    MEAN_WEIGHTS,
    KEY_SUMS,
    RAW_SCORES,
    CAPPED_SCORES,
    BIASED_SCORES,
    DROPOUT_MASK, /* not there without dropout */
    OUTPUTS,
    GRAD_QUERY = OUTPUTS,
    GRAD_KEY,
    GRAD_VALUE,
    GRAD_BIAS, /* this and all that follow are there if their inputs are */
    GRAD_ALIBI_SLOPES,
    GRAD_SINKS,
    GRAD_RELATIVE_BIAS,
    GRAD_RELATIVE_KEYS,
    GRAD_CONTENT_BIAS,
    GRAD_POSITION_BIAS,
    GRAD_SEGMENT_KEYS,
    GRAD_SEGMENT_BIAS,
    GRAD_SCORE_VECTOR,
    SLOTS
};

/* Sets of outputs: bit 1 << OUT and so on. */
enum {
    ONLY_OUT = 1,
    ROW_OUTPUTS =
        1 << OUT | 1 << LSE | 1 << ROW_MAX | 1 << ROW_SUM, /* of packed ones */
    ALL_OUTPUTS = (1 << OUTPUTS) - 1,
    ALL_GRADIENTS = (1 << SLOTS) - (1 << OUTPUTS)
};

struct test_outputs {
    attn_tensor tensor[SLOTS]; /* rank 0: not asked for */
    void *block[SLOTS];
    int64_t elements[SLOTS]; /* in the block */
    /* of packed queries: rows that belong to a sequence, of those with one for each */
    int packed;
    int64_t first, end;
};

/* Packed sequences have no outputs for pairs, whether wanted or not. */
void outputs_open(struct test_outputs *outputs, const struct test_problem *problem,
                  unsigned wanted);

/* The same for gradients, which have the shapes of inputs. */
void outputs_open_gradients(struct test_outputs *outputs,
                            const struct test_inputs *inputs, unsigned wanted);
void outputs_close(struct test_outputs *outputs);

/* As if nothing had been written yet. */
void outputs_reset(struct test_outputs *outputs);

const char *outputs_name(int output);

/* All elements written and nothing beside them; else says what is wrong and returns 0.
 */
int outputs_whole(const struct test_outputs *outputs);

/* Nothing written; else says where and returns 0. */
int outputs_untouched(const struct test_outputs *outputs);

/* The output tensors as members of args. */
void outputs_give(const struct test_outputs *outputs, attn_forward_args *args);
void outputs_give_gradients(const struct test_outputs *outputs,
                            attn_backward_args *args);

/* The input whose gradient a slot from GRAD_QUERY on is; rank 0: there is none. */
const attn_tensor *outputs_gradient_of(const struct test_inputs *inputs, int output);

/* Whether an output holds the same bits in both; else prints the first difference. */
int outputs_same(const struct test_outputs *a, const struct test_outputs *b,
                 int output);

/* The same for all outputs that both have; fails the test if there is none. */
int outputs_all_same(const struct test_outputs *a, const struct test_outputs *b);

#endif
