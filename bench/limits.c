/*
 * Measures the limits of the machine on a number of threads.
 *
 * Every thread waits until all are there, works in small pieces until its time is
 * over, and divides what it did by how long it took; the sum over the threads is the
 * limit. As all of them start together and a piece is short against the time, no
 * thread has the machine to itself for long.
 */
#include "bench/limits.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "bench/clock.h"
#include "bench/fail.h"
#include "bench/fma.h"
#include "bench/memory.h"

#define SAMPLE_SECONDS 0.025

/* Pieces of about 0.1 milliseconds. */
enum { FMA_STEPS = 20000, READ_BYTES = 1 << 21 };

struct worker {
    pthread_t thread;
    atomic_int *arrived;
    int expected;
    const char *slice; /* memory to read; NULL: multiply-adds instead */
    int64_t slice_bytes;
    double rate;
};

/* Takes the results, so that no compiler can leave the work out. */
static _Atomic uint64_t results;

typedef uint64_t word_pair __attribute__((vector_size(16)));

/* Four independent sums of 16 bytes take a cache line a turn: several times faster
 * than memory delivers, on every processor. */
static uint64_t read_bytes(const char *memory, int64_t bytes) {
    const word_pair *line = (const word_pair *)(const void *)memory;
    const word_pair *end = line + bytes / (int64_t)sizeof *line;
    word_pair a = {0}, b = {0}, c = {0}, d = {0};
    for (; line < end; line += 4) {
        a += line[0];
        b += line[1];
        c += line[2];
        d += line[3];
    }
    a += b + c + d;
    return a[0] + a[1];
}

static void *work(void *argument) {
    struct worker *worker = argument;
    const struct fma_loop *fma = fma_loop_best();
    int64_t position = 0;
    uint64_t result = 0;
    double done = 0, elapsed;

    atomic_fetch_add(worker->arrived, 1);
    while (atomic_load(worker->arrived) < worker->expected) {
        sched_yield();
    }

    double start = clock_seconds();
    do {
        if (worker->slice == NULL) {
            result += (uint64_t)fma->run(FMA_STEPS, 0.5f, 0.25f);
            done += FMA_STEPS * fma->flops;
        } else {
            result += read_bytes(worker->slice + position, READ_BYTES);
            done += READ_BYTES;
            position += READ_BYTES;
            if (position == worker->slice_bytes) {
                position = 0;
            }
        }
        elapsed = clock_seconds() - start;
    } while (elapsed < SAMPLE_SECONDS);
    worker->rate = done / elapsed;
    atomic_fetch_add(&results, result);
    return NULL;
}

/* Multiply-adds where buffer is NULL, reading otherwise. */
static double measure(int32_t threads, const struct read_buffer *buffer) {
    struct worker *worker = memory_get(threads, sizeof *worker);
    atomic_int arrived = 0;

    int64_t slice = buffer ? buffer->bytes / threads / READ_BYTES * READ_BYTES : 0;
    for (int32_t i = 0; i < threads; i++) {
        worker[i] = (struct worker){
            .arrived = &arrived,
            .expected = threads,
            .slice = buffer ? buffer->data + i * slice : NULL,
            .slice_bytes = slice,
        };
    }
    for (int32_t i = 1; i < threads; i++) {
        if (pthread_create(&worker[i].thread, NULL, work, &worker[i]) != 0) {
            fail(FAILED, "cannot start %d threads to measure the machine with",
                 (int)threads);
        }
    }
    work(&worker[0]);

    double rate = 0;
    for (int32_t i = 0; i < threads; i++) {
        if (i > 0) {
            pthread_join(worker[i].thread, NULL);
        }
        rate += worker[i].rate;
    }
    free(worker);
    return rate;
}

void limits_measure(struct limits *limits, const struct read_buffer *buffer) {
    samples_add(&limits->fma, measure(limits->threads, NULL));
    samples_add(&limits->read, measure(limits->threads, buffer));
}

void limits_close(struct limits *limits) {
    samples_free(&limits->fma);
    samples_free(&limits->read);
}

void read_buffer_open(struct read_buffer *buffer, int32_t threads) {
    /* Twice what is beyond the caches, since a machine with many cores may have more
     * caches than the one it reports; and more than any core keeps for itself, for
     * each thread. */
    int64_t bytes = 2 * memory_beyond_caches();
    int64_t least = (int64_t)threads * (16 << 20);
    buffer->bytes = bytes > least ? bytes : least;
    buffer->data = memory_get(buffer->bytes, 1);

    /* Written once: pages never written all read the same zero page. */
    memset(buffer->data, 1, (size_t)buffer->bytes);
}

void read_buffer_close(struct read_buffer *buffer) {
    free(buffer->data);
    *buffer = (struct read_buffer){0};
}
