/*
 * Products of a few rows with a parameter, on as many threads as have something to do:
 * the sums of the definition, and the same bits whatever threads and rows there are.
 */
#include <math.h>
#include <string.h>

#include "attn/common.h"
#include "layer/linear_few.h"
#include "tests/support/random.h"
#include "tests/support/test.h"

enum { ROWS = 8, OUTPUTS = 2077, INPUTS = 1001, LD_X = INPUTS + 3, LD_Y = OUTPUTS + 5 };

static float weight[OUTPUTS * INPUTS], x[ROWS * LD_X];
static float before[ROWS * LD_Y], one[ROWS * LD_Y], some[ROWS * LD_Y];

static void fill(float *numbers, int count, struct random *random) {
    for (int i = 0; i < count; i++) {
        numbers[i] = (float)random_between(random, -1000, 1000) / 1000.0f;
    }
}

static void run(int32_t threads, int rows, bool add, float *y) {
    attn_context *context = NULL;
    assert_int_equal(attn_context_create(&context), ATTN_OK);
    assert_int_equal(attn_context_set_threads(context, threads), ATTN_OK);
    const struct linear_product product = {
        .kernels = attn_kernels(context->isa),
        .m = rows,
        .n = OUTPUTS,
        .k = INPUTS,
        .a = x,
        .b = weight,
        .c = y,
        .lda = LD_X,
        .ldb = INPUTS,
        .ldc = LD_Y,
        .transpose_b = true,
        .add = add,
    };
    memcpy(y, before, sizeof before);
    attn_linear_few(context, &product);
    attn_context_destroy(context);
}

/* Sums over INPUTS numbers of at most 1, however they are ordered. */
static void check(const float *y, int rows, bool add) {
    for (int r = 0; r < ROWS; r++) {
        for (int o = 0; o < LD_Y; o++) {
            const float old = before[r * LD_Y + o], got = y[r * LD_Y + o];
            if (r >= rows || o >= OUTPUTS) {
                assert_true(got == old);
                continue;
            }
            double sum = add ? (double)old : 0.0;
            for (int i = 0; i < INPUTS; i++) {
                sum += (double)x[r * LD_X + i] * weight[o * INPUTS + i];
            }
            assert_true(fabs(got - sum) <= 0x1p-24 * INPUTS * 2);
        }
    }
}

static void sums_on_any_threads(void **state) {
    (void)state;
    struct random random = random_stream(11, 105);
    fill(weight, OUTPUTS * INPUTS, &random);
    fill(x, ROWS * LD_X, &random);
    fill(before, ROWS * LD_Y, &random);
    for (int rows = 1; rows <= ROWS; rows += 7) {
        for (int add = 0; add < 2; add++) {
            run(1, rows, add != 0, one);
            check(one, rows, add != 0);
            run(4, rows, add != 0, some);
            assert_memory_equal(one, some, sizeof one);
        }
    }
    /* a row is what it is beside others */
    run(1, 1, false, some);
    run(1, ROWS, false, one);
    assert_memory_equal(one, some, OUTPUTS * sizeof one[0]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(sums_on_any_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
