/*
 * Whatever tiles a context is tuned to, attention stays what it is by definition; and
 * what tiles plans have where products are made of pieces.
 */
/* MAP_ANONYMOUS needs it with -std=c11 */
#define _DEFAULT_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/support/backward.h"
#include "tests/support/call.h"
#include "tests/support/check.h"
#include "tests/support/random.h"
#include "tests/support/run.h"

enum { LINE = 256 };

static int32_t some_size(struct random *random, int32_t most) {
    return 16 * (int32_t)random_between(random, 1, most / 16);
}

/* Any entry that can be imported for a problem: products within 48^3. */
static void write_some(char line[LINE], const struct test_problem *p,
                       struct random *random) {
    const int32_t edge = some_size(random, 48), depth = some_size(random, 48);
    const int turned = (int)random_between(random, 0, 1);
    (void)snprintf(line, LINE, "entry %d %d %d %d %d %d %d %d %d %d %d 1 1 0 0",
                   (int)p->key_dim, (int)p->value_dim, (int)(p->q_heads / p->kv_heads),
                   (int)some_size(random, 256), (int)some_size(random, 512), (int)edge,
                   (int)depth, (int)random_between(random, 0, 1) * 4096,
                   (int)random_between(random, 0, 12), turned,
                   turned * (int)random_between(random, 0, 1));
}

static void tiles_change_nothing_but_rounding(void **state) {
    (void)state;
    static const char *const texts[] = {
        "b2 h2 q130 k300 d64 causal align=br kvlens",
        "h4/2 q300 k700 d40/72 bias softcap=5 window=100,30",
        "h2 q70 k1500 d16 mask sinks alibi",
        "b2 h2 q5 k900 d32 docs dropout=0.2",
        "h2 q260 k200 d24 relkeys relbias=32,128 ubias segments",
        "h8/1 q2 k2100 d128 causal align=br",
        "h1 q129 k520 d20 block=16x32 dropout=0.3 mask",
        "h4/2 q150 k260 d72 key=bf16 value=f16",
        "h2 q3 k300 d24 additive causal align=br"};
    struct random random = random_stream(7, 105);
    for (int i = 0; i < 10 * (int)COUNT_OF(texts); i += TEST_SHARE) {
        struct test_problem problem = run_parse(texts[i % (int)COUNT_OF(texts)]);
        struct test_inputs inputs;
        struct test_outputs outputs;
        char line[LINE];
        problem.engine = i / (int)COUNT_OF(texts) % (run_last_engine(&problem) + 1);
        problem.seed = (uint64_t)i;
        write_some(line, &problem, &random);
        attn_context *context = run_context_tuned(line);
        gen_inputs(&inputs, &problem, DATA_RANDOM);
        outputs_open(&outputs, &problem, ALL_OUTPUTS);
        run_on(context, &inputs, &outputs);
        if (check_outputs(&inputs, &outputs) != 0) {
            fail_msg("tuned to %s", line);
        }
        outputs_close(&outputs);
        gen_free(&inputs);
        attn_context_destroy(context);
    }
}

static void gradients_as_well(void **state) {
    (void)state;
    static const char *const texts[] = {"b2 h2 q90 k200 d32 causal align=br kvlens",
                                        "h4/2 q170 k70 d24/40 bias window=50,20",
                                        "h2 q30 k300 d64 dropout=0.2 softcap=4"};
    struct random random = random_stream(8, 105);
    for (int i = 0; i < 4 * (int)COUNT_OF(texts); i += TEST_SHARE) {
        struct test_problem problem = run_parse(texts[i % (int)COUNT_OF(texts)]);
        struct test_backward call;
        char line[LINE];
        problem.seed = (uint64_t)i;
        write_some(line, &problem, &random);
        attn_context *context = run_context_tuned(line);
        backward_open_on(&call, context, &problem, DATA_RANDOM, STATISTICS,
                         ALL_GRADIENTS);
        backward_run(&call);
        if (backward_check(&call) != 0) {
            fail_msg("tuned to %s", line);
        }
        backward_close(&call);
        attn_context_destroy(context);
    }
}

/* Rows of keys that BLAS would refuse, for products of keys as they lie: they overlap,
 * are one and the same, or lie farther apart than an int says. */
static void rows_that_blas_refuses(void **state) {
    (void)state;
    enum { KEYS = 17, DIM = 64 };
    static const int64_t strides[] = {0, 1, DIM - 1, ((int64_t)1 << 31) + 64};
    const struct test_problem problem = run_parse("q128 k17 d64 seed=5");
    attn_context *context =
        run_context_tuned("entry 64 64 1 48 96 48 48 512 4 0 0 0 0 0 0");
    for (size_t i = 0; i < COUNT_OF(strides); i++) {
        const int64_t bytes = ((KEYS - 1) * strides[i] + DIM) * (int64_t)sizeof(float);
        void *far = bytes > PTRDIFF_MAX
                        ? MAP_FAILED
                        : mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (far == MAP_FAILED) {
            print_message("no room for keys %lld apart\n", (long long)strides[i]);
            continue;
        }
        struct test_call call;
        call_open_on(&call, context, &problem, DATA_RANDOM, ALL_OUTPUTS);
        attn_tensor *key = &call.inputs.key;
        const float *numbers = key->data;
        for (int64_t k = KEYS; k-- > 0;) {
            memcpy((float *)far + k * strides[i], numbers + k * DIM,
                   DIM * sizeof(float));
        }
        void *own = key->data;
        key->data = far;
        key->stride[2] = strides[i];
        call_run(&call);
        assert_int_equal(check_outputs(&call.inputs, &call.outputs), 0);
        key->data = own;
        call_close(&call);
        munmap(far, (size_t)bytes);
    }
    attn_context_destroy(context);
}

/* The line of a plan that says its tiles. */
static void tiles_of(attn_context *context, const char *text, char line[LINE]) {
    char says[4096];
    const struct test_problem problem = run_parse(text);
    attn_plan *plan = run_plan(context, &problem);
    assert_in_range(attn_plan_explain(plan, says, sizeof says), 1, sizeof says - 1);
    attn_plan_destroy(plan);
    const char *at = strstr(says, "tiles: ");
    assert_non_null(at);
    (void)snprintf(line, LINE, "%.*s", (int)strcspn(at, ";"), at);
}

/* Tiles of plans where products are made of pieces and masks leave out none, some or
 * most; of other dims; and of short sequences. */
enum { KINDS = 3 };
static const struct {
    const char *text;
    int queries, keys;
} plans[] = {
    {"h2 q900 k900 d32", 128, 512},           {"h2 q900 k900 d32 causal", 64, 512},
    {"h2 q900 k900 d32 window=9,0", 64, 128}, {"h2 q900 k900 d32/300", 64, 256},
    {"h2 q128 k200 d32", 128, 256},           {"h2 q64 k100 d32", 64, 128},
    {"h4/2 q64 k100 d32", 128, 128},          {"h2 q900 k900 d32 block=64x64", 64, 64},
    {"h2 q900 k900 d32 block=64x65", 64, 128}};

static void need_tiles(attn_context *context) {
    for (size_t i = 0; i < COUNT_OF(plans); i++) {
        char line[LINE], right[LINE];
        tiles_of(context, plans[i].text, line);
        (void)snprintf(right, LINE, "tiles: %d queries x %d keys", plans[i].queries,
                       plans[i].keys);
        assert_string_equal(line, right);
    }
}

/* NULL: ATTN_ISA rules it out. */
static attn_context *context_with_pieces(void) {
    attn_context *context;
    assert_int_equal(attn_context_create(&context), ATTN_OK);
    if (attn_context_set_isa(context, ATTN_ISA_PIECES) == ATTN_OK) {
        return context;
    }
    attn_context_destroy(context);
    return NULL;
}

/* What is measured of short sequences changes nothing of others. */
static void short_problems_with_pieces(void **state) {
    (void)state;
    const struct test_problem problem = run_parse("h2 q128 k128 d32");
    const attn_bounds bounds = {sizeof bounds, 1, 128, 128};
    attn_context *context = context_with_pieces();
    if (context == NULL) {
        skip();
    }
    need_tiles(context);
    attn_desc *desc = run_desc(&problem);
    assert_int_equal(attn_context_tune(context, desc, &bounds, 5), ATTN_OK);
    need_tiles(context);
    attn_desc_destroy(desc);
    attn_context_destroy(context);
}

/* Where the tiles that a plan has by default were the fastest, others keep theirs. */
static void defaults_with_pieces_stay(void **state) {
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        char text[4096];
        attn_context *context = context_with_pieces();
        if (context == NULL) {
            skip();
        }
        assert_in_range(attn_context_tuning_export(context, text, sizeof text), 1,
                        2000);
        char *end = strstr(text, "end\n");
        assert_non_null(end);
        (void)snprintf(end, 1000, "entry 32 32 1 %d %d %d 128 512 8 1 1 1 1 1 1\nend\n",
                       plans[kind].queries, plans[kind].keys, plans[kind].keys);
        assert_int_equal(attn_context_tuning_import(context, text), ATTN_OK);
        need_tiles(context);
        attn_context_destroy(context);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_problems_with_pieces),
        cmocka_unit_test(defaults_with_pieces_stay),
        cmocka_unit_test(tiles_change_nothing_but_rounding),
        cmocka_unit_test(gradients_as_well),
        cmocka_unit_test(rows_that_blas_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
