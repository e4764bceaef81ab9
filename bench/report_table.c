/*
 * The table. The case comes last in a row, since its text has no fixed width.
 */
#include "bench/report.h"

#include <math.h>
#include <stdlib.h>

#include "bench/fma.h"
#include "bench/memory.h"

/* Four digits and a unit, ten characters wide. */
static void print_time(FILE *file, double seconds) {
    static const char *const unit[] = {"s ", "ms", "us", "ns"};
    int i = 0;
    while (i < 3 && seconds < 0.9995) {
        seconds *= 1000;
        i++;
    }
    int digits = seconds < 9.9995 ? 3 : seconds < 99.995 ? 2 : 1;
    fprintf(file, "%7.*f %s", digits, seconds, unit[i]);
}

/* Blank where there is no number. */
static void print_number(FILE *file, int width, int digits, double number) {
    if (isnan(number)) {
        fprintf(file, "%*s", width, "");
    } else {
        fprintf(file, "%*.*f", width, digits, number);
    }
}

static void print_row(const struct run *run, const struct bench_case *c, FILE *file) {
    struct result result = result_of(run, c);
    print_time(file, result.median);
    print_time(file, result.least);
    print_number(file, 9, 1, result.flops / 1e9);
    print_number(file, 6, 2, result.of_peak);
    print_number(file, 7, 1, result.bytes / 1e9);
    print_number(file, 6, 2, result.of_read);
    print_number(file, 7, 2, result.of_limit);
    print_number(file, 6, 2, result.of_full);
    print_number(file, 6, 2, result.kept);
    print_number(file, 6, 2, result.of_forward);
    fprintf(file, "  %s\n", c->title);
}

void report_table(const struct run *run, FILE *file) {
    fprintf(file, "%s\n", attn_build_info());
    size_t length = attn_context_explain(run->cases[0].context, NULL, 0);
    char *text = memory_get((int64_t)length + 1, 1);
    attn_context_explain(run->cases[0].context, text, length + 1);
    fprintf(file, "%s%s", text, length > 0 && text[length - 1] == '\n' ? "" : "\n");
    free(text);

    for (int i = 0; i < run->limit_count; i++) {
        const struct limits *limits = &run->limits[i];
        fprintf(file, "FMA peak: %.1f GFLOP/s (%s), read bandwidth: %.1f GB/s, ",
                samples_median(&limits->fma) / 1e9, fma_loop_best()->isa,
                samples_median(&limits->read) / 1e9);
        fprintf(file, "%d thread%s\n", (int)limits->threads,
                limits->threads == 1 ? "" : "s");
    }

    fprintf(file, "\n    time   fastest    GFLOP/s  peak   GB/s  read  limit  full  "
                  "kept  back  case\n");
    for (int i = 0; i < run->case_count; i++) {
        print_row(run, &run->cases[i], file);
    }
    fprintf(
        file,
        "\nMedians of %d round%s in %.1f s. GFLOP/s counts the products in full, "
        "GB/s key and\nvalue once. peak, read: part of the FMA peak and of the read "
        "bandwidth of as many\nthreads; limit: part of the slower of the two; full: "
        "time "
        "over that of the same case\nwithout masks and score terms; kept: part of the "
        "pairs of query and key that masks leave;\nback: time of the backward call "
        "over that of the forward call before it.\n",
        run->rounds, run->rounds == 1 ? "" : "s", run->seconds);
}
