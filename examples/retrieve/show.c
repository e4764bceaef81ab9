/*
 * The three steps of attention in print: scores, weights, weighted sum; then what hard
 * selection makes of the same scores.
 */
#include "show.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "excerpt.h"
#include "fail.h"
#include "rank.h"

static void title(const struct search *search, const char *name, const char *rest) {
    terminal_styled(&search->terminal, TITLE, name);
    printf("  %s\n", rest);
}

/* Prints a word after a space, on a new line where the last one is full. column is
 * where the cursor stands. */
static void put_word(const struct terminal *terminal, enum style style,
                     const char *word, int indent, int *column) {
    int length = (int)strlen(word);
    if (*column + 1 + length > terminal->width) {
        printf("\n%*s", indent - 1, "");
        *column = indent - 1;
    }
    putchar(' ');
    terminal_style(terminal, style);
    terminal_text(terminal, word, (size_t)length, length);
    terminal_style(terminal, PLAIN);
    *column += 1 + length;
}

/* How many passages have which score, as a row of columns. Heights are logarithms: what
 * matters are the few on the right. */
static void show_histogram(const struct search *search, const struct ranking *ranking,
                           int count) {
    enum { MOST_BINS = 60 };
    int bins = search->terminal.width - 24;
    bins = bins < MOST_BINS ? bins : MOST_BINS;
    int in_bin[MOST_BINS] = {0};
    float least = ranking->score[ranking->hard];
    float most = least;
    for (int i = 0; i < count; i++) {
        least = fminf(least, ranking->score[i]);
    }
    float step = most > least ? (most - least) / (float)bins : 1;
    int fullest = 0;
    for (int i = 0; i < count; i++) {
        int bin = (int)((ranking->score[i] - least) / step);
        bin = bin < bins ? bin : bins - 1;
        fullest = ++in_bin[bin] > fullest ? in_bin[bin] : fullest;
    }
    printf("   %6.2f ", (double)least);
    terminal_style(&search->terminal, BAR);
    for (int i = 0; i < bins; i++) {
        terminal_column(&search->terminal, log1p(in_bin[i]) / log1p(fullest));
    }
    terminal_style(&search->terminal, PLAIN);
    printf(" %.2f\n", (double)most);
}

static void show_scores(const struct search *search, const struct ranking *ranking,
                        const struct attention *attention, const struct bag *bag) {
    title(search, "1 Similarity",
          "score = query . key / temperature, for each passage and head");
    int column = printf("   terms of the question, and how rare they are (idf):");
    for (int i = 0; i < bag->count; i++) {
        const struct term *term = &search->tfidf.vocabulary.term[bag->item[i].term];
        char text[TERM_LENGTH + 32];
        snprintf(text, sizeof text, "%s %.1f%s", term->name, (double)term->idf,
                 i + 1 < bag->count ? "," : "");
        put_word(&search->terminal, PLAIN, text, 6, &column);
    }
    printf("\n   how many passages have which score, averaged over the heads:\n");
    show_histogram(search, ranking, (int)attention->keys);
}

static void show_weights(const struct search *search, const struct ranking *ranking,
                         const struct attention *attention, int query,
                         const struct bag *bag) {
    const struct terminal *terminal = &search->terminal;
    int count = (int)attention->keys;
    const float *weight = attention->mean_weights + (int64_t)query * count;
    int top = search->options.top < count ? search->options.top : count;
    double shown = 0;
    title(search, "2 Weights", "softmax of the scores: they sum to 1");
    printf("   weight  cosine\n");
    for (int i = 0; i < top; i++) {
        int passage = ranking->order[i];
        shown += (double)weight[passage];
        printf("  %5.1f %%   %5.2f  ", 100 * (double)weight[passage],
               (double)(ranking->score[passage] * attention->temperature));
        terminal_style(terminal, BAR);
        terminal_bar(terminal, (double)(weight[passage] / weight[ranking->order[0]]),
                     20);
        terminal_style(terminal, BOLD);
        putchar(' ');
        excerpt_place(search, passage);
        terminal_style(terminal, PLAIN);
        putchar('\n');
        excerpt_lines(search, passage, bag, 3);
    }
    printf("  %5.1f %%   above, %.1f %% in the other %d; as spread out as %.1f even "
           "weights\n",
           100 * shown, 100 * fmax(1 - shown, 0), count - top, ranking->in_effect);
}

enum { TERMS_SHOWN = 16, OTHERS_SHOWN = 4 };

/* What reads fainter than this, compared with the strongest term, may be noise. */
static const float faint = 0.4f;

struct reading {
    float weight;
    int term;
};

static int compare(const void *a, const void *b) {
    const struct reading *left = a;
    const struct reading *right = b;
    if (left->weight != right->weight) {
        return left->weight < right->weight ? 1 : -1;
    }
    return left->term - right->term; /* equals in the order of the text */
}

/* What the weighted sum is about: the terms that stand out when it is read as a sketch
 * of a bag of terms. Those that the question did not have are what attention found. */
static void show_sum(const struct search *search, const struct ranking *ranking,
                     const struct attention *attention, int query,
                     const struct bag *bag) {
    const struct vocabulary *vocabulary = &search->tfidf.vocabulary;
    struct reading *reading = memory_get((size_t)vocabulary->count, sizeof *reading);
    for (int i = 0; i < vocabulary->count; i++) {
        reading[i].term = i;
        reading[i].weight =
            hashing_read(&search->hashing, &vocabulary->term[i],
                         attention->out + (int64_t)query * attention->dim,
                         (size_t)(attention->queries * attention->dim));
    }
    qsort(reading, (size_t)vocabulary->count, sizeof *reading, compare);

    title(search, "3 Weighted sum", "of the values, the passages' own vectors");
    int column = printf("   it is about:");
    for (int i = 0; i < vocabulary->count && i < TERMS_SHOWN; i++) {
        if (reading[i].weight > faint * reading[0].weight) {
            put_word(&search->terminal, bag_has(bag, reading[i].term) ? MATCH : PLAIN,
                     vocabulary->term[reading[i].term].name, 16, &column);
        }
    }
    free(reading);
    printf("\n   it lies closest to ");
    excerpt_place(search, ranking->nearest);
    printf(", cosine %.2f\n", (double)ranking->likeness[ranking->nearest]);
}

static void show_hard(const struct search *search, const struct ranking *ranking,
                      const struct attention *attention, int query) {
    const struct terminal *terminal = &search->terminal;
    title(search, "Hard selection", "takes the passage with the highest score, alone");
    printf("   ");
    terminal_style(terminal, BOLD);
    excerpt_place(search, ranking->hard);
    terminal_style(terminal, PLAIN);
    bool agree = ranking->nearest == ranking->hard;
    printf(": ");
    terminal_styled(terminal, agree ? GOOD : BAD,
                    agree ? "soft and hard agree" : "soft and hard differ");
    printf("\n   cosine with the weighted sum %.2f\n",
           (double)ranking->likeness[ranking->hard]);

    int agreeing = 0;
    int column = printf("   its weight in each head:");
    for (int head = 0; head < attention->heads; head++) {
        int64_t row = (int64_t)head * attention->queries + query;
        double weight =
            (double)attention->weights[row * attention->keys + ranking->hard];
        char text[32];
        snprintf(text, sizeof text, "%.1f %%", 100 * weight);
        put_word(terminal, PLAIN, text, 6, &column);
        agreeing += ranking->head_hard[head] == ranking->hard;
    }
    printf("\n   %d of %d heads would take it\n", agreeing, attention->heads);
    int listed = 0;
    for (int head = 0; head < attention->heads && listed < OTHERS_SHOWN; head++) {
        if (ranking->head_hard[head] == ranking->hard) {
            continue;
        }
        printf("   head %d would take ", head + 1);
        excerpt_place(search, ranking->head_hard[head]);
        putchar('\n');
        listed++;
    }
}

void show_question(const struct search *search, const struct attention *attention,
                   int query, const char *question, const struct bag *bag) {
    struct ranking ranking = {0};
    rank_question(&ranking, attention, query);
    putchar('\n');
    terminal_style(&search->terminal, BOLD);
    terminal_text(&search->terminal, question, strlen(question), INT_MAX);
    terminal_style(&search->terminal, PLAIN);
    printf("\n\n");
    show_scores(search, &ranking, attention, bag);
    putchar('\n');
    show_weights(search, &ranking, attention, query, bag);
    putchar('\n');
    show_sum(search, &ranking, attention, query, bag);
    putchar('\n');
    show_hard(search, &ranking, attention, query);
    ranking_close(&ranking);
}

void show_text(const struct search *search) {
    const struct text *text = &search->text;
    terminal_styled(&search->terminal, TITLE, "Attention as soft retrieval");
    printf("  libattn %s\n", attn_version_string());
    printf("   %d %s, %zu KiB: %d %s of up to %d lines, %d terms\n", text->file_count,
           text->file_count == 1 ? "file" : "files", (text->bytes + 1023) / 1024,
           search->passages.count, search->passages.count == 1 ? "passage" : "passages",
           search->passages.longest, search->tfidf.vocabulary.count);
    if (text->binary + text->large + text->unreadable > 0) {
        printf("   left out: %d binary, %d too large, %d unreadable\n", text->binary,
               text->large, text->unreadable);
    }
    const struct hashing *hashing = &search->hashing;
    printf("   %d heads of %d dimensions, hash seed %llu and on; temperature %g\n",
           hashing->heads, hashing->dim, (unsigned long long)hashing->seed,
           (double)search->options.temperature);
}

void show_map_title(const struct search *search, float temperature) {
    putchar('\n');
    title(search, "Map",
          "of all passages: how much each (a row) attends the others (columns)");
    printf("   temperature %g; no passage attends itself: the mask forbids it\n\n",
           (double)temperature);
}

void show_cost(const struct attention *attention, const char *more) {
    printf("   %lld %s, %lld keys and values, %d heads of %d dimensions:\n",
           (long long)attention->queries, attention->queries == 1 ? "query" : "queries",
           (long long)attention->keys, attention->heads, attention->dim);
    printf("   %.2f ms, %.1f GFLOP/s; with %s %.2f ms\n", 1e3 * attention->seconds,
           attention->gflops, more, 1e3 * attention->seconds_more);
}

void show_machine(const struct attention *attention) {
    printf("What libattn says about that plan:\n");
    for (const char *line = attention->explain; *line != '\0';) {
        int length = (int)strcspn(line, "\n");
        printf("   %.*s\n", length, line);
        line += length + (line[length] == '\n');
    }
}
