/*
 * Whatever tiles a context is tuned to, attention stays what it is by definition.
 */
#include <stdio.h>

#include "tests/support/backward.h"
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
        "h4/2 q150 k260 d72 key=bf16 value=f16"};
    struct random random = random_stream(7, 105);
    for (int i = 0; i < 10 * (int)COUNT_OF(texts); i += TEST_SHARE) {
        struct test_problem problem = run_parse(texts[i % (int)COUNT_OF(texts)]);
        struct test_inputs inputs;
        struct test_outputs outputs;
        char line[LINE];
        problem.engine = i / (int)COUNT_OF(texts) % 4;
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiles_change_nothing_but_rounding),
        cmocka_unit_test(gradients_as_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
