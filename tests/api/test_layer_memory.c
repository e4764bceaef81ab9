/*
 * The memory of layers: the sizes that are promised are enough and all that is touched,
 * what is borrowed and allocated, allocations that fail, calls that are stopped.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/counting.h"
#include "tests/support/expect.h"
#include "tests/support/guard.h"
#include "tests/support/layer_check.h"
#include "tests/support/layer_data.h"

static void run(struct layer_call *call) {
    layer_reset(call);
    layer_forward(call);
    layer_backward(call);
}

/* Bytes between pages, as often as they are asked for. */
enum { LENT_FORWARD, LENT_BACKWARD, LENT_STATE, LENT };
struct lent {
    struct guard guard[LENT];
    int64_t bytes[LENT];
};

/* Lends workspaces and state of exactly the sizes promised. */
static void lend(struct layer_call *call, int at_end, struct lent *lent) {
    void *memory[LENT];
    lent->bytes[LENT_FORWARD] = (int64_t)attn_layer_workspace_size(call->layer);
    lent->bytes[LENT_BACKWARD] =
        (int64_t)attn_layer_backward_workspace_size(call->layer);
    lent->bytes[LENT_STATE] = call->args.state_size;
    for (int n = 0; n < LENT; n++) {
        memory[n] = at_end ? guard_before(&lent->guard[n], (size_t)lent->bytes[n])
                           : guard_after(&lent->guard[n], (size_t)lent->bytes[n]);
        assert_int_equal((uintptr_t)memory[n] % 64, 0);
        memset(memory[n], 0xff, (size_t)lent->bytes[n]);
    }
    call->args.workspace = memory[LENT_FORWARD];
    call->args.workspace_size = lent->bytes[LENT_FORWARD];
    call->backward.workspace = memory[LENT_BACKWARD];
    call->backward.workspace_size = lent->bytes[LENT_BACKWARD];
    call->args.state = memory[LENT_STATE];
}

static void give_back(struct lent *lent) {
    for (int n = 0; n < LENT; n++) {
        guard_free(&lent->guard[n]);
    }
}

static void check_lent(const struct layer_problem *problem, int at_end) {
    struct layer_call call;
    struct lent lent;
    layer_open(&call, problem);
    run(&call);
    struct layer_snapshot plain = layer_take(&call, LAYER_ALL);
    lend(&call, at_end, &lent);
    run(&call);
    layer_need_same(&plain, &call, LAYER_ALL, "lent memory");
    /* a call that keeps nothing may need more of the workspace */
    struct layer_snapshot outputs = layer_take(&call, LAYER_OUTPUT | LAYER_OTHERS);
    call.args.state = NULL;
    call.args.state_size = 0;
    layer_reset(&call);
    layer_forward(&call);
    layer_need_same(&outputs, &call, LAYER_OUTPUT | LAYER_OTHERS, "no state");
    give_back(&lent);
    layer_close(&call);
}

static void lent_memory_is_enough(void **state) {
    (void)state;
    for (int n = 0; n < LAYER_SAMPLES; n++) {
        for (int at_end = 0; at_end < 2; at_end++) {
            struct layer_problem problem = layer_sample(n);
            check_lent(&problem, at_end);
            problem.q_length = 67;
            problem.kv_length = problem.kv_length > 0 ? 41 : 0;
            problem.threads = 2;
            check_lent(&problem, at_end);
        }
    }
    for (uint64_t number = 20000; number < 20200; number += TEST_SHARE) {
        const struct layer_problem problem = layer_compose(number);
        if (problem.batch * problem.q_length > 0) {
            check_lent(&problem, (int)number % 2);
        }
    }
}

/* A layer made for more takes calls of less, and says how large their states are. */
static void smaller_calls(void **state) {
    (void)state;
    for (int n = 0; n < LAYER_SAMPLES; n++) {
        struct layer_problem large = layer_sample(n), small = large;
        struct layer_call call;
        struct lent lent;
        attn_layer *layer = NULL;
        large.batch = 5;
        large.q_length = 70;
        large.kv_length = large.kv_length > 0 ? 90 : 0;
        layer_open(&call, &small);
        run(&call);
        struct layer_snapshot plain = layer_take(&call, LAYER_ALL);
        layer_need(&call, layer_create(&layer, call.context, &large), "create");
        layer_give(layer, &call);
        assert_int_equal(attn_layer_state_size(layer, small.batch, small.q_length,
                                               small.layers > 0 ? small.kv_length
                                                                : layer_keys(&small)),
                         call.args.state_size);
        attn_layer_destroy(call.layer);
        call.layer = layer;
        lend(&call, n % 2, &lent);
        run(&call);
        layer_need_same(&plain, &call, LAYER_ALL, "a larger layer");
        give_back(&lent);
        layer_close(&call);
    }
}

/* Of a forward call, and in *backward of a backward call. */
static size_t workspace_of(const struct layer_problem *problem, size_t *backward) {
    struct layer_call call;
    layer_open(&call, problem);
    const size_t bytes = attn_layer_workspace_size(call.layer);
    *backward = attn_layer_backward_workspace_size(call.layer);
    layer_close(&call);
    return bytes;
}

static void workspace_does_not_grow_with_depth(void **state) {
    (void)state;
    for (int n = LAYER_STACK; n < LAYER_SAMPLES; n++) {
        struct layer_problem problem = layer_sample(n);
        problem.stack.groups = 1;
        problem.layers = 1;
        size_t backward, deep_backward;
        const size_t bytes = workspace_of(&problem, &backward);
        problem.layers = 9;
        assert_int_equal(workspace_of(&problem, &deep_backward), bytes);
        assert_int_equal(deep_backward, backward);
    }
}

/* Sizes for NULL and beyond the bounds, and what is not looked at. */
static void sizes(void **state) {
    (void)state;
    struct layer_call call;
    struct layer_problem problem = layer_sample(0);
    assert_int_equal(attn_layer_workspace_size(NULL), 0);
    assert_int_equal(attn_layer_backward_workspace_size(NULL), 0);
    assert_int_equal(attn_layer_state_size(NULL, 1, 1, 1), 0);
    layer_open(&call, &problem);
    assert_true(attn_layer_state_size(call.layer, 2, 8, 8) > 0);
    assert_int_equal(attn_layer_state_size(call.layer, 3, 8, 8), 0);
    assert_int_equal(attn_layer_state_size(call.layer, 2, 9, 8), 0);
    assert_int_equal(attn_layer_state_size(call.layer, 2, 8, 9), 0);
    assert_int_equal(attn_layer_state_size(call.layer, -1, 8, 8), 0);
    assert_int_equal(attn_layer_state_size(call.layer, 2, -1, 8), 0);
    assert_int_equal(attn_layer_state_size(call.layer, 2, 8, -1), 0);
    /* nothing to keep is not the same as beyond the bounds */
    assert_true(attn_layer_state_size(call.layer, 0, 0, 0) > 0);
    layer_close(&call);
    /* keys shorter than queries have a bound of their own */
    problem = layer_sample(1);
    problem.q_length = 20;
    layer_open(&call, &problem);
    assert_true(attn_layer_state_size(call.layer, 2, 20, 8) > 0);
    assert_int_equal(attn_layer_state_size(call.layer, 2, 20, 9), 0);
    layer_close(&call);
    /* a stack without a memory does not look at kv_length */
    problem = layer_sample(LAYER_STACK);
    layer_open(&call, &problem);
    const size_t bytes = attn_layer_state_size(call.layer, 2, 8, 0);
    assert_true(bytes > 0);
    assert_int_equal(attn_layer_state_size(call.layer, 2, 8, 1000), bytes);
    assert_int_equal(attn_layer_state_size(call.layer, 2, 8, -1), bytes);
    layer_close(&call);
}

/* -------------------------------------------------------------------- allocations */

static attn_context *counting_context(struct counting *counting) {
    attn_context *context = NULL;
    assert_int_equal(attn_context_create(&context), ATTN_OK);
    assert_int_equal(attn_context_set_threads(context, 1), ATTN_OK);
    assert_int_equal(attn_context_set_allocator(context, counting_allocate,
                                                counting_release, counting),
                     ATTN_OK);
    return context;
}

/* A call whose layer is of another context. */
static attn_status adopt(struct layer_call *call, attn_context *context) {
    attn_layer_destroy(call->layer);
    const attn_status status = layer_create(&call->layer, context, &call->problem);
    if (status == ATTN_OK) {
        layer_give(call->layer, call);
    } else {
        assert_null(call->layer);
    }
    return status;
}

/* The layer, and both calls. */
static attn_status create_and_run(struct layer_call *call, attn_context *context) {
    attn_status status = adopt(call, context);
    layer_reset(call);
    if (status == ATTN_OK) {
        status = attn_layer_forward(call->layer, &call->args);
        if (status != ATTN_OK) {
            layer_need_untouched(call);
            return status;
        }
        status = attn_layer_backward(call->layer, &call->backward);
    }
    return status;
}

static void every_allocation_fails_in_turn(void **state) {
    (void)state;
    for (int n = 0; n < LAYER_SAMPLES; n++) {
        struct layer_call call;
        const struct layer_problem problem = layer_sample(n);
        layer_open(&call, &problem);
        run(&call);
        int refusals = 0, failed = 1;
        for (long at = 1; failed; at++) {
            struct layer_snapshot right = layer_take(&call, LAYER_ALL);
            struct counting counting = {.fail_at = at};
            attn_context *context = counting_context(&counting);
            const attn_status status = create_and_run(&call, context);
            failed = counting.calls >= at;
            if (status != ATTN_OK) {
                expect_refusal(status, ATTN_ERR_NO_MEMORY, "memory");
                assert_true(failed);
                refusals++;
                assert_int_equal(create_and_run(&call, context), ATTN_OK);
            }
            layer_need_same(&right, &call, LAYER_ALL, "after a failure");
            attn_layer_destroy(call.layer);
            call.layer = NULL;
            attn_context_destroy(context);
            assert_int_equal(counting.live, 0);
            assert_int_equal(counting.bytes, 0);
            assert_int_equal(counting.violations, 0);
            assert_true(at < 100);
        }
        /* the layer, its parameters, the workspace at least */
        assert_true(refusals >= 3);
        layer_close(&call);
    }
}

/* Workspace is borrowed from the context, which keeps it; with workspace given nothing
 * is allocated. */
static void what_calls_allocate(void **state) {
    (void)state;
    for (int n = 0; n < LAYER_SAMPLES; n++) {
        struct layer_call call;
        struct counting counting = {0};
        struct lent lent;
        const struct layer_problem problem = layer_sample(n);
        layer_open(&call, &problem);
        attn_context *context = counting_context(&counting);
        assert_int_equal(adopt(&call, context), ATTN_OK);
        const attn_layer_args args = call.args;
        const long before = counting.calls;
        lend(&call, 0, &lent);
        run(&call);
        assert_int_equal(counting.calls, before);
        give_back(&lent);
        call.args = args;
        call.backward.workspace = NULL;
        call.backward.workspace_size = 0;
        run(&call);
        /* one for each of the two calls, if the second needs more */
        const long borrowed = counting.calls - before;
        assert_in_range(borrowed, 1, 2);
        assert_true(counting.most >=
                    (long)attn_layer_backward_workspace_size(call.layer));
        run(&call);
        assert_int_equal(counting.calls, before + borrowed);
        attn_layer_destroy(call.layer);
        call.layer = NULL;
        attn_context_destroy(context);
        assert_int_equal(counting.live, 0);
        layer_close(&call);
    }
}

/* ------------------------------------------------------------------- being stopped */

struct stopper {
    atomic_long asked;
    long stop_at; /* 0: never */
};

static int32_t should_stop(void *user) {
    struct stopper *stopper = user;
    const long asked = atomic_fetch_add(&stopper->asked, 1) + 1;
    return stopper->stop_at > 0 && asked >= stopper->stop_at ? 5 : 0;
}

static void calls_are_stopped(void **state) {
    (void)state;
    for (int n = 0; n < LAYER_SAMPLES; n++) {
        struct layer_call call;
        struct stopper stopper = {.stop_at = 0};
        const struct layer_problem problem = layer_sample(n);
        layer_open(&call, &problem);
        run(&call);
        struct layer_snapshot right = layer_take(&call, LAYER_ALL);
        call.args.should_stop = call.backward.should_stop = should_stop;
        call.args.should_stop_user = call.backward.should_stop_user = &stopper;
        layer_forward(&call);
        const long forward = stopper.asked;
        layer_backward(&call);
        const long backward = stopper.asked - forward;
        /* every attention asks */
        const long attentions =
            (problem.layers > 0 ? problem.layers : 1) * (1 + problem.cross);
        assert_true(forward >= attentions && backward >= attentions);
        for (long at = 1; at <= forward; at++) {
            stopper = (struct stopper){.stop_at = at};
            expect_refusal(attn_layer_forward(call.layer, &call.args),
                           ATTN_ERR_CANCELLED, "should_stop");
        }
        stopper = (struct stopper){0};
        layer_forward(&call);
        for (long at = 1; at <= backward; at++) {
            stopper = (struct stopper){.stop_at = at};
            expect_refusal(attn_layer_backward(call.layer, &call.backward),
                           ATTN_ERR_CANCELLED, "should_stop");
        }
        /* the layer and the state are as good as before */
        stopper = (struct stopper){0};
        layer_reset(&call);
        layer_forward(&call);
        layer_backward(&call);
        layer_need_same(&right, &call, LAYER_ALL, "after being stopped");
        layer_close(&call);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lent_memory_is_enough),
        cmocka_unit_test(smaller_calls),
        cmocka_unit_test(workspace_does_not_grow_with_depth),
        cmocka_unit_test(sizes),
        cmocka_unit_test(every_allocation_fails_in_turn),
        cmocka_unit_test(what_calls_allocate),
        cmocka_unit_test(calls_are_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
