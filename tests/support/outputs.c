/*
 * Output tensors in memory that shows what was written.
 */
#include "tests/support/outputs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/element.h"
#include "tests/support/random.h"

enum { MARGIN = 32 }; /* floats before and after a tensor; keeps multiples of 64 */

/* A NaN that no computation makes. */
static const uint32_t pattern = 0xffa5c3e7;

const char *outputs_name(int output) {
    static const char *const names[OUTPUTS] = {
        "out",          "lse",      "row_max",    "row_sum",       "weights",
        "mean_weights", "key_sums", "raw_scores", "capped_scores", "biased_scores"};
    return names[output];
}

static void set_shape(struct test_outputs *outputs, int output,
                      const struct test_problem *p) {
    const int64_t b = p->batch, h = p->q_heads, q = p->q_length, k = p->kv_length;
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
    shape.dtype = ATTN_F32;
    outputs->tensor[output] = shape;
}

/* Strides with gaps in half of the cases; for out in the problem's layout. */
static void set_strides(attn_tensor *tensor, int bshd, struct random *random) {
    int32_t order[4] = {3, 2, 1, 0}; /* dimensions, fastest first */
    if (bshd) {
        order[1] = 1;
        order[2] = 2;
    }
    int64_t stride = 1;
    for (int32_t d = 0; d < tensor->rank; d++) {
        int32_t dimension = bshd ? order[d] : tensor->rank - 1 - d;
        tensor->stride[dimension] = stride;
        stride *= tensor->shape[dimension] > 0 ? tensor->shape[dimension] : 1;
        stride += random_percent(random, 30) ? random_between(random, 1, 6) : 0;
    }
}

void outputs_open(struct test_outputs *outputs, const struct test_problem *problem,
                  unsigned wanted) {
    *outputs = (struct test_outputs){0};
    for (int o = 0; o < OUTPUTS; o++) {
        struct random random = random_stream(problem->seed, 200 + (uint64_t)o);
        if ((wanted >> o & 1) == 0) {
            continue;
        }
        attn_tensor *tensor = &outputs->tensor[o];
        set_shape(outputs, o, problem);
        set_strides(tensor, o == OUT && problem->layout == LAYOUT_BSHD, &random);
        int64_t shift = random_percent(&random, 50) ? 0 : random_between(&random, 1, 7);
        int64_t count =
            (element_extent(tensor) + shift + 2 * (int64_t)MARGIN + 15) / 16 * 16;
        uint32_t *block = aligned_alloc(64, (size_t)count * sizeof *block);
        assert_non_null(block);
        outputs->block[o] = block;
        outputs->elements[o] = count;
        tensor->data = block + MARGIN + shift;
    }
    outputs_reset(outputs);
}

void outputs_reset(struct test_outputs *outputs) {
    for (int o = 0; o < OUTPUTS; o++) {
        uint32_t *block = outputs->block[o];
        for (int64_t i = 0; i < outputs->elements[o]; i++) {
            block[i] = pattern;
        }
    }
}

void outputs_close(struct test_outputs *outputs) {
    for (int o = 0; o < OUTPUTS; o++) {
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
    const char *name, *start;
    uint32_t *copy;
};

static int sweep_element(const attn_tensor *tensor, const int64_t *index, void *user) {
    struct sweep *sweep = user;
    const char *element = element_at(tensor, index[0], index[1], index[2], index[3]);
    uint32_t *copy = sweep->copy + (element - sweep->start) / (ptrdiff_t)sizeof(float);
    if (*copy == pattern) {
        print_error("%s[%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 "] not written\n",
                    sweep->name, index[0], index[1], index[2], index[3]);
        return 0;
    }
    *copy = pattern;
    return 1;
}

static int only_pattern(const char *name, const uint32_t *block, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        if (block[i] != pattern) {
            print_error("%s: float %" PRId64 " of its memory written, which is none of "
                        "its elements\n",
                        name, i - MARGIN);
            return 0;
        }
    }
    return 1;
}

int outputs_whole(const struct test_outputs *outputs) {
    int good = 1;
    for (int o = 0; o < OUTPUTS; o++) {
        if (outputs->block[o] == NULL) {
            continue;
        }
        size_t bytes = (size_t)outputs->elements[o] * sizeof(float);
        struct sweep sweep = {outputs_name(o), outputs->block[o], malloc(bytes)};
        assert_non_null(sweep.copy);
        memcpy(sweep.copy, outputs->block[o], bytes);
        good = for_each(&outputs->tensor[o], sweep_element, &sweep) &&
               only_pattern(sweep.name, sweep.copy, outputs->elements[o]) && good;
        free(sweep.copy);
    }
    return good;
}

int outputs_untouched(const struct test_outputs *outputs) {
    int good = 1;
    for (int o = 0; o < OUTPUTS; o++) {
        good =
            (outputs->block[o] == NULL ||
             only_pattern(outputs_name(o), outputs->block[o], outputs->elements[o])) &&
            good;
    }
    return good;
}

static int same_element(const attn_tensor *tensor, const int64_t *i, void *user) {
    const attn_tensor *other = user;
    const float *x = element_at(tensor, i[0], i[1], i[2], i[3]);
    const float *y = element_at(other, i[0], i[1], i[2], i[3]);
    if (memcmp(x, y, sizeof *x) == 0) {
        return 1;
    }
    print_error("first difference at [%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64
                "]: %.9g and %.9g\n",
                i[0], i[1], i[2], i[3], (double)*x, (double)*y);
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
}
