/*
 * Corners where two rules meet, each found once by attack: the mean over heads that
 * share one key-value head, scale 0, a sink that is no number, far positions, no rows,
 * setters after attn_sdpa(), a child's child.
 */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/call.h"
#include "tests/support/check.h"
#include "tests/support/element.h"
#include "tests/support/run.h"

/* Heads of one group that do not fit one piece, on several threads. */
static void mean_over_one_group(void **state) {
    (void)state;
    struct test_call alone, many;
    call_open(&alone, "b2 h8/1 q300 k200 d32 threads=1 seed=3", ALL_OUTPUTS);
    call_open(&many, "b2 h8/1 q300 k200 d32 threads=4 seed=3", ALL_OUTPUTS);
    call_run(&alone);
    assert_int_equal(check_outputs(&alone.inputs, &alone.outputs), 0);
    for (int n = 0; n < 5; n++) {
        call_need_same(&alone, &many);
    }
    call_close(&alone);
    call_close(&many);
}

/* 0 times NaN is NaN, in small products and in large ones. */
static void scale_zero_shows_nan(void **state) {
    (void)state;
    static const char *const texts[] = {"q4 k4 d4 scale=0", "q80 k300 d64 scale=0"};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct test_call call;
        call_open(&call, texts[i], ONLY_OUT);
        *(float *)element_at(&call.inputs.query, 0, 0, 1, 0) = NAN;
        call_run(&call);
        assert_true(isnan(element_float(&call.outputs.tensor[OUT], 0, 0, 1, 0)));
        assert_false(isnan(element_float(&call.outputs.tensor[OUT], 0, 0, 0, 0)));
        call_close(&call);
    }
}

/* A row without keys is all sink, whatever the sink is. */
static void empty_row_with_odd_sink(void **state) {
    (void)state;
    static const float sinks[] = {INFINITY, NAN, -INFINITY, 3.0F};
    for (size_t i = 0; i < COUNT_OF(sinks); i++) {
        const float numbers[4] = {1, 2, 3, 4};
        float out[4] = {9, 9, 9, 9}, lse = 9, sum = 9, sink = sinks[i];
        attn_tensor query, empty, into, stat[2], logits;
        const int64_t one[] = {1, 1, 1, 4}, none[] = {1, 1, 0, 4};
        attn_tensor_init(&query, ATTN_F32, 4, one, (void *)(uintptr_t)numbers);
        attn_tensor_init(&empty, ATTN_F32, 4, none, NULL);
        attn_tensor_init(&into, ATTN_F32, 4, one, out);
        attn_tensor_init(&stat[0], ATTN_F32, 3, one, &lse);
        attn_tensor_init(&stat[1], ATTN_F32, 3, one, &sum);
        attn_tensor_init(&logits, ATTN_F32, 1, one, &sink);
        attn_context *context;
        attn_desc *desc;
        attn_plan *plan;
        const attn_bounds bounds = {sizeof bounds, 1, 1, 1};
        attn_forward_args args;
        assert_int_equal(attn_context_create(&context), ATTN_OK);
        assert_int_equal(attn_desc_create(&desc), ATTN_OK);
        attn_desc_set_heads(desc, 1, 1);
        attn_desc_set_dims(desc, 4, 4);
        attn_desc_set_sinks(desc, 1);
        assert_int_equal(attn_plan_create(&plan, context, desc, &bounds), ATTN_OK);
        attn_forward_args_init(&args, sizeof args);
        args.query = &query;
        args.key = args.value = &empty;
        args.out = &into;
        args.lse = &stat[0];
        args.row_sum = &stat[1];
        args.sinks = &logits;
        assert_int_equal(attn_plan_forward(plan, &args), ATTN_OK);
        for (int c = 0; c < 4; c++) {
            assert_true(out[c] == 0.0F);
        }
        assert_true(isnan(sink) ? isnan(lse) : lse == sink);
        assert_true(sum == (sink == -INFINITY ? 0.0F : 1.0F));
        attn_plan_destroy(plan);
        attn_desc_destroy(desc);
        attn_context_destroy(context);
    }
}

/* Nothing to do takes no time, however large the batch. */
static void no_rows_at_once(void **state) {
    (void)state;
    const int64_t batch = INT64_C(1) << 50;
    assert_int_equal(
        attn_sdpa(NULL, batch, 1024, 1, 0, 7, 8, 8, 0, NULL, NULL, NULL, NULL),
        ATTN_ERR_INVALID); /* the keys alone would not fit memory */
    assert_int_equal(
        attn_sdpa(NULL, batch, 1, 1, 0, 0, 1, 1, 0, NULL, NULL, NULL, NULL), ATTN_OK);
}

static void *never_allocate(void *user, size_t bytes, size_t alignment) {
    (void)user, (void)bytes, (void)alignment;
    return NULL;
}

static void never_release(void *user, void *memory) {
    (void)user, (void)memory;
    fail_msg("memory from malloc was handed to the application");
}

/* What attn_sdpa() left in a context came from the allocator of that time. */
static void setters_after_sdpa(void **state) {
    (void)state;
    const float x[] = {1, 2};
    float out[2];
    attn_context *context;
    assert_int_equal(attn_context_create(&context), ATTN_OK);
    assert_int_equal(attn_sdpa(context, 1, 1, 1, 1, 1, 2, 2, 0, x, x, x, out), ATTN_OK);
    assert_int_equal(
        attn_context_set_allocator(context, never_allocate, never_release, NULL),
        ATTN_ERR_INVALID);
    assert_int_equal(attn_context_set_threads(context, 3), ATTN_ERR_INVALID);
    attn_context_destroy(context);
}

/* A pool that was used in the parent, its child and the child's child. */
static void pools_of_generations(void **state) {
    (void)state;
#ifdef TEST_EMULATED
    print_message("the emulator cannot start threads in a child of fork\n");
    skip();
#endif
    struct test_call call, again;
    call_open(&call, "h4 q256 k256 d64 threads=2", ONLY_OUT);
    call_open(&again, "h4 q256 k256 d64 threads=2", ONLY_OUT);
    call_run(&call);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(20); /* a hang is a failure */
        call_run(&again);
        pid_t grandchild = fork();
        if (grandchild == 0) {
            alarm(20);
            call_run(&call);
            call_run(&again);
            const int same = call_same(&call, &again);
            call_close(&call);
            call_close(&again);
            _exit(same ? 0 : 1);
        }
        int status = 1;
        waitpid(grandchild, &status, 0);
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 2);
    }
    int status = 1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    call_close(&call);
    call_close(&again);
}

/* Batch elements that share the memory of their keys, but not the number of them. */
static void shared_keys_of_other_lengths(void **state) {
    (void)state;
    enum { BATCH = 3, KEYS = 200, DIM = 16 };
    static const char *const text = "b3 q40 k200 d16 kvlens threads=1";
    static const int64_t lengths[BATCH] = {70, 200, 5};
    struct test_call shared, copied;
    call_open(&shared, text, ONLY_OUT);
    call_open(&copied, text, ONLY_OUT);
    struct test_call *const calls[] = {&shared, &copied};
    for (size_t c = 0; c < COUNT_OF(calls); c++) {
        struct test_inputs *inputs = &calls[c]->inputs;
        for (int64_t b = 0; b < BATCH; b++) {
            void *length = element_at(&inputs->kv_lengths, b, 0, 0, 0);
            if (inputs->kv_lengths.dtype == ATTN_I64) {
                *(int64_t *)length = lengths[b];
            } else {
                *(int32_t *)length = (int32_t)lengths[b];
            }
        }
        attn_tensor *const tensors[] = {&inputs->key, &inputs->value};
        for (size_t t = 0; t < COUNT_OF(tensors); t++) {
            for (int64_t i = 0; i < (int64_t)BATCH * KEYS * DIM; i++) {
                const int64_t b = i / DIM / KEYS, j = i / DIM % KEYS, d = i % DIM;
                *(float *)element_at(tensors[t], b, 0, j, d) =
                    element_float(tensors[t], 0, 0, j, d);
            }
            tensors[t]->stride[0] *= calls[c] == &shared ? 0 : 1;
        }
    }
    call_need_same(&copied, &shared);
    call_close(&shared);
    call_close(&copied);
}

/* What should_stop calls with, and how often that was. */
static struct test_call *nested;
static atomic_int nestings;

static int32_t call_again(void *user) {
    (void)user;
    if (atomic_fetch_add(&nestings, 1) == 0) {
        outputs_reset(&nested->outputs);
        assert_int_equal(attn_plan_forward(nested->plan, &nested->args), ATTN_OK);
    }
    return 0;
}

/* A call from inside a call finds the threads busy, and is right all the same. */
static void call_inside_a_call(void **state) {
    (void)state;
    static const char *const text = "h4 q300 k300 d64 threads=2";
    struct test_call right, outer, inner;
    struct test_problem problem = run_parse(text);
    attn_context *context = run_context(&problem);
    call_open(&right, text, ONLY_OUT);
    call_open_on(&outer, context, &problem, DATA_RANDOM, ONLY_OUT);
    call_open_on(&inner, context, &problem, DATA_RANDOM, ONLY_OUT);
    call_run(&right);
    call_run(&inner);
    nested = &inner;
    for (int n = 0; n < 20; n++) {
        atomic_store(&nestings, 0);
        outer.args.should_stop = call_again;
        alarm(30); /* a hang is a failure */
        call_run(&outer);
        alarm(0);
        assert_true(atomic_load(&nestings) > 0);
        assert_true(call_same(&right, &outer) && call_same(&right, &inner));
    }
    call_close(&right);
    call_close(&outer);
    call_close(&inner);
    attn_context_destroy(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mean_over_one_group),
        cmocka_unit_test(scale_zero_shows_nan),
        cmocka_unit_test(empty_row_with_odd_sink),
        cmocka_unit_test(no_rows_at_once),
        cmocka_unit_test(setters_after_sdpa),
        cmocka_unit_test(pools_of_generations),
        cmocka_unit_test(shared_keys_of_other_lengths),
        cmocka_unit_test(call_inside_a_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
