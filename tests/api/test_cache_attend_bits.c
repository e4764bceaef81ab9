/*
 * Bitwise laws of attention from caches: threads that share the keys of a sequence,
 * other sequences in the call, packed prompts and single tokens together, and what lies
 * in memory beside what is kept never change a bit.
 */
#include <math.h>
#include <stdio.h>

#include "tests/support/cache_attend.h"
#include "tests/support/cache_keys.h"
#include "tests/support/element.h"
#include "tests/support/run.h"

enum { SEQUENCES = 5 };

static struct counting counting;
static struct test_call plain;
static attn_cache *cache;
static int64_t sequence[SEQUENCES + 2];

/* A problem of tensors and a cache that has room for its keys. */
static void open_empty(const struct test_problem *problem, const int64_t *lengths,
                       const attn_cache_options *options) {
    struct random random = random_stream(problem->seed, 87);
    call_open_on(&plain, NULL, problem, DATA_RANDOM, ROW_OUTPUTS);
    attend_lengths(&plain.inputs);
    for (int64_t b = 0; b < problem->batch && lengths != NULL; b++) {
        element_set_int(&plain.inputs.kv_lengths, 0, b, lengths[b]);
        if (problem->prefix &&
            element_int(&plain.inputs.prefix_lengths, 0, b) > lengths[b]) {
            /* alone, a sequence may have no longer one */
            element_set_int(&plain.inputs.prefix_lengths, 0, b, lengths[b]);
        }
    }
    counting = (struct counting){0};
    cache = cache_make(options, &counting);
    attend_shuffle(sequence, options->sequences, &random);
}

/* The cache has its keys. */
static void open_both(const struct test_problem *problem, const int64_t *lengths,
                      int32_t dtype, int64_t page_keys) {
    const attn_cache_options options = attend_options(problem, dtype, page_keys);
    open_empty(problem, lengths, &options);
    attend_fill(cache, 1, sequence, &plain.inputs, NULL);
}

static void close_both(void) {
    attn_cache_destroy(cache);
    call_close(&plain);
    assert_int_equal(counting.live, 0);
}

static struct test_problem problem_of(const char *text, int32_t threads,
                                      int32_t engine) {
    struct test_problem problem = run_parse(text);
    problem.threads = threads;
    problem.engine = engine;
    return problem;
}

/* Few heads and long keys: threads share what each head reads. */
static void number_of_threads(void **state) {
    (void)state;
    static const char *const texts[] = {
        "h2/1 q1 k9000 d64 seed=1",
        "b3 h4/1 q2 k5000 d64/128 kvlens causal align=br alibi seed=2",
        "h8/2 q4 k4000 d64 window=3500,0 align=br sinks seed=3",
        "b2 h4/2 q1 k3000 d80 kvlens causal align=br relkeys relbias=32,128 seed=4",
        "b2 h2 q150 k700 d32 kvlens causal align=br seed=5",
        "b2 h2 q20 k1500 d64 kvlens softcap=5 seed=6"};
    static const int64_t pages[] = {0, 16, 200};
    static const int32_t types[] = {ATTN_F32, ATTN_BF16, ATTN_I8, ATTN_F16};
    for (size_t c = 0; c < COUNT_OF(texts) * 4; c += TEST_SHARE) {
        struct test_problem problem = problem_of(texts[c / 4], 1, 0);
        open_both(&problem, NULL, types[c % 4], pages[c % 3]);
        const attn_tensor sequences = attend_integers(sequence, problem.batch);
        struct test_call one, many;
        attend_open(&one, &plain, cache, 1, &sequences);
        call_run(&one);
        if (types[c % 4] == ATTN_F32) {
            call_run(&plain);
            assert_true(attend_like(&plain, &one));
        }
        for (plain.inputs.problem.threads = 2; plain.inputs.problem.threads <= 4;
             plain.inputs.problem.threads++) {
            attend_open(&many, &plain, cache, 1, &sequences);
            call_run(&many);
            assert_true(outputs_whole(&many.outputs));
            assert_true(call_same(&one, &many));
            attend_close(&many);
        }
        attend_close(&one);
        close_both();
    }
}

/* Elements of a dimension of queries and outputs that are one sequence's. */
struct share {
    int32_t dim;
    int64_t from, n;
};

/* Attends for batch element b alone, into its share of the outputs. */
static void run_alone(const struct test_inputs *all, const struct test_outputs *outputs,
                      int64_t b, const struct share *share) {
    struct test_inputs in = *all;
    struct test_outputs out = *outputs;
    in.problem.batch = 1;
    in.problem.q_length = share->dim == 2 ? share->n : all->problem.q_length;
    in.problem.threads = 1;
    in.query = attend_cut(&in.query, share->dim, share->from, share->n);
    in.prefix_lengths = attend_cut(&in.prefix_lengths, 0, b, 1);
    in.query_offsets = attend_cut(&in.query_offsets, 0, b, 1);
    if (in.alibi_slopes.rank == 2) {
        in.alibi_slopes = attend_cut(&in.alibi_slopes, 0, b, 1);
    }
    for (int o = 0; o < OUTPUTS; o++) {
        out.tensor[o] = attend_cut(&out.tensor[o], share->dim, share->from, share->n);
    }
    const attn_tensor sequences = attend_integers(&sequence[b], 1);
    attn_context *context = run_context(&in.problem);
    attn_plan *plan = run_plan(context, &in.problem);
    attn_forward_args args;
    run_args(&args, &in, &out);
    args.key = args.value = args.kv_lengths = NULL;
    args.cache = cache;
    args.cache_layer = 1;
    args.sequences = &sequences;
    run_need(attn_plan_forward(plan, &args), &in.problem, "attn_plan_forward");
    attn_plan_destroy(plan);
    attn_context_destroy(context);
}

/* Sequences of very different length, some empty, in one call and each alone. */
static void batch_elements_alone(void **state) {
    (void)state;
    static const char *const texts[] = {
        "b5 h2/1 q1 k4000 d64 kvlens seed=1",
        "b5 h4/2 q3 k4000 d24 kvlens causal align=br alibi seed=2",
        "b5 h4/1 q40 k1000 d16 kvlens causal align=br relkeys vbias seed=3",
        "b5 h2 q9 k1000 d32/7 kvlens align=offsets window=99,9 sinks seed=4",
        "b5 h2 q1 k4000 d64 kvlens causal prefix align=br layout=bshd seed=5"};
    static const int64_t pages[] = {0, 7, 128};
    for (size_t c = 0; c < COUNT_OF(texts) * 8; c += TEST_SHARE) {
        struct test_problem problem =
            problem_of(texts[c / 8], 1 + (int32_t)(c % 4), (int32_t)(c / 2 % 4));
        const int64_t most = problem.kv_length;
        const int64_t lengths[SEQUENCES] = {most, 0, 1, 17, most / 5};
        open_both(&problem, lengths, c % 2 == 0 ? ATTN_F32 : ATTN_BF16, pages[c % 3]);
        const attn_tensor sequences = attend_integers(sequence, problem.batch);
        struct test_call together, alone;
        attend_open(&together, &plain, cache, 1, &sequences);
        attend_open(&alone, &plain, cache, 1, &sequences);
        call_run(&together);
        for (int64_t b = 0; b < SEQUENCES; b++) {
            const struct share share = {0, b, 1};
            run_alone(&alone.inputs, &alone.outputs, b, &share);
        }
        assert_true(outputs_whole(&alone.outputs));
        assert_true(call_same(&together, &alone));
        attend_close(&together);
        attend_close(&alone);
        close_both();
    }
}

static attn_plan *packed_plan(attn_context *context, const struct test_problem *problem,
                              const attn_bounds *bounds) {
    attn_desc *desc = run_desc(problem);
    attn_plan *plan = NULL;
    run_need(attn_desc_set_packed(desc, 1, 0), problem, "set_packed");
    run_need(attn_plan_create(&plan, context, desc, bounds), problem,
             "attn_plan_create");
    attn_desc_destroy(desc);
    return plan;
}

/* Five sequences with 1, 0, 40, 3 and 1 new tokens, packed and each alone. */
static void prompts_and_tokens_together(void **state) {
    (void)state;
    static const char *const words[] = {"causal align=br",
                                        "window=30,0 align=br",
                                        "alibi causal align=br",
                                        "relbias=32,128 relkeys ubias align=br sinks",
                                        "causal prefix align=br softcap=4",
                                        "alibi align=offsets"};
    static const int64_t lengths[SEQUENCES] = {700, 33, 40, 90, 0};
    static const int64_t pages[] = {0, 16, 7};
    /* rows before the first and after the last are nobody's */
    int64_t starts[SEQUENCES + 1] = {2, 3, 3, 43, 46, 47};
    for (size_t c = 0; c < COUNT_OF(words) * 8; c += TEST_SHARE) {
        char text[256];
        snprintf(text, sizeof text, "b5 h4/2 q1 k700 d16/24 kvlens %s seed=%d",
                 words[c / 8], (int)c);
        struct test_problem problem = problem_of(text, 1, (int32_t)(c / 2 % 4));
        open_both(&problem, lengths, c % 2 == 0 ? ATTN_F32 : ATTN_BF16, pages[c % 3]);

        /* queries of one batch element, all else of the five */
        struct test_inputs tokens, inputs = plain.inputs;
        problem.batch = 1;
        problem.q_length = 50;
        problem.kv_lengths = inputs.problem.kv_lengths = 0;
        problem.threads = 1 + (int32_t)(c % 3);
        gen_inputs(&tokens, &problem, DATA_RANDOM);
        inputs.query = tokens.query;
        inputs.kv_lengths.rank = 0;
        inputs.problem.q_length = 50;
        struct test_outputs packed, alone;
        outputs_open(&packed, &problem, ROW_OUTPUTS);
        outputs_open(&alone, &problem, ROW_OUTPUTS);

        const attn_bounds bounds = {sizeof bounds, SEQUENCES, 40, 700};
        const attn_tensor sequences = attend_integers(sequence, SEQUENCES);
        const attn_tensor q_starts = attend_integers(starts, SEQUENCES + 1);
        attn_context *context = run_context(&problem);
        attn_plan *plan = packed_plan(context, &problem, &bounds);
        attn_forward_args args;
        run_args(&args, &inputs, &packed);
        args.key = args.value = NULL;
        args.cache = cache;
        args.cache_layer = 1;
        args.sequences = &sequences;
        args.q_starts = &q_starts;
        run_need(attn_plan_forward(plan, &args), &problem, "attn_plan_forward");
        for (int64_t b = 0; b < SEQUENCES; b++) {
            const struct share share = {2, starts[b], starts[b + 1] - starts[b]};
            run_alone(&inputs, &alone, b, &share);
        }
        if (!outputs_all_same(&packed, &alone)) {
            fail_msg("\"%s\", engine %d", text, (int)problem.engine);
        }
        attn_plan_destroy(plan);
        attn_context_destroy(context);
        outputs_close(&packed);
        outputs_close(&alone);
        gen_free(&tokens);
        close_both();
    }
}

/* n keys of NaN, in all layers of a sequence. */
static void append_nan(int64_t to, int64_t n) {
    struct test_inputs nan = plain.inputs;
    float numbers[64];
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        numbers[i] = NAN;
    }
    assert_in_range(nan.problem.key_dim, 1, COUNT_OF(numbers));
    nan.key.data = nan.value.data = numbers;
    for (int d = 0; d < 3; d++) {
        nan.key.stride[d] = nan.value.stride[d] = 0;
    }
    attend_append(cache, 0, to, &nan, 0, 0, n);
    attend_append(cache, 1, to, &nan, 0, 0, n);
}

/* What was taken back or forgotten is NaN, and so are pages that were never used. */
static void nothing_beside_is_read(void **state) {
    (void)state;
    static const char *const texts[] = {
        "b3 h2 q1 k300 d16 kvlens seed=1",
        "b3 h4/2 q9 k200 d24 kvlens causal align=br alibi docs seed=2",
        "b2 h4/1 q70 k190 d32 kvlens bias mask align=br window=-1,3 seed=3",
        "b3 h2/1 q3 k600 d64 kvlens relkeys segments sinks align=br seed=4"};
    static const int64_t pages[] = {0, 1, 7, 16, 128};
    enum { NANS = 5, WAYS = 3 };
    for (size_t c = 0; c < COUNT_OF(texts) * 4 * WAYS; c += TEST_SHARE) {
        struct test_problem problem =
            problem_of(texts[c / 4 / WAYS], 1, (int32_t)(c / WAYS % 4));
        attn_cache_options options =
            attend_options(&problem, ATTN_F32, pages[c % COUNT_OF(pages)]);
        const size_t way = c % WAYS;
        options.capacity += NANS;
        options.pages += options.page_keys > 0 ? NANS * options.sequences : 0;
        open_empty(&problem, NULL, &options);
        for (int64_t s = 0; s < options.sequences && way != 0; s++) {
            append_nan(s, NANS);
            if (way == 1) {
                assert_int_equal(attn_cache_truncate(cache, s, 0), ATTN_OK);
            }
        }
        attend_fill(cache, 1, sequence, &plain.inputs, NULL);
        for (int64_t s = 0; s < options.sequences && way != 1; s++) {
            const int64_t length = attn_cache_length(cache, 1, s);
            if (way == 2) {
                assert_int_equal(attn_cache_evict(cache, s, NANS), ATTN_OK);
                continue;
            }
            append_nan(s, NANS);
            assert_int_equal(attn_cache_truncate(cache, s, length), ATTN_OK);
        }
        const attn_tensor sequences = attend_integers(sequence, problem.batch);
        struct test_call cached;
        attend_open(&cached, &plain, cache, 1, &sequences);
        attend_need_like(&plain, &cached);
        attend_close(&cached);
        close_both();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(number_of_threads),
        cmocka_unit_test(batch_elements_alone),
        cmocka_unit_test(prompts_and_tokens_together),
        cmocka_unit_test(nothing_beside_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
