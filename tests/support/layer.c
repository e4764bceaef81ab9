/*
 * The data of a layer's call, the layer, and the two calls.
 */
#include "tests/support/layer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/element.h"
#include "tests/support/layer_calls.h"
#include "tests/support/layer_data.h"

static int64_t either(int64_t value, int64_t instead) {
    return value > 0 ? value : instead;
}

struct layer_sizes layer_sizes(const attn_multihead_options *o) {
    struct layer_sizes n = {.embed = o->embed_dim, .heads = o->heads};
    n.kv_heads = either(o->kv_heads, o->heads);
    n.key_dim = either(o->key_dim, o->embed_dim / o->heads);
    n.value_dim = either(o->value_dim, n.key_dim);
    n.key_embed = either(o->key_embed_dim, o->embed_dim);
    n.value_embed = either(o->value_embed_dim, o->embed_dim);
    n.extras = o->key_value_bias + o->zero_attention;
    return n;
}

int64_t layer_rows(const struct layer_problem *problem) {
    return problem->self.options.targets ? problem->targets : problem->q_length;
}

int64_t layer_keys(const struct layer_problem *problem) {
    return problem->layers > 0 || problem->inputs == 1 ? problem->q_length
                                                       : problem->kv_length;
}

void layer_need(const struct layer_call *call, attn_status status, const char *what) {
    if (status != ATTN_OK) {
        fail_msg("layer problem %" PRIu64 ": %s: %s: %s", call->problem.seed, what,
                 attn_status_string(status), attn_last_error());
    }
}

struct layer_tensor *layer_find(const struct layer_call *call, const char *prefix,
                                const char *name) {
    char full[96];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    for (int t = 0; t < call->tensors; t++) {
        if (strcmp(call->tensor[t].name, full) == 0) {
            return (struct layer_tensor *)(uintptr_t)&call->tensor[t];
        }
    }
    return NULL;
}

/* -------------------------------------------------------------------------- data */

static void add_sequences(struct layer_call *call, struct random *random) {
    const struct layer_problem *p = &call->problem;
    const struct layer_sizes n =
        layer_sizes(p->cross ? &p->memory.options : &p->self.options);
    layer_add(call, random, "", "input", 3, p->batch, layer_rows(p),
              p->self.options.embed_dim, 0, 1);
    if (p->cross || p->inputs > 1) {
        layer_add(call, random, "", "key", 3, p->batch, p->kv_length, n.key_embed, 0,
                  1);
    }
    if (p->inputs > 2) {
        layer_add(call, random, "", "value", 3, p->batch, p->kv_length, n.value_embed,
                  0, 1);
    }
}

/* Positions up to 40. */
static void add_rotations(struct layer_call *call, struct random *random,
                          int64_t keys) {
    const struct layer_problem *p = &call->problem;
    const int32_t dtype = random_percent(random, 50) ? ATTN_I32 : ATTN_I64;
    const int64_t batch = p->batch, rows = p->q_length;
    const int64_t pairs = p->self.options.rotary_dim / 2;
    const int at = p->self.rotation;
    if (at == LAYER_AT_IDS || at == LAYER_AT_ONE_ROW || at == LAYER_AT_BOTH ||
        at == LAYER_AT_CACHE) {
        const int64_t of = at == LAYER_AT_ONE_ROW ? 1 : batch;
        layer_add_integers(call, random, "", "position_ids", dtype, 2, of, rows, 0, 0,
                           0, 40);
        if (at != LAYER_AT_BOTH && (keys != rows || random_percent(random, 50))) {
            layer_add_integers(call, random, "", "key_position_ids", dtype, 2, of, keys,
                               0, 0, 0, 40);
        }
    }
    if (at == LAYER_AT_OFFSETS) {
        layer_add_integers(call, random, "", "offsets", dtype, 1, batch, 0, 0, 0, 0,
                           20);
    }
    if (at == LAYER_AT_BOTH || (at == LAYER_AT_OFFSETS && random_percent(random, 50))) {
        layer_add_integers(call, random, "", "key_offsets", dtype, 1, batch, 0, 0, 0, 0,
                           20);
    }
    if (at == LAYER_AT_CACHE) {
        layer_add(call, random, "", "cosines", 2, 41, pairs, 0, 0, 1);
        layer_add(call, random, "", "sines", 2, 41, pairs, 0, 0, 1);
    } else if (at == LAYER_AT_COSINES) {
        layer_add(call, random, "", "cosines", 3, batch, rows, pairs, 0, 1);
        layer_add(call, random, "", "sines", 3, batch, rows, pairs, 0, 1);
    }
}

static void add_targets(struct layer_call *call, struct random *random) {
    const struct layer_problem *p = &call->problem;
    const int32_t dtype = random_percent(random, 50) ? ATTN_I32 : ATTN_I64;
    const int64_t of = random_percent(random, 50) ? p->batch : 1;
    const int shared = random_percent(random, 30);
    layer_add_integers(call, random, "", "targets", dtype, shared ? 1 : 2,
                       shared ? p->targets : of, p->targets, 0, 0, 0, p->q_length - 1);
}

/* A gradient beside each float tensor, but for some; beside input always. */
static void add_gradients(struct layer_call *call, struct random *random) {
    for (int t = 0; t < call->tensors; t++) {
        struct layer_tensor *to = &call->tensor[t];
        const char *name = to->name;
        const int some = call->problem.plain || random_percent(random, 90) || t == 0;
        if (to->tensor.dtype != ATTN_F32 || strcmp(name, "cosines") == 0 ||
            strcmp(name, "sines") == 0 || !some) {
            continue;
        }
        const int which = strncmp(name, "cross.", 6) == 0;
        const int inner = which || strncmp(name, "self.", 5) == 0;
        to->added_to = to->parameter || strcmp(name, "positions") == 0 ||
                       (inner && call->gradients[which].accumulate);
        to->gradient = to->tensor;
        to->block[1] =
            layer_place(&to->gradient, call->problem.plain,
                        layer_is_sequence(name) ? LAYER_ROWS : LAYER_TABLE, random);
        const int64_t count = element_count(&to->tensor);
        to->before = malloc((size_t)(count + 1) * sizeof(float));
        assert_non_null(to->before);
        for (int64_t n = 0; n < count; n++) {
            to->before[n] = random_float(random);
        }
    }
}

static void add_output(struct layer_call *call, struct random *random, int which,
                       attn_tensor *tensor, int32_t rank, const int64_t *shape,
                       int filled) {
    *tensor = (attn_tensor){.dtype = ATTN_F32, .rank = rank};
    memcpy(tensor->shape, shape, (size_t)rank * sizeof *shape);
    call->block[which] = layer_place(tensor, call->problem.plain, LAYER_ROWS, random);
    for (int64_t n = 0; filled && n < element_count(tensor); n++) {
        *(float *)element_nth(tensor, n) = random_float(random);
    }
}

/* Weights of one attention; of a stack, of all its blocks. */
static void add_weights(struct layer_call *call, struct random *random, int which,
                        const struct layer_attention *attention, int64_t keys) {
    const struct layer_problem *p = &call->problem;
    const struct layer_sizes n = layer_sizes(&attention->options);
    const int64_t all[] = {p->layers, p->batch, n.heads, p->q_length, keys + n.extras};
    const int64_t mean[] = {p->layers, p->batch, p->q_length, keys};
    const int first = p->layers == 0;
    add_output(call, random, 2 + which, &call->extra[which], 5 - first, all + first, 0);
    if (n.extras == 0) {
        add_output(call, random, 3 + which, &call->extra[which + 1], 4 - first,
                   mean + first, 0);
    }
}

static void add_outputs(struct layer_call *call, struct random *random, int64_t keys) {
    const struct layer_problem *p = &call->problem;
    const struct layer_sizes n = layer_sizes(&p->self.options);
    const int64_t rows[] = {p->batch, layer_rows(p), n.embed};
    add_output(call, random, 0, &call->output, 3, rows, 0);
    add_output(call, random, 1, &call->grad_output, 3, rows, 1);
    if (!p->outputs) {
        return;
    }
    add_weights(call, random, LAYER_WEIGHTS, &p->self, keys);
    if (p->cross) {
        add_weights(call, random, LAYER_CROSS_WEIGHTS, &p->memory, p->kv_length);
    }
    if (p->layers == 0 && n.extras == 0) {
        const int64_t lse[] = {p->batch, n.heads, p->q_length};
        const int64_t sums[] = {p->batch, n.heads, keys};
        const int64_t all[] = {p->batch, n.heads, p->q_length, keys};
        enum { GRAD = 2 + LAYER_OUTPUTS };
        add_output(call, random, 2 + LAYER_LSE, &call->extra[LAYER_LSE], 3, lse, 0);
        add_output(call, random, 2 + LAYER_KEY_SUMS, &call->extra[LAYER_KEY_SUMS], 3,
                   sums, 0);
        add_output(call, random, GRAD + LAYER_LSE, &call->grad_extra[LAYER_LSE], 3, lse,
                   1);
        add_output(call, random, GRAD + LAYER_KEY_SUMS,
                   &call->grad_extra[LAYER_KEY_SUMS], 3, sums, 1);
        add_output(call, random, GRAD + LAYER_WEIGHTS, &call->grad_extra[LAYER_WEIGHTS],
                   4, all, 1);
    }
}

void layer_open_data(struct layer_call *call, const struct layer_problem *problem) {
    struct random random = random_stream(81, problem->seed);
    *call = (struct layer_call){.problem = *problem};
    const int64_t keys = layer_keys(problem);
    add_sequences(call, &random);
    layer_add_parameters(call, &random);
    layer_add_inputs(call, &random, &problem->self, "self.", keys);
    if (problem->cross) {
        layer_add_inputs(call, &random, &problem->memory, "cross.", problem->kv_length);
    }
    if (problem->self.options.relative) {
        layer_add(call, &random, "", "positions", 2,
                  problem->self.zero_row + 1 + problem->self.rows_after,
                  problem->self.options.embed_dim, 0, 0, 1);
    }
    if (problem->self.options.rotary_dim > 0) {
        add_rotations(call, &random, keys);
    }
    if (problem->self.options.targets) {
        add_targets(call, &random);
    }
    call->dropout_seed = (int64_t)random_bits(&random);
    for (int which = 0; which < 2; which++) {
        call->gradients[which].accumulate = random_percent(&random, 30);
    }
    add_gradients(call, &random);
    add_outputs(call, &random, keys);
    layer_point(call);
    layer_reset(call);
}

/* ------------------------------------------------------------------------- layer */

void layer_give(attn_layer *layer, const struct layer_call *call) {
    for (int t = 0; t < call->tensors; t++) {
        const struct layer_tensor *p = &call->tensor[t];
        if (p->parameter) {
            layer_need(call, attn_layer_set_parameter(layer, p->name, &p->tensor),
                       p->name);
            layer_need(call,
                       attn_layer_set_gradient(
                           layer, p->name, p->gradient.rank > 0 ? &p->gradient : NULL),
                       p->name);
        }
    }
}

void layer_open(struct layer_call *call, const struct layer_problem *problem) {
    layer_open_data(call, problem);
    layer_need(call, attn_context_create(&call->context), "context");
    layer_need(call, attn_context_set_threads(call->context, problem->threads),
               "threads");
    layer_need(call, attn_context_set_isa(call->context, problem->isa), "isa");
    layer_need(call, layer_create(&call->layer, call->context, problem), "create");
    layer_give(call->layer, call);
    call->packed = NULL;
    if (problem->packed) {
        layer_pack(call);
    }
    const size_t bytes = attn_layer_state_size(
        call->layer, problem->batch, problem->q_length,
        problem->layers == 0 ? layer_keys(problem) : problem->kv_length);
    /* of no use to a forward call that no backward call follows */
    call->state = aligned_alloc(64, bytes + 64);
    assert_non_null(call->state);
    memset(call->state, 0xff, bytes + 64);
    call->args.state = call->state;
    call->args.state_size = (int64_t)bytes;
}

int layer_is_weight(const struct layer_tensor *t) {
    return t->parameter && t->tensor.rank >= 2 && strstr(t->name, "weight") != NULL;
}

void layer_spoil_weights(const struct layer_call *call) {
    for (int t = 0; t < call->tensors; t++) {
        const attn_tensor *tensor = &call->tensor[t].tensor;
        if (layer_is_weight(&call->tensor[t])) {
            memset(tensor->data, 0xff, (size_t)element_extent(tensor) * sizeof(float));
        }
    }
}

int64_t layer_pack(struct layer_call *call) {
    const int64_t size = (int64_t)attn_layer_packed_size(call->layer);
    free(call->packed);
    call->packed = aligned_alloc(64, (size_t)size + 64);
    assert_non_null(call->packed);
    memset(call->packed, 0xff, (size_t)size + 64);
    layer_need(call, attn_layer_pack(call->layer, call->packed, size), "pack");
    layer_need(call, attn_layer_set_packed(call->layer, call->packed, size),
               "set packed");
    return size;
}

void layer_close(struct layer_call *call) {
    attn_layer_destroy(call->layer);
    attn_context_destroy(call->context);
    for (int t = 0; t < call->tensors; t++) {
        free(call->tensor[t].block[0]);
        free(call->tensor[t].block[1]);
        free(call->tensor[t].before);
        free(call->tensor[t].leaf);
    }
    for (size_t b = 0; b < COUNT_OF(call->block); b++) {
        free(call->block[b]);
    }
    free(call->state);
    free(call->packed);
}

static void blank(const attn_tensor *tensor) {
    if (tensor->rank > 0) {
        memset(tensor->data, 0xff, (size_t)element_extent(tensor) * sizeof(float));
    }
}

void layer_reset(struct layer_call *call) {
    blank(&call->output);
    for (int o = 0; o < LAYER_OUTPUTS; o++) {
        blank(&call->extra[o]);
    }
    for (int t = 0; t < call->tensors; t++) {
        const struct layer_tensor *to = &call->tensor[t];
        blank(&to->gradient);
        for (int64_t n = 0; to->added_to && n < element_count(&to->gradient); n++) {
            *(float *)element_nth(&to->gradient, n) = to->before[n];
        }
    }
}

void layer_forward(struct layer_call *call) {
    layer_need(call, attn_layer_forward(call->layer, &call->args),
               "attn_layer_forward");
}

void layer_backward(struct layer_call *call) {
    layer_need(call, attn_layer_backward(call->layer, &call->backward),
               "attn_layer_backward");
}
