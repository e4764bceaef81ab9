/*
 * Each output and gradient, element by element.
 */
#include "tests/support/layer_check.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/check.h"
#include "tests/support/element.h"

static const double unit = 0x1p-24;

/* Floats behind the last element that layout_place() has room for. */
enum { MARGIN = 14 };

static void compare(const struct layer_call *call, const char *what, int64_t n,
                    double got, double right, double bound) {
    if (!check_number(got, right, bound)) {
        fail_msg("layer problem %" PRIu64 ": element %" PRId64
                 " of %s is %.9g, expected %.9g within %.3g",
                 call->problem.seed, n, what, got, right, bound);
    }
}

/* Errors take a sweep over the tape each: of many elements, every so many-th is looked
 * at. */
static int64_t step_over(const struct layer_oracle *oracle, int64_t count) {
    const double sweeps = 4e7 / (double)(oracle->tape.edges + 1);
    return 1 + (int64_t)((double)count / (sweeps + 8));
}

/* A node, or what stands for none. */
static void compare_node(struct layer_oracle *oracle, const struct layer_call *call,
                         const char *what, int64_t n, double got, node right,
                         double none) {
    if (right == NO_NODE) {
        compare(call, what, n, got, none, 0);
    } else {
        compare(call, what, n, got, tape_value(&oracle->tape, right),
                tape_error(&oracle->tape, right));
    }
}

/* Notes which floats are elements of a tensor, of rank up to 5. */
static void mark(const attn_tensor *tensor, char *is_element) {
    attn_tensor part = *tensor;
    const int blocks = tensor->rank > 4;
    if (blocks) {
        part.rank--;
        memmove(part.shape, part.shape + 1, 5 * sizeof *part.shape);
        memmove(part.stride, part.stride + 1, 5 * sizeof *part.stride);
    }
    for (int64_t l = 0; l < (blocks ? tensor->shape[0] : 1); l++) {
        const int64_t at = blocks ? l * tensor->stride[0] : 0;
        for (int64_t n = 0; n < element_count(&part); n++) {
            is_element[at + ((float *)element_nth(&part, n) - (float *)part.data)] = 1;
        }
    }
}

/* Whether all floats beside the elements still have every bit set. */
static void need_whole(const struct layer_call *call, const attn_tensor *tensor,
                       const char *what) {
    static const uint32_t canary = UINT32_MAX;
    const int64_t extent = element_extent(tensor) + MARGIN;
    char *is_element = calloc((size_t)extent, 1);
    assert_non_null(is_element);
    mark(tensor, is_element);
    for (int64_t n = 0; n < extent; n++) {
        if (!is_element[n] &&
            memcmp((float *)tensor->data + n, &canary, sizeof canary) != 0) {
            fail_msg("layer problem %" PRIu64 ": written beside the elements of %s",
                     call->problem.seed, what);
        }
    }
    free(is_element);
}

/* Block l of a tensor of all blocks; a multi-head layer has but one. */
static attn_tensor block_of(const struct layer_call *call, const attn_tensor *tensor,
                            int64_t l) {
    attn_tensor block = *tensor;
    if (call->problem.layers > 0) {
        block.rank--;
        memmove(block.shape, block.shape + 1, 5 * sizeof *block.shape);
        memmove(block.stride, block.stride + 1, 5 * sizeof *block.stride);
        block.data = (float *)tensor->data +
                     (call->problem.layers > 1 ? l * tensor->stride[0] : 0);
    }
    return block;
}

/* --------------------------------------------------------------------- outputs */

/* Weights, and their mean over heads; `first` is the node of the block's first. */
static void check_weights(struct layer_oracle *oracle, const struct layer_call *call,
                          int cross) {
    const struct layer_problem *p = &call->problem;
    const int which = cross ? LAYER_CROSS_WEIGHTS : LAYER_WEIGHTS;
    const struct layer_sizes n =
        layer_sizes(cross ? &p->memory.options : &p->self.options);
    const int64_t keys = oracle->keys[cross], rows = p->q_length;
    for (int64_t l = 0; l < (p->layers > 0 ? p->layers : 1); l++) {
        const attn_tensor all = block_of(call, &call->extra[which], l);
        const attn_tensor mean = block_of(call, &call->extra[which + 1], l);
        const node *first =
            oracle->weights[cross] + l * p->batch * n.heads * rows * keys;
        const int64_t step = step_over(oracle, element_count(&all));
        const int64_t step_of_mean = step_over(oracle, n.heads * element_count(&mean));
        for (int64_t e = 0; e < element_count(&all); e += step) {
            compare_node(oracle, call, "weights", e, *(float *)element_nth(&all, e),
                         first[e], 0);
        }
        for (int64_t e = 0; call->extra[which + 1].rank > 0 && e < element_count(&mean);
             e += step_of_mean) {
            double value = 0, error = 0;
            for (int64_t h = 0; h < n.heads; h++) {
                const int64_t b = e / keys / rows, rest = e % (keys * rows);
                const node x = first[(b * n.heads + h) * rows * keys + rest];
                value += x != NO_NODE ? tape_value(&oracle->tape, x) : 0;
                error += x != NO_NODE ? tape_error(&oracle->tape, x) : 0;
            }
            compare(call, "mean_weights", e, *(float *)element_nth(&mean, e),
                    value / (double)n.heads,
                    (error + (double)(n.heads + 4) * unit * value) / (double)n.heads);
        }
    }
}

static void check_key_sums(struct layer_oracle *oracle, const struct layer_call *call) {
    const attn_tensor *sums = &call->extra[LAYER_KEY_SUMS];
    const int64_t keys = oracle->keys[0], rows = call->problem.q_length;
    const int64_t step = step_over(oracle, rows * element_count(sums));
    for (int64_t e = 0; e < element_count(sums); e += step) {
        double value = 0, error = 0;
        for (int64_t i = 0; i < rows; i++) {
            const node x = oracle->weights[0][(e / keys * rows + i) * keys + e % keys];
            value += x != NO_NODE ? tape_value(&oracle->tape, x) : 0;
            error += x != NO_NODE ? tape_error(&oracle->tape, x) : 0;
        }
        compare(call, "key_sums", e, *(float *)element_nth(sums, e), value,
                error + (double)(rows + 4) * unit * value);
    }
}

void layer_check(struct layer_oracle *oracle, const struct layer_call *call) {
    const int64_t step = step_over(oracle, element_count(&call->output));
    for (int64_t n = 0; n < element_count(&call->output); n += step) {
        compare_node(oracle, call, "output", n, *(float *)element_nth(&call->output, n),
                     oracle->output[n], 0);
    }
    need_whole(call, &call->output, "output");
    for (int cross = 0; cross <= call->problem.cross && call->problem.outputs;
         cross++) {
        check_weights(oracle, call, cross);
    }
    const attn_tensor *lse = &call->extra[LAYER_LSE];
    for (int64_t n = 0; n < element_count(lse); n++) {
        compare_node(oracle, call, "lse", n, *(float *)element_nth(lse, n),
                     oracle->lse[n], -INFINITY);
    }
    check_key_sums(oracle, call);
    for (int o = 0; o < LAYER_OUTPUTS; o++) {
        if (call->extra[o].rank > 0) {
            need_whole(call, &call->extra[o], "an output beside output");
        }
    }
}

/* -------------------------------------------------------------------- gradients */

static void start_at(struct layer_oracle *oracle, node x, double weight) {
    if (x != NO_NODE) {
        tape_back_add(&oracle->tape, x, weight);
    }
}

/* The gradients that come in. */
static void go_back(struct layer_oracle *oracle, const struct layer_call *call) {
    const attn_tensor *lse = &call->grad_extra[LAYER_LSE];
    const attn_tensor *weights = &call->grad_extra[LAYER_WEIGHTS];
    const attn_tensor *sums = &call->grad_extra[LAYER_KEY_SUMS];
    const int64_t keys = oracle->keys[0], rows = call->problem.q_length;
    tape_back_start(&oracle->tape);
    for (int64_t n = 0; n < element_count(&call->grad_output); n++) {
        start_at(oracle, oracle->output[n],
                 *(float *)element_nth(&call->grad_output, n));
    }
    for (int64_t n = 0; n < element_count(lse); n++) {
        start_at(oracle, oracle->lse[n], *(float *)element_nth(lse, n));
    }
    for (int64_t n = 0; n < element_count(weights); n++) {
        start_at(oracle, oracle->weights[0][n],
                 (double)*(float *)element_nth(weights, n) +
                     *(float *)element_nth(sums, n / keys / rows * keys + n % keys));
    }
    tape_back(&oracle->tape);
}

/* The gradients of one tensor along a direction; an input that repeats has a gradient
 * for each of its elements. */
static void check_along(struct layer_oracle *oracle, const struct layer_call *call,
                        const struct layer_tensor *t, const double *direction,
                        int64_t which) {
    const int64_t count = element_count(&t->gradient);
    const struct tape_slope right =
        tape_along(&oracle->tape, t->leaf, direction, count);
    double got = 0, more = 0;
    for (int64_t n = 0; n < count; n++) {
        const double before = t->added_to ? t->before[n] : 0;
        const double terms = (double)oracle->tape.terms[t->leaf[n]] + 2;
        got += direction[n] * (*(float *)element_nth(&t->gradient, n) - before);
        more += fabs(direction[n] * before) * terms * unit;
    }
    compare(call, t->name, which, got, right.value, right.error + more);
}

/* All elements at once, along a random direction or two, and some alone. */
static void check_gradient(struct layer_oracle *oracle, const struct layer_call *call,
                           const struct layer_tensor *t) {
    struct random random = random_stream(83, call->problem.seed);
    const int64_t count = element_count(&t->gradient);
    double *direction = calloc((size_t)count + 1, sizeof *direction);
    assert_non_null(direction);
    const int large = oracle->tape.edges > 300000;
    for (int round = 0; round < 2 - large; round++) {
        for (int64_t n = 0; n < count; n++) {
            direction[n] = random_float(&random);
        }
        check_along(oracle, call, t, direction, -1);
    }
    for (int round = 0; round < 3 - 2 * large && count > 0; round++) {
        const int64_t n = random_between(&random, 0, count - 1);
        memset(direction, 0, (size_t)count * sizeof *direction);
        direction[n] = 1;
        check_along(oracle, call, t, direction, n);
    }
    free(direction);
    need_whole(call, &t->gradient, t->name);
}

void layer_check_gradients(struct layer_oracle *oracle, const struct layer_call *call) {
    go_back(oracle, call);
    for (int t = 0; t < call->tensors; t++) {
        if (call->tensor[t].gradient.rank > 0) {
            check_gradient(oracle, call, &call->tensor[t]);
        }
    }
}

void layer_run_and_check(const struct layer_problem *problem) {
    struct layer_call call;
    struct layer_oracle oracle;
    layer_open(&call, problem);
    layer_oracle_open(&oracle, &call);
    layer_forward(&call);
    layer_check(&oracle, &call);
    layer_backward(&call);
    layer_check_gradients(&oracle, &call);
    layer_oracle_close(&oracle);
    layer_close(&call);
}
