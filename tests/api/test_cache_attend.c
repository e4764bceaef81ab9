/*
 * Attention from a cache is attention: whatever the pages, whatever pieces the keys
 * came in, and whichever sequences of the cache they are, a call gives what it gives
 * from tensors, and to the bit what it gives from a contiguous cache. All masks and
 * terms, by every engine.
 */
#include <stdio.h>

#include "tests/support/cache_attend.h"
#include "tests/support/cache_keys.h"
#include "tests/support/check.h"
#include "tests/support/run.h"

/* Single tokens, few queries and many; heads that share keys; keys of some splits. */
static const char *const sizes[] = {
    "b3 h2 q1 k300 d16", "b2 h4/1 q3 k700 d24/40", "b2 h2 q8 k129 d32 layout=bshd",
    "h4/1 q9 k401 d64",  "b3 h4/2 q70 k190 d8/5",  "h3 q1 k3000 d20/9",
};

static const int64_t pages[] = {1, 7, 16, 128, 200};

/* A call from a cache of its own. */
struct from_cache {
    struct counting counting;
    attn_cache *cache;
    int64_t sequence[8];
    attn_tensor sequences;
    struct test_call call;
};

/* Runs a call with pages of this size, 0: contiguous. */
static void from_cache_run(struct from_cache *from, const struct test_call *plain,
                           int64_t page_keys, int pieces) {
    const struct test_problem *problem = &plain->inputs.problem;
    struct random random = random_stream(problem->seed, 85);
    const attn_cache_options options = attend_options(problem, ATTN_F32, page_keys);
    from->counting = (struct counting){0};
    from->cache = cache_make(&options, &from->counting);
    attend_shuffle(from->sequence, options.sequences, &random);
    attend_fill(from->cache, 1, from->sequence, &plain->inputs,
                pieces ? &random : NULL);
    from->sequences = attend_integers(from->sequence, problem->batch);
    attend_open(&from->call, plain, from->cache, 1, &from->sequences);
    call_run(&from->call);
}

static void from_cache_close(struct from_cache *from) {
    attend_close(&from->call);
    attn_cache_destroy(from->cache);
    assert_int_equal(from->counting.live, 0);
}

static int check_paged(const struct test_call *plain, const struct test_call *whole,
                       int64_t page_keys, int pieces) {
    struct from_cache paged;
    from_cache_run(&paged, plain, page_keys, pieces);
    const int wrong =
        !outputs_whole(&paged.call.outputs) || !call_same(whole, &paged.call);
    if (wrong) {
        print_error("    pages of %d, engine %d\n", (int)page_keys,
                    (int)plain->inputs.problem.engine);
    }
    from_cache_close(&paged);
    return wrong;
}

static int check_problem(const struct test_problem *problem) {
    struct test_call plain;
    struct from_cache whole;
    call_open_on(&plain, NULL, problem, DATA_RANDOM, ALL_OUTPUTS);
    attend_lengths(&plain.inputs);
    call_run(&plain);
    from_cache_run(&whole, &plain, 0, problem->seed % 2 == 0);
    int wrong = !attend_like(&plain, &whole.call);
    /* half of them for one engine, half for the next */
    size_t p = ((uint64_t)problem->engine + problem->seed) % 2;
    for (; p < COUNT_OF(pages); p += 2) {
        wrong += check_paged(&plain, &whole.call, pages[p], p / 2 % 2 == 1);
    }
    from_cache_close(&whole);
    call_close(&plain);
    return wrong;
}

static int check_words(const char *words) {
    static size_t turn; /* goes on from words to words, so that a share has all sizes */
    int wrong = 0;
    for (size_t n = 0; n < COUNT_OF(sizes); n++) {
        if (turn++ % TEST_SHARE == 0) {
            char text[256];
            snprintf(text, sizeof text, "%s %s threads=1 seed=%d", sizes[n], words,
                     (int)turn % 5);
            struct test_problem problem = run_parse(text);
            for (problem.engine = ATTN_ENGINE_AUTO;
                 problem.engine <= run_last_engine(&problem); problem.engine++) {
                wrong += check_problem(&problem);
            }
        }
    }
    return wrong;
}

#define ATTEND_TEST(name, ...)                                                         \
    static void name(void **state) {                                                   \
        static const char *const words[] = {__VA_ARGS__};                              \
        int wrong = 0;                                                                 \
        (void)state;                                                                   \
        for (size_t w = 0; w < COUNT_OF(words); w++) {                                 \
            wrong += check_words(words[w]);                                            \
        }                                                                              \
        assert_int_equal(wrong, 0);                                                    \
    }

ATTEND_TEST(lengths, "", "kvlens", "qlens kvlens", "causal align=br qlens kvlens")
ATTEND_TEST(bands, "causal align=br", "causal align=br kvlens", "causal align=offsets",
            "window=5,3 align=br kvlens", "causal align=br window=64,0",
            "window=7,7 align=offsets kvlens", "causal align=br prefix kvlens",
            "causal align=br prefix window=100,-1")
ATTEND_TEST(masks, "docs kvlens", "block=7x50 kvlens", "block=64x100", "block=1x128",
            "mask kvlens", "mask causal align=br", "ranks=upto kvlens",
            "ranks=below qlens kvlens")
ATTEND_TEST(terms, "bias kvlens", "bias causal align=br softcap=3",
            "alibi causal align=br kvlens", "alibi align=offsets",
            "sinks kvlens softcap=0.5", "softcap=50 scale=-0.3")
ATTEND_TEST(relative, "relbias=32,128 bidir align=br kvlens",
            "relbias=8,20 causal align=br", "relbias=6,400 align=offsets softcap=3",
            "relkeys ubias vbias causal align=br kvlens", "relkeys align=offsets",
            "segments kvlens", "segments relkeys ubias vbias align=br ranks=upto")
ATTEND_TEST(additive, "additive kvlens", "additive causal align=br kvlens",
            "additive window=5,3 align=br sinks softcap=2")
ATTEND_TEST(dropout, "dropout=0.3 kvlens", "dropout=0.5 causal align=br mask sinks")

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths),  cmocka_unit_test(bands),
        cmocka_unit_test(masks),    cmocka_unit_test(terms),
        cmocka_unit_test(relative), cmocka_unit_test(additive),
        cmocka_unit_test(dropout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
