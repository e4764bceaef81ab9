/*
 * A head is a square: a row attends, a column is attended, and light is weight. What
 * lies in the future of a row has the colour of the page.
 */
#include "picture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "canvas.h"
#include "fail.h"
#include "files.h"
#include "font.h"

/* Pixels of a page: around everything, and for its title. */
enum { MARGIN = 32, TITLE_SCALE = 2, TITLE_HEIGHT = 44 };

static const struct colour_rgb page = {17, 17, 23};
static const struct colour_rgb ink = {225, 225, 232};
static const struct colour_rgb faint = {140, 140, 155};

/* From nearly black over violet and orange to light yellow. */
static struct colour_rgb shade(double brightness) {
    static const struct colour_rgb ramp[] = {
        {30, 28, 42},   {58, 24, 90},   {106, 28, 122},  {160, 42, 118}, {208, 68, 88},
        {240, 112, 56}, {252, 168, 60}, {250, 220, 120}, {254, 252, 215}};
    enum { LAST = sizeof ramp / sizeof *ramp - 1 };
    double at = brightness * LAST;
    int below = at < LAST ? (int)at : LAST - 1;
    double part = at - below;
    const struct colour_rgb *a = &ramp[below];
    const struct colour_rgb *b = &ramp[below + 1];
    return (struct colour_rgb){
        (unsigned char)(a->red + part * (b->red - a->red) + 0.5),
        (unsigned char)(a->green + part * (b->green - a->green) + 0.5),
        (unsigned char)(a->blue + part * (b->blue - a->blue) + 0.5),
    };
}

/* Small weights are many, and worth seeing: the root tells them apart. */
static struct colour_rgb colour_of(float weight) {
    return shade(sqrt(fmin(fmax((double)weight, 0), 1)));
}

static void draw_head(struct canvas *canvas, int x, int y, int cell, int gap,
                      const float *weight, int count) {
    for (int row = 0; row < count; row++) {
        for (int column = 0; column <= row; column++) {
            canvas_fill(canvas, x + column * cell, y + row * cell, cell - gap,
                        cell - gap, colour_of(weight[(ptrdiff_t)row * count + column]));
        }
    }
}

enum { SCALE_STEPS = 256, SCALE_HEIGHT = 48 };

/* All colours, with some of the weights that they stand for. */
static void draw_scale(struct canvas *canvas, int x, int y) {
    static const double marks[] = {0, 0.01, 0.1, 0.25, 0.5, 1};
    for (int i = 0; i < SCALE_STEPS; i++) {
        canvas_fill(canvas, x + i, y, 1, 12, shade((double)i / (SCALE_STEPS - 1)));
    }
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        char text[16];
        snprintf(text, sizeof text, "%g", marks[i]);
        int at = x + (int)(sqrt(marks[i]) * (SCALE_STEPS - 1));
        canvas_fill(canvas, at, y + 12, 1, 4, faint);
        canvas_text(canvas, at - (int)strlen(text) * LETTER_WIDTH / 2 + 1, y + 18, 1,
                    RIGHTWARDS, faint, text);
    }
    canvas_text(canvas, x + SCALE_STEPS + 20, y + 2, 1, RIGHTWARDS, faint,
                "weight: a row attends, a column is attended");
}

static void save(const struct run *run, struct canvas *canvas, const char *name) {
    char *path = file_path(run->options.out, name);
    if (!canvas_save(canvas, path)) {
        fail(FAILED, "the pictures are not saved");
    }
    free(path);
    canvas_close(canvas);
}

enum { LABEL = 14 }; /* letters of a token that is named beside a picture, at most */

/* The characters of a token so that they can be seen: a dot is a space. */
static void name_token(char name[LABEL + 1], const struct tokens *tokens, int token) {
    const char *text = tokens->text + (ptrdiff_t)token * LONGEST_TOKEN;
    int used = 0;
    for (int i = 0; i < tokens->size[token] && used < LABEL; i++) {
        if (text[i] == '\n' && used + 2 <= LABEL) {
            name[used++] = '\\';
            name[used++] = 'n';
        } else if (text[i] == ' ') {
            name[used++] = FONT_DOT;
        } else {
            name[used++] = text[i] > ' ' && text[i] <= '~' ? text[i] : '?';
        }
    }
    name[used] = '\0';
}

/* The whole text in one line, or as much of it as has room. */
static void draw_text(struct canvas *canvas, int x, int y, const struct run *run,
                      const struct heads *heads) {
    for (int i = 0; i < heads->count; i++) {
        char name[LABEL + 1];
        name_token(name, &run->tokens, heads->token[i]);
        int size = (int)strlen(name) * LETTER_WIDTH;
        if (x + size > canvas->width - MARGIN) {
            return;
        }
        canvas_text(canvas, x, y, 1, RIGHTWARDS, faint, name);
        x += size;
    }
}

static void save_grid(const struct run *run, const struct heads *heads) {
    enum { GAP = 28, HEAD_TITLE = 22, USUAL_CELL = 6, LEAST_SIDE = 120, MOST = 3000 };
    /* Many heads get less room each, so that a picture does not grow without end. */
    int more = heads->heads > heads->layers ? heads->heads : heads->layers;
    int cell = (MOST / more - GAP) / heads->count;
    cell = cell > USUAL_CELL ? USUAL_CELL : cell < 1 ? 1 : cell;
    int side = heads->count * cell;
    side = side > LEAST_SIDE ? side : LEAST_SIDE;
    int width = 2 * MARGIN + heads->heads * (side + GAP) - GAP;
    int least = 2 * MARGIN + SCALE_STEPS + 300;
    width = width > least ? width : least;
    int top = MARGIN + TITLE_HEIGHT;
    int height =
        top + heads->layers * (HEAD_TITLE + side + GAP) + SCALE_HEIGHT + MARGIN / 2;
    struct canvas canvas;
    canvas_open(&canvas, width, height, page);
    char title[80];
    snprintf(title, sizeof title, "Attention of %d tokens in %d layers", heads->count,
             heads->layers);
    canvas_text(&canvas, MARGIN, MARGIN - 8, TITLE_SCALE, RIGHTWARDS, ink, title);
    draw_text(&canvas, MARGIN, MARGIN + 18, run, heads);
    for (int layer = 0; layer < heads->layers; layer++) {
        for (int head = 0; head < heads->heads; head++) {
            int x = MARGIN + head * (side + GAP);
            int y = top + layer * (HEAD_TITLE + side + GAP);
            snprintf(title, sizeof title, "layer %d, head %d", layer + 1, head + 1);
            canvas_text(&canvas, x, y, 1, RIGHTWARDS, faint, title);
            draw_head(&canvas, x, y + HEAD_TITLE - 4, cell, 0,
                      heads_weights(heads, layer, head), heads->count);
        }
    }
    draw_scale(&canvas, MARGIN, height - SCALE_HEIGHT);
    save(run, &canvas, "attention.png");
}

static void save_head(const struct run *run, const struct heads *heads, int layer,
                      int head) {
    enum { CELL = 16 };
    char name[MOST_SHOWN][LABEL + 1];
    int longest = 0;
    for (int i = 0; i < heads->count; i++) {
        name_token(name[i], &run->tokens, heads->token[i]);
        int letters = (int)strlen(name[i]);
        longest = letters > longest ? letters : longest;
    }
    int beside = longest * LETTER_WIDTH + 8;
    int side = heads->count * CELL;
    int left = MARGIN + beside;
    int top = MARGIN + TITLE_HEIGHT + beside;
    int width = left + side + MARGIN;
    int least = 2 * MARGIN + SCALE_STEPS + 300;
    struct canvas canvas;
    canvas_open(&canvas, width > least ? width : least,
                top + side + SCALE_HEIGHT + MARGIN, page);
    char title[80];
    snprintf(title, sizeof title, "Layer %d, head %d", layer + 1, head + 1);
    canvas_text(&canvas, MARGIN, MARGIN - 8, TITLE_SCALE, RIGHTWARDS, ink, title);
    for (int i = 0; i < heads->count; i++) {
        int letters = (int)strlen(name[i]);
        canvas_text(&canvas, left - 6 - letters * LETTER_WIDTH, top + i * CELL + 4, 1,
                    RIGHTWARDS, faint, name[i]);
        canvas_text(&canvas, left + i * CELL + 4, top - 6, 1, UPWARDS, faint, name[i]);
    }
    draw_head(&canvas, left, top, CELL, 1, heads_weights(heads, layer, head),
              heads->count);
    draw_scale(&canvas, MARGIN, canvas.height - SCALE_HEIGHT);
    snprintf(title, sizeof title, "attention-layer%d-head%d.png", layer + 1, head + 1);
    save(run, &canvas, title);
}

void picture_save(const struct run *run, const struct heads *heads) {
    save_grid(run, heads);
    for (int layer = 0; layer < heads->layers; layer++) {
        for (int head = 0; head < heads->heads; head++) {
            save_head(run, heads, layer, head);
        }
    }
}
