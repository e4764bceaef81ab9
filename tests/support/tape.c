/*
 * Notes in the order in which they are made, and sweeps over them.
 */
#include "tests/support/tape.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double unit = 0x1p-24;
static const double smallest = 0x1p-149;

/* Roundings of a gradient beside those of its sum. */
enum { MORE_ROUNDINGS = 16 };

/* For what is not of first order. */
static const double margin = 1.25;

static void *grown(void *array, int64_t count, size_t size) {
    void *larger = realloc(array, (size_t)count * size);
    assert_non_null(larger);
    return larger;
}

static void grow_nodes(struct tape *tape) {
    const int64_t room = tape->node_room = 2 * tape->node_room + 1024;
    tape->value = grown(tape->value, room, sizeof *tape->value);
    tape->rounding = grown(tape->rounding, room, sizeof *tape->rounding);
    tape->first = grown(tape->first, room + 1, sizeof *tape->first);
}

static void grow_edges(struct tape *tape) {
    tape->edge_room = 2 * tape->edge_room + 4096;
    tape->edge = grown(tape->edge, tape->edge_room, sizeof *tape->edge);
}

void tape_open(struct tape *tape) {
    *tape = (struct tape){0};
    grow_nodes(tape);
    grow_edges(tape);
}

void tape_close(struct tape *tape) {
    free(tape->value);
    free(tape->rounding);
    free(tape->first);
    free(tape->edge);
    free(tape->gradient);
    free(tape->gradient_rounding);
    free(tape->terms);
    *tape = (struct tape){0};
}

double tape_value(const struct tape *tape, node x) {
    return tape->value[x];
}

/* ------------------------------------------------------------------------- notes */

static void add_edge(struct tape *tape, struct tape_edge edge) {
    if (tape->edges == tape->edge_room) {
        grow_edges(tape);
    }
    tape->edge[tape->edges++] = edge;
}

static node finish(struct tape *tape, double value, double rounding) {
    const node x = (node)tape->nodes++;
    tape->value[x] = value;
    tape->rounding[x] = rounding;
    tape->first[x + 1] = tape->edges;
    return x;
}

struct tape_sum tape_start(struct tape *tape) {
    if (tape->nodes == tape->node_room) {
        grow_nodes(tape);
    }
    assert_true(tape->nodes < INT32_MAX);
    tape->first[tape->nodes] = tape->edges;
    return (struct tape_sum){0};
}

node tape_input(struct tape *tape, double value) {
    tape_start(tape);
    return finish(tape, value, 0);
}

void tape_add_product(struct tape *tape, struct tape_sum *sum, node a, node b) {
    const double x = tape->value[a], y = tape->value[b];
    add_edge(tape, (struct tape_edge){y, 1, 0, a, b});
    add_edge(tape, (struct tape_edge){x, 1, 0, b, a});
    sum->value += x * y;
    sum->size += fabs(x * y);
    sum->terms++;
}

void tape_add_about(struct tape *tape, struct tape_sum *sum, node a, double factor,
                    double error) {
    add_edge(tape, (struct tape_edge){factor, 0, error, a, a});
    sum->value += factor * tape->value[a];
    sum->size += (fabs(factor) + error / unit) * fabs(tape->value[a]);
    sum->terms++;
}

void tape_add(struct tape *tape, struct tape_sum *sum, node a, double factor) {
    tape_add_about(tape, sum, a, factor, 0);
}

node tape_finish(struct tape *tape, struct tape_sum sum, double more) {
    return finish(tape, sum.value,
                  ((double)sum.terms + more) * (unit * sum.size + smallest));
}

node tape_scaled(struct tape *tape, node x, double factor, double roundings) {
    struct tape_sum sum = tape_start(tape);
    tape_add(tape, &sum, x, factor);
    return tape_finish(tape, sum, roundings - 1);
}

node tape_product(struct tape *tape, node a, node b, double roundings) {
    struct tape_sum sum = tape_start(tape);
    tape_add_product(tape, &sum, a, b);
    return tape_finish(tape, sum, roundings - 1);
}

node tape_function(struct tape *tape, node x, const double f[3], double roundings,
                   double jump) {
    tape_start(tape);
    add_edge(tape, (struct tape_edge){f[1], f[2], jump, x, x});
    return finish(tape, f[0], roundings * unit * fabs(f[0]) + smallest);
}

/* ------------------------------------------------------------------------- sweeps */

static double *zeros(int64_t count) {
    double *array = calloc((size_t)count + 1, sizeof *array);
    assert_non_null(array);
    return array;
}

double tape_error(struct tape *tape, node x) {
    double *slope = zeros(tape->nodes), error = smallest;
    slope[x] = 1;
    for (; x >= 0; x--) {
        if (slope[x] != 0) {
            error += fabs(slope[x]) * tape->rounding[x];
            for (int64_t e = tape->first[x]; e < tape->first[x + 1]; e++) {
                slope[tape->edge[e].from] += slope[x] * tape->edge[e].slope;
            }
        }
    }
    free(slope);
    return margin * error;
}

void tape_back_start(struct tape *tape) {
    free(tape->gradient);
    free(tape->gradient_rounding);
    free(tape->terms);
    tape->gradient = zeros(tape->nodes);
    tape->gradient_rounding = zeros(tape->nodes);
    tape->terms = calloc((size_t)tape->nodes + 1, sizeof *tape->terms);
    assert_non_null(tape->terms);
}

void tape_back_add(struct tape *tape, node x, double weight) {
    tape->gradient[x] += weight;
}

void tape_back(struct tape *tape) {
    double *size = zeros(tape->nodes);  /* sum of |terms| */
    double *inner = zeros(tape->nodes); /* sum of |slope| size */
    for (int64_t x = tape->nodes - 1; x >= 0; x--) {
        const double gradient = tape->gradient[x];
        /* what came from tape_back_add() has no terms, and is exact */
        if (tape->terms[x] > 0) {
            tape->gradient_rounding[x] += (double)(tape->terms[x] + MORE_ROUNDINGS) *
                                          (unit * inner[x] + smallest);
        }
        size[x] = fmax(tape->terms[x] == 1 ? inner[x] : size[x], fabs(gradient));
        for (int64_t e = tape->first[x]; e < tape->first[x + 1]; e++) {
            const struct tape_edge *edge = &tape->edge[e];
            const double slope = fabs(edge->slope);
            tape->gradient[edge->from] += edge->slope * gradient;
            tape->gradient_rounding[edge->from] += edge->jump * fabs(gradient);
            size[edge->from] += slope * fabs(gradient);
            inner[edge->from] += slope * size[x];
            tape->terms[edge->from]++;
        }
    }
    free(size);
    free(inner);
}

/* The derivative of every number along the direction. */
static double *derivatives(const struct tape *tape, const node *at,
                           const double *direction, int64_t count) {
    double *along = zeros(tape->nodes);
    for (int64_t n = 0; n < count; n++) {
        along[at[n]] += direction[n];
    }
    for (int64_t x = 0; x < tape->nodes; x++) {
        for (int64_t e = tape->first[x]; e < tape->first[x + 1]; e++) {
            along[x] += tape->edge[e].slope * along[tape->edge[e].from];
        }
    }
    return along;
}

struct tape_slope tape_along(struct tape *tape, const node *at, const double *direction,
                             int64_t count) {
    double *along = derivatives(tape, at, direction, count);
    double *gradient = zeros(tape->nodes); /* how the gradients change on the way */
    struct tape_slope slope = {0, smallest};
    for (int64_t n = 0; n < count; n++) {
        slope.value += direction[n] * tape->gradient[at[n]];
    }
    for (int64_t x = tape->nodes - 1; x >= 0; x--) {
        slope.error += fabs(gradient[x]) * tape->rounding[x] +
                       fabs(along[x]) * tape->gradient_rounding[x];
        for (int64_t e = tape->first[x]; e < tape->first[x + 1]; e++) {
            const struct tape_edge *edge = &tape->edge[e];
            gradient[edge->from] += edge->slope * gradient[x] +
                                    edge->curve * along[edge->by] * tape->gradient[x];
        }
    }
    free(along);
    free(gradient);
    slope.error *= margin;
    return slope;
}
