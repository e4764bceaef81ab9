/*
 * The thread pool.
 *
 * Call order: create, run any number of times from any threads, destroy.
 *
 * One loop runs at a time. The caller that writes its generation into `holder` owns
 * the pool until it clears it: it publishes the loop under the mutex, wakes the
 * workers, takes indices itself, and sleeps until the workers that took part have
 * left. Whoever finds the pool held does its loop alone; nobody waits for somebody
 * else's work.
 *
 * Workers block all signals, so that handlers of the application run on its own
 * threads, and take over the floating-point control word of the caller for each
 * loop, so that a result does not depend on which thread computed it.
 *
 * After fork only the calling thread exists in the child. Processes are told apart by a
 * generation, which a fork handler counts up in the child (a process number could be
 * one that was used before). A holder of another generation is no holder, and threads
 * of another generation are none: the child starts from nothing. Its copies of the
 * mutex and the conditions may be in any state, so they are made anew and the old ones
 * never destroyed.
 */
#include "exec/pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "exec/steer.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
static uint64_t control_word(void) {
    return _mm_getcsr();
}
static void set_control_word(uint64_t word) {
    _mm_setcsr((unsigned)word);
}
#elif defined(__aarch64__)
static uint64_t control_word(void) {
    uint64_t word;
    __asm__ volatile("mrs %0, fpcr" : "=r"(word));
    return word;
}
static void set_control_word(uint64_t word) {
    __asm__ volatile("msr fpcr, %0" : : "r"(word));
}
#else
static uint64_t control_word(void) {
    return 0;
}
static void set_control_word(uint64_t word) {
    (void)word;
}
#endif

struct worker {
    struct pool *pool;
    pthread_t thread;
    struct steered steered; /* guarded by mutex */
};

struct pool {
    struct allocator allocator;
    int32_t threads;    /* wanted, the caller's included */
    atomic_long holder; /* the generation of the caller whose loop runs; 0: none */
    long home;          /* the generation that the threads belong to; 0: none yet */
    int32_t workers;    /* threads that could be started */
    pthread_mutex_t mutex;
    pthread_cond_t work; /* a loop was published, or stop was set */
    pthread_cond_t done; /* the last worker left the loop */
    /* the current loop, guarded by mutex */
    uint64_t loop;   /* its number: a worker joins each loop once */
    int32_t joining; /* workers that may still join */
    int32_t inside;  /* workers that joined and have not left */
    bool stop;
    attn_task *task;
    void *argument;
    int32_t count;
    uint64_t control;
    atomic_int next; /* the next index to take */
    struct processors processors;
    struct worker worker[];
};

static atomic_long generation = 1;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void next_generation(void) {
    atomic_fetch_add(&generation, 1);
}

static void watch_forks(void) {
    pthread_atfork(NULL, NULL, next_generation);
}

static void take_indices(struct pool *pool, attn_task *task, void *argument,
                         int32_t count) {
    int32_t i;
    while ((i = atomic_fetch_add(&pool->next, 1)) < count) {
        task(argument, i);
    }
}

static void *run_worker(void *argument) {
    struct worker *worker = argument;
    struct pool *pool = worker->pool;
    uint64_t seen = 0;
    pthread_mutex_lock(&pool->mutex);
    for (;;) {
        while (!pool->stop && (pool->loop == seen || pool->joining == 0)) {
            worker->steered.last = attn_steer_here();
            pthread_cond_wait(&pool->work, &pool->mutex);
        }
        if (pool->stop) {
            break;
        }
        seen = pool->loop;
        pool->joining--;
        pool->inside++;
        attn_task *task = pool->task;
        void *task_argument = pool->argument;
        int32_t count = pool->count;
        uint64_t control = pool->control;
        pthread_mutex_unlock(&pool->mutex);

        set_control_word(control);
        take_indices(pool, task, task_argument, count);

        pthread_mutex_lock(&pool->mutex);
        if (--pool->inside == 0) {
            pthread_cond_signal(&pool->done);
        }
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

/* Starts the threads for this process; as many as the system gives. */
static void start(struct pool *pool) {
    pool->home = atomic_load(&generation);
    pool->workers = 0;
    pool->loop = 0;
    pool->joining = 0;
    pool->inside = 0;
    pool->stop = false;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->done, NULL);
    attn_steer_start(&pool->processors);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (; pool->workers < pool->threads - 1; pool->workers++) {
        struct worker *worker = &pool->worker[pool->workers];
        *worker = (struct worker){.pool = pool, .steered = {.last = -1, .off = -1}};
        if (pthread_create(&worker->thread, NULL, run_worker, worker) != 0) {
            break;
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

struct pool *attn_pool_create(const struct allocator *allocator, int32_t threads) {
    pthread_once(&once, watch_forks);
    struct pool *pool = attn_mem_allocate(
        allocator, sizeof *pool + (size_t)threads * sizeof(struct worker));
    if (pool == NULL) {
        return NULL;
    }
    pool->allocator = *allocator;
    pool->threads = threads;
    pool->home = 0;
    pool->workers = 0;
    atomic_init(&pool->holder, 0);
    atomic_init(&pool->next, 0);
    return pool;
}

void attn_pool_destroy(struct pool *pool) {
    if (pool == NULL) {
        return;
    }
    if (pool->home == atomic_load(&generation)) {
        pthread_mutex_lock(&pool->mutex);
        pool->stop = true;
        pthread_cond_broadcast(&pool->work);
        pthread_mutex_unlock(&pool->mutex);
        for (int32_t i = 0; i < pool->workers; i++) {
            pthread_join(pool->worker[i].thread, NULL);
        }
        pthread_cond_destroy(&pool->done);
        pthread_cond_destroy(&pool->work);
        pthread_mutex_destroy(&pool->mutex);
    }
    struct allocator allocator = pool->allocator;
    attn_mem_release(&allocator, pool);
}

/* True if the pool was free in this process and now belongs to the caller. */
static bool hold(struct pool *pool) {
    long me = atomic_load(&generation);
    long holder = atomic_load(&pool->holder);
    return holder != me && atomic_compare_exchange_strong(&pool->holder, &holder, me);
}

/* Keeps workers off the processor of the caller; not if there are more threads than
 * processors, some of which would share one in any case. */
static void steer(struct pool *pool) {
    const int here = attn_steer_here();
    if (here < 0 || pool->threads > pool->processors.count) {
        return;
    }
    for (int32_t i = 0; i < pool->workers; i++) {
        struct worker *worker = &pool->worker[i];
        if (worker->steered.last == here && worker->steered.off != here) {
            attn_steer_off(&pool->processors, worker->thread, &worker->steered, here);
        }
    }
}

void attn_pool_run(struct pool *pool, int32_t count, attn_task *task, void *argument) {
    if (count < 2 || !hold(pool)) {
        for (int32_t i = 0; i < count; i++) {
            task(argument, i);
        }
        return;
    }
    if (pool->home != atomic_load(&generation)) {
        start(pool);
    }
    pthread_mutex_lock(&pool->mutex);
    pool->task = task;
    pool->argument = argument;
    pool->count = count;
    pool->control = control_word();
    atomic_store(&pool->next, 0);
    pool->joining = count - 1 < pool->workers ? count - 1 : pool->workers;
    pool->loop++;
    steer(pool);
    if (pool->joining == 1) {
        pthread_cond_signal(&pool->work);
    } else if (pool->joining > 1) {
        pthread_cond_broadcast(&pool->work);
    }
    pthread_mutex_unlock(&pool->mutex);

    take_indices(pool, task, argument, count);

    pthread_mutex_lock(&pool->mutex);
    pool->joining = 0;
    while (pool->inside > 0) {
        pthread_cond_wait(&pool->done, &pool->mutex);
    }
    pthread_mutex_unlock(&pool->mutex);
    atomic_store(&pool->holder, 0);
}
