/*
 * Random lives of caches of all kinds and types, with attention after every few
 * operations: by the definition on what a model says is kept, and of float32 to the
 * bit what tensors give. Positions of prefixes and queries count from the first token.
 *
 *     test_cache_attend_lives             the lives of every run
 *     test_cache_attend_lives 1000 50     lives 1000 to 1049
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/cache_tokens.h"
#include "tests/support/check.h"
#include "tests/support/element.h"
#include "tests/support/expect.h"
#include "tests/support/run.h"

enum { OPERATIONS = 60 };

static uint64_t first_life = 1, lives = 240;

static struct { long calls, refusals, appends, forgotten; } seen;

/* Kinds and types take turns; the rest is small and random. */
static attn_cache_options some_options(uint64_t number, struct random *random) {
    static const int32_t types[] = {ATTN_F32,  ATTN_F16, ATTN_F32,
                                    ATTN_BF16, ATTN_F32, ATTN_I8};
    attn_cache_options options;
    attn_cache_options_init(&options, sizeof options);
    options.layers = (int32_t)random_between(random, 1, 2);
    options.kv_heads = (int32_t)random_between(random, 1, 3);
    options.key_dim = (int32_t)random_between(random, 1, 40);
    options.value_dim = (int32_t)random_between(random, 1, 20);
    options.dtype = types[number / 4 % COUNT_OF(types)];
    options.ring = number % 2 == 1;
    options.sequences = random_between(random, 1, 5);
    options.capacity = random_between(random, 1, random_percent(random, 20) ? 300 : 50);
    if (number / 2 % 2 == 1) {
        options.page_keys = random_between(random, 1, options.capacity);
        const int64_t most =
            options.sequences * gen_blocks(options.capacity, options.page_keys);
        options.pages = random_between(random, most / 3 + 1, most);
    }
    return options;
}

static struct test_problem some_problem(const struct token_cache *tokens,
                                        struct random *random) {
    static const char *const words[] = {"",
                                        "causal",
                                        "causal alibi",
                                        "causal prefix",
                                        "causal align=offsets",
                                        "align=offsets relkeys vbias",
                                        "relbias=8,20 bidir",
                                        "docs sinks",
                                        "bias softcap=3",
                                        "mask causal",
                                        "segments ranks=upto",
                                        "dropout=0.3"};
    const int64_t w = random_between(random, 0, (int64_t)COUNT_OF(words) - 1);
    struct test_problem problem = run_parse(words[w]);
    problem.q_heads = tokens->options.kv_heads * (int32_t)random_between(random, 1, 4);
    problem.q_length = random_percent(random, 80) ? random_between(random, 1, 5)
                                                  : random_between(random, 0, 80);
    problem.engine = (int32_t)random_between(random, 0, ATTN_ENGINE_DECODE);
    problem.threads = (int32_t)random_between(random, 1, 2);
    problem.layout = random_percent(random, 30) ? LAYOUT_BSHD : LAYOUT_BHSD;
    problem.seed = random_bits(random) >> 16;
    if (random_percent(random, 30)) {
        problem.left = random_between(random, 0, 30);
        problem.right = random_between(random, -1, 3);
    }
    return problem;
}

/* Integers of a call from tensors as they are for the cache, where positions count from
 * the first token. Returns whether a window reaches for what is forgotten. */
static int count_from_first(const struct test_inputs *in, struct token_cache *tokens,
                            int32_t layer, const int64_t *sequence, int64_t *offsets,
                            int64_t *prefixes) {
    const struct test_problem *p = &in->problem;
    int reaches = 0;
    for (int64_t b = 0; b < p->batch; b++) {
        const struct tokens *of = tokens_of(tokens, layer, sequence[b]);
        int64_t position = of->length - p->q_length;
        if (p->alignment == ATTN_ALIGN_OFFSETS) {
            offsets[b] = position = element_int(&in->query_offsets, 0, b) + of->first;
        }
        if (p->prefix) {
            const int64_t kept = of->length - of->first;
            if (element_int(&in->prefix_lengths, 0, b) > kept) {
                element_set_int(&in->prefix_lengths, 0, b, kept);
            }
            prefixes[b] = element_int(&in->prefix_lengths, 0, b) + of->first;
        }
        const int64_t reach = position > p->left ? position - p->left : 0;
        reaches = reaches || (p->left >= 0 && p->q_length > 0 && of->first > 0 &&
                              reach < of->first);
        seen.forgotten += of->first > 0 && of->length > of->first;
    }
    return reaches;
}

/* Some sequences, some of them twice. Returns whether all is right. */
static int attend(struct token_cache *tokens, struct random *random) {
    const attn_cache_options *o = &tokens->options;
    const int64_t batch = random_between(random, 1, 4);
    const int32_t layer = (int32_t)random_between(random, 0, o->layers - 1);
    int64_t sequence[4], offsets[4], prefixes[4];
    for (int64_t b = 0; b < batch; b++) {
        sequence[b] = random_between(random, 0, o->sequences - 1);
    }
    const struct test_problem problem = some_problem(tokens, random);
    const attn_tensor sequences = attend_integers(sequence, batch);
    const attn_tensor of_offsets = attend_integers(offsets, batch);
    const attn_tensor of_prefixes = attend_integers(prefixes, batch);
    struct test_call plain, cached;
    tokens_call(&plain, tokens, layer, batch, sequence, &problem);
    const int reaches =
        count_from_first(&plain.inputs, tokens, layer, sequence, offsets, prefixes);
    attend_open(&cached, &plain, tokens->cache, layer, &sequences);
    cached.args.query_offsets =
        problem.alignment == ATTN_ALIGN_OFFSETS ? &of_offsets : NULL;
    cached.args.prefix_lengths = problem.prefix ? &of_prefixes : NULL;
    int good = 1;
    if (reaches) {
        expect_refusal(attn_plan_forward(cached.plan, &cached.args), ATTN_ERR_INVALID,
                       "a window from|keeps no key before");
        good = outputs_untouched(&cached.outputs);
        seen.refusals++;
    } else {
        call_run(&cached);
        good = check_outputs(&plain.inputs, &cached.outputs) == 0;
        if (o->dtype == ATTN_F32) {
            call_run(&plain);
            good = attend_like(&plain, &cached) && good;
        }
        seen.calls++;
    }
    attend_close(&cached);
    call_close(&plain);
    return good;
}

static void append(struct token_cache *tokens, struct random *random) {
    const attn_cache_options *o = &tokens->options;
    int64_t sequence[TOKENS_BATCH], count[TOKENS_BATCH];
    const int64_t batch = random_between(random, 1, o->sequences);
    const int all = random_percent(random, 80);
    attend_shuffle(sequence, o->sequences, random);
    for (int64_t b = 0; b < batch; b++) {
        count[b] = random_between(random, 0, random_percent(random, 70) ? 3 : 30);
    }
    seen.appends += tokens_append(
        tokens, all ? -1 : (int32_t)random_between(random, 0, o->layers - 1), batch,
        sequence, count);
}

/* A number up to the length that the shortest or longest layer has. */
static int64_t some_length(const struct token_cache *tokens, int64_t sequence,
                           int longest, int64_t least, struct random *random) {
    int64_t length = tokens_of(tokens, 0, sequence)->length;
    for (int32_t l = 1; l < tokens->options.layers; l++) {
        const int64_t other = tokens_of(tokens, l, sequence)->length;
        length = (longest ? other > length : other < length) ? other : length;
    }
    return random_between(random, least < length ? least : length, length);
}

static void change(struct token_cache *tokens, struct random *random) {
    const int64_t count = tokens->options.sequences;
    const int64_t sequence = random_between(random, 0, count - 1);
    int64_t parents[TOKENS_BATCH], first = 0, length;
    switch (random_between(random, 0, 9)) {
    case 0:
        for (int64_t s = 0; s < count; s++) {
            parents[s] = random_between(random, 0, count - 1);
        }
        tokens_reorder(tokens, parents);
        break;
    case 1:
        tokens_fork(tokens, sequence, random_between(random, 0, count - 1));
        break;
    case 2:
        for (int32_t l = 0; l < tokens->options.layers; l++) {
            const int64_t other = tokens_of(tokens, l, sequence)->first;
            first = other > first ? other : first;
        }
        length = some_length(tokens, sequence, 1, first, random);
        tokens_truncate(tokens, sequence, random_percent(random, 5) ? 0 : length);
        break;
    case 3:
        tokens_evict(tokens, sequence, some_length(tokens, sequence, 0, 0, random));
        break;
    default:
        append(tokens, random);
        break;
    }
}

static void random_lives(void **state) {
    (void)state;
    for (uint64_t n = first_life; n < first_life + lives; n += TEST_SHARE) {
        struct random random = random_stream(n, 91);
        const attn_cache_options options = some_options(n, &random);
        struct token_cache tokens;
        tokens_open(&tokens, &options, n);
        for (int i = 0; i < OPERATIONS; i++) {
            change(&tokens, &random);
            if (random_percent(&random, 30) && !attend(&tokens, &random)) {
                fail_msg("life %llu, operation %d", (unsigned long long)n, i);
            }
        }
        tokens_close(&tokens);
    }
    /* each of them is common enough, but for single lives */
    if (lives >= 200) {
        assert_true(seen.refusals > 0 && seen.calls > 5 * seen.refusals);
        assert_true(seen.appends > seen.calls && seen.forgotten > seen.calls / 4);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_lives)};
    if (argc == 3) {
        first_life = strtoull(argv[1], NULL, 10);
        lives = strtoull(argv[2], NULL, 10);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
