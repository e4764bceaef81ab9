/*
 * A prompt in chunks, and then token by token, is what one call would have made of it
 * all: each chunk is appended and attends, and the rows of all of them together are
 * compared with the definition on the whole sequence.
 */
#include <stdio.h>

#include "tests/support/cache_attend.h"
#include "tests/support/cache_keys.h"
#include "tests/support/element.h"
#include "tests/support/run.h"

enum { TOKENS = 170, PROMPT = 150, BATCH_ELEMENTS = 2 };

static struct counting counting;
static struct test_inputs whole;
static attn_context *context;
static attn_cache *cache;

/* Attends with n queries from `at` on, for all that was appended until then, into the
 * rows of the outputs that are theirs. */
static void attend(const struct test_outputs *outputs, const int64_t *sequence,
                   int64_t at, int64_t n, int32_t engine) {
    int64_t of[BATCH_ELEMENTS] = {sequence[0], sequence[1]};
    const attn_tensor sequences = attend_integers(of, BATCH_ELEMENTS);
    const struct attend_part part = {at, n, 0, at + n};
    const struct test_inputs in = attend_inputs(&whole, &part);
    struct test_problem problem = in.problem;
    struct test_outputs out = *outputs;
    attn_forward_args args;
    for (int o = 0; o < OUTPUTS; o++) {
        out.tensor[o] = attend_cut(&out.tensor[o], 2, at, n);
    }
    problem.engine = engine;
    attn_plan *plan = run_plan(context, &problem);
    run_args(&args, &in, &out);
    args.key = args.value = NULL;
    args.cache = cache;
    args.cache_layer = 1;
    args.sequences = &sequences;
    run_need(attn_plan_forward(plan, &args), &problem, "attn_plan_forward");
    attn_plan_destroy(plan);
}

static void append(const int64_t *sequence, int64_t at, int64_t n) {
    for (int64_t b = 0; b < BATCH_ELEMENTS; b++) {
        attend_append(cache, 1, sequence[b], &whole, b, at, n);
    }
}

/* Tokens [at, TOKENS) in pieces of up to `most`, which are a few of a prompt's chunks
 * and then single tokens. */
static void run_pieces(const struct test_outputs *outputs, const int64_t *sequence,
                       int64_t at, int64_t most, struct random *random) {
    while (at < TOKENS) {
        const int64_t left = PROMPT - at;
        const int64_t piece = random_between(random, 1, most);
        const int64_t n = left <= 0 ? 1 : piece < left ? piece : left;
        append(sequence, at, n);
        attend(outputs, sequence, at, n, (int32_t)random_between(random, 0, 3));
        at += n;
    }
}

static void check_case(const char *words, int64_t most, int64_t page_keys,
                       uint64_t seed) {
    /* the first chunk has the prefixes, which its queries see to their ends */
    enum { FIRST = 27 };
    char text[256];
    snprintf(text, sizeof text, "b2 h4/2 q%d k%d d24/10 causal threads=1 %s seed=%d",
             TOKENS, TOKENS, words, (int)seed);
    const struct test_problem problem = run_parse(text);
    struct random random = random_stream(seed, 89);
    gen_inputs(&whole, &problem, DATA_RANDOM);
    for (int64_t b = 0; b < BATCH_ELEMENTS && problem.prefix; b++) {
        element_set_int(&whole.prefix_lengths, 0, b, random_between(&random, 0, FIRST));
    }
    counting = (struct counting){0};
    const attn_cache_options options = attend_options(&problem, ATTN_F32, page_keys);
    cache = cache_make(&options, &counting);
    context = run_context(&problem);
    static const int64_t in_pieces[] = {3, 0}, at_once[] = {1, 2};
    struct test_outputs pieces, one;
    outputs_open(&pieces, &problem, ROW_OUTPUTS);
    outputs_open(&one, &problem, ROW_OUTPUTS);

    append(in_pieces, 0, FIRST);
    attend(&pieces, in_pieces, 0, FIRST, ATTN_ENGINE_AUTO);
    run_pieces(&pieces, in_pieces, FIRST, most, &random);
    append(at_once, 0, TOKENS);
    attend(&one, at_once, 0, TOKENS, ATTN_ENGINE_AUTO);
    assert_int_equal(attend_check_rows(&whole, &pieces), 0);
    assert_int_equal(attend_check_rows(&whole, &one), 0);

    outputs_close(&pieces);
    outputs_close(&one);
    attn_cache_destroy(cache);
    attn_context_destroy(context);
    gen_free(&whole);
    assert_int_equal(counting.live, 0);
}

static void prompts_in_chunks(void **state) {
    (void)state;
    static const char *const words[] = {"",
                                        "window=20,0",
                                        "window=5,-1",
                                        "prefix",
                                        "prefix window=30,9",
                                        "alibi",
                                        "relbias=32,128",
                                        "relkeys ubias vbias",
                                        "docs",
                                        "bias",
                                        "mask sinks",
                                        "segments softcap=2",
                                        "ranks=upto"};
    static const int64_t most[] = {1, 7, 33, 64, 123}, pages[] = {0, 1, 7, 16};
    for (size_t c = 0; c < COUNT_OF(words) * COUNT_OF(most); c += TEST_SHARE) {
        check_case(words[c / COUNT_OF(most)], most[c % COUNT_OF(most)],
                   pages[c % COUNT_OF(pages)], c);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(prompts_in_chunks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
