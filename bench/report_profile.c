/*
 * The table of stages: where the time of each case goes.
 */
#include "bench/report.h"

enum { STAGES = 8 };

static void print_row(const struct bench_case *c, FILE *file) {
    const attn_profile *p = &c->profile;
    const int64_t spent[STAGES] = {p->copies, p->scores,    p->terms,   p->softmax,
                                   p->values, p->gradients, p->outputs, p->other};
    const double all = (double)p->elapsed * c->problem.threads;
    double sum = 0;
    for (int i = 0; i < STAGES; i++) {
        sum += (double)spent[i];
        fprintf(file, " %8.1f ", 100 * (double)spent[i] / all);
    }
    fprintf(file, " %6.1f   %s\n", 100 * (1 - sum / all), c->title);
}

void report_profile(const struct run *run, FILE *file) {
    fprintf(file, "\n   copies    scores     terms   softmax    values gradients   "
                  "outputs     other     rest   case\n");
    for (int i = 0; i < run->case_count; i++) {
        print_row(&run->cases[i], file);
    }
    fprintf(
        file,
        "\nPercent of the time that the threads have in calls that measure it, "
        "whose clock takes\na few. copies: query, key and value read, converted and "
        "transposed; scores, values,\ngradients: products; terms: biases and masks; "
        "rest: no thread of the call has it, or\nit binds arguments.\n");
}
