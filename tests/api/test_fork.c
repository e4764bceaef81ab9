/*
 * After fork only the calling thread exists in the child: plans go on working there, on
 * threads of the child's own, whatever the pool was doing at that moment.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/call.h"
#include "tests/support/check.h"
#include "tests/support/run.h"

/* Pieces of a call, and parts of one sequence's keys. */
static const char *const texts[] = {"b2 h4/2 q200 k300 d64 causal threads=3 seed=1",
                                    "h4/1 q2 k20000 d64 threads=3 seed=2"};

static void open_right(struct test_call *right, const char *text) {
    struct test_problem problem = run_parse(text);
    problem.threads = 1;
    call_open_on(right, NULL, &problem, DATA_RANDOM, ONLY_OUT);
    call_run(right);
    assert_int_equal(check_outputs(&right->inputs, &right->outputs), 0);
}

static void sleep_milliseconds(long milliseconds) {
    const struct timespec time = {0, milliseconds * 1000000};
    nanosleep(&time, NULL);
}

/* 0 if the call gives the right bits here. */
static int child(struct test_call *call, const struct test_call *right) {
    outputs_reset(&call->outputs);
    if (attn_plan_forward(call->plan, &call->args) != ATTN_OK) {
        return 1;
    }
    const size_t bytes = (size_t)right->outputs.elements[OUT] * sizeof(float);
    return memcmp(call->outputs.block[OUT], right->outputs.block[OUT], bytes) == 0 ? 0
                                                                                   : 2;
}

/* Waits for the child; half a minute without an end is a deadlock, which ends here. */
static void need_good_child(pid_t pid) {
    int status = -1;
    assert_true(pid > 0);
    for (int n = 0; waitpid(pid, &status, WNOHANG) == 0; n++) {
        if (n == 30 * 20) {
            kill(pid, SIGKILL);
        }
        sleep_milliseconds(50);
    }
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void use_text_after_fork(const char *text) {
    struct test_call right, call;
    open_right(&right, text);
    call_open(&call, text, ONLY_OUT);
    call_run(&call);
    for (int n = 0; n < 3; n++) {
        pid_t pid = fork();
        if (pid == 0) {
            _exit(child(&call, &right));
        }
        need_good_child(pid);
        call_run(&call);
        assert_true(call_same(&call, &right));
    }
    call_close(&call);
    call_close(&right);
}

/* The pool's threads do not exist in the child, which makes its own. */
static void use_after_fork(void **state) {
    (void)state;
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        use_text_after_fork(texts[t]);
    }
}

struct busy {
    struct test_call call;
    atomic_bool stop;
};

static void *keep_busy(void *user) {
    struct busy *busy = user;
    while (!atomic_load(&busy->stop)) {
        attn_plan_forward(busy->call.plan, &busy->call.args);
    }
    return NULL;
}

/* The pool works for another thread, which the child does not have, while fork runs. */
static void fork_while_busy(const char *text) {
    struct test_call right, call;
    struct test_problem problem = run_parse(text);
    struct busy busy = {.stop = 0};
    pthread_t thread;
    attn_context *context = run_context(&problem);
    open_right(&right, text);
    call_open_on(&call, context, &problem, DATA_RANDOM, ONLY_OUT);
    call_open_on(&busy.call, context, &problem, DATA_RANDOM, ONLY_OUT);
    assert_int_equal(pthread_create(&thread, NULL, keep_busy, &busy), 0);
    for (int n = 0; n < 10; n++) {
        sleep_milliseconds(2);
        pid_t pid = fork();
        if (pid == 0) {
            _exit(child(&call, &right));
        }
        need_good_child(pid);
    }
    atomic_store(&busy.stop, 1);
    pthread_join(thread, NULL);
    call_run(&call);
    assert_true(call_same(&call, &right));
    call_close(&call);
    call_close(&busy.call);
    call_close(&right);
    attn_context_destroy(context);
}

static void fork_while_the_pool_is_busy(void **state) {
    (void)state;
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        fork_while_busy(texts[t]);
    }
}

int main(void) {
#ifdef TEST_EMULATED
    printf("skipped: the emulator cannot start threads in a child of fork\n");
    return EXIT_SKIPPED;
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(use_after_fork),
        cmocka_unit_test(fork_while_the_pool_is_busy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
