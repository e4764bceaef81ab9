/*
 * The text held out is read in sequences of the context, each token a target once, but
 * for the first of all and the rest that is shorter than a context.
 */
#include "measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bigram.h"
#include "fail.h"

static const double bit = 0.6931471805599453; /* in units of the natural logarithm */

double measure_bits(const struct run *run, double loss, const uint16_t *token,
                    size_t count) {
    return loss / bit / (double)tokens_size(&run->tokens, token, count);
}

double measure_model(struct run *run, int sequences) {
    const struct recipe *recipe = &run->options.recipe;
    const struct section *held = &run->data.held;
    size_t context = (size_t)recipe->context;
    int all = data_held_sequences(&run->data, recipe->context);
    int count = sequences > 0 && sequences < all ? sequences : all;
    size_t most = (size_t)recipe->batch * context;
    uint16_t *input = memory_get(most, sizeof *input);
    uint16_t *target = memory_get(most, sizeof *target);
    double loss = 0;
    double characters = 0;
    for (int done = 0; done < count;) {
        int batch = count - done < recipe->batch ? count - done : recipe->batch;
        for (int i = 0; i < batch; i++, done++) {
            size_t sequence = (size_t)done * (size_t)all / (size_t)count;
            const uint16_t *token = held->token + sequence * context;
            memcpy(input + (size_t)i * context, token, context * sizeof *token);
            memcpy(target + (size_t)i * context, token + 1, context * sizeof *token);
        }
        const struct pass pass = {
            .token = input, .batch = batch, .length = recipe->context};
        int rows = batch * recipe->context;
        model_forward(&run->model, &pass);
        loss += model_loss(&run->model, target, rows, false);
        characters += (double)tokens_size(&run->tokens, target, (size_t)rows);
    }
    free(input);
    free(target);
    return loss / bit / characters;
}

/* Tokens that measure_model() sees. */
static size_t seen_tokens(const struct run *run) {
    int context = run->options.recipe.context;
    return (size_t)data_held_sequences(&run->data, context) * (size_t)context + 1;
}

double measure_characters(const struct run *run) {
    const struct section *train = &run->data.train;
    const struct section *held = &run->data.held;
    size_t size = tokens_size(&run->tokens, held->token, seen_tokens(run));
    /* The model's first target is the second token: the characters begin one before. */
    size_t first = (size_t)run->tokens.size[held->token[0]] - 1;
    double bits = bigram_character_bits(train->text, train->size, held->text + first,
                                        size - first);
    return bits / (double)(size - first - 1);
}

double measure_tokens(const struct run *run) {
    const struct section *train = &run->data.train;
    const struct section *held = &run->data.held;
    size_t count = seen_tokens(run);
    double bits =
        bigram_bits(train->token, train->count, held->token, count, run->tokens.count);
    return bits / (double)tokens_size(&run->tokens, held->token + 1, count - 1);
}
