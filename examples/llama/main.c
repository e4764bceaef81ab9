/*
 * llama: text by a Llama, with the keys and values of its past in a cache of libattn.
 *
 *     attention.c               attention, by libattn: read this one first
 *     network.c, product.c      the model around it
 *     weights.c, file.c         the model's file
 *     vocabulary.c, encode.c    text as tokens, and back
 *     choose.c                  which token comes next
 *     options.c                 the command line
 *
 * What other examples need too is in ../common. make_model.c makes small models of
 * random numbers for check.sh.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "choose.h"
#include "encode.h"
#include "fail.h"
#include "network.h"
#include "options.h"
#include "product.h"
#include "progress.h"
#include "storage.h"

const char program_name[] = "llama";

struct run {
    struct options options;
    struct weights weights;
    struct vocabulary vocabulary;
    struct network network;
    struct choice choice;
    int *token;           /* of the whole text */
    int prompt;           /* of them are given, */
    int count;            /* of all so far */
    int steps;            /* of one token each, behind the prompt */
    double read_seconds;  /* the prompt */
    double write_seconds; /* all steps */
};

/* "tokenizer.bin" in the folder of the model; free() gives it back. */
static char *tokenizer_beside(const char *model) {
    static const char name[] = "tokenizer.bin";
    const char *slash = strrchr(model, '/');
    size_t folder = slash != NULL ? (size_t)(slash - model) + 1 : 0;
    char *path = memory_get(folder + sizeof name, 1);
    memcpy(path, model, folder);
    memcpy(path + folder, name, sizeof name);
    return path;
}

/* The vocabulary, where one is needed, and the tokens of the prompt. */
static void open_text(struct run *run, const char *tokenizer) {
    const struct options *options = &run->options;
    const int kinds = run->weights.shape.vocabulary;
    if (options->ids == NULL || !options->tokens) {
        vocabulary_open(&run->vocabulary, tokenizer, kinds);
    }
    const char *prompt = options->prompt != NULL ? options->prompt : "";
    run->token = options->ids != NULL ? options_ids(options, kinds, &run->prompt)
                                      : encode(&run->vocabulary, prompt, &run->prompt);
    run->count = run->prompt;
}

/* How many tokens the text may have. */
static int open_network(struct run *run) {
    const struct options *options = &run->options;
    const int context = run->weights.shape.context;
    if (run->prompt > context) {
        fail(FAILED, "the prompt has %d tokens, and the model's context is %d",
             run->prompt, context);
    }
    bool fits = options->length <= context - run->prompt;
    int most = fits ? run->prompt + options->length : context;
    int rows = options->chunk > 0 && options->chunk < run->prompt ? options->chunk
                                                                  : run->prompt;
    product_threads(options->threads);
    network_open(&run->network, &run->weights, rows, most, options->cache,
                 options->threads);
    choice_open(&run->choice, options->temperature, options->top_p, options->seed,
                run->weights.shape.vocabulary);
    run->token = memory_grow(run->token, (size_t)most, sizeof *run->token);
    return most;
}

/* Control characters of a model play no tricks on the terminal: only new lines and tabs
 * are printed. */
static void print_text(const struct piece *piece) {
    for (int i = 0; i < piece->size; i++) {
        unsigned char byte = (unsigned char)piece->text[i];
        if ((byte >= ' ' && byte != 0x7f) || byte == '\n' || byte == '\t') {
            putchar(byte);
        }
    }
}

/* Prints token number index of the text. */
static void print_token(const struct run *run, int index) {
    int token = run->token[index];
    if (run->options.tokens) {
        printf("%s%d", index > 0 ? " " : "", token);
    } else if (token != TOKEN_BEGIN && token != TOKEN_END) {
        char byte;
        int before = index > 0 ? run->token[index - 1] : -1;
        struct piece piece = vocabulary_text(&run->vocabulary, before, token, &byte);
        print_text(&piece);
    }
    fflush(stdout); /* as it is written */
}

static const float *read_prompt(struct run *run) {
    struct network *network = &run->network;
    const float *logits = NULL;
    double start = progress_clock();
    progress_begin("reading");
    for (int done = 0; done < run->prompt;) {
        int left = run->prompt - done;
        int count = left < network->rows ? left : network->rows;
        logits = network_read(network, run->token + done, count);
        done += count;
        progress_tick(done, run->prompt);
    }
    progress_end();
    run->read_seconds = progress_clock() - start;
    return logits;
}

static void write_text(struct run *run, const float *logits, int most) {
    const bool ends = !run->options.go_on;
    double start = progress_clock();
    while (run->count < most) {
        int next = choose(&run->choice, logits);
        if (ends && (next == TOKEN_BEGIN || next == TOKEN_END)) {
            break;
        }
        run->token[run->count++] = next;
        print_token(run, run->count - 1);
        if (run->count < most) {
            logits = network_read(&run->network, &run->token[run->count - 1], 1);
            run->steps++;
        }
    }
    run->write_seconds = progress_clock() - start;
}

static void report(const struct run *run) {
    const double mebibyte = 1048576;
    fprintf(stderr, "\nprompt: %d token%s, %.1f tokens/s\n", run->prompt,
            run->prompt == 1 ? "" : "s", run->prompt / run->read_seconds);
    if (run->steps > 0) { /* the first token came with the prompt */
        fprintf(stderr, "written: %d tokens, %.1f tokens/s\n", run->count - run->prompt,
                run->steps / run->write_seconds);
    }
    fprintf(stderr, "cache: %s, %.2f MiB\n", storage_name(run->options.cache),
            (double)attention_bytes(&run->network.attention) / mebibyte);
}

int main(int count, char **arguments) {
    struct run run = {0};
    options_read(&run.options, count, arguments);
    weights_open(&run.weights, run.options.model);
    char *beside = tokenizer_beside(run.options.model);
    open_text(&run, run.options.tokenizer != NULL ? run.options.tokenizer : beside);
    int most = open_network(&run);
    for (int i = 0; i < run.prompt; i++) {
        print_token(&run, i);
    }
    if (most > run.prompt) {
        write_text(&run, read_prompt(&run), most);
        putchar('\n');
        report(&run);
    } else {
        putchar('\n');
    }
    network_close(&run.network);
    choice_close(&run.choice);
    vocabulary_close(&run.vocabulary);
    weights_close(&run.weights);
    free(run.token);
    free(beside);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fail(FAILED, "cannot write the result");
    }
    return EXIT_SUCCESS;
}
