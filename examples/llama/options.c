/*
 * The command line, and the text of --help.
 */
#define _DEFAULT_SOURCE /* getopt_long */

#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "attn.h"
#include "fail.h"
#include "storage.h"

/* In pieces, since C99 compilers promise string literals of 4095 characters only. */
static const char help_use[] =
    "Usage: llama [options] MODEL\n"
    "Writes text with a Llama: a model in a file of llama2.c, version 0, such as\n"
    "stories15M.bin. It reads the prompt at once, then writes a token at a time. Keys\n"
    "and values of all tokens so far stay in a cache of libattn, whose attention this\n"
    "is: a token costs one row, however long the text before it.\n"
    "\n"
    "  -p, --prompt=TEXT     go on from this (nothing: any text)\n"
    "  -n, --length=N        tokens to write (256); the model's context is the end\n"
    "  -t, --temperature=X   1 follows the model, 0 takes what is likeliest (0.8)\n"
    "      --top-p=X         choose among the likeliest tokens that together have "
    "this\n"
    "                        chance; 1: among all (0.9)\n"
    "      --seed=N          of all chance; the same gives the same text (1)\n"
    "      --cache=TYPE      how keys and values are kept: f32, f16 and bf16 (half of\n"
    "                        the memory), or i8 (a quarter) (f32)\n"
    "      --chunk=N         read the prompt N tokens at a time (0: all at once); "
    "less\n"
    "                        memory, more time, the same text\n"
    "  -j, --threads=N       threads (one for each processor)\n"
    "  -z, --tokenizer=FILE  the vocabulary (tokenizer.bin beside the model)\n"
    "\n";

static const char help_more[] =
    "      --ids=N,N,...     the prompt as numbers of tokens, nothing put before them\n"
    "      --tokens          print numbers instead of text; with --ids no tokenizer "
    "is\n"
    "                        needed\n"
    "      --go-on           do not stop at a token that ends a text\n"
    "  -h, --help            print this\n"
    "      --version         print the version of libattn\n"
    "\n"
    "The text goes to standard output; how fast it was read and written, in tokens\n"
    "per second, to standard error.\n"
    "\n"
    "Examples:\n"
    "  llama stories15M.bin                            a story\n"
    "  llama stories15M.bin -p 'One day, Lily' -t 0    the likeliest one\n"
    "  llama stories15M.bin --cache=i8 --seed=7        in a quarter of the memory\n"
    "  llama any.bin --ids=1,5,9 --tokens -t 0         without a tokenizer\n"
    "  llama any.bin -p 'How long?' -n 0 --tokens      only what a text is in tokens\n"
    "\n"
    "Exit status: 0 done, 1 failed, 2 bad arguments.\n";

enum {
    OPTION_TOP_P = 256,
    OPTION_SEED,
    OPTION_CACHE,
    OPTION_CHUNK,
    OPTION_IDS,
    OPTION_TOKENS,
    OPTION_GO_ON,
    OPTION_VERSION
};

static const struct option known[] = {
    {"prompt", required_argument, NULL, 'p'},
    {"length", required_argument, NULL, 'n'},
    {"temperature", required_argument, NULL, 't'},
    {"top-p", required_argument, NULL, OPTION_TOP_P},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"cache", required_argument, NULL, OPTION_CACHE},
    {"chunk", required_argument, NULL, OPTION_CHUNK},
    {"threads", required_argument, NULL, 'j'},
    {"tokenizer", required_argument, NULL, 'z'},
    {"ids", required_argument, NULL, OPTION_IDS},
    {"tokens", no_argument, NULL, OPTION_TOKENS},
    {"go-on", no_argument, NULL, OPTION_GO_ON},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL, 0, NULL, 0},
};

enum { MOST_TOKENS = 16777216 };

static int32_t cache_type(const char *text) {
    int32_t type = storage_type(text);
    if (type == 0) {
        fail(MISUSED, "--cache takes f32, f16, bf16 or i8, not \"%s\"", text);
    }
    return type;
}

static void set_option(struct options *options, int letter) {
    switch (letter) {
    case 'p':
        options->prompt = optarg;
        break;
    case 'n':
        options->length = (int)argument_integer("length", optarg, 0, MOST_TOKENS);
        break;
    case 't':
        options->temperature = argument_number("temperature", optarg, 0, 1e3f);
        break;
    case OPTION_TOP_P:
        options->top_p = argument_number("top-p", optarg, 0, 1);
        break;
    case OPTION_SEED:
        options->seed = (uint64_t)argument_integer("seed", optarg, 0, INT32_MAX);
        break;
    case OPTION_CACHE:
        options->cache = cache_type(optarg);
        break;
    case OPTION_CHUNK:
        options->chunk = (int)argument_integer("chunk", optarg, 0, MOST_TOKENS);
        break;
    case 'j':
        options->threads = (int)argument_integer("threads", optarg, 1, 1024);
        break;
    case 'z':
        options->tokenizer = optarg;
        break;
    case OPTION_IDS:
        options->ids = optarg;
        break;
    case OPTION_TOKENS:
        options->tokens = true;
        break;
    case OPTION_GO_ON:
        options->go_on = true;
        break;
    case 'h':
        printf("%s%s", help_use, help_more);
        exit(EXIT_SUCCESS);
    case OPTION_VERSION:
        printf("llama, libattn %s\n", attn_version_string());
        exit(EXIT_SUCCESS);
    default:
        fprintf(stderr, "Try 'llama --help'.\n");
        exit(MISUSED);
    }
}

void options_read(struct options *options, int count, char **arguments) {
    *options = (struct options){
        .length = 256,
        .cache = ATTN_F32,
        .temperature = 0.8f,
        .top_p = 0.9f,
        .seed = 1,
    };
    int letter;
    while ((letter = getopt_long(count, arguments, "p:n:t:j:z:h", known, NULL)) != -1) {
        set_option(options, letter);
    }
    if (optind + 1 != count) {
        fail(MISUSED, "%s; try 'llama --help'",
             optind == count ? "which model? Its file is missing"
                             : "one model, please; a prompt is --prompt=TEXT");
    }
    if (options->prompt != NULL && options->ids != NULL) {
        fail(MISUSED, "a prompt is either --prompt or --ids");
    }
    options->model = arguments[optind];
}

int *options_ids(const struct options *options, int kinds, int *count) {
    int *token = memory_get(strlen(options->ids) / 2 + 1, sizeof *token);
    *count = 0;
    for (const char *at = options->ids;;) {
        char *end;
        errno = 0;
        long number = strtol(at, &end, 10);
        if (end == at || errno != 0 || (*end != ',' && *end != '\0') || number < 0 ||
            number >= kinds) {
            fail(MISUSED, "--ids takes numbers from 0 to %d with commas, not \"%s\"",
                 kinds - 1, options->ids);
        }
        token[(*count)++] = (int)number;
        if (*end == '\0') {
            return token;
        }
        at = end + 1;
    }
}
