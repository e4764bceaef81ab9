/*
 * From passages to files: the weight of file A on file B is what an average passage of
 * A gives to all of B. The passages of a file lie next to each other, so that its rows
 * are added up together.
 */
#include "ties.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"

/* Files of fewer passages have no average worth the name. */
enum { SHOWN = 3, FEWEST_PASSAGES = 3 };

struct tie {
    int from, to;
    double weight;
};

static int compare(const void *a, const void *b) {
    const struct tie *left = a;
    const struct tie *right = b;
    if (left->weight != right->weight) {
        return left->weight < right->weight ? 1 : -1;
    }
    return left->from - right->from;
}

/* Whether two files are a header and its source: what they share is no news. */
static bool are_pair(const struct search *search, int a, int b) {
    const char *left = search->text.file[a].name;
    const char *right = search->text.file[b].name;
    size_t length = strcspn(left, ".");
    return length == strcspn(right, ".") && memcmp(left, right, length) == 0;
}

/* Adds up the rows of the file that row belongs to, on each file; returns the row after
 * the file's last. */
static int add_rows(double *on, const struct passages *passages, const float *weight,
                    int row) {
    const struct passage *passage = passages->passage;
    int file = passage[row].file;
    for (; row < passages->count && passage[row].file == file; row++) {
        const float *cell = weight + (long)row * passages->count;
        for (int j = 0; j < passages->count; j++) {
            on[passage[j].file] += (double)cell[j];
        }
    }
    return row;
}

/* The strongest tie of each file to another, and the weight that stays at home. */
static int find_ties(struct tie *tie, double *at_home, const struct search *search,
                     const float *weight) {
    const struct passages *passages = &search->passages;
    size_t files = (size_t)search->text.file_count;
    double *on = memory_get(files, sizeof *on);
    int ties = 0;
    for (int row = 0; row < passages->count;) {
        int from = passages->passage[row].file;
        memset(on, 0, files * sizeof *on);
        int next = add_rows(on, passages, weight, row);
        *at_home += on[from] / passages->count;
        on[from] = 0;
        int to = from;
        for (int file = 0; file < (int)files; file++) {
            to = on[file] > on[to] && !are_pair(search, from, file) ? file : to;
        }
        if (next - row >= FEWEST_PASSAGES && to != from) {
            tie[ties++] = (struct tie){from, to, on[to] / (next - row)};
        }
        row = next;
    }
    free(on);
    return ties;
}

static void print_name(const struct search *search, int file) {
    const char *name = search->text.file[file].name;
    terminal_text(&search->terminal, name, strlen(name), search->terminal.width);
}

void ties_show(const struct search *search, const float *weight) {
    struct tie *tie = memory_get((size_t)search->text.file_count, sizeof *tie);
    double at_home = 0;
    int ties = find_ties(tie, &at_home, search, weight);
    qsort(tie, (size_t)ties, sizeof *tie, compare);
    printf(
        "   %.0f %% of the weight stays in the file it comes from. The rest, mostly:\n",
        100 * at_home);
    for (int i = 0; i < ties && i < SHOWN; i++) {
        printf("   ");
        print_name(search, tie[i].from);
        printf(" gives %.0f %% to ", 100 * tie[i].weight);
        print_name(search, tie[i].to);
        putchar('\n');
    }
    free(tie);
}
