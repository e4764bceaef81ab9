/*
 * The recipe of a training: its usual values, its limits, and how one that was begun is
 * gone on with.
 */
#include <stddef.h>
#include <stdio.h>

#include "fail.h"
#include "options.h"
#include "tokens.h"

/* The whole numbers of a recipe. */
static const struct field {
    const char *option;
    size_t offset;
    int32_t usual;
} fields[] = {
    {"layers", offsetof(struct recipe, layers), 4},
    {"heads", offsetof(struct recipe, heads), 4},
    {"dim", offsetof(struct recipe, dim), 128},
    {"context", offsetof(struct recipe, context), 128},
    {"vocabulary", offsetof(struct recipe, vocabulary), 1024},
    {"batch", offsetof(struct recipe, batch), 8},
    {"steps", offsetof(struct recipe, steps), 960},
    {"seed", offsetof(struct recipe, seed), 1},
};

enum { FIELDS = sizeof fields / sizeof *fields };

static const float usual_rate = 0.003f;

static int32_t *at(struct recipe *recipe, const struct field *field) {
    return (int32_t *)(void *)((char *)recipe + field->offset);
}

void recipe_complete(struct recipe *recipe) {
    for (int i = 0; i < FIELDS; i++) {
        int32_t *number = at(recipe, &fields[i]);
        *number = *number != 0 ? *number : fields[i].usual;
    }
    recipe->rate = recipe->rate > 0 ? recipe->rate : usual_rate;
}

void recipe_go_on(struct recipe *recipe, const struct recipe *begun) {
    struct recipe copy = *begun;
    for (int i = 0; i < FIELDS; i++) {
        int32_t *given = at(recipe, &fields[i]);
        int32_t *kept = at(&copy, &fields[i]);
        if (*given == 0) {
            *given = *kept;
        } else if (given != &recipe->steps && *given != *kept) {
            fail(MISUSED,
                 "the checkpoint was begun with --%s=%d, which cannot become %d",
                 fields[i].option, *kept, *given);
        }
    }
    if (recipe->rate > 0 && recipe->rate != begun->rate) {
        fail(MISUSED, "the checkpoint was begun with --rate=%g, which cannot become %g",
             (double)begun->rate, (double)recipe->rate);
    }
    recipe->rate = begun->rate;
}

const char *recipe_fault(const struct recipe *recipe) {
    /* What the activations of a step take grows with its tokens. */
    enum { MOST_TOKENS_OF_STEP = 65536 };
    static char text[200];
    if (recipe->dim % recipe->heads != 0) {
        snprintf(
            text, sizeof text,
            "--dim=%d is no multiple of --heads=%d: each head gets as many numbers",
            recipe->dim, recipe->heads);
        return text;
    }
    if ((int64_t)recipe->batch * recipe->context > MOST_TOKENS_OF_STEP) {
        snprintf(text, sizeof text,
                 "--batch=%d times --context=%d are more than %d tokens a step",
                 recipe->batch, recipe->context, MOST_TOKENS_OF_STEP);
        return text;
    }
    return NULL;
}
