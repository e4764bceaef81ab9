/*
 * A step: some sequences of the text, the model's loss on them, gradients back, and a
 * move of the weights. How far they move rises at first and falls to nearly nothing
 * along a cosine (Loshchilov and Hutter 2017).
 */
#define _DEFAULT_SOURCE /* sigaction */

#include "train.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint.h"
#include "fail.h"
#include "measure.h"
#include "progress.h"
#include "report.h"

enum {
    MEASUREMENTS = 20, /* of the text held out, in a whole training */
    MEASURED = 2,      /* batches of it each time */
    WARM_UP = 20,      /* a part of all steps: 1 / 20, but not more than 100 */
    LONGEST_WARM_UP = 100,
    SAVE_SECONDS = 15 /* an interruption without a warning costs no more than that */
};

static volatile sig_atomic_t interrupted;

/* The second signal then ends the program as usual: see SA_RESETHAND. */
static void interrupt(int signal) {
    (void)signal;
    interrupted = 1;
}

static void catch (void (*handler)(int)) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* step counts from 1. */
static double rate_of(const struct recipe *recipe, int step) {
    static const double lowest = 0.05; /* of the highest */
    static const double pi = 3.141592653589793;
    int warm = recipe->steps / WARM_UP;
    warm = warm < LONGEST_WARM_UP ? warm : LONGEST_WARM_UP;
    double rate = recipe->rate;
    if (step <= warm) {
        return rate * step / warm;
    }
    double way = (double)(step - warm) / (recipe->steps - warm);
    return rate * (lowest + (1 - lowest) * (1 + cos(pi * way)) / 2);
}

/* Where the tokens of a step are put together. */
struct batch {
    uint16_t *input, *target; /* (batch, context) */
};

static void choose(const struct run *run, int step, struct batch *batch) {
    const struct recipe *recipe = &run->options.recipe;
    size_t context = (size_t)recipe->context;
    for (int i = 0; i < recipe->batch; i++) {
        const uint16_t *token = data_sequence(&run->data, (uint64_t)recipe->seed, step,
                                              recipe->batch, i, recipe->context);
        memcpy(batch->input + (size_t)i * context, token, context * sizeof *token);
        memcpy(batch->target + (size_t)i * context, token + 1, context * sizeof *token);
    }
}

static void take_step(struct run *run, struct batch *batch) {
    const struct recipe *recipe = &run->options.recipe;
    int step = run->history.step; /* the first is 0 */
    int rows = recipe->batch * recipe->context;
    choose(run, step, batch);
    const struct pass pass = {
        .token = batch->input, .batch = recipe->batch, .length = recipe->context};
    model_forward(&run->model, &pass);
    double loss = model_loss(&run->model, batch->target, rows, true);
    if (!isfinite(loss)) {
        fail(FAILED, "the loss of step %d is no number: try a smaller --rate",
             step + 1);
    }
    model_backward(&run->model, &pass);
    adam_step(&run->adam, run->workers, &run->model.weights, &run->model.gradients,
              step + 1, rate_of(recipe, step + 1));
    run->history.loss[step] =
        (float)measure_bits(run, loss, batch->target, (size_t)rows);
    run->history.held[step] = NAN;
    run->history.step++;
    run->steps++;
}

/* Whether this many steps are some of those after which the text held out is read. */
static bool is_measured(const struct recipe *recipe, int step) {
    int every = (recipe->steps + MEASUREMENTS - 1) / MEASUREMENTS;
    return step == 1 || step % every == 0 || step == recipe->steps;
}

enum outcome train(struct run *run) {
    const struct recipe *recipe = &run->options.recipe;
    struct history *history = &run->history;
    size_t tokens = (size_t)recipe->batch * (size_t)recipe->context;
    struct batch batch = {memory_get(tokens, sizeof *batch.input),
                          memory_get(tokens, sizeof *batch.target)};
    enum outcome outcome = FINISHED;
    catch (interrupt);
    report_begin(run);
    double start = progress_clock();
    double saved = start;
    while (history->step < recipe->steps && outcome == FINISHED) {
        take_step(run, &batch);
        bool measured = is_measured(recipe, history->step);
        if (measured) {
            history->held[history->step - 1] =
                (float)measure_model(run, MEASURED * recipe->batch);
        }
        double now = progress_clock();
        run->seconds = now - start;
        report_step(run, measured);
        if (interrupted) {
            outcome = INTERRUPTED;
        } else if (history->step == run->options.stop) {
            outcome = STOPPED;
        } else if (now - saved > SAVE_SECONDS) {
            (void)checkpoint_save(run); /* it has said why not; the next may succeed */
            saved = progress_clock();
        }
    }
    report_pause();
    if (!checkpoint_save(run)) {
        fail(FAILED, "the training is lost: there is no checkpoint of its end");
    }
    catch (SIG_DFL);
    free(batch.input);
    free(batch.target);
    return outcome;
}
