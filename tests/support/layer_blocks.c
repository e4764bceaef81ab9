/*
 * Stacks: norms, feed-forward networks, blocks.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/layer_oracle.h"

/* A stack at work. */
struct stack {
    struct layer_oracle *oracle;
    struct layer_call *call;
    int64_t rows, embed; /* of all batch elements */
    char prefix[48];     /* of the block's parameters */
};

/* -------------------------------------------------------------------------- norms */

static node mean_of(struct tape *tape, const node *x, int64_t n) {
    struct tape_sum sum = tape_start(tape);
    for (int64_t i = 0; i < n; i++) {
        tape_add(tape, &sum, x[i], 1 / (double)n);
    }
    return tape_finish(tape, sum, 4);
}

/* 1 / sqrt(mean square + epsilon). */
static node inverse_of(struct tape *tape, const node *x, int64_t n, double epsilon) {
    struct tape_sum sum = tape_start(tape);
    for (int64_t i = 0; i < n; i++) {
        tape_add_product(tape, &sum, x[i], x[i]);
    }
    const node square = tape_scaled(tape, tape_finish(tape, sum, 4), 1 / (double)n, 2);
    const double inverse = 1 / sqrt(tape_value(tape, square) + epsilon);
    const double f[] = {inverse, -0.5 * pow(inverse, 3), 0.75 * pow(inverse, 5)};
    return tape_function(tape, square, f, 8, 0);
}

static node added(struct tape *tape, node a, node b, double factor) {
    struct tape_sum sum = tape_start(tape);
    tape_add(tape, &sum, a, 1);
    tape_add(tape, &sum, b, factor);
    return tape_finish(tape, sum, 0);
}

/* The norm of that name after the prefix; a new array. */
static node *norm(const struct stack *s, const char *prefix, const char *name,
                  const node *from) {
    const attn_stack_options *o = &s->call->problem.stack;
    struct tape *tape = &s->oracle->tape;
    const double epsilon = o->epsilon > 0 ? o->epsilon : 1e-5;
    const int64_t n = s->embed;
    char full[32];
    snprintf(full, sizeof full, "%s.weight", name);
    const node *gain = layer_leaves(s->call, prefix, full);
    snprintf(full, sizeof full, "%s.bias", name);
    const node *shift = layer_leaves(s->call, prefix, full);
    node *to = layer_nodes(s->rows * n), *x = layer_nodes(n);
    for (int64_t r = 0; r < s->rows; r++) {
        memcpy(x, from + r * n, (size_t)n * sizeof *x);
        if (o->norm == ATTN_NORM_LAYER) {
            const node mean = mean_of(tape, x, n);
            for (int64_t i = 0; i < n; i++) {
                x[i] = added(tape, x[i], mean, -1);
            }
        }
        const node inverse = inverse_of(tape, x, n, epsilon);
        for (int64_t i = 0; i < n; i++) {
            const node y =
                tape_product(tape, tape_product(tape, x[i], inverse, 2), gain[i], 2);
            to[r * n + i] = shift != NULL ? added(tape, y, shift[i], 1) : y;
        }
    }
    free(x);
    return to;
}

/* ------------------------------------------------------------------- feed-forward */

/* x F(x) with its derivatives, and the roundings of its kernel. */
struct activation {
    double f[3], roundings;
};

/* From F, F' and F''. */
static struct activation of_weight(double x, double weight, double slope, double curve,
                                   double roundings) {
    return (struct activation){{x * weight, weight + x * slope, 2 * slope + x * curve},
                               roundings};
}

static struct activation activation_at(int64_t kind, double x) {
    const double pi = acos(-1), c = 2 * sqrt(2 / pi), a = 0.044715;
    const double w = c * (x + a * x * x * x), dw = c * (1 + 3 * a * x * x);
    const double density = exp(-x * x / 2) / sqrt(2 * pi);
    double p = 1 / (1 + exp(-x));
    switch (kind) {
    case ATTN_ACTIVATION_RELU:
        return of_weight(x, x > 0, 0, 0, 0);
    case ATTN_ACTIVATION_GELU:
        return of_weight(x, erfc(-x / sqrt(2)) / 2, density, -x * density, 10);
    case ATTN_ACTIVATION_GELU_TANH:
        p = 1 / (1 + exp(-w));
        return of_weight(x, p, p * (1 - p) * dw,
                         p * (1 - p) * ((1 - 2 * p) * dw * dw + c * 6 * a * x),
                         10 + 4 * fabs(w));
    default:
        return of_weight(x, p, p * (1 - p), p * (1 - p) * (1 - 2 * p), 10);
    }
}

/* A ReLU's slope jumps at 0, which a library may see on the other side. */
static node activated(struct tape *tape, int64_t kind, node x) {
    const double at = tape_value(tape, x);
    const struct activation now = activation_at(kind, at);
    const int jumps = kind == ATTN_ACTIVATION_RELU && fabs(at) < 1e-3 &&
                      fabs(at) <= tape_error(tape, x);
    return tape_function(tape, x, now.f, now.roundings, jumps);
}

/* stream + the network of x; a new array. */
static node *feed_forward(const struct stack *s, const node *x, const node *stream) {
    const attn_stack_options *o = &s->call->problem.stack;
    struct tape *tape = &s->oracle->tape;
    const int64_t feed = o->feed_forward_dim;
    node *hidden = layer_nodes(s->rows * feed), *gate = layer_nodes(s->rows * feed);
    node *to = layer_nodes(s->rows * s->embed);
    const struct matrix from = {(node *)(uintptr_t)x, s->embed};
    const struct linear_map up = {
        .weight = layer_leaves(s->call, s->prefix, "linear1.weight"),
        .bias = layer_leaves(s->call, s->prefix, "linear1.bias"),
        .outputs = feed,
        .inputs = s->embed};
    layer_linear(tape, &up, s->rows, (struct matrix){hidden, feed}, from, NULL);
    if (o->gated) {
        struct linear_map map = up;
        map.weight = layer_leaves(s->call, s->prefix, "gate.weight");
        map.bias = layer_leaves(s->call, s->prefix, "gate.bias");
        layer_linear(tape, &map, s->rows, (struct matrix){gate, feed}, from, NULL);
    }
    for (int64_t n = 0; n < s->rows * feed; n++) {
        const node f = activated(tape, o->activation, o->gated ? gate[n] : hidden[n]);
        hidden[n] = o->gated ? tape_product(tape, f, hidden[n], 2) : f;
    }
    const struct linear_map down = {
        .weight = layer_leaves(s->call, s->prefix, "linear2.weight"),
        .bias = layer_leaves(s->call, s->prefix, "linear2.bias"),
        .outputs = s->embed,
        .inputs = feed};
    layer_linear(tape, &down, s->rows, (struct matrix){to, s->embed},
                 (struct matrix){hidden, feed}, stream);
    free(hidden);
    free(gate);
    return to;
}

/* ------------------------------------------------------------------------- blocks */

/* stream + attention of x, to itself or to the memory; a new array. */
static node *attend(const struct stack *s, int64_t block, int cross, const node *x,
                    const node *stream) {
    const struct layer_problem *p = &s->call->problem;
    const struct layer_attention *attention = cross ? &p->memory : &p->self;
    struct attending a = {
        .oracle = s->oracle,
        .call = s->call,
        .attention = attention,
        .n = layer_sizes(&attention->options),
        .inputs = cross ? "cross." : "self.",
        .batch = p->batch,
        .rows = p->q_length,
        .keys = cross ? p->kv_length : p->q_length,
        .block = block,
    };
    snprintf(a.parameters, sizeof a.parameters, "%s%s", s->prefix,
             cross ? "multihead_attn." : "self_attn.");
    a.weights = s->oracle->weights[cross] +
                block * a.batch * a.n.heads * a.rows * s->oracle->keys[cross];
    return layer_multihead(&a, x, cross ? layer_leaves(s->call, "", "key") : NULL, NULL,
                           stream);
}

/* One step: norm(x + S(x)), or x + S(norm(x)). Takes the stream and returns another. */
static node *step(struct stack *s, int64_t block, int which, int number, node *stream) {
    const int first = s->call->problem.stack.norm_first == 1;
    char name[16];
    snprintf(name, sizeof name, "norm%d", number);
    node *x = first ? norm(s, s->prefix, name, stream) : stream;
    node *sum = which == 2 ? feed_forward(s, x, stream)
                           : attend(s, block, which == 1, x, stream);
    node *to = first ? sum : norm(s, s->prefix, name, sum);
    free(first ? x : sum);
    free(stream);
    return to;
}

static void make_room(struct layer_oracle *oracle, const struct layer_problem *p,
                      int cross) {
    const struct layer_attention *a = cross ? &p->memory : &p->self;
    const struct layer_sizes n = layer_sizes(&a->options);
    oracle->keys[cross] = n.extras + (cross ? p->kv_length : p->q_length);
    oracle->weights[cross] =
        layer_nodes(p->layers * p->batch * n.heads * p->q_length * oracle->keys[cross]);
}

void layer_blocks(struct layer_oracle *oracle, struct layer_call *call) {
    const struct layer_problem *p = &call->problem;
    struct stack s = {oracle, call, p->batch * p->q_length, p->self.options.embed_dim,
                      ""};
    const int64_t groups = p->stack.groups > 0 ? p->stack.groups : p->layers;
    node *stream = layer_nodes(s.rows * s.embed);
    memcpy(stream, layer_leaves(call, "", "input"),
           (size_t)(s.rows * s.embed) * sizeof *stream);
    for (int cross = 0; cross <= p->cross; cross++) {
        make_room(oracle, p, cross);
    }
    for (int64_t l = 0; l < p->layers; l++) {
        int number = 1;
        snprintf(s.prefix, sizeof s.prefix, "layers.%d.",
                 (int)(l * groups / p->layers));
        for (int which = 0; which < 3; which++) {
            if (which != 1 || p->cross) {
                stream = step(&s, l, which, number++, stream);
            }
        }
    }
    oracle->output = stream;
    if (p->stack.final_norm) {
        oracle->output = norm(&s, "", "norm", stream);
        free(stream);
    }
}
