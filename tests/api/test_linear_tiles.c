/*
 * Large products by tiles: the sums of the definition, with either operand transposed,
 * with a bias or added to what is there, by BLAS or by our own kernel, b packed before
 * or not; nothing beside the result; and the same bits whatever the number of threads.
 * Sizes leave one row and one column beyond the tiles of BLAS, and are longer than what
 * is packed at a time; of a, all rows and a few.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "attn/common.h"
#include "layer/linear_tiles.h"
#include "tests/support/random.h"
#include "tests/support/test.h"

#ifdef TEST_EMULATED
enum { M = 257, N = 129, K = 801 };
#else
enum { M = 705, N = 193, K = 1001 };
#endif
enum { GAP = 3, LD_C = N + GAP, THREADS = 5 };
enum { NOTHING, BIAS, ADD, STARTS };
enum { MEMORY_FLOATS = 8 * TILES_FLOATS };

static float a[(M + GAP) * (K + GAP)], b[(K + GAP) * (N + GAP)], bias[N];
static double products[M * N];
static float before[M * LD_C], one[M * LD_C], some[M * LD_C];
static float memory[THREADS * MEMORY_FLOATS], packed[(N + TILES_COLUMNS) * K];

static void fill(float *numbers, int count, struct random *random) {
    for (int i = 0; i < count; i++) {
        numbers[i] = (float)random_between(random, -1000, 1000) / 1000.0f;
    }
}

static struct linear_product product_of(bool transpose_a, bool transpose_b, int start) {
    return (struct linear_product){
        .m = M,
        .n = N,
        .k = K,
        .a = a,
        .b = b,
        .bias = start == BIAS ? bias : NULL,
        .lda = (transpose_a ? M : K) + GAP,
        .ldb = (transpose_b ? K : N) + GAP,
        .ldc = LD_C,
        .transpose_a = transpose_a,
        .transpose_b = transpose_b,
        .add = start == ADD,
    };
}

static void run(int32_t threads, struct linear_product product, float *c) {
    attn_context *context = NULL;
    assert_int_equal(attn_context_create(&context), ATTN_OK);
    assert_int_equal(attn_context_set_threads(context, threads), ATTN_OK);
    product.kernels = attn_kernels(context->isa);
    assert_true(attn_linear_tiled_floats(product.kernels) <= MEMORY_FLOATS);
    product.c = c;
    if (product.packed.columns > 0) {
        const int columns = attn_linear_packed_columns(product.kernels);
        product.packed.columns =
            columns > 0 ? columns : product_columns(product.kernels);
        attn_linear_pack(product.kernels, &product.packed, packed, b, product.ldb,
                         product.transpose_b, K, N);
        product.b = NULL;
    }
    memcpy(c, before, sizeof before);
    attn_linear_tiled(context, memory, &product);
    attn_context_destroy(context);
}

static void multiply(const struct linear_product *p) {
    for (int i = 0; i < M; i++) {
        for (int j = 0; j < N; j++) {
            double sum = 0.0;
            for (int l = 0; l < K; l++) {
                const float x = p->transpose_a ? a[l * p->lda + i] : a[i * p->lda + l];
                const float y = p->transpose_b ? b[j * p->ldb + l] : b[l * p->ldb + j];
                sum += (double)x * y;
            }
            products[i * N + j] = sum;
        }
    }
}

static double element(const struct linear_product *p, int i, int j) {
    const double start = p->bias != NULL ? (double)p->bias[j]
                         : p->add        ? (double)before[i * LD_C + j]
                                         : 0.0;
    return start + products[i * N + j];
}

/* Sums over K numbers of at most 1, however they are ordered. */
static void check(const struct linear_product *p, const float *c) {
    for (int i = 0; i < M; i++) {
        for (int j = 0; j < LD_C; j++) {
            const float got = c[i * LD_C + j];
            if (j >= N || i >= p->m) {
                assert_true(got == before[i * LD_C + j]);
            } else {
                assert_true(fabs(got - element(p, i, j)) <= 0x1p-24 * K * 2);
            }
        }
    }
}

static void check_threads(struct linear_product p) {
    run(1, p, one);
    check(&p, one);
    for (int32_t threads = 2; threads <= THREADS; threads += 3) {
        run(threads, p, some);
        assert_memory_equal(one, some, sizeof one);
    }
}

static void sums_on_any_threads(void **state) {
    (void)state;
    struct random random = random_stream(11, 107);
    fill(a, (int)COUNT_OF(a), &random);
    fill(b, (int)COUNT_OF(b), &random);
    fill(bias, N, &random);
    fill(before, (int)COUNT_OF(before), &random);
    for (int way = 0; way < 16; way++) {
        const bool transpose_a = way >> 3, transpose_b = way >> 2 & 1;
        for (int start = 0; start < STARTS; start++) {
            struct linear_product p = product_of(transpose_a, transpose_b, start);
            p.own = way >> 1 & 1;
            p.packed.columns = way & 1; /* how many, the kernels say */
            if (way % 4 == 0 && start == 0) {
                multiply(&p);
            }
            check_threads(p);
            p.m = M / 16; /* so few that packed blocks are called for */
            check_threads(p);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(sums_on_any_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
