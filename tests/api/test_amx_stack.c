/*
 * Tiles of AMX and stacks for signals: a thread with one that has no room for tiles
 * keeps its stack and goes without tiles; after tiles are allowed, small stacks are
 * refused by the system, and signals on large ones leave results alone. Each in a
 * child, since a process is asked once.
 */
#define _DEFAULT_SOURCE /* sigaltstack, setitimer */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/call.h"
#include "tests/support/check.h"
#include "tests/support/run.h"

enum { SMALL = 4096, LARGE = 1 << 16, FAILED = 1, NO_TILES = 2 };

static char stack_memory[LARGE];
static volatile sig_atomic_t signals;

static int set_stack(size_t size) {
    const stack_t stack = {.ss_sp = stack_memory, .ss_size = size};
    return sigaltstack(&stack, NULL);
}

static bool has_tiles(void) {
    attn_context *context = NULL;
    char text[4096] = "";
    if (attn_context_create(&context) == ATTN_OK) {
        attn_context_explain(context, text, sizeof text);
    }
    attn_context_destroy(context);
    return strstr(text, "isa: amx\n") != NULL;
}

static bool works(void) {
    const struct test_problem problem = run_parse("h2 q300 k600 d64 causal seed=1");
    return run_and_check(&problem, DATA_RANDOM, ONLY_OUT) == 0;
}

static void count_signal(int number) {
    (void)number;
    signals = signals + 1;
}

/* The exit codes of children. */
static int small_before(void) {
    if (set_stack(SMALL) != 0) {
        return NO_TILES; /* too small for this processor, tiles or not */
    }
    return !has_tiles() && works() ? 0 : FAILED;
}

static int small_after(void) {
    if (!has_tiles()) {
        return NO_TILES;
    }
    return set_stack(SMALL) == -1 && errno == ENOMEM && set_stack(LARGE) == 0 && works()
               ? 0
               : FAILED;
}

static int signals_meanwhile(void) {
    if (!has_tiles()) {
        return NO_TILES;
    }
    struct sigaction action = {.sa_flags = SA_ONSTACK | SA_RESTART};
    action.sa_handler = count_signal;
    const struct itimerval often = {{0, 200}, {0, 200}}, never = {{0, 0}, {0, 0}};
    if (set_stack(LARGE) != 0 || sigaction(SIGALRM, &action, NULL) != 0 ||
        setitimer(ITIMER_REAL, &often, NULL) != 0) {
        return FAILED;
    }
    bool right = true;
    for (int i = 0; i < 1000 && right && (i < 20 || signals < 20); i++) {
        right = works();
    }
    setitimer(ITIMER_REAL, &never, NULL);
    return right && signals >= 20 ? 0 : FAILED;
}

static void need_child(int (*run)(void)) {
    int status = -1;
    fflush(NULL);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        _exit(run());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == NO_TILES) {
        print_message("no tiles of AMX here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_small_stack_goes_without_tiles(void **state) {
    (void)state;
    need_child(small_before);
}

static void a_small_stack_is_refused_after(void **state) {
    (void)state;
    need_child(small_after);
}

static void signals_leave_tiles_alone(void **state) {
    (void)state;
    need_child(signals_meanwhile);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_stack_goes_without_tiles),
        cmocka_unit_test(a_small_stack_is_refused_after),
        cmocka_unit_test(signals_leave_tiles_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
