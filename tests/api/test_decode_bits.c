/*
 * The bits of few queries: threads that share the keys of a sequence, engines, and
 * tensors padded beyond the lengths change none.
 */
#include <stdio.h>
#include <string.h>

#include "tests/support/call.h"
#include "tests/support/check.h"
#include "tests/support/element.h"
#include "tests/support/loops.h"
#include "tests/support/run.h"

enum { ROWS_OUTPUTS = 1 << OUT | 1 << LSE | 1 << ROW_MAX | 1 << ROW_SUM };

/* Long enough that threads share the keys of few heads; d64 is 512 bytes a key. */
static const char *const texts[] = {
    "q1 k20000 d64 seed=1",
    "h4/1 q2 k20000 d64 causal align=br seed=2",
    "q8 k9000 d128 layout=bshd seed=3",
    "h7/1 q1 k70000 d16 seed=4",
    "h2/2 q3 k20000 d64 window=3000,0 align=br seed=5",
    "h2/1 q1 k20000 d64 window=50,9 align=offsets sinks seed=6",
    "b2 q2 k20000 d64 docs alibi seed=7",
    "h2/1 q4 k20000 d64 mask sinks seed=8",
    "q5 k20000 d64 block=2x3000 softcap=5 seed=9",
    "h3/1 q2 k20000 d64 dropout=0.3 seed=10",
    "h2/1 q3 k20000 d64 relkeys ubias vbias relbias=32,128 align=br seed=11",
    "q2 k20000 d64 bias segments ranks=upto seed=12",
    "b3 h2/1 q3 k20000 d64 kvlens qlens sinks causal align=br seed=13",
};

/* Of the batch of the last text: a long sequence, a short one and none. */
static void set_lengths(struct test_call *call) {
    static const int32_t keys[3] = {19000, 0, 700}, queries[3] = {2, 3, 0};
    if (call->inputs.problem.q_lengths) {
        for (int b = 0; b < 3; b++) {
            element_set_int(&call->inputs.kv_lengths, 0, b, keys[b]);
            element_set_int(&call->inputs.q_lengths, 0, b, queries[b]);
        }
    }
}

static void open_text(struct test_call *call, attn_context *context, const char *text,
                      int32_t threads, unsigned wanted) {
    struct test_problem problem = run_parse(text);
    problem.threads = threads;
    call_open_on(call, context, &problem, DATA_RANDOM, wanted);
    set_lengths(call);
}

static void threads_share_keys(void **state) {
    (void)state;
    for (size_t t = 0; t < COUNT_OF(texts); t += TEST_SHARE) {
        struct test_call one;
        open_text(&one, NULL, texts[t], 1, ROWS_OUTPUTS);
        call_run(&one);
        assert_int_equal(check_outputs(&one.inputs, &one.outputs), 0);
        for (int32_t threads = 2; threads <= 4; threads++) {
            struct test_call many;
            open_text(&many, NULL, texts[t], threads, ROWS_OUTPUTS);
            call_need_same(&one, &many);
            call_close(&many);
        }
        call_close(&one);
    }
}

/*
 * Of one head alone, keys are all that threads can share; of several, the splits are
 * joined in a second loop, which calls have that share and no others.
 */
static void they_do_share(void **state) {
    (void)state;
    for (size_t t = 0; t < COUNT_OF(texts); t += TEST_SHARE) {
        struct test_call one, many, observed;
        struct loops loops = {0, 0};
        struct test_problem problem = run_parse(texts[t]);
        attn_context *context = loops_context(&problem, 4, loops_on_threads, &loops);
        const int one_head = problem.batch * problem.kv_heads == 1;
        open_text(&one, NULL, texts[t], 1, ROWS_OUTPUTS);
        open_text(&many, context, texts[t], 4, ROWS_OUTPUTS);
        call_need_same(&one, &many);
        assert_int_equal(loops.calls, one_head ? 1 : 2);
        assert_in_range(loops.most, 2, 4);
        /* whoever asks for weights has them made in one loop, if not alone */
        open_text(&observed, context, texts[t], 4, ROWS_OUTPUTS | 1 << KEY_SUMS);
        call_need_same(&one, &observed);
        assert_int_equal(loops.calls, one_head ? 1 : 3);
        call_close(&one);
        call_close(&many);
        call_close(&observed);
        attn_context_destroy(context);
    }
}

/* One head after the other, or all that share keys at once. */
static void engine_by_itself_or_forced(void **state) {
    (void)state;
    for (size_t t = 0; t < COUNT_OF(texts); t += TEST_SHARE) {
        char text[256];
        struct test_call itself, forced;
        snprintf(text, sizeof text, "%s engine=decode", texts[t]);
        open_text(&itself, NULL, texts[t], 3, ROWS_OUTPUTS);
        open_text(&forced, NULL, text, 3, ROWS_OUTPUTS);
        call_need_same(&itself, &forced);
        call_close(&itself);
        call_close(&forced);
    }
}

/* Threads take heads of a group apart where a tensor has room for many queries; what is
 * decoded all the same stays together. */
static void groups_stay_together(void **state) {
    (void)state;
    static const int32_t queries[2] = {2, 1};
    struct test_problem problem =
        run_parse("b2 h16/1 q300 k6000 d64 qlens align=br seed=15");
    struct test_call calls[2];
    for (int c = 0; c < 2; c++) {
        problem.threads = c == 0 ? 1 : 4;
        call_open_on(&calls[c], NULL, &problem, DATA_RANDOM, ROWS_OUTPUTS);
        for (int b = 0; b < 2; b++) {
            element_set_int(&calls[c].inputs.q_lengths, 0, b, queries[b]);
        }
    }
    call_need_same(&calls[0], &calls[1]);
    assert_true(outputs_whole(&calls[1].outputs));
    call_close(&calls[0]);
    call_close(&calls[1]);
}

/*
 * Which tiles of keys lie side by side depends on the heads of a stack where masks
 * differ from head to head. So stacks must be the same for any padding and any threads.
 */
static void stacks_stay_the_same(void **state) {
    (void)state;
    static const char *const tensors[] = {
        "b2 h8/1 q1024 k4096 d16 qlens block=1024x64 threads=%d seed=%d",
        "b2 h24/1 q700 k4096 d16 qlens block=700x64 threads=%d seed=%d",
        "h8/1 q270 k4096 d16 block=270x64 engine=decode threads=%d seed=%d"};
    int of_heads = 0;
    for (int n = 0; n < 3 * 6; n++) {
        struct test_call calls[2];
        for (int c = 0; c < 2; c++) {
            char text[128];
            snprintf(text, sizeof text, tensors[n % 3], c == 0 ? 1 : 8, n);
            call_open(&calls[c], text, ROWS_OUTPUTS);
            if (n % 3 < 2) {
                const int64_t all = calls[c].inputs.problem.q_length;
                element_set_int(&calls[c].inputs.q_lengths, 0, 0, 1 + n % 3);
                element_set_int(&calls[c].inputs.q_lengths, 0, 1, all);
            }
        }
        const attn_tensor *blocks = &calls[0].inputs.block_mask;
        of_heads += blocks->rank > 2 && blocks->shape[blocks->rank - 3] > 1;
        call_need_same(&calls[0], &calls[1]);
        call_close(&calls[0]);
        call_close(&calls[1]);
    }
    assert_true(of_heads > 2);
}

/* Few queries in a tensor of many, each sequence by the engine that it gets alone. */
static void lengths_choose_engines(void **state) {
    (void)state;
    static const int32_t queries[4] = {8, 40, 1, 9}, keys[4] = {1500, 1500, 1025, 600};
    struct test_problem problem =
        run_parse("b4 h4/2 q40 k1500 d24 qlens kvlens causal align=br seed=14");
    struct test_call all;
    call_open_on(&all, NULL, &problem, DATA_RANDOM, ALL_OUTPUTS);
    for (int b = 0; b < 4; b++) {
        element_set_int(&all.inputs.q_lengths, 0, b, queries[b]);
        element_set_int(&all.inputs.kv_lengths, 0, b, keys[b]);
    }
    call_run(&all);
    assert_int_equal(check_outputs(&all.inputs, &all.outputs), 0);
    problem.q_lengths = problem.kv_lengths = 0;
    problem.batch = 1;
    for (int b = 0; b < 4; b++) {
        struct test_call alone;
        problem.q_length = queries[b];
        problem.kv_length = keys[b];
        call_open_on(&alone, NULL, &problem, DATA_RANDOM, ROWS_OUTPUTS);
        attn_tensor *own[] = {&alone.inputs.query, &alone.inputs.key,
                              &alone.inputs.value};
        const attn_tensor *of[] = {&all.inputs.query, &all.inputs.key,
                                   &all.inputs.value};
        for (size_t i = 0; i < COUNT_OF(own); i++) {
            own[i]->data = element_at(of[i], b, 0, 0, 0);
            memcpy(own[i]->stride, of[i]->stride, sizeof own[i]->stride);
        }
        call_run(&alone);
        for (int64_t n = 0; n < 4 * (int64_t)queries[b]; n++) {
            const int64_t h = n % 4, i = n / 4;
            assert_memory_equal(element_at(&alone.outputs.tensor[OUT], 0, h, i, 0),
                                element_at(&all.outputs.tensor[OUT], b, h, i, 0),
                                24 * sizeof(float));
            assert_memory_equal(element_at(&alone.outputs.tensor[LSE], 0, 0, h, i),
                                element_at(&all.outputs.tensor[LSE], 0, b, h, i),
                                sizeof(float));
        }
        call_close(&alone);
    }
    call_close(&all);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_share_keys),
        cmocka_unit_test(they_do_share),
        cmocka_unit_test(engine_by_itself_or_forced),
        cmocka_unit_test(groups_stay_together),
        cmocka_unit_test(stacks_stay_the_same),
        cmocka_unit_test(lengths_choose_engines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
