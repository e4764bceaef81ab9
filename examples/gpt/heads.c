/*
 * The text goes through the model once more, and libattn is asked for the weights too.
 */
#include "heads.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "shade.h"

struct heads heads_open(struct run *run, const struct sample *sample) {
    const struct shape *shape = &run->model.shape;
    struct heads heads = {
        .layers = shape->layers,
        .heads = shape->heads,
        .count = sample->count < MOST_SHOWN ? sample->count : MOST_SHOWN,
        .token = sample->token,
    };
    size_t cells = (size_t)heads.count * (size_t)heads.count;
    size_t all = (size_t)heads.layers * (size_t)heads.heads;
    heads.weights = memory_get_aligned(all * cells, sizeof *heads.weights);
    const struct pass pass = {
        .token = heads.token,
        .batch = 1,
        .length = heads.count,
        .weights = heads.weights,
    };
    model_forward(&run->model, &pass);
    return heads;
}

const float *heads_weights(const struct heads *heads, int layer, int head) {
    size_t cells = (size_t)heads->count * (size_t)heads->count;
    size_t index = (size_t)layer * (size_t)heads->heads + (size_t)head;
    return heads->weights + index * cells;
}

enum { MARGIN = 3, GAP = 2, NARROWEST = 12, WIDEST = 32 };

/* Heads [first, end) of a layer, columns wide each. */
static void show_some(const struct run *run, const struct heads *heads, int layer,
                      int first, int end, int columns) {
    const struct terminal *terminal = &run->terminal;
    int lines = columns / 2;
    int rows = shade_rows(terminal) * lines;
    struct heat *heat = memory_get((size_t)(end - first), sizeof *heat);
    printf("%*s", MARGIN, "");
    for (int head = first; head < end; head++) {
        char title[40];
        snprintf(title, sizeof title, "%d.%d", layer + 1, head + 1);
        terminal_styled(terminal, DIM, title);
        printf("%*s", head + 1 < end ? columns + GAP - (int)strlen(title) : 0, "");
        heat[head - first] =
            heat_open(columns, rows, heads_weights(heads, layer, head), heads->count);
    }
    putchar('\n');
    for (int line = 0; line < lines; line++) {
        for (int i = 0; i < end - first; i++) {
            printf("%*s", i == 0 ? MARGIN : GAP, "");
            shade_line(terminal, &heat[i], line);
        }
        putchar('\n');
    }
    for (int i = 0; i < end - first; i++) {
        heat_close(&heat[i]);
    }
    free(heat);
}

void heads_show(const struct run *run, const struct heads *heads) {
    int room = run->terminal.width - MARGIN + GAP;
    int most = room / (NARROWEST + GAP);
    int together = heads->heads < most ? heads->heads : most;
    int columns = room / together - GAP;
    columns = columns < WIDEST ? columns : WIDEST;
    columns -= columns % 2;
    printf(
        "What each head attends (layer.head), on the first %d tokens of that text: a "
        "row is a\ntoken that attends, a column one that is attended.\n\n",
        heads->count);
    for (int layer = 0; layer < heads->layers; layer++) {
        for (int head = 0; head < heads->heads; head += together) {
            int end = head + together < heads->heads ? head + together : heads->heads;
            show_some(run, heads, layer, head, end, columns);
        }
    }
    printf("%*seven attention ", MARGIN, "");
    shade_scale(&run->terminal);
    puts(" much more");
}

void heads_close(struct heads *heads) {
    free(heads->weights);
    *heads = (struct heads){0};
}
