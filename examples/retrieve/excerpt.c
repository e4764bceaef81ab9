/*
 * Choosing and printing the lines of a passage.
 *
 * The passage is taken apart into pieces that fit on a line of the terminal; shown are
 * a few pieces on end, those with the most of the question in them, rare terms counting
 * more than common ones.
 */
#include "excerpt.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { SHOWN = 5 }; /* pieces */

/* How a passage is laid out. */
struct layout {
    const char *start, *end;
    size_t indent;  /* columns that its lines start after */
    size_t columns; /* of a piece at most */
};

struct piece {
    const char *text;
    size_t size;
};

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r';
}

static const char *line_end(const char *at, const char *end) {
    const char *stop = memchr(at, '\n', (size_t)(end - at));
    return stop != NULL ? stop : end;
}

static size_t indent_of(const char *line, const char *end) {
    const char *at = line;
    while (at < end && is_blank(*at)) {
        at++;
    }
    return (size_t)(at - line);
}

/* Takes the next piece off: a line, or as many of its words as fit. A byte counts as a
 * column, which is right or too careful. */
static struct piece next_piece(const struct layout *layout, const char **at) {
    const char *stop = line_end(*at, layout->end);
    const char *text = *at;
    bool starts_line = text == layout->start || text[-1] == '\n';
    size_t indent = indent_of(text, stop);
    text += starts_line && indent > layout->indent ? layout->indent : indent;

    const char *cut = stop;
    if ((size_t)(stop - text) > layout->columns) {
        cut = text + layout->columns;
        while (cut > text && !is_blank(*cut)) {
            cut--;
        }
        /* One word that is wider than the terminal: its start will do. */
        cut = cut > text ? cut : stop;
    }
    *at = cut < stop ? cut : stop < layout->end ? stop + 1 : stop;
    struct piece piece = {text, (size_t)(cut - text)};
    while (piece.size > 0 && is_blank(piece.text[piece.size - 1])) {
        piece.size--;
    }
    return piece;
}

/* The place in the question of a term, or -1. */
static int asked(const struct search *search, const struct bag *question,
                 const struct words *words) {
    int term = vocabulary_find(&search->tfidf.vocabulary, words->term);
    for (int i = 0; i < question->count; i++) {
        if (question->item[i].term == term) {
            return i;
        }
    }
    return -1;
}

/* How much of the question is in the SHOWN pieces from at on, each of its terms counted
 * once. */
static float weight_from(const struct search *search, const struct bag *question,
                         const struct layout *layout, const char *at) {
    uint64_t seen = 0; /* a bit for each of the first terms of the question */
    float sum = 0;
    for (int i = 0; i < SHOWN && at < layout->end; i++) {
        struct piece piece = next_piece(layout, &at);
        struct words words;
        words_open(&words, piece.text, piece.size);
        while (words_next(&words)) {
            int item = asked(search, question, &words);
            if (item < 0 || item > 63 || ((seen >> item) & 1) != 0) {
                continue;
            }
            seen |= (uint64_t)1 << item;
            sum += search->tfidf.vocabulary.term[question->item[item].term].idf;
        }
    }
    return sum;
}

/* The line to start with: the first of those that have the most after them. */
static const char *best_start(const struct search *search, const struct bag *question,
                              const struct layout *layout) {
    const char *best = layout->start;
    float most = 0;
    const char *line = layout->start;
    while (line < layout->end) {
        float sum = weight_from(search, question, layout, line);
        if (sum > most) {
            most = sum;
            best = line;
        }
        const char *stop = line_end(line, layout->end);
        line = stop < layout->end ? stop + 1 : stop;
    }
    return best;
}

static void print_piece(const struct search *search, const struct bag *question,
                        struct piece piece, int columns) {
    const struct terminal *terminal = &search->terminal;
    const char *at = piece.text;
    const char *end = piece.text + piece.size;
    struct words words;
    words_open(&words, piece.text, piece.size);
    while (words_next(&words)) {
        /* The parts of an identifier come after it, and it may be printed already. */
        if (words.start < at || asked(search, question, &words) < 0) {
            continue;
        }
        columns -= terminal_text(terminal, at, (size_t)(words.start - at), columns);
        terminal_style(terminal, MATCH);
        columns -= terminal_text(terminal, words.start, words.length, columns);
        terminal_style(terminal, PLAIN);
        at = words.start + words.length;
    }
    terminal_text(terminal, at, (size_t)(end - at), columns);
}

void excerpt_place(const struct search *search, int passage) {
    const struct passage *p = &search->passages.passage[passage];
    const char *name = search->text.file[p->file].name;
    terminal_text(&search->terminal, name, strlen(name), search->terminal.width);
    printf(":%d-%d", p->first_line, p->last_line);
}

void excerpt_lines(const struct search *search, int passage, const struct bag *question,
                   int indent) {
    const struct terminal *terminal = &search->terminal;
    const struct passage *p = &search->passages.passage[passage];
    int columns = terminal->width - indent - 2;
    struct layout layout = {p->text, p->text + p->size, 0, (size_t)columns};
    const char *start = best_start(search, question, &layout);

    layout.indent = p->size;
    const char *at = start;
    for (int i = 0; i < SHOWN && at < layout.end; i++) {
        const char *line = at;
        struct piece piece = next_piece(&layout, &at);
        size_t spaces = indent_of(line, piece.text + piece.size);
        if (piece.size > 0 && (line == layout.start || line[-1] == '\n') &&
            spaces < layout.indent) {
            layout.indent = spaces;
        }
    }
    at = start;
    for (int i = 0; i < SHOWN && at < layout.end; i++) {
        struct piece piece = next_piece(&layout, &at);
        if (piece.size == 0) {
            continue;
        }
        printf("%*s", indent, "");
        terminal_styled(terminal, DIM, terminal_pick(terminal, "│ ", "| "));
        print_piece(search, question, piece, columns);
        putchar('\n');
    }
}
