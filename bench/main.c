/*
 * attn_bench: how fast libattn is on this machine, against what this machine allows.
 *
 *     options.c   the command line          suite.c    problems from it and from files
 *     inputs.c    data of a problem         case.c     a problem ready to run
 *     check.c, check_backward.c   are results and gradients right
 *     reference.c  the definition           limits.c   FMA peak and read bandwidth
 *     timing.c    rounds of samples         result.c   rates and ratios
 *     report_table.c, report_profile.c, report_json.c   what is printed and written
 *
 * All cases are alive at once, since they take turns: a run needs memory for the sum of
 * their tensors.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/check.h"
#include "bench/fail.h"
#include "bench/memory.h"
#include "bench/options.h"
#include "bench/progress.h"
#include "bench/report.h"
#include "bench/timing.h"

static void open_cases(struct run *run, const struct options *options) {
    int count = options->suite.count;
    run->cases = memory_get(count, sizeof *run->cases);
    for (run->case_count = 0; run->case_count < count; run->case_count++) {
        const struct suite_entry *entry = &options->suite.entry[run->case_count];
        struct bench_case *c = &run->cases[run->case_count];
        progress_show("preparing problem %d of %d", run->case_count + 1, count);
        case_open(c, entry, options->threads);
        if (options->check) {
            check_case(c);
        }
        if (options->explain) {
            char *text = case_explain(c);
            progress_clear();
            printf("%s\n%s\n", c->title, text);
            free(text);
        }
    }
}

static void add_limits(struct run *run, int32_t threads) {
    int at = 0;
    while (at < run->limit_count && run->limits[at].threads < threads) {
        at++;
    }
    if (at < run->limit_count && run->limits[at].threads == threads) {
        return;
    }

    run->limits = memory_grow(run->limits, run->limit_count + 1, sizeof *run->limits);
    memmove(run->limits + at + 1, run->limits + at,
            (size_t)(run->limit_count - at) * sizeof *run->limits);
    run->limits[at] = (struct limits){.threads = threads};
    run->limit_count++;
}

static void close_run(struct run *run) {
    for (int i = 0; i < run->case_count; i++) {
        case_close(&run->cases[i]);
    }
    for (int i = 0; i < run->limit_count; i++) {
        limits_close(&run->limits[i]);
    }
    free(run->cases);
    free(run->limits);
}

int main(int count, char **arguments) {
    struct options options;
    options_read(&options, count, arguments);

    /* Opened first: not to find out after the measurement that it cannot be written. */
    FILE *json = NULL;
    if (options.json != NULL && (json = fopen(options.json, "w")) == NULL) {
        fail(FAILED, "cannot write %s: %s", options.json, strerror(errno));
    }
#ifndef __OPTIMIZE__
    fprintf(stderr, "attn_bench: built without optimisation, times mean little\n");
#endif

    struct run run = {0};
    open_cases(&run, &options);
    add_limits(&run, 1);
    for (int i = 0; i < run.case_count; i++) {
        add_limits(&run, run.cases[i].problem.threads);
    }

    timing_run(&run, options.seconds);

    if (options.profile) {
        timing_profile(&run);
    }
    report_table(&run, stdout);
    if (options.profile) {
        report_profile(&run, stdout);
    }
    if (json != NULL) {
        report_json(&run, json);
        int failed = ferror(json);
        if (fclose(json) != 0 || failed) {
            fail(FAILED, "cannot write %s: %s", options.json, strerror(errno));
        }
    }
    close_run(&run);
    suite_close(&options.suite);
    if (fflush(stdout) != 0) {
        fail(FAILED, "cannot write the table: %s", strerror(errno));
    }
    return EXIT_SUCCESS;
}
