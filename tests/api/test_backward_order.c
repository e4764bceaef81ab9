/*
 * The order of things does not matter to gradients, nor whether all keys are in one
 * call: batch elements, heads, queries and keys in reverse, and keys in two parts.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/backward.h"
#include "tests/support/check.h"
#include "tests/support/element.h"
#include "tests/support/oracle_backward.h"
#include "tests/support/run.h"

static struct test_backward left, right;

/* -------------------------------------------------------------- permutations */

static void *copies[16];
static int copied;

/* Puts a contiguous copy in a tensor's place, in reverse order along an axis; -1: none.
 * Axes count from the left of (B, H, S, D); a tensor may lack the last ones. */
static void reverse(attn_tensor *tensor, int axis) {
    attn_tensor copy = *tensor;
    int64_t stride = 1;
    if (tensor->rank == 0) {
        return;
    }
    for (int32_t d = tensor->rank - 1; d >= 0; d--) {
        copy.stride[d] = stride;
        stride *= tensor->shape[d];
    }
    copy.data = aligned_alloc(64, ((size_t)stride * sizeof(float) + 63) / 64 * 64);
    assert_non_null(copy.data);
    assert_true(copied < (int)COUNT_OF(copies));
    copies[copied++] = copy.data;
    for (int64_t n = 0; n < stride; n++) {
        int64_t i[4];
        element_index(tensor, n, i);
        int64_t *own = &i[4 - tensor->rank];
        if (axis >= 0) {
            own[axis] = tensor->shape[axis] - 1 - own[axis];
        }
        ((float *)copy.data)[n] = element_float(tensor, i[0], i[1], i[2], i[3]);
    }
    *tensor = copy;
}

/* Reverses an axis of everything in a call that has it: 0 batch, 1 heads, 2 queries, 3
 * keys; -1 copies only. */
static void reverse_call(struct test_backward *call, int axis) {
    struct test_inputs *in = &call->forward.inputs;
    int of_query = axis <= 2 ? axis : -1, of_key = axis <= 1 ? axis : -1;
    of_key = axis == 3 ? 2 : of_key;
    reverse(&in->query, of_query);
    reverse(&in->key, of_key);
    reverse(&in->value, of_key);
    reverse(&call->incoming.tensor[OF_OUT], of_query);
    reverse(&call->incoming.tensor[OF_LSE], of_query);
    reverse(&call->incoming.tensor[OF_WEIGHTS], axis);
    reverse(&call->incoming.tensor[OF_KEY_SUMS], of_key);
    backward_forward(call);
    backward_run(call);
}

/* Largest ratio of a difference between left and reversed right to its bound. */
static double worst_ratio(int axis) {
    struct oracle_gradients oracle;
    double worst = 0;
    oracle_gradients_open(&oracle, &left.forward.inputs, &left.incoming, 1);
    for (int o = GRAD_QUERY; o <= GRAD_VALUE; o++) {
        const attn_tensor *tensor = &left.gradients.tensor[o];
        int own = o != GRAD_QUERY && axis == 3 ? 2 : axis;
        int reversed = o == GRAD_QUERY ? axis <= 2 : axis != 2;
        for (int64_t n = 0; n < element_count(tensor); n++) {
            int64_t i[4];
            element_index(tensor, n, i);
            double one = element_float(tensor, i[0], i[1], i[2], i[3]);
            if (reversed) {
                i[own] = tensor->shape[own] - 1 - i[own];
            }
            double other =
                element_float(&right.gradients.tensor[o], i[0], i[1], i[2], i[3]);
            double bound = oracle_gradient_bound(&oracle.sum[o][n]);
            worst = fmax(worst, fabs(one - other) / bound);
        }
    }
    oracle_gradients_close(&oracle);
    return worst;
}

static void order_does_not_matter(void **state) {
    (void)state;
    for (int axis = 0; axis < 4; axis++) {
        backward_open(&left, "b3 h4 q80 k144 d16 seed=6", ALL_INCOMING, ALL_GRADIENTS);
        backward_open(&right, "b3 h4 q80 k144 d16 seed=6", ALL_INCOMING, ALL_GRADIENTS);
        reverse_call(&left, -1);
        reverse_call(&right, axis);
        double ratio = worst_ratio(axis);
        /* The same to the bit where only places in memory change. */
        assert_true(axis <= 1 ? ratio == 0 : ratio <= 2);
        backward_close(&left);
        backward_close(&right);
        while (copied > 0) {
            free(copies[--copied]);
        }
    }
}

/* ------------------------------------------------------------- keys in parts */

/* Adds the gradients of queries of right to sums, and compares those of its keys and
 * values with those that left has from key `first` on. */
static void need_part(const struct oracle_gradients *oracle, int64_t first,
                      double *sums) {
    const attn_tensor *query = &right.gradients.tensor[GRAD_QUERY];
    for (int64_t n = 0; n < element_count(query); n++) {
        sums[n] += *(const float *)element_nth(query, n);
    }
    for (int o = GRAD_KEY; o <= GRAD_VALUE; o++) {
        const attn_tensor *part = &right.gradients.tensor[o];
        for (int64_t n = 0; n < element_count(part); n++) {
            int64_t i[4];
            element_index(part, n, i);
            const struct oracle_sum *sum =
                oracle_gradient_at(oracle, o, i[0], i[1], first + i[2], i[3]);
            assert_true(check_number(*(const float *)element_nth(part, n), sum->value,
                                     oracle_gradient_bound(sum)));
        }
    }
}

/* Keys that are spread over two machines, each of which gets what all keys together
 * gave: out and either LSE or row_max and row_sum. */
static void keys_in_parts(void **state) {
    (void)state;
    static double sums[4 * 80 * 16];
    struct oracle_gradients oracle;
    for (int by_lse = 0; by_lse < 2; by_lse++) {
        backward_open(&left, "h4/2 q80 k300 d16 causal align=offsets seed=3",
                      ONLY_OF_OUT, ALL_GRADIENTS);
        struct test_inputs *whole = &left.forward.inputs;
        /* Query 0 stands beside key 100, so that rows have no keys of the second part.
         */
        element_set_int(&whole->query_offsets, 0, 0, 100);
        backward_forward(&left);
        memset(sums, 0, sizeof sums);
        oracle_gradients_open(&oracle, whole, &left.incoming, 1);
        for (int64_t first = 0; first < 300; first += 150) {
            backward_open(&right, "h4/2 q80 k150 d16 causal align=offsets seed=3",
                          ONLY_OF_OUT, ALL_GRADIENTS);
            struct test_inputs *part = &right.forward.inputs;
            element_set_int(&part->query_offsets, 0, 0, 100 - first);
            part->query = whole->query;
            part->key.data = element_at(&whole->key, 0, 0, first, 0);
            part->value.data = element_at(&whole->value, 0, 0, first, 0);
            memcpy(part->key.stride, whole->key.stride, sizeof part->key.stride);
            memcpy(part->value.stride, whole->value.stride, sizeof part->value.stride);
            right.args.grad_out = left.args.grad_out;
            const struct test_outputs *of_all = &left.forward.outputs;
            right.forward.args.out = &of_all->tensor[OUT];
            right.forward.args.lse = by_lse ? &of_all->tensor[LSE] : NULL;
            right.forward.args.row_max = by_lse ? NULL : &of_all->tensor[ROW_MAX];
            right.forward.args.row_sum = by_lse ? NULL : &of_all->tensor[ROW_SUM];
            backward_run(&right);
            need_part(&oracle, first, sums);
            backward_close(&right);
        }
        for (int64_t n = 0; n < (int64_t)COUNT_OF(sums); n++) {
            const struct oracle_sum *sum = &oracle.sum[GRAD_QUERY][n];
            assert_true(
                check_number(sums[n], sum->value, 2 * oracle_gradient_bound(sum)));
        }
        oracle_gradients_close(&oracle);
        backward_close(&left);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_does_not_matter),
        cmocka_unit_test(keys_in_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
