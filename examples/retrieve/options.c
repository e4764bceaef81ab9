/*
 * The command line, and the text of --help.
 *
 * Questions and paths may be mixed: an argument that exists is a path; one that does
 * not is a question if it has more than one word, and otherwise a mistyped path.
 */
#define _DEFAULT_SOURCE /* access */

#include "options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arguments.h"
#include "attn.h"
#include "fail.h"

static const char default_question[] = "Can a masked NaN reach the output?";

/* In pieces, since C99 compilers promise string literals of 4095 characters only. */
static const char help_use[] =
    "Usage: retrieve [options] [question | file | folder]...\n"
    "Looks for the passages of a text that answer a question, by attention: the\n"
    "question is the query, the passages are keys and values. Shows each step, and\n"
    "then how all passages attend each other.\n"
    "\n"
    "  -q, --question=TEXT  ask this; may be repeated: all questions make one call\n"
    "  -n, --heads=N        N heads, each with a hash seed of its own (4)\n"
    "  -d, --dim=N          length of the vectors of a head (512)\n"
    "  -s, --seed=N         hash seed of the first head (1)\n"
    "  -k, --top=N          print the N passages with the most weight (5)\n"
    "  -t, --temperature=X  1 spreads the weight evenly, 0.01 picks one (0.03)\n"
    "  -j, --threads=N      threads (one for each processor)\n"
    "  -w, --width=N        columns to use (those of the terminal, or 80)\n"
    "      --no-map         leave out the map of all passages\n"
    "      --color=WHEN     auto, always or never (auto: on a terminal)\n"
    "  -h, --help           print this\n"
    "      --version        print the version of libattn\n"
    "\n"
    "An argument that exists is a file or folder to search; folders are walked. Any\n"
    "other of two words or more is a question. Without files: libattn's own text.\n"
    "\n";

static const char help_examples[] =
    "Examples:\n"
    "  retrieve                                 the default question on libattn\n"
    "  retrieve 'How many threads does a call use?'\n"
    "  retrieve ~/mail 'when does the train leave'    any text of yours\n"
    "  retrieve -q 'what is a plan' -q 'who owns the workspace'    two rows, one call\n"
    "  retrieve -t 0.01                         cold: soft becomes hard selection\n"
    "  retrieve -t 0.2                          hot: everything gets some weight\n"
    "  retrieve -n 1 -d 64                      a short head: collisions mislead it\n"
    "  retrieve -n 16 -d 64                     many of them: errors average out\n"
    "  retrieve src include -w 120              a wider map of fewer folders\n"
    "  retrieve --color=always | less -R\n"
    "  ATTN_ISA=scalar retrieve -j 1            the same without vector kernels\n"
    "\n"
    "Exit status: 0 answered, 1 nothing to search or to find, 2 bad arguments.\n";

/* A vector of a passage in all heads: 256 KiB of numbers, 1 GiB for 4096 passages. */
enum { MOST_NUMBERS = 65536 };

enum { OPTION_NO_MAP = 256, OPTION_COLOUR, OPTION_VERSION };

static void add_argument(struct options *options, const char *text) {
    if (access(text, F_OK) == 0) {
        options->path[options->path_count++] = text;
    } else if (strpbrk(text, " \t\n") != NULL) {
        options->question[options->question_count++] = text;
    } else {
        fail(MISUSED,
             "there is no file or folder %s; a question of one word is asked "
             "with --question=%s",
             text, text);
    }
}

static void set_option(struct options *options, int letter) {
    switch (letter) {
    case 'q':
        options->question[options->question_count++] = optarg;
        break;
    case 'n':
        options->heads = (int)argument_integer("heads", optarg, 1, MOST_HEADS);
        break;
    case 'd':
        options->dim = (int)argument_integer("dim", optarg, 1, 8192);
        break;
    case 's':
        options->seed = (uint64_t)argument_integer("seed", optarg, 0, 2147483647);
        break;
    case 'k':
        options->top = (int)argument_integer("top", optarg, 1, 1000);
        break;
    case 't':
        options->temperature = argument_number("temperature", optarg, 1e-6f, 1e6f);
        break;
    case 'j':
        options->threads = (int)argument_integer("threads", optarg, 1, 1024);
        break;
    case 'w':
        options->width = (int)argument_integer("width", optarg, 40, 500);
        break;
    case OPTION_NO_MAP:
        options->map = false;
        break;
    case OPTION_COLOUR:
        options->colour = argument_colour("color", optarg);
        break;
    case 'h':
        printf("%s%s", help_use, help_examples);
        exit(EXIT_SUCCESS);
    case OPTION_VERSION:
        printf("retrieve, libattn %s\n", attn_version_string());
        exit(EXIT_SUCCESS);
    default:
        fprintf(stderr, "Try 'retrieve --help'.\n");
        exit(MISUSED);
    }
}

void options_read(struct options *options, int count, char **arguments) {
    static const struct option known[] = {
        {"question", required_argument, NULL, 'q'},
        {"heads", required_argument, NULL, 'n'},
        {"dim", required_argument, NULL, 'd'},
        {"seed", required_argument, NULL, 's'},
        {"top", required_argument, NULL, 'k'},
        {"temperature", required_argument, NULL, 't'},
        {"threads", required_argument, NULL, 'j'},
        {"width", required_argument, NULL, 'w'},
        {"no-map", no_argument, NULL, OPTION_NO_MAP},
        {"color", required_argument, NULL, OPTION_COLOUR},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, OPTION_VERSION},
        {NULL, 0, NULL, 0},
    };
    *options = (struct options){
        .question = memory_get((size_t)count + 1, sizeof *options->question),
        .path = memory_get((size_t)count, sizeof *options->path),
        .heads = 4,
        .dim = 512,
        .seed = 1,
        .top = 5,
        .temperature = 0.03f,
        .map = true,
    };

    int letter;
    while ((letter = getopt_long(count, arguments, "q:n:d:s:k:t:j:w:h", known, NULL)) !=
           -1) {
        set_option(options, letter);
    }
    for (int i = optind; i < count; i++) {
        add_argument(options, arguments[i]);
    }
    if ((long)options->heads * options->dim > MOST_NUMBERS) {
        fail(MISUSED, "%d heads of %d dimensions are %ld numbers a passage; %d at most",
             options->heads, options->dim, (long)options->heads * options->dim,
             MOST_NUMBERS);
    }
    if (options->question_count == 0) {
        options->question[options->question_count++] = default_question;
    }
}

void options_close(struct options *options) {
    free(options->question);
    free(options->path);
    *options = (struct options){0};
}
