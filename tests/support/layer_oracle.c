/*
 * Leaves, linear maps, rotations, and the multi-head layer made of them.
 */
#include "tests/support/layer_oracle.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/element.h"

static const double unit = 0x1p-24;

node *layer_nodes(int64_t count) {
    node *nodes = malloc((size_t)(count + 1) * sizeof *nodes);
    assert_non_null(nodes);
    for (int64_t n = 0; n < count; n++) {
        nodes[n] = NO_NODE;
    }
    return nodes;
}

const node *layer_leaves(const struct layer_call *call, const char *prefix,
                         const char *name) {
    const struct layer_tensor *t = layer_find(call, prefix, name);
    return t != NULL ? t->leaf : NULL;
}

void layer_linear(struct tape *tape, const struct linear_map *map, int64_t rows,
                  struct matrix y, struct matrix x, const node *residual) {
    if (map->weight == NULL || x.at == NULL) {
        fail_msg("a product without its factors");
        return;
    }
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < map->outputs; c++) {
            const int64_t output = map->first + c;
            struct tape_sum sum = tape_start(tape);
            for (int64_t i = 0; i < map->inputs; i++) {
                tape_add_product(tape, &sum, x.at[r * x.step + i],
                                 map->weight[output * map->inputs + i]);
            }
            if (map->bias != NULL) {
                tape_add(tape, &sum, map->bias[output], 1);
            }
            if (residual != NULL) {
                tape_add(tape, &sum, residual[r * map->outputs + c], 1);
            }
            y.at[r * y.step + c] = tape_finish(tape, sum, 4);
        }
    }
}

/* ---------------------------------------------------------------------- rotation */

/* The position of a row of queries or keys. */
static int64_t position_of(const struct layer_call *call, int key, int64_t b,
                           int64_t row) {
    const struct layer_tensor *ids = layer_find(call, "", "position_ids");
    const struct layer_tensor *offsets = layer_find(call, "", "offsets");
    const struct layer_tensor *key_ids = layer_find(call, "", "key_position_ids");
    const struct layer_tensor *key_offsets = layer_find(call, "", "key_offsets");
    if (key && (key_ids != NULL || key_offsets != NULL)) {
        ids = key_ids;
        offsets = key_offsets;
    }
    if (ids != NULL) {
        return element_int(&ids->tensor, b, row);
    }
    return row + (offsets != NULL ? element_int(&offsets->tensor, 0, b) : 0);
}

struct angle {
    double c, s, error;
};

static struct angle angle_of(const struct attending *a, int key, int64_t b, int64_t row,
                             int64_t pair) {
    const attn_multihead_options *o = &a->attention->options;
    const struct layer_tensor *c = layer_find(a->call, "", "cosines");
    const struct layer_tensor *s = layer_find(a->call, "", "sines");
    const int64_t position = position_of(a->call, key, b, row);
    if (c != NULL) {
        const int64_t at = c->tensor.rank == 2 ? position : row;
        return (struct angle){element_float(&c->tensor, 0, b, at, pair),
                              element_float(&s->tensor, 0, b, at, pair), 0};
    }
    const double base = o->rotary_base > 0 ? o->rotary_base : 10000;
    const double angle =
        (double)position / pow(base, 2 * (double)pair / (double)o->rotary_dim);
    return (struct angle){cos(angle), sin(angle),
                          (4 + fabs(log(base))) * angle * 0x1p-52 + unit};
}

/* f x + g y. */
static node turned(struct tape *tape, node x, node y, double f, double g,
                   double error) {
    struct tape_sum sum = tape_start(tape);
    tape_add_about(tape, &sum, x, f, error);
    tape_add_about(tape, &sum, y, g, error);
    return tape_finish(tape, sum, 1);
}

static void rotate(const struct attending *a, int key, node *rows, int64_t count,
                   int64_t heads) {
    const attn_multihead_options *o = &a->attention->options;
    const int64_t dim = a->n.key_dim, pairs = o->rotary_dim / 2;
    for (int64_t n = 0; n < a->batch * count * heads * pairs; n++) {
        const int64_t pair = n % pairs, h = n / pairs % heads;
        const int64_t row = n / pairs / heads % count, b = n / pairs / heads / count;
        node *head = rows + ((b * count + row) * heads + h) * dim;
        node *first = head + (o->rotary_interleaved ? 2 * pair : pair);
        node *second = head + (o->rotary_interleaved ? 2 * pair + 1 : pair + pairs);
        const struct angle t = angle_of(a, key, b, row, pair);
        const node x = *first, y = *second;
        *first = turned(&a->oracle->tape, x, y, t.c, -t.s, t.error);
        *second = turned(&a->oracle->tape, x, y, t.s, t.c, t.error);
    }
}

/* -------------------------------------------------------------------- multi-head */

/* One part of the projections: 0 query, 1 key, 2 value. */
static node *project(const struct attending *a, int part, const node *input,
                     int64_t rows) {
    static const char *const names[] = {"q_proj_weight", "k_proj_weight",
                                        "v_proj_weight"};
    const struct layer_sizes *n = &a->n;
    const int64_t heads[] = {n->heads, n->kv_heads, n->kv_heads};
    const int64_t dims[] = {n->key_dim, n->key_dim, n->value_dim};
    const int64_t inputs[] = {n->embed, n->key_embed, n->value_embed};
    const attn_multihead_options *o = &a->attention->options;
    const int64_t outputs = heads[part] * dims[part];
    const node *bias = layer_leaves(a->call, a->parameters, "in_proj_bias");
    int64_t before = 0; /* rows of the parts before this one */
    for (int p = 0; p < part; p++) {
        before += heads[p] * dims[p];
    }
    node *to = layer_nodes(a->batch * rows * outputs);
    if (o->project == ATTN_PROJECT_ALL) {
        struct linear_map map = {.outputs = outputs, .inputs = inputs[part]};
        map.weight = layer_leaves(a->call, a->parameters,
                                  o->separate ? names[part] : "in_proj_weight");
        map.weight += o->separate ? 0 : before * inputs[part];
        map.bias = bias != NULL ? bias + before : NULL;
        layer_linear(&a->oracle->tape, &map, a->batch * rows,
                     (struct matrix){to, outputs},
                     (struct matrix){(node *)(uintptr_t)input, inputs[part]}, NULL);
        return to;
    }
    const int64_t slice = inputs[part] / heads[part];
    for (int64_t h = 0; h < heads[part]; h++) {
        struct linear_map map = {.outputs = dims[part], .inputs = slice};
        map.weight =
            layer_leaves(a->call, a->parameters, names[part]) + h * dims[part] * slice;
        map.bias = bias != NULL ? bias + before + h * dims[part] : NULL;
        layer_linear(
            &a->oracle->tape, &map, a->batch * rows,
            (struct matrix){to + h * dims[part], outputs},
            (struct matrix){(node *)(uintptr_t)input + h * slice, inputs[part]}, NULL);
    }
    return to;
}

/* positions W_r^T, or a table of the call, as (H, R, D). */
static void make_relative(struct attending *a) {
    const int64_t heads = a->n.heads, dim = a->n.key_dim;
    const struct layer_tensor *given = layer_find(a->call, a->inputs, "relative_keys");
    a->relative = NULL;
    if (!a->attention->options.relative && given == NULL) {
        return;
    }
    const int64_t rows = a->attention->zero_row + 1 + a->attention->rows_after;
    a->relative_rows = rows;
    a->relative = layer_nodes(heads * rows * dim);
    if (given != NULL) {
        for (int64_t n = 0; n < heads * rows * dim; n++) {
            a->relative[n] =
                given->leaf[given->tensor.rank == 2 ? n % (rows * dim) : n];
        }
        return;
    }
    node *made = layer_nodes(rows * heads * dim);
    const struct linear_map map = {
        .weight = layer_leaves(a->call, a->parameters, "r_proj_weight"),
        .outputs = heads * dim,
        .inputs = a->n.embed};
    node *positions = (node *)(uintptr_t)layer_leaves(a->call, "", "positions");
    layer_linear(&a->oracle->tape, &map, rows, (struct matrix){made, heads * dim},
                 (struct matrix){positions, a->n.embed}, NULL);
    for (int64_t n = 0; n < heads * rows * dim; n++) {
        const int64_t h = n / dim / rows, row = n / dim % rows;
        a->relative[n] = made[row * heads * dim + h * dim + n % dim];
    }
    free(made);
}

/* Heads side by side, or their mean. */
static node *combine(const struct attending *a) {
    const int64_t dim = a->n.value_dim, rows = a->batch * a->rows;
    struct tape *tape = &a->oracle->tape;
    node *mean = layer_nodes(rows * dim);
    for (int64_t n = 0; n < rows * dim; n++) {
        struct tape_sum sum = tape_start(tape);
        for (int64_t h = 0; h < a->n.heads; h++) {
            tape_add(tape, &sum, a->heads[(n / dim * a->n.heads + h) * dim + n % dim],
                     1 / (double)a->n.heads);
        }
        mean[n] = tape_finish(tape, sum, 4);
    }
    return mean;
}

static int64_t target_of(const struct attending *a, int64_t b, int64_t t) {
    return element_int(&layer_find(a->call, "", "targets")->tensor, b, t);
}

/* From queries of the targets alone to all: those of the same target are added. */
static node *scatter(const struct attending *a, const node *rows, int64_t width) {
    const int64_t count = a->call->problem.targets;
    struct tape *tape = &a->oracle->tape;
    node *all = layer_nodes(a->batch * a->rows * width);
    for (int64_t n = 0; n < a->batch * a->rows * width; n++) {
        const int64_t b = n / width / a->rows, row = n / width % a->rows;
        struct tape_sum sum = tape_start(tape);
        for (int64_t t = 0; t < count; t++) {
            if (target_of(a, b, t) == row) {
                tape_add(tape, &sum, rows[(b * count + t) * width + n % width], 1);
            }
        }
        all[n] = tape_finish(tape, sum, 0);
    }
    return all;
}

static node *gather(const struct attending *a, const node *all, int64_t width) {
    const int64_t count = a->call->problem.targets;
    node *rows = layer_nodes(a->batch * count * width);
    for (int64_t n = 0; n < a->batch * count * width; n++) {
        const int64_t b = n / width / count, t = n / width % count;
        rows[n] = all[(b * a->rows + target_of(a, b, t)) * width + n % width];
    }
    return rows;
}

/* Replaces an array. */
static node *instead(node *old, node *other) {
    free(old);
    return other;
}

node *layer_multihead(struct attending *a, const node *input, const node *key,
                      const node *value, const node *residual) {
    const attn_multihead_options *o = &a->attention->options;
    key = key != NULL ? key : input;
    value = value != NULL ? value : key;
    const int64_t rows = o->targets ? a->call->problem.targets : a->rows;
    a->query = project(a, 0, input, rows);
    if (o->targets) {
        a->query = instead(a->query, scatter(a, a->query, a->n.heads * a->n.key_dim));
    }
    a->key = project(a, 1, key, a->keys);
    a->value = project(a, 2, value, a->keys);
    if (o->rotary_dim > 0) {
        rotate(a, 0, a->query, a->rows, a->n.heads);
        rotate(a, 1, a->key, a->keys, a->n.kv_heads);
    }
    make_relative(a);
    a->heads = layer_nodes(a->batch * a->rows * a->n.heads * a->n.value_dim);
    layer_attend(a);
    const int mean = o->combine == ATTN_COMBINE_MEAN;
    const int64_t inputs = mean ? a->n.value_dim : a->n.heads * a->n.value_dim;
    if (mean) {
        a->heads = instead(a->heads, combine(a));
    }
    if (o->targets) {
        a->heads = instead(a->heads, gather(a, a->heads, inputs));
    }
    node *output = layer_nodes(a->batch * rows * a->n.embed);
    const struct linear_map map = {
        .weight = layer_leaves(a->call, a->parameters, "out_proj.weight"),
        .bias = layer_leaves(a->call, a->parameters, "out_proj.bias"),
        .outputs = a->n.embed,
        .inputs = inputs};
    layer_linear(&a->oracle->tape, &map, a->batch * rows,
                 (struct matrix){output, a->n.embed}, (struct matrix){a->heads, inputs},
                 residual);
    free(a->query);
    free(a->key);
    free(a->value);
    free(a->heads);
    free(a->relative);
    return output;
}

/* ----------------------------------------------------------------------- the whole */

static void make_leaves(struct tape *tape, struct layer_call *call) {
    for (int t = 0; t < call->tensors; t++) {
        struct layer_tensor *to = &call->tensor[t];
        free(to->leaf);
        to->leaf = NULL;
        if (to->tensor.dtype == ATTN_F32) {
            const int64_t count = element_count(&to->tensor);
            to->leaf = layer_nodes(count);
            for (int64_t n = 0; n < count; n++) {
                to->leaf[n] =
                    tape_input(tape, *(const float *)element_nth(&to->tensor, n));
            }
        }
    }
}

static void run_multihead(struct layer_oracle *oracle, struct layer_call *call) {
    const struct layer_problem *p = &call->problem;
    struct attending a = {
        .oracle = oracle,
        .call = call,
        .attention = &p->self,
        .n = layer_sizes(&p->self.options),
        .inputs = "self.",
        .batch = p->batch,
        .rows = p->q_length,
        .keys = layer_keys(p),
    };
    oracle->keys[0] = a.keys + a.n.extras;
    oracle->weights[0] =
        layer_nodes(p->batch * a.n.heads * p->q_length * oracle->keys[0]);
    oracle->lse = layer_nodes(p->batch * a.n.heads * p->q_length);
    a.weights = oracle->weights[0];
    a.lse = oracle->lse;
    oracle->output = layer_multihead(&a, layer_leaves(call, "", "input"),
                                     layer_leaves(call, "", "key"),
                                     layer_leaves(call, "", "value"), NULL);
}

void layer_oracle_open(struct layer_oracle *oracle, struct layer_call *call) {
    *oracle = (struct layer_oracle){0};
    tape_open(&oracle->tape);
    make_leaves(&oracle->tape, call);
    if (call->problem.layers == 0) {
        run_multihead(oracle, call);
    } else {
        layer_blocks(oracle, call);
    }
}

void layer_oracle_close(struct layer_oracle *oracle) {
    tape_close(&oracle->tape);
    free(oracle->output);
    free(oracle->weights[0]);
    free(oracle->weights[1]);
    free(oracle->lse);
}
