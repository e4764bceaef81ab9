/*
 * Makes the gradients that come in.
 */
#include "tests/support/incoming.h"

#include <stdlib.h>

#include "tests/support/element.h"
#include "tests/support/layout.h"

const char *incoming_name(int which) {
    static const char *const names[INCOMING] = {"grad_out", "grad_lse", "grad_weights",
                                                "grad_key_sums"};
    return names[which];
}

static attn_tensor shape_of(const struct test_problem *p, int which) {
    attn_tensor shape = {.dtype = ATTN_F32,
                         .rank = which == OF_LSE || which == OF_KEY_SUMS ? 3 : 4,
                         .shape = {p->batch, p->q_heads, p->q_length, p->kv_length}};
    if (which == OF_OUT) {
        shape.shape[3] = p->value_dim;
    } else if (which == OF_KEY_SUMS) {
        shape.shape[2] = p->kv_length;
    }
    return shape;
}

/* At times one batch element or one head stands for all, as where a sum over all of out
 * is the loss. */
static void share(attn_tensor *tensor, struct random *random) {
    for (int d = 0; d < 2; d++) {
        if (random_percent(random, 10)) {
            tensor->stride[d] = 0;
        }
    }
}

static void fill(const attn_tensor *tensor, struct random *random) {
    for (int64_t n = 0; n < element_count(tensor); n++) {
        *(float *)element_nth(tensor, n) = random_float(random);
    }
}

void incoming_open(struct test_incoming *incoming, const struct test_problem *problem,
                   unsigned given) {
    *incoming = (struct test_incoming){0};
    for (int w = 0; w < INCOMING; w++) {
        struct random random = random_stream(problem->seed, 250 + (uint64_t)w);
        attn_tensor *tensor = &incoming->tensor[w];
        if ((given >> w & 1) == 0) {
            continue;
        }
        *tensor = shape_of(problem, w);
        layout_strides(tensor, w == OF_OUT && problem->layout == LAYOUT_BSHD, &random);
        share(tensor, &random);
        incoming->block[w] = layout_place(tensor, &random);
        fill(tensor, &random);
    }
}

void incoming_close(struct test_incoming *incoming) {
    for (int w = 0; w < INCOMING; w++) {
        free(incoming->block[w]);
    }
    *incoming = (struct test_incoming){0};
}

double incoming_at(const struct test_incoming *incoming, int which, int64_t i0,
                   int64_t i1, int64_t i2, int64_t i3) {
    const attn_tensor *tensor = &incoming->tensor[which];
    return tensor->rank == 0 ? 0 : element_float(tensor, i0, i1, i2, i3);
}

void incoming_give(const struct test_incoming *incoming, attn_backward_args *args) {
    args->grad_out = gen_given(&incoming->tensor[OF_OUT]);
    args->grad_lse = gen_given(&incoming->tensor[OF_LSE]);
    args->grad_weights = gen_given(&incoming->tensor[OF_WEIGHTS]);
    args->grad_key_sums = gen_given(&incoming->tensor[OF_KEY_SUMS]);
}
