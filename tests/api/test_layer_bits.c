/*
 * What changes no bit of a layer's results: threads, extra outputs, a state, keeping
 * blocks or computing them again, and, with attn_layer_set_reproducible(), the other
 * sequences of the batch.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/element.h"
#include "tests/support/layer_calls.h"
#include "tests/support/layer_check.h"
#include "tests/support/layer_data.h"

/* A sample with enough rows for several threads. */
static struct layer_problem large_sample(int n) {
    struct layer_problem problem = layer_sample(n);
    problem.batch = 3;
    problem.q_length = 208;
    if (problem.kv_length > 0) {
        problem.kv_length = 112;
    }
    problem.stack.feed_forward_dim *= 4;
    problem.self.zero_row = 200;
    problem.self.rows_after = 60;
    return problem;
}

static void run(struct layer_call *call) {
    layer_reset(call);
    layer_forward(call);
    layer_backward(call);
}

static void threads(void **state) {
    (void)state;
    static const int counts[] = {2, 3, 7};
    for (int n = 0; n < LAYER_SAMPLES; n++) {
        struct layer_call call;
        struct layer_problem problem = large_sample(n);
        layer_open(&call, &problem);
        run(&call);
        const struct layer_snapshot alone = layer_take(&call, LAYER_ALL);
        for (size_t t = 0; t < COUNT_OF(counts); t++) {
            attn_context *context = NULL;
            attn_layer_destroy(call.layer);
            assert_int_equal(attn_context_create(&context), ATTN_OK);
            attn_context_set_threads(context, counts[t]);
            layer_need(&call, layer_create(&call.layer, context, &problem), "create");
            /* the layer keeps it alive */
            attn_context_destroy(context);
            layer_give(call.layer, &call);
            run(&call);
            struct layer_snapshot expected = {
                alone.count, malloc((size_t)(alone.count + 1) * sizeof(float))};
            assert_non_null(expected.values);
            memcpy(expected.values, alone.values, (size_t)alone.count * sizeof(float));
            layer_need_same(&expected, &call, LAYER_ALL, "threads");
        }
        free(alone.values);
        layer_close(&call);
    }
}

/* Weights and the like, and a state. */
static void outputs_and_states(void **state) {
    (void)state;
    for (int n = 0; n < LAYER_SAMPLES; n++) {
        struct layer_call call;
        const struct layer_problem problem = layer_sample(n);
        layer_open(&call, &problem);
        run(&call);
        struct layer_snapshot all = layer_take(&call, LAYER_ALL);
        struct layer_snapshot output = layer_take(&call, LAYER_OUTPUT);
        struct layer_snapshot others = layer_take(&call, LAYER_OUTPUT | LAYER_OTHERS);
        /* without a state */
        const attn_layer_args args = call.args;
        call.args.state = NULL;
        call.args.state_size = 0;
        layer_reset(&call);
        layer_forward(&call);
        layer_need_same(&others, &call, LAYER_OUTPUT | LAYER_OTHERS, "no state");
        /* without outputs, with a state again */
        call.args = args;
        call.args.weights = call.args.mean_weights = NULL;
        call.args.cross_weights = call.args.cross_mean_weights = NULL;
        const attn_forward_args attention = call.attention[0];
        call.attention[0].weights = call.attention[0].mean_weights = NULL;
        call.attention[0].lse = call.attention[0].key_sums = NULL;
        layer_reset(&call);
        layer_forward(&call);
        layer_need_same(&output, &call, LAYER_OUTPUT, "no other outputs");
        call.args = args;
        call.attention[0] = attention;
        run(&call);
        layer_need_same(&all, &call, LAYER_ALL, "again");
        layer_close(&call);
    }
}

/* Outputs that are asked for change no gradient. */
static void outputs_and_gradients(void **state) {
    (void)state;
    for (int n = LAYER_STACK; n < LAYER_SAMPLES; n++) {
        struct layer_call call;
        const struct layer_problem problem = layer_sample(n);
        layer_open(&call, &problem);
        run(&call);
        struct layer_snapshot gradients = layer_take(&call, LAYER_GRADIENTS);
        call.args.weights = call.args.mean_weights = NULL;
        call.args.cross_weights = call.args.cross_mean_weights = NULL;
        run(&call);
        layer_need_same(&gradients, &call, LAYER_GRADIENTS, "no other outputs");
        layer_close(&call);
    }
}

static void recomputation(void **state) {
    (void)state;
    for (int n = LAYER_STACK; n < LAYER_SAMPLES; n++) {
        struct layer_problem problem = large_sample(n);
        struct layer_snapshot kept;
        size_t bytes[2];
        for (int recompute = 0; recompute < 2; recompute++) {
            struct layer_call call;
            problem.stack.recompute = recompute;
            layer_open(&call, &problem);
            bytes[recompute] = (size_t)call.args.state_size;
            run(&call);
            if (recompute == 0) {
                kept = layer_take(&call, LAYER_ALL);
            } else {
                layer_need_same(&kept, &call, LAYER_ALL, "computed again");
            }
            layer_close(&call);
        }
        assert_true(bytes[1] < bytes[0] / 2);
    }
}

/* ---------------------------------------------------------------- batch company */

/* A tensor with but one batch element. */
static void cut(attn_tensor *tensor, int64_t b) {
    if (tensor->rank > 0 && tensor->shape[0] > 1) {
        tensor->data = (char *)tensor->data +
                       b * tensor->stride[0] * (int64_t)element_size(tensor->dtype);
        tensor->shape[0] = 1;
    }
}

/* The call on batch element b alone, in the memory of the whole. */
static void cut_call(struct layer_call *alone, const struct layer_call *call,
                     int64_t b) {
    static const char *const names[] = {
        "self.q_lengths", "self.kv_lengths",  "cross.kv_lengths", "self.mask",
        "position_ids",   "key_position_ids", "self.q_segments",  "self.k_segments"};
    *alone = *call;
    for (int t = 0; t < alone->tensors; t++) {
        struct layer_tensor *one = &alone->tensor[t];
        if (layer_is_sequence(one->name)) {
            cut(&one->tensor, b);
            cut(&one->gradient, b);
        } else {
            one->gradient.rank = 0; /* a sum over the batch */
        }
    }
    for (size_t n = 0; n < COUNT_OF(names); n++) {
        struct layer_tensor *one = layer_find(alone, "", names[n]);
        if (one != NULL) {
            cut(&one->tensor, b);
        }
    }
    struct layer_tensor *targets = layer_find(alone, "", "targets");
    if (targets != NULL && targets->tensor.rank == 2) {
        cut(&targets->tensor, b);
    }
    cut(&alone->output, b);
    cut(&alone->grad_output, b);
    memset(alone->extra, 0, sizeof alone->extra);
    memset(alone->grad_extra, 0, sizeof alone->grad_extra);
    layer_point(alone);
    alone->args.state = call->state;
    alone->args.state_size = call->args.state_size;
}

static void the_batch(void **state) {
    (void)state;
    for (int n = 0; n < LAYER_SAMPLES; n++) {
        struct layer_problem problem = layer_sample(n);
        problem.batch = 5;
        problem.outputs = 0;
        /* in one case longer than a panel of rows, in one so short that only a
         * sequence alone has few rows */
        problem.q_length = n == 0 ? 272 : n == 1 ? 2 : 16;
        problem.self.dropout = problem.memory.dropout = 0;
        struct layer_call call;
        layer_open(&call, &problem);
        assert_int_equal(attn_layer_set_reproducible(call.layer, 1), ATTN_OK);
        for (int64_t b = 0; b < problem.batch; b++) {
            static struct layer_call alone;
            run(&call);
            cut_call(&alone, &call, b);
            struct layer_snapshot among =
                layer_take(&alone, LAYER_OUTPUT | LAYER_GRADIENTS);
            assert_true(among.count > 0);
            layer_reset(&alone);
            layer_forward(&alone);
            layer_backward(&alone);
            layer_need_same(&among, &alone, LAYER_OUTPUT | LAYER_GRADIENTS, "alone");
        }
        layer_close(&call);
    }
}

/* A layer is right both ways. */
static void reproducible_is_right(void **state) {
    (void)state;
    for (int n = 0; n < LAYER_SAMPLES; n++) {
        struct layer_call call;
        struct layer_oracle oracle;
        struct layer_problem problem = layer_sample(n);
        problem.plain = 0;
        layer_open(&call, &problem);
        layer_oracle_open(&oracle, &call);
        assert_int_equal(attn_layer_set_reproducible(call.layer, 1), ATTN_OK);
        run(&call);
        layer_check(&oracle, &call);
        layer_check_gradients(&oracle, &call);
        layer_oracle_close(&oracle);
        layer_close(&call);
    }
}

/* ---------------------------------------------------------------------- callers */

enum { CALLERS = 5 };

struct caller {
    pthread_t thread;
    struct layer_call call;
    attn_status status;
};

static void *run_caller(void *user) {
    struct caller *caller = user;
    for (int round = 0; round < 4 && caller->status == ATTN_OK; round++) {
        caller->status = attn_layer_forward(caller->call.layer, &caller->call.args);
    }
    return NULL;
}

/* All on one layer, each with inputs, outputs and a state of its own. */
static void many_callers_of_one_layer(void **state) {
    (void)state;
    static struct caller callers[CALLERS];
    struct layer_problem problem = large_sample(LAYER_STACK);
    problem.threads = 3;
    for (int c = 0; c < CALLERS; c++) {
        problem.seed = 100 + (uint64_t)c;
        layer_open(&callers[c].call, &problem);
    }
    attn_layer *own[CALLERS];
    struct layer_snapshot alone[CALLERS];
    for (int c = 0; c < CALLERS; c++) {
        own[c] = callers[c].call.layer;
        callers[c].call.layer = own[0];
        layer_forward(&callers[c].call);
        alone[c] = layer_take(&callers[c].call, LAYER_OUTPUT | LAYER_OTHERS);
        layer_reset(&callers[c].call);
    }
    for (int c = 0; c < CALLERS; c++) {
        assert_int_equal(
            pthread_create(&callers[c].thread, NULL, run_caller, &callers[c]), 0);
    }
    for (int c = 0; c < CALLERS; c++) {
        assert_int_equal(pthread_join(callers[c].thread, NULL), 0);
        assert_int_equal(callers[c].status, ATTN_OK);
        layer_need_same(&alone[c], &callers[c].call, LAYER_OUTPUT | LAYER_OTHERS,
                        "many callers");
        callers[c].call.layer = own[c];
    }
    for (int c = CALLERS - 1; c >= 0; c--) {
        layer_close(&callers[c].call);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads),
        cmocka_unit_test(outputs_and_states),
        cmocka_unit_test(outputs_and_gradients),
        cmocka_unit_test(recomputation),
        cmocka_unit_test(the_batch),
        cmocka_unit_test(reproducible_is_right),
        cmocka_unit_test(many_callers_of_one_layer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
