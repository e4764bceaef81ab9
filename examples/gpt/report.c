/*
 * The table of steps goes to standard output, like everything that is the result. Where
 * that is a terminal, a live line below it is drawn anew some times a second.
 */
#define _DEFAULT_SOURCE /* isatty */

#include "report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fail.h"
#include "files.h"
#include "progress.h"

static const double redraw_seconds = 0.2;

static double drawn; /* when the live line was last drawn; 0: there is none */

void report_task(const struct run *run) {
    const struct recipe *recipe = &run->options.recipe;
    const struct data *data = &run->data;
    printf("Text: %.0f thousand characters to learn from, %.0f thousand held out (the "
           "last tenth\nof every file).\n",
           (double)data->train.size / 1e3, (double)data->held.size / 1e3);
    printf("Tokens: %d kinds, %.2f characters each.\n", run->tokens.count,
           (double)data->held.size / (double)data->held.count);
    printf("Model: %d layers, %d heads of %d, %.2f million weights. %d steps of %d "
           "sequences\nof %d tokens, %d thread%s.\n\n",
           recipe->layers, recipe->heads, recipe->dim / recipe->heads,
           (double)run->model.weights.count / 1e6, recipe->steps, recipe->batch,
           recipe->context, workers_count(run->workers),
           workers_count(run->workers) == 1 ? "" : "s");
}

/* Loss of the latest steps, which differ much from one to the next. */
static double recent_loss(const struct history *history) {
    enum { RECENT = 20 };
    int first = history->step > RECENT ? history->step - RECENT : 0;
    double sum = 0;
    for (int i = first; i < history->step; i++) {
        sum += (double)history->loss[i];
    }
    return sum / (history->step - first);
}

/* The latest measurement; NaN: there is none. */
static double latest_held(const struct history *history) {
    for (int i = history->step - 1; i >= 0; i--) {
        if (!isnan(history->held[i])) {
            return (double)history->held[i];
        }
    }
    return NAN;
}

void report_begin(const struct run *run) {
    puts("Losses in bits per character:\n");
    terminal_styled(&run->terminal, DIM,
                    "         step     loss  held out  tokens/s   time left");
    putchar('\n');
    fflush(stdout);
}

static void print_line(const struct run *run) {
    const struct recipe *recipe = &run->options.recipe;
    double seconds = run->seconds / run->steps;
    int left = (int)(seconds * (recipe->steps - run->history.step) + 0.5);
    char step[40];
    snprintf(step, sizeof step, "%d of %d", run->history.step, recipe->steps);
    printf("%13s  %7.3f  ", step, recent_loss(&run->history));
    double held = latest_held(&run->history);
    if (isnan(held)) {
        printf("%8s", "-");
    } else {
        printf("%8.3f", held);
    }
    printf("  %8.0f  %7d:%02d", recipe->batch * recipe->context / seconds, left / 60,
           left % 60);
}

void report_step(const struct run *run, bool lasting) {
    double now = progress_clock();
    bool live = isatty(STDOUT_FILENO) != 0;
    if (!lasting && (!live || now - drawn < redraw_seconds)) {
        return;
    }
    report_pause();
    print_line(run);
    if (lasting) {
        putchar('\n');
    } else {
        drawn = now;
    }
    fflush(stdout);
}

void report_pause(void) {
    if (drawn > 0) {
        fputs("\r\033[K", stdout);
        fflush(stdout);
    }
    drawn = 0;
}

void report_time(const struct run *run) {
    const struct attention *attention = &run->model.attention;
    double forward = attention->forward_seconds;
    double backward = attention->backward_seconds;
    printf(
        "\n%d steps in %.1f s, of which attention took %.1f %%: %.1f %% forwards and "
        "%.1f %%\nbackwards.\n",
        run->steps, run->seconds, 100 * (forward + backward) / run->seconds,
        100 * forward / run->seconds, 100 * backward / run->seconds);
}

static void print_loss(const struct run *run, const char *name, double loss,
                       double most) {
    printf("  %-22s %6.3f  ", name, loss);
    terminal_style(&run->terminal, BAR);
    terminal_bar(&run->terminal, loss / most, 40);
    terminal_style(&run->terminal, PLAIN);
    putchar('\n');
}

void report_losses(const struct run *run, double model, double tokens,
                   double characters) {
    double most = fmax(fmax(model, tokens), characters);
    puts("\nThe text held out, in bits per character; less is better:\n");
    print_loss(run, "bigrams of characters", characters, most);
    print_loss(run, "bigrams of tokens", tokens, most);
    print_loss(run, "this model", model, most);
}

void report_file(const struct run *run) {
    enum { LONGEST_LINE = 80 };
    const struct history *history = &run->history;
    char *text = memory_get((size_t)history->step + 1, LONGEST_LINE);
    size_t used = (size_t)snprintf(text, LONGEST_LINE, "step\tloss\theld_out\n");
    for (int i = 0; i < history->step; i++) {
        used += (size_t)snprintf(text + used, LONGEST_LINE, "%d\t%.9g\t", i + 1,
                                 (double)history->loss[i]);
        if (isnan(history->held[i])) {
            used += (size_t)snprintf(text + used, LONGEST_LINE, "\n");
        } else {
            used += (size_t)snprintf(text + used, LONGEST_LINE, "%.9g\n",
                                     (double)history->held[i]);
        }
    }
    char *path = file_path(run->options.out, "losses.tsv");
    const struct piece piece = {text, used};
    if (!file_replace(path, &piece, 1)) {
        fail(FAILED, "the losses are not saved");
    }
    free(path);
    free(text);
}
