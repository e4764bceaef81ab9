/*
 * The command line, and the text of --help.
 */
#define _DEFAULT_SOURCE /* stat */

#include "options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "arguments.h"
#include "attn.h"
#include "fail.h"
#include "storage.h"
#include "tokens.h"

/* In pieces, since C99 compilers promise string literals of 4095 characters only. */
static const char help_model[] =
    "Usage: gpt [options]\n"
    "Trains a small Transformer language model on text, from nothing, and lets it\n"
    "write. Attention is libattn's, forwards and backwards.\n"
    "\n"
    "The model and its training:\n"
    "      --text=PATH        learn from this file or folder; may be repeated\n"
    "                         (libattn's own sources and documentation)\n"
    "  -s, --steps=N          steps of training (960)\n"
    "  -l, --layers=N         layers, each attention and MLP (4)\n"
    "  -n, --heads=N          heads of attention in a layer (4)\n"
    "  -d, --dim=N            numbers that stand for a token (128)\n"
    "  -c, --context=N        tokens that training sees at a time (128)\n"
    "  -b, --batch=N          sequences in a step (8)\n"
    "      --vocabulary=N     tokens, from 256, which are characters, to 2048 (1024)\n"
    "      --rate=X           learning rate, at its highest (0.003)\n"
    "      --seed=N           of all chance; the same gives the same losses (1)\n"
    "  -j, --threads=N        threads (one for each processor); changes no number\n"
    "      --checkpoint=FILE  go on from FILE if it exists, and save there; the "
    "options\n"
    "                         above are taken from it, and more --steps may be given\n"
    "      --out=FOLDER       where all files go (build/gpt-run, or gpt-run where "
    "there\n"
    "                         is no folder build)\n"
    "\n";

static const char help_use[] =
    "The text it writes:\n"
    "  -p, --prompt=TEXT      begin with this (\"attn_status attn_\")\n"
    "      --length=N         tokens to write (200)\n"
    "  -t, --temperature=X    1 follows the model, 0 takes what is likeliest (0.7)\n"
    "      --top=N            choose among the N likeliest tokens (40)\n"
    "      --cache=TYPE       how keys and values of earlier tokens are kept: f32, "
    "f16,\n"
    "                         bf16, i8, or none, to compute them anew each time (f32)\n"
    "      --chunk=N          read the prompt N tokens at a time (0: all at once)\n"
    "\n"
    "      --stop=N           save and end after step N, as an interruption does\n"
    "      --check-gradients  compare every gradient of a small model with "
    "differences\n"
    "                         of its loss, and end\n"
    "  -w, --width=N          columns to use (those of the terminal, or 80)\n"
    "      --color=WHEN       auto, always or never (auto: on a terminal)\n"
    "  -h, --help             print this\n"
    "      --version          print the version of libattn\n"
    "\n"
    "In the folder are then: checkpoint; losses.tsv, a line for each step; text.txt,\n"
    "what was written; attention.png, what every head attends, and a larger picture "
    "of\n"
    "each head. An interruption (Ctrl-C) saves the checkpoint first.\n"
    "\n"
    "Examples:\n"
    "  gpt                                          a minute on two cores\n"
    "  gpt --steps=60 --layers=2 --dim=96           a few seconds\n"
    "  gpt --text=book.txt --prompt='It was'        any text of yours\n"
    "  gpt --vocabulary=256                         characters instead of tokens\n"
    "  gpt --checkpoint=my.model --steps=5000       a long one, to be gone on with\n"
    "  gpt --checkpoint=my.model --prompt='int '    once it is done: only writes\n"
    "\n"
    "Exit status: 0 done, 1 failed, 2 bad arguments, 130 interrupted and saved.\n";

enum {
    OPTION_TEXT = 256,
    OPTION_VOCABULARY,
    OPTION_RATE,
    OPTION_SEED,
    OPTION_CHECKPOINT,
    OPTION_OUT,
    OPTION_LENGTH,
    OPTION_TOP,
    OPTION_CACHE,
    OPTION_CHUNK,
    OPTION_STOP,
    OPTION_CHECK_GRADIENTS,
    OPTION_COLOUR,
    OPTION_VERSION
};

static const struct option known[] = {
    {"text", required_argument, NULL, OPTION_TEXT},
    {"steps", required_argument, NULL, 's'},
    {"layers", required_argument, NULL, 'l'},
    {"heads", required_argument, NULL, 'n'},
    {"dim", required_argument, NULL, 'd'},
    {"context", required_argument, NULL, 'c'},
    {"batch", required_argument, NULL, 'b'},
    {"vocabulary", required_argument, NULL, OPTION_VOCABULARY},
    {"rate", required_argument, NULL, OPTION_RATE},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"threads", required_argument, NULL, 'j'},
    {"checkpoint", required_argument, NULL, OPTION_CHECKPOINT},
    {"out", required_argument, NULL, OPTION_OUT},
    {"prompt", required_argument, NULL, 'p'},
    {"length", required_argument, NULL, OPTION_LENGTH},
    {"temperature", required_argument, NULL, 't'},
    {"top", required_argument, NULL, OPTION_TOP},
    {"cache", required_argument, NULL, OPTION_CACHE},
    {"chunk", required_argument, NULL, OPTION_CHUNK},
    {"stop", required_argument, NULL, OPTION_STOP},
    {"check-gradients", no_argument, NULL, OPTION_CHECK_GRADIENTS},
    {"width", required_argument, NULL, 'w'},
    {"color", required_argument, NULL, OPTION_COLOUR},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL, 0, NULL, 0},
};

enum { MOST_STEPS = 10000000 };

/* Options of the recipe; false: it is another one. */
static bool set_recipe(struct recipe *recipe, int letter) {
    switch (letter) {
    case 's':
        recipe->steps = (int32_t)argument_integer("steps", optarg, 1, MOST_STEPS);
        return true;
    case 'l':
        recipe->layers = (int32_t)argument_integer("layers", optarg, 1, 64);
        return true;
    case 'n':
        recipe->heads = (int32_t)argument_integer("heads", optarg, 1, 64);
        return true;
    case 'd':
        recipe->dim = (int32_t)argument_integer("dim", optarg, 1, 4096);
        return true;
    case 'c':
        recipe->context = (int32_t)argument_integer("context", optarg, 1, 16384);
        return true;
    case 'b':
        recipe->batch = (int32_t)argument_integer("batch", optarg, 1, 1024);
        return true;
    case OPTION_VOCABULARY:
        recipe->vocabulary =
            (int32_t)argument_integer("vocabulary", optarg, CHARACTERS, MOST_TOKENS);
        return true;
    case OPTION_RATE:
        recipe->rate = argument_number("rate", optarg, 1e-6f, 1);
        return true;
    case OPTION_SEED:
        recipe->seed = (int32_t)argument_integer("seed", optarg, 1, INT32_MAX);
        return true;
    default:
        return false;
    }
}

static int32_t cache_type(const char *text) {
    int32_t type = storage_type(text);
    if (type == 0 && strcmp(text, "none") != 0) {
        fail(MISUSED, "--cache takes f32, f16, bf16, i8 or none, not \"%s\"", text);
    }
    return type;
}

static void set_option(struct options *options, int letter) {
    switch (letter) {
    case OPTION_TEXT:
        options->path[options->path_count++] = optarg;
        break;
    case 'j':
        options->threads = (int)argument_integer("threads", optarg, 1, 1024);
        break;
    case OPTION_CHECKPOINT:
        options->checkpoint = optarg;
        break;
    case OPTION_OUT:
        options->out = optarg;
        break;
    case 'p':
        options->prompt = optarg;
        break;
    case OPTION_LENGTH:
        options->length = (int)argument_integer("length", optarg, 0, 1000000);
        break;
    case 't':
        options->temperature = argument_number("temperature", optarg, 0, 1e3f);
        break;
    case OPTION_TOP:
        options->top = (int)argument_integer("top", optarg, 1, MOST_TOKENS);
        break;
    case OPTION_CACHE:
        options->cache = cache_type(optarg);
        break;
    case OPTION_CHUNK:
        options->chunk = (int)argument_integer("chunk", optarg, 0, 1000000);
        break;
    case OPTION_STOP:
        options->stop = (int)argument_integer("stop", optarg, 1, MOST_STEPS);
        break;
    case OPTION_CHECK_GRADIENTS:
        options->check_gradients = true;
        break;
    case 'w':
        options->width = (int)argument_integer("width", optarg, 40, 500);
        break;
    case OPTION_COLOUR:
        options->colour = argument_colour("color", optarg);
        break;
    case 'h':
        printf("%s%s", help_model, help_use);
        exit(EXIT_SUCCESS);
    case OPTION_VERSION:
        printf("gpt, libattn %s\n", attn_version_string());
        exit(EXIT_SUCCESS);
    default:
        fprintf(stderr, "Try 'gpt --help'.\n");
        exit(MISUSED);
    }
}

void options_read(struct options *options, int count, char **arguments) {
    *options = (struct options){
        .path = memory_get((size_t)count, sizeof *options->path),
        .prompt = "attn_status attn_",
        .length = 200,
        .temperature = 0.7f,
        .top = 40,
        .cache = ATTN_F32,
    };
    int letter;
    while ((letter = getopt_long(count, arguments, "s:l:n:d:c:b:j:p:t:w:h", known,
                                 NULL)) != -1) {
        if (!set_recipe(&options->recipe, letter)) {
            set_option(options, letter);
        }
    }
    if (optind < count) {
        fail(MISUSED, "\"%s\" is no option; a text to learn from is --text=%s",
             arguments[optind], arguments[optind]);
    }
    if (options->out == NULL) {
        struct stat about;
        bool has_build = stat("build", &about) == 0 && S_ISDIR(about.st_mode);
        options->out = has_build ? "build/gpt-run" : "gpt-run";
    }
}

void options_close(struct options *options) {
    free(options->path);
    *options = (struct options){0};
}
