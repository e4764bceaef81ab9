/*
 * Attention from caches that forget. A ring of window + n - 1 keys that takes n tokens
 * a step gives what a window on all keys gives, for as long as it goes on; without a
 * window, what is forgotten is not there. Positions count from the first token ever
 * appended, whatever is forgotten.
 */
#include <stdio.h>

#include "tests/support/cache_attend.h"
#include "tests/support/cache_keys.h"
#include "tests/support/expect.h"
#include "tests/support/run.h"

enum { TOKENS = 240 };

/* All tokens of a sequence, and the cache that its keys go into. */
static struct {
    struct test_inputs inputs;
    struct counting counting;
    attn_context *context;
    attn_cache *cache;
    int64_t sequence;
} whole;

static void open_whole(const char *text, int64_t capacity, int64_t page_keys,
                       int ring) {
    const struct test_problem problem = run_parse(text);
    gen_inputs(&whole.inputs, &problem, DATA_RANDOM);
    attn_cache_options options = attend_options(&problem, ATTN_F32, page_keys);
    options.ring = ring;
    options.capacity = capacity;
    options.page_keys = page_keys < capacity ? page_keys : capacity;
    whole.counting = (struct counting){0};
    whole.cache = cache_make(&options, &whole.counting);
    whole.context = run_context(&problem);
    whole.sequence = (int64_t)(problem.seed % 3);
}

static void close_whole(void) {
    attn_cache_destroy(whole.cache);
    attn_context_destroy(whole.context);
    gen_free(&whole.inputs);
    assert_int_equal(whole.counting.live, 0);
}

/* Both layers grow, since layers forget together; the other has other keys. */
static void append(int64_t from, int64_t n) {
    attend_append(whole.cache, 0, whole.sequence, &whole.inputs, 0, 0, n);
    attend_append(whole.cache, 1, whole.sequence, &whole.inputs, 0, from, n);
}

/* The last queries of the sequence, from tensors with the keys that are kept. */
static struct test_inputs kept_inputs(int64_t queries) {
    const int64_t length = attn_cache_length(whole.cache, 1, whole.sequence);
    const int64_t first = attn_cache_first(whole.cache, 1, whole.sequence);
    const struct attend_part part = {length - queries, queries, first, length - first};
    return attend_inputs(&whole.inputs, &part);
}

/* Attends from tensors and from the cache; the outputs of the latter are the caller's
 * to close. `cached` has the integers that count from the first key of all. */
static struct test_outputs attend_both(const struct test_inputs *kept,
                                       const struct test_inputs *cached,
                                       unsigned wanted) {
    const attn_tensor sequences = attend_integers(&whole.sequence, 1);
    struct test_call plain, call;
    attend_tensors(&plain, whole.context, kept, wanted);
    attend_open(&call, &plain, whole.cache, 1, &sequences);
    call.args.query_offsets = gen_given(&cached->query_offsets);
    call.args.prefix_lengths = gen_given(&cached->prefix_lengths);
    attend_need_like(&plain, &call);
    const struct test_outputs outputs = call.outputs;
    call.outputs = (struct test_outputs){0};
    attend_close(&call);
    attend_close(&plain);
    return outputs;
}

/* Against tensors with what is kept and, if a window asks for no more than that, the
 * definition on all keys. */
static void check_step(int64_t queries, int32_t engine, int windowed) {
    const int64_t length = attn_cache_length(whole.cache, 1, whole.sequence);
    struct test_inputs kept = kept_inputs(queries);
    kept.problem.engine = engine;
    struct test_outputs outputs = attend_both(&kept, &kept, ALL_OUTPUTS);
    if (windowed) {
        const struct attend_part part = {length - queries, queries, 0, length};
        const struct test_inputs all = attend_inputs(&whole.inputs, &part);
        assert_int_equal(attend_check_rows(&all, &outputs), 0);
    }
    outputs_close(&outputs);
}

static void rings_are_windows(void **state) {
    (void)state;
    static const char *const words[] = {"causal",
                                        "alibi",
                                        "causal relbias=8,20 sinks",
                                        "relkeys ubias vbias",
                                        "bias causal segments",
                                        "mask docs softcap=3"};
    static const int64_t windows[] = {1, 16, 50}, counts[] = {1, 2, 5},
                         pages[] = {0, 1, 7, 16};
    for (size_t c = 0; c < COUNT_OF(words) * 9; c += TEST_SHARE) {
        const int64_t window = windows[c / 3 % 3], n = counts[c % 3];
        char text[256];
        snprintf(text, sizeof text,
                 "h4/2 q%d k%d d16/12 align=br window=%d,%d threads=1 %s seed=%d",
                 TOKENS, TOKENS, (int)window - 1, c % 2 == 0 ? 0 : -1, words[c / 9],
                 (int)c);
        open_whole(text, window + n - 1, pages[c % COUNT_OF(pages)], 1);
        for (int64_t at = 0; at < TOKENS; at += n) {
            append(at, n);
            check_step(n, (int32_t)(at / n % 4), 1);
        }
        /* at last one more key than it keeps */
        const int64_t p = TOKENS - n, last = p - window + 1;
        struct test_inputs kept = kept_inputs(n);
        kept.problem.left = window;
        const attn_tensor sequences = attend_integers(&whole.sequence, 1);
        struct test_call plain, call;
        attend_tensors(&plain, whole.context, &kept, ALL_OUTPUTS);
        attend_open(&call, &plain, whole.cache, 1, &sequences);
        snprintf(text, sizeof text,
                 "batch element 0 has position %d|from %d on|no key before %d", (int)p,
                 (int)last - 1, (int)last);
        expect_refusal(attn_plan_forward(call.plan, &call.args), ATTN_ERR_INVALID,
                       text);
        assert_true(outputs_untouched(&call.outputs));
        attend_close(&call);
        attend_close(&plain);
        close_whole();
    }
}

/* Steps of any size through a ring, or what evictions leave. */
static void forgotten_keys_are_not_there(void **state) {
    (void)state;
    static const char *const words[] = {"",
                                        "causal alibi",
                                        "causal relbias=8,20 docs",
                                        "relkeys vbias segments",
                                        "ranks=upto causal",
                                        "dropout=0.3 causal sinks"};
    for (size_t c = 0; c < 4 * COUNT_OF(words); c += TEST_SHARE) {
        const int ring = c % 2 == 0;
        struct random random = random_stream(c, 86);
        char text[256];
        snprintf(text, sizeof text, "h4/2 q%d k%d d8/20 align=br threads=1 %s seed=%d",
                 TOKENS, TOKENS, words[c / 4], (int)c);
        open_whole(text, 30, c / 2 % 2 == 0 ? 0 : random_between(&random, 1, 30), ring);
        int64_t at = 0, first = 0;
        while (at < TOKENS) {
            const int64_t most = TOKENS - at < 9 ? TOKENS - at : 9;
            const int64_t n = random_between(&random, 1, most);
            append(at, n);
            at += n;
            check_step(n, (int32_t)random_between(&random, 0, 3), 0);
            if (!ring) {
                /* room for 9 more */
                const int64_t least = at - 21 > first ? at - 21 : first;
                first = random_between(&random, least, at);
                assert_int_equal(attn_cache_evict(whole.cache, whole.sequence, first),
                                 ATTN_OK);
                assert_int_equal(attn_cache_first(whole.cache, 1, whole.sequence),
                                 first);
            }
            /* queries of before, too, which now stand beside fewer keys */
            check_step(random_between(&random, 0, at < 5 ? at : 5), 0, 0);
        }
        close_whole();
    }
}

/* Positions of queries and lengths of prefixes are those of all tokens. */
static void positions_stay(void **state) {
    (void)state;
    static const char *const words[] = {
        "causal prefix align=br", "causal prefix align=offsets alibi",
        "align=offsets relkeys relbias=32,128 bidir", "align=offsets window=9,2"};
    static const int64_t firsts[] = {0, 5, 40, 90};
    for (size_t c = 0; c < 4 * COUNT_OF(words); c += TEST_SHARE) {
        const int64_t first = firsts[c % 4], length = 93;
        char text[256];
        snprintf(text, sizeof text, "h2 q%d k%d d8 threads=1 %s seed=%d", TOKENS,
                 TOKENS, words[c / 4], (int)c);
        open_whole(text, length, c % 2 == 0 ? 0 : 16, 0);
        append(0, length);
        assert_int_equal(attn_cache_evict(whole.cache, whole.sequence, first), ATTN_OK);
        for (int64_t at = 0; at <= length; at += 31) {
            for (int32_t engine = 0; engine <= ATTN_ENGINE_DECODE; engine++) {
                struct test_inputs kept = kept_inputs(6), cached = kept;
                /* a window of 9 must find its keys */
                int64_t offset = kept.problem.left >= 0 ? first + 9 : at - 4;
                int64_t prefix = at, of_kept = at > first ? at - first : 0;
                int64_t offset_of_kept = offset - first;
                kept.problem.engine = engine;
                if (kept.problem.prefix) {
                    cached.prefix_lengths = attend_integers(&prefix, 1);
                    kept.prefix_lengths = attend_integers(&of_kept, 1);
                }
                if (kept.problem.alignment == ATTN_ALIGN_OFFSETS) {
                    cached.query_offsets = attend_integers(&offset, 1);
                    kept.query_offsets = attend_integers(&offset_of_kept, 1);
                }
                struct test_outputs outputs = attend_both(&kept, &cached, ALL_OUTPUTS);
                outputs_close(&outputs);
            }
        }
        close_whole();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rings_are_windows),
        cmocka_unit_test(forgotten_keys_are_not_there),
        cmocka_unit_test(positions_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
