/*
 * Threads of a pool keep off the processor of the thread that wakes them, stay within
 * those that they were started with, and leave alone what others have set.
 */
#define _GNU_SOURCE /* for sets of processors */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "base/mem.h"
#include "exec/pool.h"
#include "tests/support/test.h"

enum { LOOPS = 200, WAITS_MOST = 10000 };

static cpu_set_t all; /* processors of the process */
static int here;      /* that of the caller */

static cpu_set_t only(int processor) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    return set;
}

static void stay_on(const cpu_set_t *set) {
    assert_int_equal(pthread_setaffinity_np(pthread_self(), sizeof *set, set), 0);
}

static cpu_set_t processors(void) {
    cpu_set_t set;
    CPU_ZERO(&set);
    (void)pthread_getaffinity_np(pthread_self(), sizeof set, &set);
    return set;
}

/* A loop: where the worker is to go, and what it has seen. */
struct loop {
    pthread_t caller;
    atomic_int arrived;
    enum { NOWHERE, COME, STAY } what; /* come to the caller; stay there */
    cpu_set_t seen;
    int place; /* where it is in the end */
};

/* Both threads take part, since each waits for the other. A worker that comes has all
 * processors again, but sleeps there, if it was not kept off one. */
static void take_part(void *argument, int32_t index) {
    struct loop *loop = argument;
    const cpu_set_t to = only(here);
    (void)index;
    atomic_fetch_add(&loop->arrived, 1);
    for (int i = 0; i < WAITS_MOST && atomic_load(&loop->arrived) < 2; i++) {
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    if (pthread_equal(pthread_self(), loop->caller)) {
        return;
    }
    loop->seen = processors();
    if (loop->what == STAY || (loop->what == COME && CPU_EQUAL(&loop->seen, &all))) {
        (void)pthread_setaffinity_np(pthread_self(), sizeof to, &to);
    }
    if (loop->what == COME && CPU_EQUAL(&loop->seen, &all)) {
        (void)pthread_setaffinity_np(pthread_self(), sizeof all, &all);
    }
    loop->place = sched_getcpu();
}

static struct loop run(struct pool *pool, int what) {
    struct loop loop = {.caller = pthread_self(), .what = what};
    attn_pool_run(pool, 2, take_part, &loop);
    assert_int_equal(atomic_load(&loop.arrived), 2);
    return loop;
}

/* True if a worker may run on all processors but this one; else it may on `before`. */
static bool is_off(const struct loop *loop, int processor, const cpu_set_t *before) {
    cpu_set_t set = all;
    CPU_CLR(processor, &set);
    const bool off = CPU_EQUAL(&loop->seen, &set);
    assert_true(off || CPU_EQUAL(&loop->seen, before));
    return off;
}

static struct pool *open_pool(int32_t threads) {
    const struct allocator allocator = {0};
    const cpu_set_t to = only(here);
    struct pool *pool = attn_pool_create(&allocator, threads);
    assert_non_null(pool);
    (void)run(pool, NOWHERE); /* threads start, with the processors of this one */
    stay_on(&to);
    return pool;
}

static void close_pool(struct pool *pool) {
    attn_pool_destroy(pool);
    stay_on(&all);
}

static void workers_keep_off(void **state) {
    (void)state;
    struct pool *pool = open_pool(2);
    struct loop loop;
    bool off = false; /* once the worker has slept where the caller runs */
    for (int i = 0; i < LOOPS && !off; i++) {
        loop = run(pool, COME);
        off = is_off(&loop, here, &all);
    }
    assert_true(off);
    /* the caller goes to where the worker is, if that sleeps there */
    const cpu_set_t before = loop.seen;
    off = false;
    for (int i = 0; i < LOOPS && !off; i++) {
        const int there = loop.place;
        const cpu_set_t to = only(there);
        stay_on(&to);
        loop = run(pool, NOWHERE);
        off = is_off(&loop, there, &before);
        const cpu_set_t mine = processors();
        assert_true(CPU_EQUAL(&mine, &to));
    }
    assert_true(off);
    close_pool(pool);
}

static void others_decide(void **state) {
    (void)state;
    struct pool *pool = open_pool(2);
    (void)run(pool, STAY);
    for (int i = 0; i < 5; i++) {
        const cpu_set_t to = only(here);
        const struct loop loop = run(pool, STAY);
        assert_true(CPU_EQUAL(&loop.seen, &to));
    }
    close_pool(pool);
}

/* Some would share a processor in any case. */
static void more_threads_than_processors(void **state) {
    (void)state;
    struct pool *pool = open_pool(CPU_COUNT(&all) + 1);
    for (int i = 0; i < 20; i++) {
        const struct loop loop = run(pool, COME);
        assert_true(CPU_EQUAL(&loop.seen, &all));
    }
    close_pool(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(workers_keep_off),
        cmocka_unit_test(others_decide),
        cmocka_unit_test(more_threads_than_processors),
    };
    here = sched_getcpu();
    if (sched_getaffinity(0, sizeof all, &all) != 0 || here < 0 ||
        !CPU_ISSET(here, &all) || CPU_COUNT(&all) < 2) {
        puts("one processor, or none that is known");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
