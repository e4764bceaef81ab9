/*
 * Tuning: a context takes what it measures or is given, and plans follow it.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/call.h"
#include "tests/support/counting.h"
#include "tests/support/expect.h"
#include "tests/support/random.h"
#include "tests/support/run.h"

enum { ROOM = 8192 };

static attn_context *context;

static int open_context(void **state) {
    (void)state;
    assert_int_equal(attn_context_create(&context), ATTN_OK);
    return 0;
}

static int close_context(void **state) {
    (void)state;
    attn_context_destroy(context);
    context = NULL;
    return 0;
}

/* The export of the context, in a buffer that the next call uses again. */
static const char *exported(void) {
    static char text[ROOM];
    assert_in_range(attn_context_tuning_export(context, text, ROOM), 1, ROOM - 1);
    return text;
}

/* Keeps a text in a buffer of ROOM. */
static void keep(char *to, const char *text) {
    assert_in_range(snprintf(to, ROOM, "%s", text), 0, ROOM - 1);
}

/* The lines that say what an export is for. */
static void write_facts(char *text) {
    keep(text, exported());
    char *entry = strstr(text, "\nentry"), *end = strstr(text, "\nend\n");
    (entry != NULL ? entry : end)[1] = '\0';
}

/* An export with these lines behind the facts. */
static const char *with_lines(const char *lines) {
    static char text[2 * ROOM];
    char facts[ROOM];
    write_facts(facts);
    snprintf(text, sizeof text, "%s%s", facts, lines);
    return text;
}

static void import_lines(const char *lines) {
    assert_int_equal(attn_context_tuning_import(context, with_lines(lines)), ATTN_OK);
}

static attn_status tune(attn_context *of, const char *text, int32_t milliseconds) {
    const struct test_problem problem = run_parse(text);
    attn_desc *desc = run_desc(&problem);
    const attn_bounds bounds = {sizeof bounds, problem.batch, problem.q_length,
                                problem.kv_length};
    const attn_status status = attn_context_tune(of, desc, &bounds, milliseconds);
    attn_desc_destroy(desc);
    return status;
}

/* What a plan for a problem says of itself. */
static const char *explained(const char *text) {
    static char words[ROOM];
    const struct test_problem problem = run_parse(text);
    attn_plan *plan = run_plan(context, &problem);
    assert_in_range(attn_plan_explain(plan, words, ROOM), 1, ROOM - 1);
    attn_plan_destroy(plan);
    return words;
}

/* -------------------------------------------------------------------- measuring */

static void plans_follow_what_was_measured(void **state) {
    (void)state;
    assert_non_null(strstr(explained("h2 q100 k90 d16"), "tuned: no"));
    assert_null(strstr(exported(), "entry"));
    assert_int_equal(tune(context, "b3 h2 q100 k90 d16 causal mask alibi", 5), ATTN_OK);
    assert_non_null(strstr(exported(), "\nentry 16 16 1 "));
    assert_non_null(strstr(explained("h7 q9 k5 d16"), "with 100 queries and 90 keys"));
    assert_non_null(strstr(explained("h7 q9 k5 d16"), "expected: "));
    assert_non_null(strstr(explained("h4/2 q9 k5 d16"), "tuned: no"));
    assert_non_null(strstr(explained("h2 q9 k5 d16/8"), "tuned: no"));
    /* the same dims again take the place, others come beside */
    assert_int_equal(tune(context, "h1 q20 k30 d16", 1), ATTN_OK);
    assert_int_equal(tune(context, "h8/2 q1 k3000 d24/40 engine=flash", 1), ATTN_OK);
    assert_null(strstr(exported(), "100 90"));
    assert_non_null(strstr(exported(), " 20 30 "));
    assert_non_null(strstr(exported(), "\nentry 24 40 4 "));
    /* nothing to measure */
    assert_int_equal(tune(context, "h1 q0 k30 d5", 1), ATTN_OK);
    assert_int_equal(tune(context, "h1 q3 k0 d5", 1), ATTN_OK);
    assert_null(strstr(exported(), "entry 5 "));
}

static void exports_come_back(void **state) {
    (void)state;
    char first[ROOM], short_text[20];
    assert_int_equal(tune(context, "h2 q40 k90 d16", 1), ATTN_OK);
    assert_int_equal(tune(context, "h4/1 q40 k90 d32", 1), ATTN_OK);
    keep(first, exported());
    assert_int_equal(attn_context_tuning_export(context, short_text, sizeof short_text),
                     strlen(first));
    assert_int_equal(strlen(short_text), sizeof short_text - 1);
    assert_memory_equal(short_text, first, sizeof short_text - 1);
    close_context(NULL);
    open_context(NULL);
    assert_int_equal(attn_context_tuning_import(context, first), ATTN_OK);
    assert_string_equal(exported(), first);
    assert_non_null(strstr(explained("h3 q9 k5 d16"), "with 40 queries and 90 keys"));
    /* an import replaces everything */
    import_lines("end\n");
    assert_null(strstr(exported(), "entry"));
}

static void plans_take_the_numbers(void **state) {
    (void)state;
    import_lines("entry 16 16 1 32 48 16 16 90 5 0 0 1 1 1 1\nend\n");
    const char *text = explained("h2 q100 k900 d16");
    assert_non_null(strstr(text, "tiles: 32 queries x 48 keys"));
    assert_non_null(strstr(text, "up to 5 queries"));
    assert_non_null(strstr(text, "up to 90 keys"));
    assert_non_null(strstr(text, "keys: rows"));
    assert_non_null(strstr(text, "products: cblas_sgemm"));
    /* those of our own may be as large as they like */
    import_lines("entry 16 16 1 32 48 512 512 90 5 1 1 1 1 1 1\nend\n");
    text = explained("h2 q100 k900 d16");
    assert_non_null(strstr(text, "products: by kernels of our own"));
}

/* All keys at once and whole blocks of rows, unless masks may leave out keys. */
static void dense_tiles_take_all_keys(void **state) {
    static const char *const masks[] = {"docs", "window=9,9", "mask", "block=8x8"};
    (void)state;
    import_lines("entry 16 16 1 96 128 128 128 512 5 1 1 1 1 1 1\nend\n");
    const char *text = explained("h2 q100 k320 d16");
    assert_non_null(strstr(text, "tiles: 96 queries x 128 keys"));
    assert_non_null(strstr(text, "dense engine: 96 queries x 320 keys"));
    text = explained("h2 q100 k320 d16 causal");
    assert_non_null(strstr(text, "dense engine: 32 queries x 320 keys"));
    assert_non_null(strstr(explained("h2 q100 k9999 d16"), "96 queries x 512 keys"));
    for (size_t i = 0; i < COUNT_OF(masks); i++) {
        char problem[64];
        snprintf(problem, sizeof problem, "h2 q100 k320 d16 %s", masks[i]);
        assert_null(strstr(explained(problem), "dense engine: "));
    }
    import_lines("entry 16 16 1 64 128 128 128 512 5 1 1 1 1 1 1\nend\n");
    const char *rows =
        strstr(exported(), "\nisa avx2\n") ? ": 66 queries" : ": 64 queries";
    assert_non_null(strstr(strstr(explained("h2 q100 k320 d16"), "dense"), rows));
    import_lines("entry 257 16 1 96 128 128 128 512 5 1 1 1 1 1 1\nend\n");
    assert_null(strstr(explained("h2 q100 k320 d257/16"), "dense engine: "));
}

/* The queries and keys of tiles, in words. */
static const char *tiles_of(const char *problem) {
    const char *at = strstr(explained(problem), "tiles: ");
    assert_non_null(at);
    static char words[64];
    snprintf(words, sizeof words, "%.*s", (int)strcspn(at, ";"), at);
    return words;
}

/* Where the defaults of our own kernels were the fastest, masks go on to decide. */
static void defaults_that_won_stay_defaults(void **state) {
    static const char *const problems[] = {"h2 q900 k900 d16",
                                           "h2 q900 k900 d16 causal"};
    (void)state;
    const bool own = strstr(explained(problems[0]), "by kernels of our own") != NULL;
    for (int keys = 128; keys <= 256; keys += 128) {
        for (size_t i = 0; i < COUNT_OF(problems); i++) {
            char expected[64], line[96];
            import_lines("end\n");
            snprintf(expected, sizeof expected, "%s", tiles_of(problems[i]));
            assert_true(!own || strstr(expected, i == 0 ? "256 keys" : "128 keys"));
            snprintf(line, sizeof line,
                     "entry 16 16 1 64 %d %d 128 512 5 1 1 1 1 1 1\nend\n", keys, keys);
            import_lines(line);
            if (!own) {
                snprintf(expected, sizeof expected, "tiles: 64 queries x %d keys",
                         keys);
            }
            assert_string_equal(tiles_of(problems[i]), expected);
        }
    }
}

/* What is measured, and what was there before, in MFLOP/s. */
static void plans_tell_what_was_won(void **state) {
    (void)state;
    static const char *const pairs[][2] = {{"9000 7000", "one thread; 7.0 before\n"},
                                           {"9000 9000", "; nothing else was 3 %"},
                                           {"9000 0", "one thread\n"}};
    for (size_t i = 0; i < COUNT_OF(pairs); i++) {
        char line[128];
        snprintf(line, sizeof line,
                 "entry 16 16 1 32 48 16 16 90 5 1 0 80 60 %s\nend\n", pairs[i][0]);
        import_lines(line);
        const char *at = strstr(explained("h2 q100 k900 d16"), "tuned: 9.0 GFLOP/s");
        assert_non_null(at);
        assert_non_null(strstr(at, pairs[i][1]));
    }
    assert_int_equal(tune(context, "h2 q200 k200 d16", 5), ATTN_OK);
    const char *at = strstr(exported(), " 200 200 ");
    assert_non_null(at);
    char *end;
    const long now = strtol(at + strlen(" 200 200 "), &end, 10);
    const long before = strtol(end, &end, 10);
    assert_int_equal(*end, '\n');
    assert_true(before > 0 && (before == now || (double)before < 0.98 * (double)now));
}

/* Problems shorter than a tile, whose times say nothing of it. */
static void short_problems_leave_tiles_alone(void **state) {
    (void)state;
    import_lines("entry 16 16 1 32 48 16 16 90 5 0 0 1 1 1 1\nend\n");
    assert_int_equal(tune(context, "h2 q20 k30 d16", 5), ATTN_OK);
    assert_non_null(strstr(exported(), "\nentry 16 16 1 32 48 16 16 "));
    assert_non_null(strstr(exported(), " 0 0 20 30 "));
}

/* What was found is for the policy, kernels and allocator that the context has. */
static void a_tuned_context_stays_as_it_is(void **state) {
    (void)state;
    expect_refusal(attn_context_tuning_import(context, "what"), ATTN_ERR_INVALID,
                   "no export");
    assert_int_equal(attn_context_set_blas_policy(context, ATTN_BLAS_SAFE), ATTN_OK);
    assert_int_equal(tune(context, "h1 q20 k30 d4", 1), ATTN_OK);
    expect_refusal(attn_context_set_blas_policy(context, ATTN_BLAS_SINGLE),
                   ATTN_ERR_INVALID, "cannot be changed");
    close_context(NULL);
    open_context(NULL);
    import_lines("end\n");
    expect_refusal(attn_context_set_allocator(context, NULL, NULL, NULL),
                   ATTN_ERR_INVALID, "cannot be changed");
}

static void plans_keep_what_they_were_made_with(void **state) {
    (void)state;
    const struct test_problem problem = run_parse("h2 q70 k90 d16 seed=3");
    struct test_call before, again;
    call_open_on(&before, context, &problem, DATA_RANDOM, ALL_OUTPUTS);
    call_open_on(&again, context, &problem, DATA_RANDOM, ALL_OUTPUTS);
    call_run(&before);
    import_lines("entry 16 16 1 16 16 16 16 0 0 1 0 1 1 1 1\nend\n");
    call_need_same(&before, &again);
    call_close(&before);
    call_close(&again);
}

/* ------------------------------------------------------------------- refusals */

/* Refuses a text with one fact changed. */
static void refuse_fact(const char *from, const char *to, attn_status status,
                        const char *says) {
    char text[ROOM], changed[ROOM];
    write_facts(text);
    char *at = strstr(text, from);
    assert_non_null(at);
    snprintf(changed, sizeof changed, "%.*s%s%send\n", (int)(at - text), text, to,
             at + strlen(from));
    expect_refusal(attn_context_tuning_import(context, changed), status, says);
}

static void other_machines(void **state) {
    (void)state;
    refuse_fact("attn-tuning 4", "attn-tuning 5", ATTN_ERR_UNSUPPORTED,
                "\"attn-tuning 5\"|\"attn-tuning 4\"");
    refuse_fact("version ", "version 9", ATTN_ERR_UNSUPPORTED, "version 9");
    refuse_fact("\ncpu ", "\ncpu Abacus ", ATTN_ERR_UNSUPPORTED, "cpu Abacus ");
    refuse_fact("\nisa ", "\nisa other ", ATTN_ERR_UNSUPPORTED, "isa other ");
    refuse_fact("\nblas ", "\nblas My", ATTN_ERR_UNSUPPORTED, "blas My");
    refuse_fact("policy 0", "policy 1", ATTN_ERR_UNSUPPORTED, "policy 1");
    refuse_fact("policy 0", "police 0", ATTN_ERR_INVALID, "line 6 is not \"policy ");
    refuse_fact("attn-tuning", "tuning", ATTN_ERR_INVALID, "line 1");
}

/* True if the products that a text is said to have too large of are none for this
 * BLAS, which computes them in the thread that asks. */
static bool are_small(const char *says) {
    static const char *const kernels[] = {"SkylakeX", "Cooperlake", "SapphireRapids"};
    const bool rows = strstr(says, "64 x 64 x 128") != NULL;
    char info[ROOM];
    if (!rows && strstr(says, "512 x 512 x") == NULL) {
        return false;
    }
    attn_context_explain(context, info, sizeof info);
    for (size_t i = 0; i < COUNT_OF(kernels); i++) {
        if (!rows && strstr(info, kernels[i]) != NULL) {
            return false;
        }
    }
    return strstr(info, "OpenBLAS") == NULL || strstr(info, ", serial)") != NULL;
}

static void bad_texts(void **state) {
    (void)state;
    static const struct {
        const char *lines, *says;
    } texts[] = {
        {"", "without a line \"end\""},
        {"end", "without a line \"end\""},
        {"end\nend\n", "more behind"},
        {"entrance\nend\n", "\"entrance\" is neither"},
        {"entry 1 1 1 16 16 16 16 0 0 1 0 1 1 1\nend\n", "15 numbers"},
        {"entry 1 1 1 16 16 16 16 0 0 1 0 1 1 1 1 1\nend\n", "more than 15"},
        {"entry 1 1 1 16 16 16 16 0 0 1 0 1 1 1 -1\nend\n", "15 numbers"},
        {"entry 1 1 1 16 16 16 16 0 0 1 0 1 1 1 9999999999\nend\n",
         "9999999999 is too large"},
        {"entry 0 1 1 16 16 16 16 0 0 1 0 1 1 1 1\nend\n", "dims 0 and 1"},
        {"entry 1 1 0 16 16 16 16 0 0 1 0 1 1 1 1\nend\n", "0 heads"},
        {"entry 1 1 1 24 16 16 16 0 0 1 0 1 1 1 1\nend\n", "24 x 16"},
        {"entry 1 1 1 272 16 16 16 0 0 1 0 1 1 1 1\nend\n", "272 x 16"},
        {"entry 1 1 1 16 528 16 16 0 0 1 0 1 1 1 1\nend\n", "16 x 528"},
        {"entry 1 1 1 16 16 0 16 0 0 1 0 1 1 1 1\nend\n", "products of 0 x 16"},
        {"entry 1 1 1 16 16 16 528 0 0 1 0 1 1 1 1\nend\n", "16 x 528"},
        {"entry 1 1 1 16 16 512 512 0 0 1 0 1 1 1 1\nend\n", "512 x 512 x 512"},
        {"entry 1 1 1 16 16 16 16 4097 0 1 0 1 1 1 1\nend\n", "4097 keys"},
        {"entry 1 1 1 16 16 16 16 0 65 1 0 1 1 1 1\nend\n", "65 few"},
        {"entry 1 1 1 16 16 16 16 0 0 1 0 1 1 1 1\nentry 1 1 1 32 16 16 16 0 0 1 0 1 "
         "1 1 1\nend\n",
         "a second entry"},
        {"entry 1 1 1 16 16 16 16 0 0 2 0 1 1 1 1\nend\n", "not 2"},
        {"entry 1 1 1 16 16 16 16 0 0 1 2 1 1 1 1\nend\n", "not 2 of keys 1"},
        {"entry 1 1 1 16 16 16 16 0 0 0 1 1 1 1 1\nend\n", "not 1 of keys 0"},
        {"entry 1 1 1 64 128 64 128 0 0 0 0 1 1 1 1\nend\n", "64 x 64 x 128"},
        {"other\nend\n", "\"other\" is neither"},
    };
    char kept[ROOM];
    assert_int_equal(tune(context, "h2 q40 k90 d16", 1), ATTN_OK);
    keep(kept, exported());
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        if (are_small(texts[t].says)) {
            continue; /* nothing to refuse */
        }
        expect_refusal(attn_context_tuning_import(context, with_lines(texts[t].lines)),
                       ATTN_ERR_INVALID, texts[t].says);
        assert_string_equal(exported(), kept);
    }
    char much[ROOM];
    memset(much, 'x', sizeof much);
    snprintf(much + 300, sizeof much - 300, "\nend\n");
    expect_refusal(attn_context_tuning_import(context, with_lines(much)),
                   ATTN_ERR_INVALID, "without a line");
}

static void bad_arguments(void **state) {
    (void)state;
    const attn_bounds bounds = {sizeof bounds, 1, 2, 3}, bad = {sizeof bad, 1, -2, 3};
    attn_desc *desc;
    char byte = 'x';
    assert_int_equal(attn_desc_create(&desc), ATTN_OK);
    expect_refusal(attn_context_tune(context, desc, &bounds, 0), ATTN_ERR_INVALID,
                   "heads");
    assert_int_equal(attn_desc_set_heads(desc, 2, 2), ATTN_OK);
    assert_int_equal(attn_desc_set_dims(desc, 8, 8), ATTN_OK);
    expect_refusal(attn_context_tune(NULL, desc, &bounds, 0), ATTN_ERR_INVALID,
                   "context is NULL");
    expect_refusal(attn_context_tune(context, NULL, &bounds, 0), ATTN_ERR_INVALID,
                   "desc is NULL");
    expect_refusal(attn_context_tune(context, desc, NULL, 0), ATTN_ERR_INVALID,
                   "bounds is NULL");
    expect_refusal(attn_context_tune(context, desc, &bad, 0), ATTN_ERR_INVALID, "-2");
    expect_refusal(attn_context_tune(context, desc, &bounds, -1), ATTN_ERR_INVALID,
                   "milliseconds is -1");
    expect_refusal(attn_context_tune(context, desc, &bounds, 60001), ATTN_ERR_INVALID,
                   "60001");
    expect_refusal(attn_context_tuning_import(NULL, ""), ATTN_ERR_INVALID,
                   "context is NULL");
    expect_refusal(attn_context_tuning_import(context, NULL), ATTN_ERR_INVALID,
                   "text is NULL");
    assert_int_equal(attn_context_tuning_export(NULL, &byte, 1), 0);
    assert_int_equal(byte, '\0');
    assert_int_equal(attn_context_tuning_export(NULL, NULL, 0), 0);
    attn_desc_destroy(desc);
}

/* Every allocation fails in turn; what was there stays, nothing leaks. */
static void no_memory(void **state) {
    (void)state;
    int failed = 1;
    for (long n = 1; failed; n++) {
        struct counting counting = {0};
        close_context(NULL);
        open_context(NULL);
        assert_int_equal(attn_context_set_allocator(context, counting_allocate,
                                                    counting_release, &counting),
                         ATTN_OK);
        assert_int_equal(tune(context, "h1 q20 k30 d4", 1), ATTN_OK);
        char kept[ROOM];
        keep(kept, exported());
        counting.fail_at = counting.calls + n;
        attn_status status = tune(context, "h4/2 q100 k200 d16", 1);
        failed = status != ATTN_OK;
        if (failed) {
            expect_refusal(status, ATTN_ERR_NO_MEMORY, "memory");
            assert_string_equal(exported(), kept);
        }
        keep(kept, exported());
        counting.fail_at = counting.calls + 1;
        expect_refusal(attn_context_tuning_import(context, kept), ATTN_ERR_NO_MEMORY,
                       "memory");
        assert_string_equal(exported(), kept);
        close_context(NULL);
        assert_int_equal(counting.live, 0);
        assert_int_equal(counting.violations, 0);
        if (n > 12) {
            break; /* how many rounds there are depends on the clock */
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(plans_follow_what_was_measured, open_context,
                                        close_context),
        cmocka_unit_test_setup_teardown(exports_come_back, open_context, close_context),
        cmocka_unit_test_setup_teardown(a_tuned_context_stays_as_it_is, open_context,
                                        close_context),
        cmocka_unit_test_setup_teardown(short_problems_leave_tiles_alone, open_context,
                                        close_context),
        cmocka_unit_test_setup_teardown(plans_take_the_numbers, open_context,
                                        close_context),
        cmocka_unit_test_setup_teardown(defaults_that_won_stay_defaults, open_context,
                                        close_context),
        cmocka_unit_test_setup_teardown(dense_tiles_take_all_keys, open_context,
                                        close_context),
        cmocka_unit_test_setup_teardown(plans_tell_what_was_won, open_context,
                                        close_context),
        cmocka_unit_test_setup_teardown(plans_keep_what_they_were_made_with,
                                        open_context, close_context),
        cmocka_unit_test_setup_teardown(other_machines, open_context, close_context),
        cmocka_unit_test_setup_teardown(bad_texts, open_context, close_context),
        cmocka_unit_test_setup_teardown(bad_arguments, open_context, close_context),
        cmocka_unit_test_setup_teardown(no_memory, open_context, close_context),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
