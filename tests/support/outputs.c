/*
 * Output tensors in memory that shows what was written.
 */
#include "tests/support/outputs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/element.h"
#include "tests/support/layout.h"

enum { MARGIN = 128 }; /* bytes before and after a tensor; keeps multiples of 64 */

/* NaN that no computation makes; the first byte of the long one stands for a boolean.
 */
static const uint32_t pattern = 0xffa5c3e7;
static const uint16_t short_pattern = 0xffa5;

static const void *pattern_of(size_t size) {
    return size == sizeof short_pattern ? (const void *)&short_pattern : &pattern;
}

const char *outputs_name(int output) {
    static const char *const names[SLOTS] = {"out",
                                             "lse",
                                             "row_max",
                                             "row_sum",
                                             "weights",
                                             "mean_weights",
                                             "key_sums",
                                             "raw_scores",
                                             "capped_scores",
                                             "biased_scores",
                                             "dropout_mask",
                                             "grad_query",
                                             "grad_key",
                                             "grad_value",
                                             "grad_bias",
                                             "grad_alibi_slopes",
                                             "grad_sinks",
                                             "grad_relative_bias",
                                             "grad_relative_keys",
                                             "grad_content_bias",
                                             "grad_position_bias",
                                             "grad_segment_keys",
                                             "grad_segment_bias",
                                             "grad_score_vector"};
    return names[output];
}

static attn_tensor shape_of(const struct test_problem *p, int output) {
    const int64_t b = p->q_packed ? 1 : p->batch, h = p->q_heads, k = p->kv_length;
    const int64_t q = gen_pack_queries(p, NULL).rows;
    attn_tensor shape = {.rank = 4, .shape = {b, h, q, k}};
    switch (output) {
    case OUT:
        shape.shape[3] = p->value_dim;
        break;
    case LSE:
    case ROW_MAX:
    case ROW_SUM:
        shape.rank = 3;
        break;
    case MEAN_WEIGHTS:
        shape = (attn_tensor){.rank = 3, .shape = {b, q, k}};
        break;
    case KEY_SUMS:
        shape = (attn_tensor){.rank = 3, .shape = {b, h, k}};
        break;
    default:
        break;
    }
    shape.dtype = output == DROPOUT_MASK ? ATTN_BOOL
                  : output == OUT        ? gen_dtype(p->out_type)
                                         : ATTN_F32;
    return shape;
}

const attn_tensor *outputs_gradient_of(const struct test_inputs *inputs, int output) {
    const attn_tensor *const inputs_of[] = {
        &inputs->query,         &inputs->key,           &inputs->value,
        &inputs->bias,          &inputs->alibi_slopes,  &inputs->sinks,
        &inputs->relative_bias, &inputs->relative_keys, &inputs->content_bias,
        &inputs->position_bias, &inputs->segment_keys,  &inputs->segment_bias,
        &inputs->score_vector};
    _Static_assert(COUNT_OF(inputs_of) == SLOTS - GRAD_QUERY, "one for each gradient");
    return inputs_of[output - GRAD_QUERY];
}

/* Memory for an output of this shape; query-like ones lie in the problem's layout. */
static void open_slot(struct test_outputs *outputs, int output,
                      const attn_tensor *shape, const struct test_problem *problem) {
    struct random random = random_stream(problem->seed, 200 + (uint64_t)output);
    attn_tensor *tensor = &outputs->tensor[output];
    int like_query = output == OUT || output == GRAD_QUERY || output == GRAD_KEY ||
                     output == GRAD_VALUE;
    *tensor = *shape;
    layout_strides(tensor, like_query && problem->layout == LAYOUT_BSHD, &random);
    int64_t size = (int64_t)element_size(tensor->dtype);
    int64_t shift = random_percent(&random, 50) ? 0 : random_between(&random, 1, 7);
    int64_t bytes =
        ((element_extent(tensor) + shift) * size + 2 * (int64_t)MARGIN + 63) / 64 * 64;
    char *block = aligned_alloc(64, (size_t)bytes);
    assert_non_null(block);
    outputs->block[output] = block;
    outputs->elements[output] = bytes / size;
    tensor->data = block + MARGIN + shift * size;
}

void outputs_open(struct test_outputs *outputs, const struct test_problem *problem,
                  unsigned wanted) {
    const struct gen_packing packing = gen_pack_queries(problem, NULL);
    *outputs = (struct test_outputs){
        .packed = problem->q_packed, .first = packing.first, .end = packing.end};
    if (problem->q_packed || problem->k_packed) {
        wanted &= ROW_OUTPUTS;
    }
    for (int o = 0; o < OUTPUTS; o++) {
        if ((wanted >> o & 1) != 0 && (o != DROPOUT_MASK || problem->dropout > 0)) {
            attn_tensor shape = shape_of(problem, o);
            open_slot(outputs, o, &shape, problem);
        }
    }
    outputs_reset(outputs);
}

void outputs_open_gradients(struct test_outputs *outputs,
                            const struct test_inputs *inputs, unsigned wanted) {
    *outputs = (struct test_outputs){0};
    for (int o = GRAD_QUERY; o < SLOTS; o++) {
        const attn_tensor *input = outputs_gradient_of(inputs, o);
        if ((wanted >> o & 1) != 0 && input->rank > 0) {
            open_slot(outputs, o, input, &inputs->problem);
        }
    }
    outputs_reset(outputs);
}

void outputs_reset(struct test_outputs *outputs) {
    for (int o = 0; o < SLOTS; o++) {
        size_t size = element_size(outputs->tensor[o].dtype);
        char *block = outputs->block[o];
        for (int64_t i = 0; i < outputs->elements[o]; i++, block += size) {
            memcpy(block, pattern_of(size), size);
        }
    }
}

void outputs_close(struct test_outputs *outputs) {
    for (int o = 0; o < SLOTS; o++) {
        free(outputs->block[o]);
    }
    *outputs = (struct test_outputs){0};
}

/* Calls visit for the elements of a tensor until it returns 0; returns whether it never
 * did. Dimensions that the tensor lacks count as the first ones. */
static int for_each(const attn_tensor *tensor,
                    int (*visit)(const attn_tensor *tensor, const int64_t *index,
                                 void *user),
                    void *user) {
    int64_t n[4] = {1, 1, 1, 1}, i[4];
    for (int32_t d = 0; d < tensor->rank; d++) {
        n[4 - tensor->rank + d] = tensor->shape[d];
    }
    for (i[0] = 0; i[0] < n[0]; i[0]++) {
        for (i[1] = 0; i[1] < n[1]; i[1]++) {
            for (i[2] = 0; i[2] < n[2]; i[2]++) {
                for (i[3] = 0; i[3] < n[3]; i[3]++) {
                    if (!visit(tensor, i, user)) {
                        return 0;
                    }
                }
            }
        }
    }
    return 1;
}

/* Written elements go back to the pattern, in a copy of the block, so that what is left
 * over was written beside the tensor. */
struct sweep {
    const struct test_outputs *outputs;
    const char *name, *start;
    char *copy;
};

/* Whether a row lies before or after all packed sequences, and is not to be written. */
static int is_apart(const struct test_outputs *outputs, const attn_tensor *tensor,
                    const int64_t *index) {
    const int64_t row = tensor->rank == 4 ? index[2] : index[3];
    return outputs->packed && (row < outputs->first || row >= outputs->end);
}

static int sweep_element(const attn_tensor *tensor, const int64_t *index, void *user) {
    struct sweep *sweep = user;
    const char *element = element_at(tensor, index[0], index[1], index[2], index[3]);
    char *copy = sweep->copy + (element - sweep->start);
    size_t size = element_size(tensor->dtype);
    if (is_apart(sweep->outputs, tensor, index)) {
        return 1;
    }
    if (memcmp(copy, pattern_of(size), size) == 0) {
        print_error("%s[%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 "] not written\n",
                    sweep->name, index[0], index[1], index[2], index[3]);
        return 0;
    }
    memcpy(copy, pattern_of(size), size);
    return 1;
}

static int only_pattern(const struct test_outputs *outputs, int output,
                        const char *block) {
    size_t size = element_size(outputs->tensor[output].dtype);
    for (int64_t i = 0; i < outputs->elements[output]; i++, block += size) {
        if (memcmp(block, pattern_of(size), size) != 0) {
            print_error("%s: element %" PRId64 " of its memory written, which is none "
                        "of its own\n",
                        outputs_name(output), i);
            return 0;
        }
    }
    return 1;
}

int outputs_whole(const struct test_outputs *outputs) {
    int good = 1;
    for (int o = 0; o < SLOTS; o++) {
        if (outputs->block[o] == NULL) {
            continue;
        }
        size_t bytes =
            (size_t)outputs->elements[o] * element_size(outputs->tensor[o].dtype);
        struct sweep sweep = {outputs, outputs_name(o), outputs->block[o],
                              malloc(bytes)};
        assert_non_null(sweep.copy);
        memcpy(sweep.copy, outputs->block[o], bytes);
        good = for_each(&outputs->tensor[o], sweep_element, &sweep) &&
               only_pattern(outputs, o, sweep.copy) && good;
        free(sweep.copy);
    }
    return good;
}

int outputs_untouched(const struct test_outputs *outputs) {
    int good = 1;
    for (int o = 0; o < SLOTS; o++) {
        good = (outputs->block[o] == NULL ||
                only_pattern(outputs, o, outputs->block[o])) &&
               good;
    }
    return good;
}

static int same_element(const attn_tensor *tensor, const int64_t *i, void *user) {
    const attn_tensor *other = user;
    const void *x = element_at(tensor, i[0], i[1], i[2], i[3]);
    const void *y = element_at(other, i[0], i[1], i[2], i[3]);
    if (memcmp(x, y, element_size(tensor->dtype)) == 0) {
        return 1;
    }
    int number = tensor->dtype != ATTN_BOOL;
    print_error("first difference at [%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64
                "]: %.9g and %.9g\n",
                i[0], i[1], i[2], i[3],
                number ? (double)element_float(tensor, i[0], i[1], i[2], i[3])
                       : *(const uint8_t *)x,
                number ? (double)element_float(other, i[0], i[1], i[2], i[3])
                       : *(const uint8_t *)y);
    return 0;
}

int outputs_same(const struct test_outputs *a, const struct test_outputs *b,
                 int output) {
    attn_tensor other = b->tensor[output];
    assert_true(a->tensor[output].rank > 0);
    assert_int_equal(a->tensor[output].rank, other.rank);
    if (for_each(&a->tensor[output], same_element, &other)) {
        return 1;
    }
    print_error("%s differs\n", outputs_name(output));
    return 0;
}

int outputs_all_same(const struct test_outputs *a, const struct test_outputs *b) {
    int same = 1, compared = 0;
    for (int o = 0; o < SLOTS; o++) {
        if (a->tensor[o].rank > 0 && b->tensor[o].rank > 0) {
            same = outputs_same(a, b, o) && same;
            compared++;
        }
    }
    assert_true(compared > 0);
    return same;
}

static const attn_tensor *given(const struct test_outputs *outputs, int output) {
    return gen_given(&outputs->tensor[output]);
}

void outputs_give(const struct test_outputs *outputs, attn_forward_args *args) {
    args->out = given(outputs, OUT);
    args->lse = given(outputs, LSE);
    args->row_max = given(outputs, ROW_MAX);
    args->row_sum = given(outputs, ROW_SUM);
    args->weights = given(outputs, WEIGHTS);
    args->mean_weights = given(outputs, MEAN_WEIGHTS);
    args->key_sums = given(outputs, KEY_SUMS);
    args->raw_scores = given(outputs, RAW_SCORES);
    args->capped_scores = given(outputs, CAPPED_SCORES);
    args->biased_scores = given(outputs, BIASED_SCORES);
    args->dropout_mask = given(outputs, DROPOUT_MASK);
}

void outputs_give_gradients(const struct test_outputs *outputs,
                            attn_backward_args *args) {
    args->grad_query = given(outputs, GRAD_QUERY);
    args->grad_key = given(outputs, GRAD_KEY);
    args->grad_value = given(outputs, GRAD_VALUE);
    args->grad_bias = given(outputs, GRAD_BIAS);
    args->grad_alibi_slopes = given(outputs, GRAD_ALIBI_SLOPES);
    args->grad_sinks = given(outputs, GRAD_SINKS);
    args->grad_relative_bias = given(outputs, GRAD_RELATIVE_BIAS);
    args->grad_relative_keys = given(outputs, GRAD_RELATIVE_KEYS);
    args->grad_content_bias = given(outputs, GRAD_CONTENT_BIAS);
    args->grad_position_bias = given(outputs, GRAD_POSITION_BIAS);
    args->grad_segment_keys = given(outputs, GRAD_SEGMENT_KEYS);
    args->grad_segment_bias = given(outputs, GRAD_SEGMENT_BIAS);
    args->grad_score_vector = given(outputs, GRAD_SCORE_VECTOR);
}
