/*
 * Formulas in float64 that note what they compute: the value of each number, and how
 * much a float32 library may round it; and, from the notes, how wrong a correct library
 * may be in any of the numbers and in the gradient of a weighted sum of them.
 *
 * To first order, with u = 2^-24. A number y = f(x1, x2, ...) is computed with a
 * rounding r(y) of its own, in units u as the formula is noted with. An error at x
 * makes dy/dx times as much at y, so y is wrong by at most
 *
 *     sum over all x before y of |dy/dx| r(x)
 *
 * Gradients of a sum L are computed backwards, g(x) = sum of (dy/dx) g(y) over the n
 * numbers y that x enters, with a rounding of their own of
 *
 *     s(x) = (n + 16) u sum |dy/dx| size(y)
 *
 * where the size of a gradient is the sum of its terms' absolute values: a library may
 * add up in any order, and inner sums before or after outer ones. Along a direction d,
 * that is with x' the derivative of x by d, the gradients give the number L', which is
 * wrong by at most
 *
 *     sum over all x of |g(x)'| r(x) + |x'| s(x)
 *
 * since a rounding at x shifts L' by its derivative, and one of g(x) by x'. A quarter
 * more is for what is not of first order, and there is what underflow may cost.
 */
#ifndef TEST_TAPE_H
#define TEST_TAPE_H

#include "tests/support/test.h"

/* A number on the tape. */
typedef int32_t node;
enum { NO_NODE = -1 };

/* That y depends on `from` with this slope, whose derivative by `by` is curve; and how
 * much else the slope may be. */
struct tape_edge {
    double slope, curve, jump;
    node from, by;
};

struct tape {
    int64_t nodes, edges, node_room, edge_room;
    double *value, *rounding;
    int64_t *first; /* edge of each node */
    struct tape_edge *edge;
    /* made by tape_back() */
    double *gradient, *gradient_rounding;
    int64_t *terms; /* of the gradient */
};

void tape_open(struct tape *tape);
void tape_close(struct tape *tape);

/* ------------------------------------------------------------------------- notes */

/* An input, which is exact. */
node tape_input(struct tape *tape, double value);

/* A sum of products and of multiples, and a factor: start, terms, finish. It has as
 * many roundings of the sum of sizes as it has terms, and `more`. */
struct tape_sum {
    double value, size;
    int64_t terms;
};
struct tape_sum tape_start(struct tape *tape);
void tape_add_product(struct tape *tape, struct tape_sum *sum, node a, node b);
void tape_add(struct tape *tape, struct tape_sum *sum, node a, double factor);
/* A multiple by a factor that a library knows up to this error. */
void tape_add_about(struct tape *tape, struct tape_sum *sum, node a, double factor,
                    double error);
node tape_finish(struct tape *tape, struct tape_sum sum, double more);

/* factor x and a b, with so many roundings. */
node tape_scaled(struct tape *tape, node x, double factor, double roundings);
node tape_product(struct tape *tape, node a, node b, double roundings);

/* f(x), f'(x) and f''(x); the result has so many roundings, and f' may be off by jump.
 */
node tape_function(struct tape *tape, node x, const double f[3], double roundings,
                   double jump);

double tape_value(const struct tape *tape, node x);

/* How wrong a number may be. */
double tape_error(struct tape *tape, node x);

/* --------------------------------------------------------------------- gradients */

/* Of sum weight[i] x[i]: start, weights, back. */
void tape_back_start(struct tape *tape);
void tape_back_add(struct tape *tape, node x, double weight);

void tape_back(struct tape *tape);

/* The derivative of that sum along a direction, count numbers at these nodes. */
struct tape_slope {
    double value, error;
};
struct tape_slope tape_along(struct tape *tape, const node *at, const double *direction,
                             int64_t count);

#endif
