/*
 * The library's threads behave as guests: they leave signals to the application,
 * compute in the rounding mode of the caller, and end with the context.
 */
#include <dirent.h>
#include <fenv.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/support/call.h"
#include "tests/support/run.h"

/* with a softcap, threads are worth it even where products wait for each other */
static const char text[] = "b2 h4/2 q200 k300 d64 causal softcap=20 threads=4 seed=1";

static void sleep_milliseconds(long milliseconds) {
    const struct timespec time = {0, milliseconds * 1000000};
    nanosleep(&time, NULL);
}

enum { THREADS_MOST = 256 };

/* The threads of this process. */
static int list_threads(long threads[THREADS_MOST]) {
    DIR *folder = opendir("/proc/self/task");
    int count = 0;
    for (const struct dirent *entry; folder != NULL && (entry = readdir(folder));) {
        if (entry->d_name[0] != '.' && count < THREADS_MOST) {
            threads[count++] = strtol(entry->d_name, NULL, 10);
        }
    }
    if (folder != NULL) {
        closedir(folder);
    }
    return count;
}

/* 0 where it cannot be found out. */
static int count_threads(void) {
    long threads[THREADS_MOST];
    return list_threads(threads);
}

static void threads_come_late_and_end(void **state) {
    (void)state;
    struct test_call call;
    const int before = count_threads();
    if (before == 0) {
        print_message("/proc does not count threads here\n");
        skip();
    }
    call_open(&call, text, ONLY_OUT);
    assert_int_equal(count_threads(), before);
    call_run(&call);
    const int during = count_threads();
    assert_true(during > before && during <= before + 3);
    call_run(&call);
    assert_int_equal(count_threads(), during);
    call_close(&call);
    /* A joined thread may be listed a moment longer. */
    for (int n = 0; n < 100 && count_threads() != before; n++) {
        sleep_milliseconds(10);
    }
    assert_int_equal(count_threads(), before);
}

/* The signals that a thread blocks, a bit each from the lowest for signal 1 on. */
static unsigned long long blocked_by(long thread) {
    char line[256], path[64];
    unsigned long long mask = 0;
    snprintf(path, sizeof path, "/proc/self/task/%ld/status", thread);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "SigBlk:", 7) == 0) {
            mask = strtoull(line + 7, NULL, 16);
        }
    }
    fclose(file);
    return mask;
}

/* Handlers of the application run on its own threads: those that a call made block all
 * signals, and the caller's mask is as it was. (BLAS has threads too, made earlier.) */
static void signals_are_left_alone(void **state) {
    (void)state;
    static const int numbers[] = {SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGCHLD, SIGALRM};
    struct test_call call;
    long before[THREADS_MOST], after[THREADS_MOST];
    sigset_t mask;
    int made = 0;
    call_open(&call, text, ONLY_OUT);
    int count = list_threads(before);
    if (count == 0) {
        print_message("/proc does not list threads here\n");
        skip();
    }
    call_run(&call);
    /* A thread that has not run yet blocks all signals by itself. */
    sleep_milliseconds(50);
    int now = list_threads(after);
    for (int n = 0; n < now; n++) {
        int known = 0;
        for (int other = 0; other < count; other++) {
            known = known || before[other] == after[n];
        }
        for (size_t s = 0; s < COUNT_OF(numbers) && !known; s++) {
            assert_true(blocked_by(after[n]) >> (numbers[s] - 1) & 1);
        }
        made += !known;
    }
    assert_true(made > 0);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &mask), 0);
    for (size_t s = 0; s < COUNT_OF(numbers); s++) {
        assert_int_equal(sigismember(&mask, numbers[s]), 0);
    }
    call_close(&call);
}

static void rounding_mode_of_the_caller(void **state) {
    (void)state;
#if !defined(FE_UPWARD) || !(defined(__x86_64__) || defined(__aarch64__))
    print_message("no rounding modes here\n");
    skip();
#else
    struct test_problem problem = run_parse(text);
    struct test_call nearest, alone, many;
    call_open_on(&nearest, NULL, &problem, DATA_RANDOM, ONLY_OUT);
    call_open_on(&many, NULL, &problem, DATA_RANDOM, ONLY_OUT);
    problem.threads = 1;
    call_open_on(&alone, NULL, &problem, DATA_RANDOM, ONLY_OUT);
    call_run(&nearest);
    /* Threads made in one mode work in another. */
    call_run(&many);
    assert_true(call_same(&nearest, &many));
    assert_int_equal(fesetround(FE_UPWARD), 0);
    call_run(&alone);
    assert_int_equal(fesetround(FE_TONEAREST), 0);
    /* A thread that comes late finds nothing to do, so it gets many chances. */
    for (int n = 0; n < 50; n++) {
        assert_int_equal(fesetround(FE_UPWARD), 0);
        call_run(&many);
        assert_int_equal(fegetround(), FE_UPWARD);
        assert_int_equal(fesetround(FE_TONEAREST), 0);
        assert_true(call_same(&alone, &many));
    }
    assert_memory_not_equal(nearest.outputs.block[OUT], alone.outputs.block[OUT],
                            (size_t)alone.outputs.elements[OUT] * sizeof(float));
    /* And it does not stay with the threads. */
    call_run(&many);
    assert_true(call_same(&nearest, &many));
    call_close(&nearest);
    call_close(&alone);
    call_close(&many);
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_come_late_and_end),
        cmocka_unit_test(signals_are_left_alone),
        cmocka_unit_test(rounding_mode_of_the_caller),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
