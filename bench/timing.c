/*
 * Rounds instead of one case after the other: a machine that slows down or has a
 * neighbour does so to all cases and to its own limits alike, and ratios within a round
 * stay true.
 *
 * A sample is as many calls as last 20 milliseconds, so that neither the clock nor a
 * single interruption decides it.
 */
#include "bench/timing.h"

#include "bench/clock.h"
#include "bench/progress.h"

#define SAMPLE_SECONDS 0.020

/* Seconds. */
struct taken {
    double all, backward;
};

/* Of so many runs together. The clock between a forward and a backward call is a matter
 * of nanoseconds. */
static struct taken time_calls(struct bench_case *c, int64_t calls) {
    struct taken taken = {0};
    double start = clock_seconds();
    for (int64_t i = 0; i < calls; i++) {
        case_forward(c);
        if (c->backward) {
            double middle = clock_seconds();
            case_backward(c);
            taken.backward += clock_seconds() - middle;
        }
    }
    taken.all = clock_seconds() - start;
    return taken;
}

static void add_samples(struct bench_case *c, struct taken taken) {
    double calls = (double)c->calls;
    samples_add(&c->seconds, taken.all / calls);
    if (c->backward) {
        samples_add(&c->forward_seconds, (taken.all - taken.backward) / calls);
        samples_add(&c->backward_seconds, taken.backward / calls);
    }
}

/* Finds how many calls make a sample, and warms up: pages, threads, caches. */
static void calibrate(struct bench_case *c) {
    c->calls = 1;
    double taken = time_calls(c, c->calls).all;
    while (taken < SAMPLE_SECONDS) {
        /* A tenth more than needed, and at most ten times more: the first calls are
         * the slow ones. */
        double more = taken > 0 ? 1.1 * SAMPLE_SECONDS / taken : 10;
        c->calls = (int64_t)((double)c->calls * (more < 10 ? more : 10)) + 1;
        taken = time_calls(c, c->calls).all;
    }
}

/* Touches the memory that is read and every case, none of it measured. */
static void warm_up(struct run *run, struct read_buffer *buffer) {
    progress_show("warming up");
    read_buffer_open(buffer, run->limits[run->limit_count - 1].threads);
    for (int i = 0; i < run->case_count; i++) {
        progress_show("warming up: %.40s", run->cases[i].title);
        calibrate(&run->cases[i]);
    }
}

void timing_run(struct run *run, double seconds) {
    struct read_buffer buffer;
    warm_up(run, &buffer);

    double start = clock_seconds(), before;
    do {
        before = run->seconds;
        for (int i = 0; i < run->limit_count; i++) {
            limits_measure(&run->limits[i], &buffer);
        }
        for (int i = 0; i < run->case_count; i++) {
            struct bench_case *c = &run->cases[i];
            progress_show("round %d, %.0f of %.0f s: %.40s", run->rounds + 1,
                          clock_seconds() - start, seconds, c->title);
            add_samples(c, time_calls(c, c->calls));
        }
        run->rounds++;
        run->seconds = clock_seconds() - start;
    } while (2 * run->seconds - before <= seconds);

    progress_clear();
    read_buffer_close(&buffer);
}

void timing_profile(struct run *run) {
    for (int i = 0; i < run->case_count; i++) {
        struct bench_case *c = &run->cases[i];
        attn_profile_init(&c->profile, sizeof c->profile);
        c->args.profile = &c->profile;
        time_calls(c, c->calls);
        c->args.profile = NULL;
    }
}
