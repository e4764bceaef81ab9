/*
 * A thread sleeps until a job comes, helps with it, and says when it is done; the
 * caller helps too. A job is over when its counter has run out and all threads say so.
 */
#define _DEFAULT_SOURCE /* sysconf */

#include "workers.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "fail.h"
#include "product.h"

struct workers {
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t begun, done;
    long job;  /* the number of the latest */
    int busy;  /* threads that have not finished it */
    bool over; /* there will be no more */

    /* the latest job; written while no thread is busy */
    attn_task *task;
    void *argument;
    int32_t count;
    _Atomic int32_t next;

    int threads; /* started, beside the caller's */
    pthread_t thread[];
};

static void help(struct workers *workers) {
    int32_t index;
    while ((index = atomic_fetch_add(&workers->next, 1)) < workers->count) {
        workers->task(workers->argument, index);
    }
}

static void *work(void *argument) {
    struct workers *workers = argument;
    product_begin_thread();
    pthread_mutex_lock(&workers->lock);
    for (long last = 0;; last = workers->job) {
        while (workers->job == last && !workers->over) {
            pthread_cond_wait(&workers->begun, &workers->lock);
        }
        if (workers->over) {
            break;
        }
        pthread_mutex_unlock(&workers->lock);
        help(workers);
        pthread_mutex_lock(&workers->lock);
        if (--workers->busy == 0) {
            pthread_cond_signal(&workers->done);
        }
    }
    pthread_mutex_unlock(&workers->lock);
    return NULL;
}

struct workers *workers_open(int threads) {
    if (threads == 0) {
        threads = (int)sysconf(_SC_NPROCESSORS_ONLN);
        threads = threads < 1 ? 1 : threads;
    }
    size_t others = (size_t)threads - 1;
    struct workers *workers =
        memory_get(1, sizeof *workers + others * sizeof *workers->thread);
    pthread_mutex_init(&workers->lock, NULL);
    pthread_cond_init(&workers->begun, NULL);
    pthread_cond_init(&workers->done, NULL);
    product_begin_thread();
    for (size_t i = 0; i < others; i++) {
        if (pthread_create(&workers->thread[i], NULL, work, workers) != 0) {
            break; /* fewer will do */
        }
        workers->threads++;
    }
    return workers;
}

int workers_count(const struct workers *workers) {
    return workers->threads + 1;
}

void workers_run(void *workers, int32_t count, attn_task *task, void *argument) {
    struct workers *self = workers;
    self->task = task;
    self->argument = argument;
    self->count = count;
    atomic_store(&self->next, 0);
    bool alone = self->threads == 0 || count < 2;
    if (!alone) {
        pthread_mutex_lock(&self->lock);
        self->job++;
        self->busy = self->threads;
        pthread_cond_broadcast(&self->begun);
        pthread_mutex_unlock(&self->lock);
    }
    help(self);
    if (!alone) {
        pthread_mutex_lock(&self->lock);
        while (self->busy > 0) {
            pthread_cond_wait(&self->done, &self->lock);
        }
        pthread_mutex_unlock(&self->lock);
    }
}

void workers_close(struct workers *workers) {
    if (workers == NULL) {
        return;
    }
    pthread_mutex_lock(&workers->lock);
    workers->over = true;
    pthread_cond_broadcast(&workers->begun);
    pthread_mutex_unlock(&workers->lock);
    for (int i = 0; i < workers->threads; i++) {
        pthread_join(workers->thread[i], NULL);
    }
    pthread_mutex_destroy(&workers->lock);
    pthread_cond_destroy(&workers->begun);
    pthread_cond_destroy(&workers->done);
    free(workers);
}
