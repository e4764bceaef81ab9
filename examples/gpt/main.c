/*
 * gpt: a Transformer language model, trained from nothing, and then writing.
 *
 * Text becomes tokens, and a model learns to predict each token from those before it.
 * How well it does is measured on text that it has not learned from, beside bigrams.
 * Then it writes, and shows what its heads attend while they read that.
 *
 *     attention.c                        attention, by libattn: read this one first
 *     model.c, block.c, weights.c        the model, there and back
 *     norm.c, gelu.c, product.c, loss.c  what it is made of beside attention
 *     adam.c, train.c, measure.c         learning
 *     tokens.c, data.c, bigram.c         text
 *     checkpoint.c, files.c, checksum.c  what is saved, and gone on with
 *     write.c, cache.c, sample.c         writing, with what was read in a cache
 *     ways.c                             the same without one, which is slower
 *     heads.c                            how it reads what it wrote
 *     picture.c, canvas.c, font.c        the same as pictures
 *     gradients.c                        whether all the derivatives are right
 *     workers.c, chance.c                threads and random numbers
 *     options.c, recipe.c, report.c      the command line and what is printed
 *
 * What other examples need too is in ../common.
 */
#include <stdio.h>
#include <stdlib.h>

#include "checkpoint.h"
#include "fail.h"
#include "files.h"
#include "gradients.h"
#include "heads.h"
#include "measure.h"
#include "picture.h"
#include "progress.h"
#include "report.h"
#include "run.h"
#include "sample.h"
#include "train.h"
#include "ways.h"

const char program_name[] = "gpt";

enum { EXIT_INTERRUPTED = 130 }; /* what shells call the end by SIGINT */

static void read_text(struct run *run) {
    static const char *const parts[] = {
        "README.md", "CHANGELOG.md", "CMakeLists.txt", "dev",   "doc",
        "include",   "src",          "python",         "tests", "bench",
        "examples",  "tools",        "cmake"};
    struct text text = {0};
    progress_begin("reading");
    for (int i = 0; i < run->options.path_count; i++) {
        text_add(&text, run->options.path[i]);
    }
    if (run->options.path_count == 0) {
        text_add_project(&text, parts, sizeof parts / sizeof *parts);
    }
    data_open(&run->data, &text);
    progress_end();
    if (text.bytes == 0) {
        fail(FAILED, "no text: %d binary files, %d too large, %d unreadable",
             text.binary, text.large, text.unreadable);
    }
    text_close(&text);
}

/* Everything but the text and the tokens. */
static void open_model(struct run *run) {
    const struct recipe *recipe = &run->options.recipe;
    const struct shape shape = {
        .layers = recipe->layers,
        .heads = recipe->heads,
        .dim = recipe->dim,
        .context = recipe->context,
        .vocabulary = run->tokens.count,
    };
    model_open(&run->model, &shape, recipe->batch, run->workers);
    adam_open(&run->adam, run->model.weights.count);
    size_t steps = (size_t)recipe->steps;
    run->history.loss = memory_get(steps, sizeof *run->history.loss);
    run->history.held = memory_get(steps, sizeof *run->history.held);
}

static void begin_anew(struct run *run) {
    recipe_complete(&run->options.recipe);
    const struct recipe *recipe = &run->options.recipe;
    const char *fault = recipe_fault(recipe);
    if (fault != NULL) {
        fail(MISUSED, "%s", fault);
    }
    read_text(run);
    progress_begin("learning tokens");
    tokens_learn(&run->tokens, run->data.train.text, run->data.train.size,
                 recipe->vocabulary);
    data_encode(&run->data, &run->tokens, recipe->context);
    progress_end();
    open_model(run);
    weights_start(&run->model.weights, &run->model.shape, (uint64_t)recipe->seed);
}

/* A training that is over needs no text. */
static void go_on(struct run *run, const struct checkpoint *checkpoint) {
    struct recipe *recipe = &run->options.recipe;
    recipe_go_on(recipe, &checkpoint->recipe);
    if (recipe->steps < checkpoint->step) {
        fail(MISUSED, "the checkpoint has %d steps behind it; --steps=%d is less",
             checkpoint->step, recipe->steps);
    }
    tokens_restore(&run->tokens, checkpoint->pair, checkpoint->token_count);
    run->data.hash = checkpoint->text_hash;
    if (checkpoint->step < recipe->steps) {
        read_text(run);
        if (run->data.hash != checkpoint->text_hash) {
            fail(FAILED, "the checkpoint learned from another text, or this one has "
                         "changed since: name the same --text, or begin anew with "
                         "another --checkpoint");
        }
        data_encode(&run->data, &run->tokens, recipe->context);
    }
    open_model(run);
    checkpoint_restore(checkpoint, run);
    printf("Going on from %s: %d of %d steps are done.\n\n", run->checkpoint,
           checkpoint->step, recipe->steps);
}

static void open_run(struct run *run) {
    const struct options *options = &run->options;
    folder_make(options->out);
    run->checkpoint = options->checkpoint != NULL
                          ? file_name(options->checkpoint)
                          : file_path(options->out, "checkpoint");
    struct checkpoint checkpoint;
    if (options->checkpoint != NULL &&
        checkpoint_read(&checkpoint, options->checkpoint)) {
        go_on(run, &checkpoint);
        checkpoint_close(&checkpoint);
    } else {
        begin_anew(run);
    }
}

static enum outcome learn(struct run *run) {
    report_task(run);
    enum outcome outcome = train(run);
    report_time(run);
    report_file(run);
    if (outcome != FINISHED) {
        printf("\n%s after step %d of %d. To go on: gpt --checkpoint=%s\n",
               outcome == INTERRUPTED ? "Interrupted" : "Stopped", run->history.step,
               run->options.recipe.steps, run->checkpoint);
        return outcome;
    }
    report_losses(run, measure_model(run, 0), measure_tokens(run),
                  measure_characters(run));
    return outcome;
}

static void write_sample(struct run *run) {
    struct sample sample = sample_write(run);
    terminal_styled(&run->terminal, TITLE, "\nIt writes:\n\n");
    sample_show(run, &sample);
    sample_save(run, &sample);
    if (sample.count > sample.prompt) {
        ways_show(run, &sample);
    }
    struct heads heads = heads_open(run, &sample);
    putchar('\n');
    heads_show(run, &heads);
    picture_save(run, &heads);
    printf("\nSaved in %s: attention.png, a picture of each head, text.txt%s.\n"
           "The model: %s\n",
           run->options.out, run->steps > 0 ? ", losses.tsv" : "", run->checkpoint);
    heads_close(&heads);
    sample_close(&sample);
}

static void close_run(struct run *run) {
    if (run->history.loss != NULL) {
        adam_close(&run->adam);
        model_close(&run->model);
    }
    free(run->history.loss);
    free(run->history.held);
    tokens_close(&run->tokens);
    data_close(&run->data);
    free(run->checkpoint);
    workers_close(run->workers);
    options_close(&run->options);
}

int main(int count, char **arguments) {
    struct run run = {0};
    int status = EXIT_SUCCESS;
    options_read(&run.options, count, arguments);
    run.terminal = terminal_open(run.options.colour, run.options.width);
    run.workers = workers_open(run.options.threads);
    if (run.options.check_gradients) {
        recipe_complete(&run.options.recipe);
        status = gradients_check(run.workers, (uint64_t)run.options.recipe.seed)
                     ? EXIT_SUCCESS
                     : FAILED;
    } else {
        open_run(&run);
        enum outcome outcome = FINISHED;
        if (run.history.step < run.options.recipe.steps) {
            outcome = learn(&run);
        }
        if (outcome == FINISHED) {
            write_sample(&run);
        }
        status = outcome == INTERRUPTED ? EXIT_INTERRUPTED : EXIT_SUCCESS;
    }
    close_run(&run);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fail(FAILED, "cannot write the result");
    }
    return status;
}
