/*
 * The tape: values, gradients and errors by hand; gradients of the layer oracle by
 * central differences of its outputs.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/element.h"
#include "tests/support/layer_oracle.h"

static const double u = 0x1p-24;

static void need_near(double got, double right, double bound) {
    if (!(fabs(got - right) <= bound)) {
        fail_msg("%.17g instead of %.17g", got, right);
    }
}

/* x y + 3 x at (2, 5): 16, by x 8 and by y 2. */
static void sums_and_products(void **state) {
    (void)state;
    struct tape tape;
    tape_open(&tape);
    const node x = tape_input(&tape, 2), y = tape_input(&tape, 5);
    struct tape_sum sum = tape_start(&tape);
    tape_add_product(&tape, &sum, x, y);
    tape_add(&tape, &sum, x, 3);
    const node z = tape_finish(&tape, sum, 4);
    assert_true(tape_value(&tape, z) == 16 && tape_error(&tape, x) < 1e-40);
    /* two terms and 4, of 16, and a quarter more */
    need_near(tape_error(&tape, z), 1.25 * 6 * 16 * u, 1e-12);
    tape_back_start(&tape);
    tape_back_add(&tape, z, 10);
    tape_back(&tape);
    assert_true(tape.gradient[x] == 80 && tape.gradient[y] == 20);
    const node at[2] = {x, y};
    const double direction[2] = {1, -2};
    const struct tape_slope slope = tape_along(&tape, at, direction, 2);
    need_near(slope.value, 40, 0);
    /* a rounding of z does not bend anything; x has two terms, y one */
    const double of_x = 18 * 80 * u, of_y = 2 * 17 * 20 * u;
    need_near(slope.error, 1.25 * (of_x + of_y), 1e-12);
    tape_close(&tape);
}

/* exp(x) y, where a rounding of exp(x) reaches the gradient of y, and the curve of exp
 * that of x. */
static void functions(void **state) {
    (void)state;
    struct tape tape;
    tape_open(&tape);
    const node x = tape_input(&tape, 1), y = tape_input(&tape, 3);
    const double e = exp(1), f[] = {e, e, e};
    const node z = tape_function(&tape, x, f, 5, 0);
    const node w = tape_product(&tape, z, y, 2);
    need_near(tape_error(&tape, w), 1.25 * u * (3 * 5 * e + 2 * 3 * e), 1e-12);
    tape_back_start(&tape);
    tape_back_add(&tape, w, 1);
    tape_back(&tape);
    need_near(tape.gradient[x], 3 * e, 1e-12);
    need_near(tape.gradient[y], e, 1e-12);
    const double one = 1;
    /* by y: the rounding of z itself, and that of the gradient */
    need_near(tape_along(&tape, &y, &one, 1).error, 1.25 * u * (5 * e + 17 * e), 1e-12);
    tape_close(&tape);
}

/* A slope that may be another, and a factor that is known about. */
static void doubts(void **state) {
    (void)state;
    struct tape tape;
    tape_open(&tape);
    const node x = tape_input(&tape, 0);
    const double f[] = {0, 0, 0}, one = 1;
    const node z = tape_function(&tape, x, f, 0, 1);
    tape_back_start(&tape);
    tape_back_add(&tape, z, -2);
    tape_back(&tape);
    need_near(tape_along(&tape, &x, &one, 1).error, 1.25 * 2, 1e-9);
    const node y = tape_input(&tape, 7);
    struct tape_sum sum = tape_start(&tape);
    tape_add_about(&tape, &sum, y, 0.5, 1e-3);
    const node w = tape_finish(&tape, sum, 0);
    need_near(tape_error(&tape, w), 1.25 * (u * 3.5 + 7e-3), 1e-12);
    tape_close(&tape);
}

/* -------------------------------------------------------------- the layer oracle */

/* The numbers that a layer is a function of, one after the other. */
struct numbers {
    int64_t count;
    float **at;
    float *before;
    double *gradient;
};

static int varies(const struct layer_tensor *t) {
    return t->tensor.dtype == ATTN_F32 && strcmp(t->name, "cosines") != 0 &&
           strcmp(t->name, "sines") != 0;
}

static void *room(int64_t count, size_t size) {
    void *array = calloc((size_t)count + 1, size);
    assert_non_null(array);
    return array;
}

/* With the gradients that the tape found. */
static struct numbers numbers_of(const struct layer_call *call,
                                 const struct tape *tape) {
    struct numbers all = {0};
    for (int t = 0; t < call->tensors; t++) {
        all.count += element_count(&call->tensor[t].tensor);
    }
    all.at = room(all.count, sizeof *all.at);
    all.before = room(all.count, sizeof *all.before);
    all.gradient = room(all.count, sizeof *all.gradient);
    all.count = 0;
    for (int t = 0; t < call->tensors; t++) {
        const struct layer_tensor *from = &call->tensor[t];
        for (int64_t n = 0; varies(from) && n < element_count(&from->tensor); n++) {
            all.at[all.count] = element_nth(&from->tensor, n);
            all.before[all.count] = *all.at[all.count];
            all.gradient[all.count++] = tape->gradient[from->leaf[n]];
        }
    }
    return all;
}

static void free_numbers(struct numbers *all) {
    free(all->at);
    free(all->before);
    free(all->gradient);
}

/* The sum of outputs, weighted by the gradients that come in. */
static double loss_of(struct layer_call *call, struct layer_oracle *oracle) {
    double loss = 0;
    layer_oracle_open(oracle, call);
    tape_back_start(&oracle->tape);
    for (int64_t n = 0; n < element_count(&call->output); n++) {
        const double weight = *(float *)element_nth(&call->grad_output, n);
        loss += weight * tape_value(&oracle->tape, oracle->output[n]);
        tape_back_add(&oracle->tape, oracle->output[n], weight);
    }
    return loss;
}

static double moved_loss(struct layer_call *call, const struct numbers *all,
                         double step, uint64_t seed) {
    struct random random = random_stream(92, seed);
    struct layer_oracle oracle;
    for (int64_t n = 0; n < all->count; n++) {
        *all->at[n] = (float)(all->before[n] + step * random_float(&random));
    }
    const double loss = loss_of(call, &oracle);
    layer_oracle_close(&oracle);
    return loss;
}

/* How wrong the gradients' prediction of a central difference is, which falls with the
 * third power of the step, and the size of the prediction. */
static double wrong_by(struct layer_call *call, const struct numbers *all, double step,
                       double *size) {
    const uint64_t seed = call->problem.seed;
    double difference = moved_loss(call, all, step, seed);
    float *up = room(all->count, sizeof *up);
    for (int64_t n = 0; n < all->count; n++) {
        up[n] = *all->at[n];
    }
    difference -= moved_loss(call, all, -step, seed);
    *size = 0;
    for (int64_t n = 0; n < all->count; n++) {
        const double part = all->gradient[n] * ((double)up[n] - *all->at[n]);
        difference -= part;
        *size += fabs(part);
    }
    free(up);
    return fabs(difference);
}

static void gradients_by_differences(void **state) {
    (void)state;
    int64_t compared = 0;
    for (uint64_t number = 50000; number < 50200; number += TEST_SHARE) {
        struct layer_problem problem = layer_compose(number);
        struct layer_call call;
        struct layer_oracle oracle;
        double size, smaller;
        problem.outputs = 0;
        problem.plain = 1;
        if (problem.stack.activation == ATTN_ACTIVATION_RELU) {
            problem.stack.activation = ATTN_ACTIVATION_SILU; /* it has kinks */
        }
        layer_open_data(&call, &problem);
        loss_of(&call, &oracle);
        tape_back(&oracle.tape);
        struct numbers all = numbers_of(&call, &oracle.tape);
        const double wrong = wrong_by(&call, &all, 0x1p-9, &size);
        const double less = wrong_by(&call, &all, 0x1p-10, &smaller);
        if (wrong > 0.1 * size || less > 0.3 * wrong + 1e-6 * smaller) {
            fail_msg("layer problem %d: a difference of %g is wrong by %g, one of %g "
                     "by %g",
                     (int)number, size, wrong, smaller, less);
        }
        compared += size > 0;
        free_numbers(&all);
        layer_oracle_close(&oracle);
        layer_close(&call);
    }
    assert_true(compared > 150 / TEST_SHARE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_and_products),
        cmocka_unit_test(functions),
        cmocka_unit_test(doubts),
        cmocka_unit_test(gradients_by_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
