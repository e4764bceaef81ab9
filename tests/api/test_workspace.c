/*
 * Workspace of the caller: exactly as many bytes as asked for, between pages that
 * cannot be touched, full of NaN; and a size that does not grow with the sequence.
 */
#include <stdio.h>
#include <string.h>

#include "tests/support/call.h"
#include "tests/support/compose.h"
#include "tests/support/guard.h"
#include "tests/support/run.h"

/* Runs a problem in borrowed workspace, and in guarded workspace filled with a byte. */
static void compare(const struct test_problem *problem, int data, unsigned wanted,
                    int fill) {
    struct test_call borrowed, guarded;
    struct guard guard;
    call_open_on(&borrowed, NULL, problem, data, wanted);
    call_open_on(&guarded, NULL, problem, data, wanted);
    size_t bytes = attn_plan_workspace_size(guarded.plan);
    /* Multiples of 64 make both ends of the pages useful. */
    assert_int_equal(bytes % 64, 0);
    void *memory = fill % 2 ? guard_before(&guard, bytes) : guard_after(&guard, bytes);
    memset(memory, fill, bytes);
    guarded.args.workspace = memory;
    guarded.args.workspace_size = (int64_t)bytes;
    call_need_same(&borrowed, &guarded);
    guard_free(&guard);
    call_close(&borrowed);
    call_close(&guarded);
}

static void between_guard_pages(void **state) {
    (void)state;
    static const char *const texts[] = {
        "b2 h4/2 q200 k700 d64 causal align=br threads=3",
        "q100 k50 d17 bias mask sinks threads=2",
        "h8/1 q1 k3000 d128 threads=2",
        "q1000 k1000 d40 docs threads=1",
        "h8/2 q3 k1700 d40/24 key=i8 value=i8 query=f16 out=bf16 threads=2",
        "q90 k700 d24/72 key=f16 value=i8 query=bf16 out=f16 mask threads=2",
        "b5 h4/2 q90 k900 d24 qpacked kpacked causal align=br threads=2",
        "b3 h2/1 q3 k20000 d64 qpacked kpacked value=i8 threads=4",
        "b2 h4/2 q90 k700 d40/24 additive causal threads=2",
        "h2 q2 k900 d65 additive key=bf16 threads=2"};
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        struct test_problem problem = run_parse(texts[t]);
        for (problem.engine = 0; problem.engine <= run_last_engine(&problem);
             problem.engine++) {
            compare(&problem, DATA_RANDOM, ALL_OUTPUTS, 0xff);
            compare(&problem, DATA_RANDOM, ALL_OUTPUTS, 0x7e);
        }
    }
}

/* Behind the scratch of each thread lie the sums of splits that threads share. */
static void shared_keys(void **state) {
    (void)state;
    static const char *const texts[] = {
        "h4/1 q2 k20000 d64 threads=3", "b3 h2/1 q1 k20000 d64/80 kvlens threads=4",
        "b3 h2 q1 k9000 d128 sinks threads=4", "q8 k20000 d64/3 threads=2"};
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        struct test_problem problem = run_parse(texts[t]);
        compare(&problem, DATA_RANDOM, ONLY_OUT, 0xff);
        compare(&problem, DATA_RANDOM, ONLY_OUT, 0x7e);
    }
}

static void random_problems(void **state) {
    (void)state;
    for (uint64_t number = 20000; number < 20060; number += TEST_SHARE) {
        int data;
        struct test_problem problem = compose_problem(number, &data);
        compare(&problem, data, ALL_OUTPUTS, number % 2 ? 0xff : 0x7e);
    }
}

/* Bytes that a plan of this text needs. */
static size_t size_of(const char *text) {
    struct test_problem problem = run_parse(text);
    attn_context *context = run_context(&problem);
    attn_plan *plan = run_plan(context, &problem);
    size_t bytes = attn_plan_workspace_size(plan);
    attn_plan_destroy(plan);
    attn_context_destroy(context);
    return bytes;
}

/* Threads times tile: neither length, nor batch, nor heads. */
static void size_is_bounded(void **state) {
    (void)state;
    static const char *const masks[] = {"",
                                        "causal align=br",
                                        "kvlens qlens docs",
                                        "mask bias block=64x64",
                                        "window=4096,0 sinks",
                                        "relbias=32,128 relkeys ubias vbias segments"};
    for (size_t m = 0; m < COUNT_OF(masks); m++) {
        char text[256];
        snprintf(text, sizeof text, "b4 h8 q131072 k131072 d128 threads=1 %s",
                 masks[m]);
        size_t large = size_of(text);
        assert_true(large > 0 && large < 16 << 20);
        snprintf(text, sizeof text, "b4 h8 q1048576 k1048576 d128 threads=1 %s",
                 masks[m]);
        assert_int_equal(size_of(text), large);
        snprintf(text, sizeof text, "b4 h8 q131072 k131072 d128 threads=8 %s",
                 masks[m]);
        /* threads that share keys have room for what they pass on */
        assert_in_range(size_of(text), 8 * large, 8 * (large + (512 << 10)));
        snprintf(text, sizeof text, "b4000 h80/8 q131072 k131072 d128 threads=1 %s",
                 masks[m]);
        assert_int_equal(size_of(text), large);
    }
}

/* A long call stays within its workspace and is right where the oracle looks. */
static void a_long_call(void **state) {
    (void)state;
    struct test_problem problem = run_parse("q3 k131072 d16 causal align=br seed=3");
    assert_int_equal(run_and_check(&problem, DATA_RANDOM, ALL_OUTPUTS), 0);
    problem = run_parse("q1 k131072 d16 engine=flash kvlens seed=4");
    assert_int_equal(run_and_check(&problem, DATA_RANDOM, ALL_OUTPUTS), 0);
    problem =
        run_parse("q200 k131072 d8 causal align=br window=100,0 threads=2 seed=5");
    compare(&problem, DATA_RANDOM, ALL_OUTPUTS, 0xff);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(between_guard_pages), cmocka_unit_test(shared_keys),
        cmocka_unit_test(random_problems),     cmocka_unit_test(size_is_bounded),
        cmocka_unit_test(a_long_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
