/*
 * Products of layers in pieces, with numbers that no pieces can be made of: results are
 * those of kernels without pieces, within rounding, and no row takes part in another's.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "layer/linear_pieces.h"
#include "layer/linear_tiles.h"
#include "tests/support/random.h"
#include "tests/support/test.h"

enum { M = 130, N = 200, K = 801, WIDE_M = 530 };

static float *a, *b, *c, *right, *memory, *turned, bias[N];

static float *new_floats(int64_t count) {
    float *floats = aligned_alloc(64, (size_t)(count + 15) / 16 * 64);
    assert_non_null(floats);
    return floats;
}

static int open_all(void **state) {
    struct random random = random_stream(5, 0);
    (void)state;
    a = new_floats((int64_t)WIDE_M * K);
    b = new_floats((int64_t)N * K);
    c = new_floats((int64_t)WIDE_M * N);
    right = new_floats((int64_t)WIDE_M * N);
    turned = new_floats((int64_t)WIDE_M * K);
    for (int i = 0; i < WIDE_M * K; i++) {
        a[i] = (float)random_between(&random, -1000, 1000) / 999.0f;
    }
    for (int i = 0; i < N * K; i++) {
        b[i] = (float)random_between(&random, -1000, 1000) / 999.0f;
    }
    for (int i = 0; i < N; i++) {
        bias[i] = (float)random_between(&random, -1000, 1000) / 999.0f;
    }
    return 0;
}

static int close_all(void **state) {
    (void)state;
    free(a);
    free(b);
    free(c);
    free(right);
    free(turned);
    return 0;
}

/* Of a as it lies or transposed. True if the product was made of pieces. */
static bool run(int32_t isa, int m, bool transpose, float *to) {
    attn_context *context = NULL;
    assert_int_equal(attn_context_create(&context), ATTN_OK);
    bool pieces = false;
    if (attn_context_set_isa(context, isa) == ATTN_OK) {
        const struct linear_product product = {
            .kernels = attn_kernels(context->isa),
            .m = m,
            .n = N,
            .k = K,
            .a = transpose ? turned : a,
            .b = b,
            .bias = bias,
            .c = to,
            .lda = transpose ? WIDE_M : K,
            .ldb = K,
            .ldc = N,
            .transpose_a = transpose,
            .transpose_b = true,
        };
        pieces = attn_linear_is_pieces(&product);
        memory = new_floats(2 * attn_linear_tiled_floats(product.kernels));
        assert_int_equal(attn_context_set_threads(context, 2), ATTN_OK);
        attn_linear_tiled(context, memory, &product);
        free(memory);
    }
    attn_context_destroy(context);
    return pieces;
}

/* How far a sum may be from that of another kernel. */
static double bound_of(int i, int j) {
    double size = fabs((double)bias[j]);
    for (int l = 0; l < K; l++) {
        size += fabs((double)a[(int64_t)i * K + l] * b[(int64_t)j * K + l]);
    }
    return 2 * (K + 10) * 0x1p-24 * size;
}

static void compare_set(int32_t isa, int m) {
    if (!run(isa, m, true, right)) {
        assert_int_equal(isa, ATTN_ISA_AMX);
        print_message("no tiles of AMX here\n");
        return;
    }
    assert_true(run(isa, m, false, c));
    assert_memory_equal(c, right, (size_t)m * N * sizeof *c);
    assert_false(run(ATTN_ISA_SCALAR, m, false, right));
    for (int i = 0; i < m; i++) {
        for (int j = 0; j < N; j++) {
            const float x = c[i * N + j], y = right[i * N + j];
            const bool good = isnan(y)   ? isnan(x)
                              : isinf(y) ? x == y
                                         : fabs((double)x - y) <= bound_of(i, j);
            if (!good) {
                fail_msg("row %d column %d is %a, without pieces %a", i, j, (double)x,
                         (double)y);
            }
        }
    }
}

/* By the model of tiles, which is there on all processors, and by tiles. */
static void compare(int m) {
    for (int i = 0; i < m; i++) {
        for (int l = 0; l < K; l++) {
            turned[l * WIDE_M + i] = a[i * K + l];
        }
    }
    compare_set(ATTN_ISA_PIECES, m);
    compare_set(ATTN_ISA_AMX, m);
}

static void usual_numbers(void **state) {
    (void)state;
    compare(M);
    compare(WIDE_M);
}

static void odd_rows(void **state) {
    (void)state;
    const struct {
        int row, l;
        float x;
    } odd[] = {{3, 5, INFINITY},    {4, 800, -INFINITY}, {9, 100, NAN},
               {31, 7, 0x1p100f},   {32, 8, 0x1p127f},   {33, 9, -0x1p127f},
               {95, 10, 0x1p-140f}, {129, 799, 0x1p-80f}};
    compare(M);
    float *before = new_floats((int64_t)M * N);
    memcpy(before, c, (size_t)M * N * sizeof *c);
    float kept[COUNT_OF(odd)];
    for (size_t o = 0; o < COUNT_OF(odd); o++) {
        float *at = a + (int64_t)odd[o].row * K + odd[o].l;
        kept[o] = *at;
        *at = odd[o].x;
    }
    compare(WIDE_M);
    compare(M);
    for (int i = 0; i < M; i++) {
        bool is_odd = false;
        for (size_t o = 0; o < COUNT_OF(odd); o++) {
            is_odd = is_odd || odd[o].row == i;
        }
        if (!is_odd) {
            assert_memory_equal(c + (int64_t)i * N, before + (int64_t)i * N,
                                N * sizeof *c);
        }
    }
    for (size_t o = 0; o < COUNT_OF(odd); o++) {
        a[(int64_t)odd[o].row * K + odd[o].l] = kept[o];
    }
    free(before);
}

/* What is next to nothing throughout comes out as exactly as anything else. */
static void small_rows(void **state) {
    (void)state;
    for (int l = 0; l < K; l++) {
        a[l] *= 0x1p-100f;
        a[50 * K + l] *= 0x1p-60f;
        a[51 * K + l] *= 0x1p90f;
    }
    compare(M);
}

static void odd_weights(void **state) {
    (void)state;
    static const float odd[] = {INFINITY, NAN, 0x1p120f, 0x1p-110f, 0x1p-149f};
    for (size_t o = 0; o < COUNT_OF(odd); o++) {
        float *at = b + (int64_t)(70 + 10 * (int)o) * K + 3;
        const float kept = *at;
        *at = odd[o];
        compare(M);
        *at = kept;
    }
    bias[20] = 0.0f;
    for (int l = 0; l < K; l++) {
        b[20 * K + l] *= 0x1p-120f;
    }
    compare(M);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(usual_numbers, open_all, close_all),
        cmocka_unit_test_setup_teardown(odd_rows, open_all, close_all),
        cmocka_unit_test_setup_teardown(small_rows, open_all, close_all),
        cmocka_unit_test_setup_teardown(odd_weights, open_all, close_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
