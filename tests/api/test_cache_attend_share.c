/*
 * Sequences that share pages attend as if they did not: forks that go their own ways,
 * beams that are reordered, tokens that are taken back. After every step each sequence
 * gives the bits that it gives in a cache of its own making.
 */
#include <stdio.h>

#include "tests/support/cache_tokens.h"
#include "tests/support/run.h"

enum { SEQUENCES = 4 };

static const int64_t every[SEQUENCES] = {0, 1, 2, 3};
static struct token_cache tokens;

static void open_tokens(int32_t dtype, int64_t page_keys, uint64_t seed) {
    attn_cache_options options;
    attn_cache_options_init(&options, sizeof options);
    options.layers = options.kv_heads = 2;
    options.key_dim = 24;
    options.value_dim = 17;
    options.dtype = dtype;
    options.sequences = SEQUENCES;
    options.capacity = 300;
    options.page_keys = page_keys;
    options.pages = page_keys > 0 ? SEQUENCES * gen_blocks(300, page_keys) : 0;
    tokens_open(&tokens, &options, seed);
}

/* n new tokens for each of some sequences, in all layers. */
static void append(int64_t batch, const int64_t *sequence, int64_t n) {
    const int64_t count[SEQUENCES] = {n, n, n, n};
    assert_true(tokens_append(&tokens, -1, batch, sequence, count));
}

/* The last queries of all sequences, here and where nothing is shared. */
static void check(const char *words, int64_t queries, int32_t engine) {
    struct counting counting = {0};
    attn_cache *apart = tokens_apart(&tokens, &counting);
    for (int32_t layer = 0; layer < tokens.options.layers; layer++) {
        char text[256];
        snprintf(text, sizeof text, "h4/2 q%d threads=1 %s", (int)queries, words);
        struct test_problem problem = run_parse(text);
        struct test_call plain, shared, alone;
        problem.engine = engine;
        tokens_call(&plain, &tokens, layer, SEQUENCES, every, &problem);
        attend_open(&shared, &plain, tokens.cache, layer, NULL);
        attend_open(&alone, &plain, apart, layer, NULL);
        call_need_same(&alone, &shared);
        if (tokens.options.dtype == ATTN_F32) {
            call_run(&plain);
            assert_true(attend_like(&plain, &shared));
        }
        attend_close(&shared);
        attend_close(&alone);
        call_close(&plain);
    }
    attn_cache_destroy(apart);
    assert_int_equal(counting.live, 0);
}

static const int64_t pages[] = {0, 1, 4, 16, 128};
static const int32_t types[] = {ATTN_F32, ATTN_BF16, ATTN_I8, ATTN_F16};
static const char *const words[] = {"causal", "causal alibi", "relbias=8,20 sinks",
                                    "docs causal", "bias"};
enum { CASES = COUNT_OF(pages) * COUNT_OF(types) };

/* One prompt for all, and then other tokens for each. */
static void forks_go_their_ways(void **state) {
    (void)state;
    for (size_t c = 0; c < CASES; c += TEST_SHARE) {
        open_tokens(types[c / COUNT_OF(pages)], pages[c % COUNT_OF(pages)], c);
        append(1, every, 61);
        for (int64_t s = 1; s < SEQUENCES; s++) {
            tokens_fork(&tokens, 0, s);
        }
        check(words[c % COUNT_OF(words)], 9, (int32_t)(c % 4));
        for (int64_t step = 0; step < 24; step++) {
            /* not all of them, so that who shares what changes */
            append(1 + step % SEQUENCES, every, 1 + step % 2);
            check(words[c % COUNT_OF(words)], 1 + step % 3, (int32_t)(step % 4));
            if (step % 9 == 8) {
                tokens_fork(&tokens, step % SEQUENCES, (step + 1) % SEQUENCES);
            }
        }
        tokens_close(&tokens);
    }
}

static void beams_are_reordered(void **state) {
    (void)state;
    for (size_t c = 0; c < CASES; c += TEST_SHARE) {
        struct random random = random_stream(c, 92);
        open_tokens(types[c / COUNT_OF(pages)], pages[c % COUNT_OF(pages)], c);
        append(1, every, 37);
        for (int64_t step = 0; step < 30; step++) {
            int64_t parents[SEQUENCES];
            for (int64_t s = 0; s < SEQUENCES; s++) {
                parents[s] = step == 0 ? 0 : random_between(&random, 0, SEQUENCES - 1);
            }
            tokens_reorder(&tokens, parents);
            append(SEQUENCES, every, 1);
            check(words[c % COUNT_OF(words)], 1, (int32_t)(step % 4));
        }
        tokens_close(&tokens);
    }
}

/* Four tokens on trial, of which two stay, in sequences that share their beginning. */
static void tokens_are_taken_back(void **state) {
    (void)state;
    for (size_t c = 0; c < CASES; c += TEST_SHARE) {
        open_tokens(types[c / COUNT_OF(pages)], pages[c % COUNT_OF(pages)], c);
        append(1, every, 30);
        for (int64_t s = 1; s < SEQUENCES; s++) {
            tokens_fork(&tokens, 0, s);
        }
        for (int64_t step = 0; step < 20; step++) {
            append(SEQUENCES, every, 4);
            check(words[c % COUNT_OF(words)], 4, (int32_t)(step % 4));
            for (int64_t s = 0; s < SEQUENCES; s++) {
                /* one of them takes back what it shares with others, too */
                const int64_t taken = s == step % 7 ? 9 : 2;
                const int64_t length = tokens_of(&tokens, 0, s)->length;
                tokens_truncate(&tokens, s, length - taken);
            }
            check(words[c % COUNT_OF(words)], 2, (int32_t)(step / 4 % 4));
        }
        tokens_close(&tokens);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forks_go_their_ways),
        cmocka_unit_test(beams_are_reordered),
        cmocka_unit_test(tokens_are_taken_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
