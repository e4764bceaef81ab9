/*
 * should_stop: asked often enough, obeyed, without harm to what comes after.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/call.h"
#include "tests/support/check.h"
#include "tests/support/expect.h"

struct stopper {
    atomic_long asked;
    long stop_at; /* the question, counted from 1, that is answered with yes; 0: none */
};

static int32_t should_stop(void *user) {
    struct stopper *stopper = user;
    long asked = atomic_fetch_add(&stopper->asked, 1) + 1;
    /* Any number but 0 means yes. */
    return stopper->stop_at > 0 && asked >= stopper->stop_at ? -7 : 0;
}

/* The last ones share keys among threads, which calls for weights do not. */
static const struct {
    const char *text;
    unsigned wanted;
} cases[] = {{"b2 h2 q600 k900 d32 threads=1 engine=flash", ALL_OUTPUTS},
             {"b2 h2 q600 k900 d32 threads=3 engine=flash", ALL_OUTPUTS},
             {"b4 h4 q100 k120 d32 threads=1 engine=dense", ALL_OUTPUTS},
             {"b4 h4 q100 k120 d32 threads=2 engine=dense", ALL_OUTPUTS},
             {"h8 q1 k5000 d64 threads=2", ALL_OUTPUTS},
             {"b2 h2 q600 k900 d32 threads=2 engine=decode", ALL_OUTPUTS},
             {"q1 k30000 d64 threads=3", ONLY_OUT},
             {"h2 q4 k20000 d64 threads=4", ONLY_OUT}};

static void asked_often(void **state) {
    (void)state;
    for (size_t t = 0; t < COUNT_OF(cases); t++) {
        struct test_call call;
        struct stopper stopper = {.stop_at = 0};
        call_open(&call, cases[t].text, cases[t].wanted);
        call.args.should_stop = should_stop;
        call.args.should_stop_user = &stopper;
        call_run(&call);
        assert_int_equal(check_outputs(&call.inputs, &call.outputs), 0);
        /* once for each tile, whose size belongs to the BLAS */
        int64_t rows, keys;
        call_tiles(call.plan, &rows, &keys);
        const struct test_problem *p = &call.inputs.problem;
        assert_true(stopper.asked >= p->batch * p->q_heads *
                                         gen_blocks(p->q_length, rows) *
                                         gen_blocks(p->kv_length, keys));
        call_close(&call);
    }
}

static void obeyed_at_every_question(void **state) {
    (void)state;
    for (size_t t = 0; t < COUNT_OF(cases); t++) {
        struct test_call call;
        struct stopper stopper = {.stop_at = 0};
        call_open(&call, cases[t].text, cases[t].wanted);
        call.args.should_stop = should_stop;
        call.args.should_stop_user = &stopper;
        call_run(&call);
        const long questions = stopper.asked;
        for (long stop_at = 1; stop_at <= questions; stop_at += 1 + questions / 7) {
            stopper.asked = 0;
            stopper.stop_at = stop_at;
            expect_refusal(attn_plan_forward(call.plan, &call.args), ATTN_ERR_CANCELLED,
                           "should_stop");
            /* Each thread may ask once more, no matter how much work is left. */
            assert_true(stopper.asked <= stop_at + call.inputs.problem.threads);
        }
        /* The plan is as good as before. */
        call.args.should_stop = NULL;
        call_run(&call);
        assert_int_equal(check_outputs(&call.inputs, &call.outputs), 0);
        call_close(&call);
    }
}

/* Asking changes no bit. */
static void a_question_changes_nothing(void **state) {
    (void)state;
    for (size_t t = 0; t < COUNT_OF(cases); t++) {
        struct test_call asked, plain;
        struct stopper stopper = {.stop_at = 0};
        call_open(&asked, cases[t].text, cases[t].wanted);
        call_open(&plain, cases[t].text, cases[t].wanted);
        asked.args.should_stop = should_stop;
        asked.args.should_stop_user = &stopper;
        call_need_same(&asked, &plain);
        call_close(&asked);
        call_close(&plain);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asked_often),
        cmocka_unit_test(obeyed_at_every_question),
        cmocka_unit_test(a_question_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
