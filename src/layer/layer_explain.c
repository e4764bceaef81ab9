/*
 * The layer in words.
 */
#include "base/arith.h"
#include "base/text.h"
#include "layer/layer.h"

/* How rows are multiplied is asked for up to so many; more are multiplied the same way.
 */
enum { ROWS_ASKED = 1024 };

/* Weights of the same sizes, both packed or neither. */
static bool same_form(const struct parameter *a, const struct parameter *b) {
    const int row = a->rank - 2;
    return b->is_weight && a->rank == b->rank && a->shape[row] == b->shape[row] &&
           a->shape[row + 1] == b->shape[row + 1] &&
           (a->packed.data != NULL) == (b->packed.data != NULL);
}

/* True if a weight like this one has had its lines. */
static bool came_before(const struct parameters *parameters, int64_t index) {
    for (int64_t i = 0; i < index; i++) {
        if (same_form(&parameters->list[index], &parameters->list[i])) {
            return true;
        }
    }
    return false;
}

/* Rows that a product has at the most, as far as they are asked for. */
static int rows_most(const struct attn_layer *layer) {
    const int64_t length = max_i64(layer->bounds.q_length, layer->bounds.kv_length);
    int64_t rows;
    return checked_mul(layer->bounds.batch, length, &rows) && rows < ROWS_ASKED
               ? (int)max_i64(1, rows)
               : ROWS_ASKED;
}

/* A line for each way in which rows are multiplied with a weight. */
static void explain_weight(struct text *text, const struct attn_layer *layer,
                           const struct parameter *parameter) {
    const struct linear linear = {
        .context = layer->context,
        .kernels = attn_kernels(layer->context->isa),
        .reproducible = layer->reproducible,
    };
    const struct weight weight = attn_parameter_weight(parameter, 0);
    const int64_t *shape = &parameter->shape[parameter->rank - 2];
    const int most = rows_most(layer);
    for (int first = 1, end; first <= most; first = end) {
        const char *words =
            attn_linear_words(&linear, weight, shape[0], shape[1], first);
        end = first + 1;
        while (end <= most &&
               attn_linear_words(&linear, weight, shape[0], shape[1], end) == words) {
            end++;
        }
        attn_text_add(text, "%s, %lld x %lld, and ", parameter->name,
                      (long long)shape[0], (long long)shape[1]);
        if (end > most && most == ROWS_ASKED) {
            attn_text_add(text, "%d rows or more: %s\n", first, words);
        } else if (end == first + 1) {
            attn_text_add(text, "%d row%s: %s\n", first, first > 1 ? "s" : "", words);
        } else {
            attn_text_add(text, "%d to %d rows: %s\n", first, end - 1, words);
        }
    }
}

static void explain_weights(struct text *text, const struct attn_layer *layer) {
    const struct parameters *parameters = &layer->parameters;
    const struct kernels *kernels = attn_kernels(layer->context->isa);
    long long weights = 0, packed = 0;
    for (int64_t i = 0; i < parameters->count; i++) {
        weights += parameters->list[i].is_weight;
        packed += parameters->list[i].packed.data != NULL;
    }
    attn_text_add(text, "weights: %lld, %lld of them packed%s\n", weights, packed,
                  attn_linear_packed_columns(kernels) == 0
                      ? ", which is of no use to these kernels and this BLAS"
                  : packed == 0 ? "; if they do not change, attn_layer_pack() spares "
                                  "calls the packing"
                                : "");
    attn_text_add(text, "reproducible products: %s\n",
                  layer->reproducible ? "yes" : "no");
    for (int64_t i = 0; i < parameters->count; i++) {
        if (parameters->list[i].is_weight && !came_before(parameters, i)) {
            explain_weight(text, layer, &parameters->list[i]);
        }
    }
}

static void explain_kind(struct text *text, const struct attn_layer *layer) {
    const attn_multihead_options *facts = &layer->self.facts;
    attn_text_add(text, "layer: ");
    if (layer->kind == LAYER_STACK) {
        attn_text_add(text, "%lld blocks, of %lld with parameters of their own, ",
                      (long long)layer->stack.layers, (long long)layer->stack.groups);
    }
    attn_text_add(text, "%lld features, %lld heads", (long long)facts->embed_dim,
                  (long long)facts->heads);
    if (layer->kind == LAYER_STACK) {
        attn_text_add(text, ", %lld features between%s",
                      (long long)layer->stack.feed_forward_dim,
                      layer->stack.recompute == 1 ? ", recomputed backwards" : "");
    }
    attn_text_add(text, "\n");
}

size_t attn_layer_write(const struct attn_layer *layer, char *buffer, size_t size) {
    struct text text = attn_text_start(buffer, size);
    explain_kind(&text, layer);
    attn_text_add(&text, "workspace of the layer: %zu bytes, backwards %zu\n",
                  layer->workspace, layer->backward_workspace);
    explain_weights(&text, layer);
    attn_text_add(&text, "attention: %s\n",
                  layer->kind == LAYER_STACK ? "within the sequences" : "of queries");
    attn_plan_describe(&text, &layer->self.plan);
    if (attn_layer_has_cross(layer)) {
        attn_text_add(&text, "attention: to the memory\n");
        attn_plan_describe(&text, &layer->cross.plan);
    }
    attn_context_describe(&text, layer->context);
    return text.length;
}
