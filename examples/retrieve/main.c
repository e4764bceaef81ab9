/*
 * retrieve: attention as soft retrieval over real text.
 *
 * Text is cut into passages, and every passage becomes a vector. A question becomes a
 * vector in the same way and attends the passages: how similar is it to each (scores),
 * what share of the attention does each get (weights), and what do they say together
 * (the weighted sum). Then all passages attend each other, which draws a map of the
 * text.
 *
 *     attend.c                          attention, by libattn: read this one first
 *     passages.c                        text, cut into passages
 *     words.c, vocabulary.c, tfidf.c    passages as weighted terms
 *     hashing.c                         weighted terms as vectors
 *     rank.c                            what follows from scores, weights and sums
 *     show.c, excerpt.c                 the printed answer
 *     map.c, axis.c, ties.c             the map
 *     options.c
 *
 * What other examples need too is in ../common.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "map.h"
#include "progress.h"
#include "search.h"
#include "show.h"
#include "ties.h"

const char program_name[] = "retrieve";

/* One temperature for the map, whatever the questions have: its passages resemble each
 * other more than a question resembles any. */
static const float map_temperature = 0.08f;

static void read_text(struct search *search) {
    progress_begin("reading");
    /* Examples, tests and benchmarks are left out: they would talk about themselves. */
    static const char *const parts[] = {"README.md", "CHANGELOG.md", "doc",
                                        "include",   "src",          "python"};
    for (int i = 0; i < search->options.path_count; i++) {
        text_add(&search->text, search->options.path[i]);
    }
    if (search->options.path_count == 0) {
        text_add_project(&search->text, parts, sizeof parts / sizeof *parts);
    }
    passages_cut(&search->passages, &search->text);
    progress_end();
    if (search->passages.count == 0) {
        fail(FAILED,
             "no text to search: %d text files without words, %d binary, %d too "
             "large, %d unreadable",
             search->text.file_count, search->text.binary, search->text.large,
             search->text.unreadable);
    }

    progress_begin("counting words");
    tfidf_build(&search->tfidf, &search->passages, &search->text);
    search->hashing = (struct hashing){search->options.heads, search->options.dim,
                                       search->options.seed};
    search->vector = hashing_vectors(&search->hashing, &search->tfidf.vocabulary,
                                     search->tfidf.passage, search->passages.count);
    progress_end();
}

static attn_context *open_context(int threads) {
    attn_context *context = NULL;
    attn_status status = attend_open(&context, threads);
    if (status != ATTN_OK) {
        fail(FAILED, "no context: %s: %s", attn_status_string(status),
             attn_last_error());
    }
    return context;
}

static void run(attn_context *context, struct attention *attention, const char *task) {
    progress_begin(task);
    attn_status status = attend(context, attention);
    progress_end();
    if (status != ATTN_OK) {
        fail(FAILED, "%s: %s: %s", task, attn_status_string(status), attn_last_error());
    }
}

/* The questions that have something to look for, as queries of one attention. */
struct questions {
    const char **text;
    struct bag *bag;
    int count;
};

static void weigh_questions(struct questions *questions, const struct search *search) {
    const struct options *options = &search->options;
    size_t count = (size_t)options->question_count;
    questions->text = memory_get(count, sizeof *questions->text);
    questions->bag = memory_get(count, sizeof *questions->bag);
    for (int i = 0; i < options->question_count; i++) {
        char unknown[200];
        struct bag bag = tfidf_question(&search->tfidf, options->question[i], unknown,
                                        sizeof unknown);
        if (unknown[0] != '\0') {
            fprintf(stderr, "retrieve: not in the text:%s\n", unknown);
        }
        if (bag.count == 0) {
            fprintf(stderr, "retrieve: nothing to look for in \"%s\"\n",
                    options->question[i]);
            bag_close(&bag);
            continue;
        }
        questions->text[questions->count] = options->question[i];
        questions->bag[questions->count++] = bag;
    }
    if (questions->count == 0) {
        fail(FAILED, "no question has a word that the text has");
    }
}

static void answer(const struct search *search, attn_context *context) {
    struct questions questions = {0};
    weigh_questions(&questions, search);

    size_t heads = (size_t)search->hashing.heads;
    size_t dim = (size_t)search->hashing.dim;
    size_t queries = (size_t)questions.count;
    size_t keys = (size_t)search->passages.count;
    float *query = hashing_vectors(&search->hashing, &search->tfidf.vocabulary,
                                   questions.bag, questions.count);
    struct attention attention = {
        .heads = search->hashing.heads,
        .dim = search->hashing.dim,
        .queries = questions.count,
        .keys = search->passages.count,
        .temperature = search->options.temperature,
        .query = query,
        .key = search->vector,
        .value = search->vector,
        .out = memory_get(heads * queries * dim, sizeof(float)),
        .raw_scores = memory_get(heads * queries * keys, sizeof(float)),
        .weights = memory_get(heads * queries * keys, sizeof(float)),
        .mean_weights = memory_get(queries * keys, sizeof(float)),
    };
    run(context, &attention, "attention of the questions");
    for (int i = 0; i < questions.count; i++) {
        show_question(search, &attention, i, questions.text[i], &questions.bag[i]);
    }
    putchar('\n');
    show_cost(&attention, "scores and weights");

    free(query);
    free(attention.out);
    free(attention.raw_scores);
    free(attention.weights);
    free(attention.mean_weights);
    for (int i = 0; i < questions.count; i++) {
        bag_close(&questions.bag[i]);
    }
    free(questions.bag);
    free(questions.text);
}

/* Beyond this the weights and the mask of the map take more than 320 MiB. */
enum { MOST_MAPPED = 8192 };

/* Self-attention: the passages are queries, keys and values. */
static void draw_map(const struct search *search, attn_context *context) {
    size_t count = (size_t)search->passages.count;
    if (count < 2 || count > MOST_MAPPED) {
        printf("\nNo map: it takes 2 to %d passages.\n", MOST_MAPPED);
        return;
    }
    size_t heads = (size_t)search->hashing.heads;
    uint8_t *others = memory_get(count * count, 1);
    memset(others, 1, count * count);
    for (size_t i = 0; i < count; i++) {
        others[i * count + i] = 0;
    }
    struct attention attention = {
        .heads = search->hashing.heads,
        .dim = search->hashing.dim,
        .queries = search->passages.count,
        .keys = search->passages.count,
        .temperature = map_temperature,
        .query = search->vector,
        .key = search->vector,
        .value = search->vector,
        .mask = others,
        .out = memory_get(heads * count * (size_t)search->hashing.dim, sizeof(float)),
        .mean_weights = memory_get(count * count, sizeof(float)),
    };
    run(context, &attention, "attention of all passages");
    show_map_title(search, map_temperature);
    map_show(search, attention.mean_weights);
    ties_show(search, attention.mean_weights);
    show_cost(&attention, "weights");
    putchar('\n');
    show_machine(&attention);

    free(others);
    free(attention.out);
    free(attention.mean_weights);
}

int main(int count, char **arguments) {
    struct search search = {0};
    options_read(&search.options, count, arguments);
    search.terminal = terminal_open(search.options.colour, search.options.width);
    read_text(&search);
    show_text(&search);
    fflush(stdout); /* what goes to stderr comes after it */

    attn_context *context = open_context(search.options.threads);
    answer(&search, context);
    if (search.options.map) {
        draw_map(&search, context);
    }
    attn_context_destroy(context);

    free(search.vector);
    tfidf_close(&search.tfidf);
    passages_close(&search.passages);
    text_close(&search.text);
    options_close(&search.options);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fail(FAILED, "cannot write the answer");
    }
    return EXIT_SUCCESS;
}
