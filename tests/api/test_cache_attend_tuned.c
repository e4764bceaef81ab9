/*
 * A context tuned to keys that are not transposed for their product: those of a cache
 * lie transposed already, and are taken so all the same.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/cache_attend.h"
#include "tests/support/check.h"
#include "tests/support/run.h"

/* A context that is tuned, for this problem alone, to keys transposed or not. */
static attn_context *tuned_context(const struct test_problem *problem, int turn_keys) {
    char entry[128];
    snprintf(entry, sizeof entry, "entry %d %d %d 48 96 48 48 0 4 %d 0 0 0 0 0",
             (int)problem->key_dim, (int)problem->value_dim,
             (int)(problem->q_heads / problem->kv_heads), turn_keys);
    return run_context_tuned(entry);
}

/* The same call from tensors or, if it is given, a cache. */
static void run_tuned(struct test_call *call, const struct test_inputs *inputs,
                      const attn_cache *cache, int turn_keys) {
    attn_context *context = tuned_context(&inputs->problem, turn_keys);
    attend_tensors(call, context, inputs, 1 << OUT);
    call->context = context;
    if (cache != NULL) {
        call->args.key = call->args.value = NULL;
        call->args.cache = cache;
    }
    call_run(call);
    assert_int_equal(check_outputs(inputs, &call->outputs), 0);
}

static void keys_of_a_cache_stay_turned(void **state) {
    (void)state;
    static const char *const texts[] = {"b2 h4/2 q70 k300 d64 seed=1",
                                        "b2 h2 q200 k500 d40/24 causal align=br seed=2",
                                        "b1 h3/1 q33 k129 d128 bias seed=3"};
    static const int64_t pages[] = {0, 16, 64}, sequence[] = {0, 1};
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        const struct test_problem problem = run_parse(texts[t]);
        const attn_cache_options options = attend_options(&problem, ATTN_F32, pages[t]);
        struct test_call call[4];
        struct test_inputs inputs;
        attn_cache *cache = NULL;
        gen_inputs(&inputs, &problem, DATA_RANDOM);
        attn_context *context = run_context(&problem);
        assert_int_equal(attn_cache_create(&cache, context, &options), ATTN_OK);
        attend_fill(cache, 0, sequence, &inputs, NULL);
        for (int i = 0; i < 4; i++) {
            run_tuned(&call[i], &inputs, i < 2 ? cache : NULL, i % 2);
        }
        assert_true(call_same(&call[0], &call[1]));
        assert_true(call_same(&call[1], &call[3]));
        for (int i = 0; i < 4; i++) {
            attend_close(&call[i]);
        }
        attn_cache_destroy(cache);
        attn_context_destroy(context);
        gen_free(&inputs);
    }
}

/* Keys that are no floats are copied as rows, into room that a plan has booked. */
static void copies_have_room(void **state) {
    (void)state;
    enum { BEHIND = 1 << 18 };
    const struct test_problem problem =
        run_parse("h2 q150 k300 d64 key=bf16 value=bf16 threads=1 seed=4");
    struct test_inputs inputs;
    struct test_call call;
    gen_inputs(&inputs, &problem, DATA_RANDOM);
    attn_context *context = tuned_context(&problem, 0);
    attend_tensors(&call, context, &inputs, 1 << OUT);
    call.context = context;
    const size_t room = attn_plan_workspace_size(call.plan);
    unsigned char *memory = NULL;
    assert_int_equal(posix_memalign((void **)&memory, 64, room + BEHIND), 0);
    memset(memory, 0xa5, room + BEHIND);
    call.args.workspace = memory;
    call.args.workspace_size = (int64_t)room;
    call_run(&call);
    assert_int_equal(check_outputs(&inputs, &call.outputs), 0);
    for (size_t i = room; i < room + BEHIND; i++) {
        assert_int_equal(memory[i], 0xa5);
    }
    free(memory);
    attend_close(&call);
    gen_free(&inputs);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_of_a_cache_stay_turned),
        cmocka_unit_test(copies_have_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
