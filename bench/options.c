/*
 * The command line, and the text of --help.
 */
#define _GNU_SOURCE /* getopt_long */

#include "bench/options.h"

#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "attn.h"
#include "bench/fail.h"

/* In pieces, since C99 compilers promise string literals of 4095 characters only. */
static const char help_use[] =
    "Usage: attn_bench [options] [problem ...]\n"
    "Measures how fast libattn computes attention, beside what this machine allows.\n"
    "\n"
    "  -c, --cases=FILE   take problems from FILE, \"name: problem\" lines with #\n"
    "                     comments; or from one of prefill, causal, masks, decode,\n"
    "                     train, small, sizes, stored, kept\n"
    "  -t, --threads=N    run every problem on N threads. Without: on as many as its\n"
    "                     threads= says, or on one\n"
    "  -s, --seconds=X    take rounds of samples for about X seconds (20),\n"
    "                     after preparing and checking, which may take longer\n"
    "  -j, --json=FILE    also write everything measured to FILE\n"
    "  -e, --explain      print how the library goes about each problem\n"
    "  -p, --profile      print also which part of each call takes how long\n"
    "      --tune         measure each problem also with tiles chosen by "
    "attn_context_tune()\n"
    "      --no-check     measure without looking at results\n"
    "  -h, --help         print this\n"
    "      --version      print the version of libattn\n"
    "Without problems and --cases: --cases=prefill.\n"
    "\n"
    "Examples:\n"
    "  attn_bench                                    five usual shapes\n"
    "  attn_bench 'h12 q512 d64'                     one problem: 12 heads, 512 "
    "tokens\n"
    "  attn_bench 'h12 q512 d64' 'h12 q512 d64 causal'  the second as a part of the "
    "first\n"
    "  attn_bench 'h8 q2048 d64' 'h8 q2048 d64 threads=2'  what a second thread "
    "brings\n"
    "  attn_bench 'one token: h32/8 q1 k4096 d128 cache' -e   grouped queries on a "
    "cache\n"
    "  attn_bench 'h12 q512 d64 causal backward'     a step of training\n"
    "  attn_bench -c causal -c masks -s 60 -j out.json\n"
    "  ATTN_ISA=avx2 attn_bench -c small             kernels limited to AVX2\n"
    "\n";

static const char help_problem[] =
    "A problem is a line of words, all of them optional: b batch, h query heads (/ kv\n"
    "heads), q and k lengths, d key dim (/ value dim), each with its number; then\n"
    "  causal  align=tl|br|offsets|kvlens  window=L,R  qlens  kvlens  docs  prefix\n"
    "  block=BQxBK  mask  bias  alibi  sinks  softcap=X  scale=X  dropout=P\n"
    "  query= key= value= out=f32|f16|bf16, key and value also i8: how they are "
    "stored\n"
    "  engine=auto|dense|flash|decode  layout=bhsd|bshd  threads=N  isa=NAME\n"
    "  seed=N\n"
    "  backward           also computes the gradients of query, key and value\n"
    "  tuned              tiles are chosen by attn_context_tune() first\n"
    "  cache  cache=N     key and value lie in an attn_cache, with pages of N keys\n"
    "\n"
    "Inputs are a function of the seed. Query, key, value, bias (heads, q, k),\n"
    "sinks and the gradient of the output are uniform with mean 0 and variance 1.\n"
    "Lengths (qlens, kvlens) are even steps from a sixteenth of the tensor to all\n"
    "of it, shuffled, in one order for both. Offsets are random up to k - q,\n"
    "prefixes up to k / 2. docs cuts each sequence into 8 documents at random\n"
    "places. block keeps the diagonal and a random quarter of the blocks of each\n"
    "head, mask (q, k) keeps 7 of 8 pairs. alibi slopes are 2^(-8 h / heads).\n"
    "\n";

static const char help_method[] =
    "How it measures: each result is first compared with a float64 loop on up to 64\n"
    "rows; a wrong one ends the run. Then rounds: the FMA peak (multiply-adds on\n"
    "registers, the widest this processor has) and the read bandwidth (a buffer\n"
    "beyond the caches, huge pages where the system gives them), then 20 ms of\n"
    "calls of each problem in turn. Large tensors ask for huge pages too. With\n"
    "fewer than 16 queries, calls take turns with copies of key and value, so that\n"
    "each call reads them from memory. Times are medians over the rounds, ratios\n"
    "medians of the ratios of each round.\n"
    "GFLOP/s counts 2 * b * h * q * k * (d + dv), whatever masks leave out. With\n"
    "backward, a forward call that keeps the maximum and the sum of each row and a\n"
    "backward call are timed together, which counts 2 * b * h * q * k * (3 d + 2 dv)\n"
    "more.\n"
    "\n"
    "Exit status: 0 measured, 1 a call failed or a result was wrong, 2 bad\n"
    "arguments.\n";

enum { OPTION_CHECK = 256, OPTION_NO_CHECK, OPTION_TUNE, OPTION_VERSION };

static int32_t read_threads(const char *text) {
    char *end;
    long number = strtol(text, &end, 10);
    if (end == text || *end != '\0' || number < 1 || number > 1024) {
        fail(MISUSED, "--threads takes a number from 1 to 1024, not \"%s\"", text);
    }
    return (int32_t)number;
}

static double read_seconds(const char *text) {
    char *end;
    double number = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(number) || number < 0) {
        fail(MISUSED, "--seconds takes a number of seconds, not \"%s\"", text);
    }
    return number;
}

void options_read(struct options *options, int count, char **arguments) {
    static const struct option known[] = {
        {"cases", required_argument, NULL, 'c'},
        {"threads", required_argument, NULL, 't'},
        {"seconds", required_argument, NULL, 's'},
        {"json", required_argument, NULL, 'j'},
        {"explain", no_argument, NULL, 'e'},
        {"profile", no_argument, NULL, 'p'},
        {"check", no_argument, NULL, OPTION_CHECK},
        {"no-check", no_argument, NULL, OPTION_NO_CHECK},
        {"tune", no_argument, NULL, OPTION_TUNE},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, OPTION_VERSION},
        {NULL, 0, NULL, 0},
    };
    *options = (struct options){.seconds = 20, .check = 1};

    int letter, tune = 0;
    while ((letter = getopt_long(count, arguments, "c:t:s:j:eph", known, NULL)) != -1) {
        switch (letter) {
        case 'c':
            suite_add_file(&options->suite, optarg);
            break;
        case 't':
            options->threads = read_threads(optarg);
            break;
        case 's':
            options->seconds = read_seconds(optarg);
            break;
        case 'j':
            options->json = optarg;
            break;
        case 'e':
            options->explain = 1;
            break;
        case 'p':
            options->profile = 1;
            break;
        case OPTION_TUNE:
            tune = 1;
            break;
        case OPTION_CHECK:
            options->check = 1;
            break;
        case OPTION_NO_CHECK:
            options->check = 0;
            break;
        case 'h':
            printf("%s%s%s", help_use, help_problem, help_method);
            exit(EXIT_SUCCESS);
        case OPTION_VERSION:
            printf("attn_bench, libattn %s\n", attn_version_string());
            exit(EXIT_SUCCESS);
        default:
            fprintf(stderr, "Try 'attn_bench --help'.\n");
            exit(MISUSED);
        }
    }

    for (int i = optind; i < count; i++) {
        suite_add(&options->suite, arguments[i], "problem");
    }
    if (options->suite.count == 0) {
        suite_add_file(&options->suite, "prefill");
    }
    if (tune) {
        suite_tune(&options->suite);
    }
}
