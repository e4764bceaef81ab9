/*
 * Products of a few rows with a parameter: the sums of the definition, with a parameter
 * as it is or transposed, with a bias or added to what is there; nothing beside the
 * result; and the same bits on as many threads as have something to do.
 */
#include <math.h>
#include <string.h>

#include "attn/common.h"
#include "exec/blas.h"
#include "layer/linear_few.h"
#include "tests/support/random.h"
#include "tests/support/test.h"

enum { ROWS = 41, OUTPUTS = 2113, INPUTS = 1051, GAP = 3 };
enum { LD_X = INPUTS + GAP, LD_Y = OUTPUTS + GAP };
enum { NOTHING, BIAS, ADD, STARTS };

static float weight[(OUTPUTS + GAP) * (INPUTS + GAP)], x[ROWS * LD_X], bias[OUTPUTS];
static float before[ROWS * LD_Y], one[ROWS * LD_Y], some[ROWS * LD_Y];
static double products[ROWS * OUTPUTS];

static void fill(float *numbers, int count, struct random *random) {
    for (int i = 0; i < count; i++) {
        numbers[i] = (float)random_between(random, -1000, 1000) / 1000.0f;
    }
}

static struct linear_product product_of(int rows, bool transpose_b, int start) {
    return (struct linear_product){
        .m = rows,
        .n = OUTPUTS,
        .k = INPUTS,
        .a = x,
        .b = weight,
        .bias = start == BIAS ? bias : NULL,
        .lda = LD_X,
        .ldb = (transpose_b ? INPUTS : OUTPUTS) + GAP,
        .ldc = LD_Y,
        .transpose_b = transpose_b,
        .add = start == ADD,
    };
}

static void multiply(const struct linear_product *p) {
    for (int r = 0; r < ROWS; r++) {
        for (int o = 0; o < OUTPUTS; o++) {
            double sum = 0.0;
            for (int i = 0; i < INPUTS; i++) {
                const int64_t at = p->transpose_b ? o * p->ldb + i : i * p->ldb + o;
                sum += (double)x[r * LD_X + i] * weight[at];
            }
            products[r * OUTPUTS + o] = sum;
        }
    }
}

/* False if the product is none of a few rows with the BLAS at hand. */
static bool run(int32_t threads, struct linear_product product, float *y) {
    attn_context *context = NULL;
    assert_int_equal(attn_context_create(&context), ATTN_OK);
    assert_int_equal(attn_context_set_threads(context, threads), ATTN_OK);
    product.kernels = attn_kernels(context->isa);
    product.c = y;
    const bool few = attn_linear_is_few(&product);
    memcpy(y, before, sizeof before);
    if (few) {
        attn_linear_few(context, &product);
    }
    attn_context_destroy(context);
    return few;
}

/* Sums over INPUTS numbers of at most 1, however they are ordered. */
static void check(const struct linear_product *p, const float *y) {
    for (int r = 0; r < ROWS; r++) {
        for (int o = 0; o < LD_Y; o++) {
            const float old = before[r * LD_Y + o], got = y[r * LD_Y + o];
            if (r >= p->m || o >= OUTPUTS) {
                assert_true(got == old);
                continue;
            }
            const double start = p->bias != NULL ? (double)p->bias[o]
                                 : p->add        ? (double)old
                                                 : 0.0;
            const double want = start + products[r * OUTPUTS + o];
            assert_true(fabs(got - want) <= 0x1p-24 * INPUTS * 2);
        }
    }
}

static void sums_on_any_threads(void **state) {
    (void)state;
    static const int counts[] = {1, 3, 7, 23, ROWS};
    struct random random = random_stream(11, 105);
    fill(weight, (int)COUNT_OF(weight), &random);
    fill(x, ROWS * LD_X, &random);
    fill(bias, OUTPUTS, &random);
    fill(before, ROWS * LD_Y, &random);
    const bool own_is_faster =
        attn_product_own_is_faster(attn_kernels(attn_kernels_best()));
    for (int way = 0; way < 2; way++) {
        const struct linear_product all = product_of(ROWS, way == 0, NOTHING);
        multiply(&all);
        for (int i = 0; i < (int)COUNT_OF(counts); i++) {
            for (int start = 0; start < STARTS; start++) {
                const struct linear_product p = product_of(counts[i], way == 0, start);
                if (!run(1, p, one)) {
                    assert_true(!attn_blas()->small_kernels ||
                                (own_is_faster && counts[i] == ROWS));
                    continue;
                }
                check(&p, one);
                assert_true(run(4, p, some));
                assert_memory_equal(one, some, sizeof one);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(sums_on_any_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
