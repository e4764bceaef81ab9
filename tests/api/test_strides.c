/*
 * Strides that say nothing: of the single row of a weight, and of tensors without
 * elements. And weights of one output whose inputs lie apart.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/support/run.h"
#include "tests/support/test.h"

/* One feature in and out, DIM of a head; rows of a sequence at the most. */
enum { DIM = 8, ROWS = 200, APART = 3 };

static float in_weight[3 * DIM], out_weight[DIM * APART];
static float input[ROWS], grad_output[ROWS];

/* What a forward and a backward call write. */
struct results {
    float output[ROWS], grad_input[ROWS], grad_in[3 * DIM], grad_out[DIM * APART];
};

static attn_context *context;
static attn_layer *layer;

static int setup(void **state) {
    (void)state;
    const struct test_problem problem = run_parse("threads=2");
    const attn_bounds bounds = {sizeof bounds, 2, ROWS, ROWS};
    attn_multihead_options options;
    context = run_context(&problem);
    assert_int_equal(attn_multihead_options_init(&options, sizeof options), ATTN_OK);
    options.embed_dim = options.heads = 1;
    options.key_dim = options.value_dim = DIM;
    assert_int_equal(
        attn_layer_create_multihead(&layer, context, &options, NULL, &bounds), ATTN_OK);
    for (int i = 0; i < 3 * DIM; i++) {
        in_weight[i] = (float)(i % 7 - 3) / 4.0f;
        out_weight[i] = (float)(i % 5 - 2) / 2.0f;
    }
    for (int i = 0; i < ROWS; i++) {
        input[i] = (float)(i % 11 - 5) / 5.0f;
        grad_output[i] = (float)(i % 13 - 6) / 6.0f;
    }
    return 0;
}

static int teardown(void **state) {
    (void)state;
    attn_layer_destroy(layer);
    attn_context_destroy(context);
    return 0;
}

static void give(attn_tensor *weight, float *gradient, const char *name) {
    assert_int_equal(attn_layer_set_parameter(layer, name, weight), ATTN_OK);
    weight->data = gradient;
    assert_int_equal(attn_layer_set_gradient(layer, name, weight), ATTN_OK);
}

/* With out_proj.weight from there on, of these strides. */
static void run(struct results *results, int64_t rows, float *weight, int64_t stride,
                int64_t last_stride) {
    attn_tensor in, out, x, y, grad_y, grad_x;
    memset(results, 0, sizeof *results);
    attn_tensor_init(&in, ATTN_F32, 2, (int64_t[]){3 * (int64_t)DIM, 1}, in_weight);
    attn_tensor_init(&out, ATTN_F32, 2, (int64_t[]){1, DIM}, weight);
    out.stride[0] = stride;
    out.stride[1] = last_stride;
    give(&in, results->grad_in, "in_proj_weight");
    give(&out, results->grad_out, "out_proj.weight");
    attn_tensor_init(&x, ATTN_F32, 3, (int64_t[]){1, rows, 1}, input);
    attn_tensor_init(&y, ATTN_F32, 3, (int64_t[]){1, rows, 1}, results->output);
    attn_tensor_init(&grad_y, ATTN_F32, 3, (int64_t[]){1, rows, 1}, grad_output);
    attn_tensor_init(&grad_x, ATTN_F32, 3, (int64_t[]){1, rows, 1},
                     results->grad_input);
    attn_layer_args args;
    attn_layer_backward_args backward;
    assert_int_equal(attn_layer_args_init(&args, sizeof args), ATTN_OK);
    assert_int_equal(attn_layer_backward_args_init(&backward, sizeof backward),
                     ATTN_OK);
    const size_t size = attn_layer_state_size(layer, 1, rows, rows);
    args.input = &x;
    args.output = &y;
    args.state = aligned_alloc(64, (size + 63) / 64 * 64);
    args.state_size = (int64_t)size;
    assert_non_null(args.state);
    backward.forward = &args;
    backward.grad_output = &grad_y;
    backward.grad_input = &grad_x;
    assert_int_equal(attn_layer_forward(layer, &args), ATTN_OK);
    assert_int_equal(attn_layer_backward(layer, &backward), ATTN_OK);
    free(args.state);
}

static const int64_t lengths[] = {1, 2, 7, 30, 64, ROWS};

static void of_one_row(void **state) {
    (void)state;
    static const int64_t strides[] = {0, 1, 5, INT64_C(1) << 31, INT64_C(1) << 40};
    for (size_t l = 0; l < COUNT_OF(lengths); l++) {
        static struct results plain, other;
        run(&plain, lengths[l], out_weight, DIM, 1);
        for (size_t s = 0; s < COUNT_OF(strides); s++) {
            run(&other, lengths[l], out_weight, strides[s], 1);
            assert_memory_equal(&other, &plain, sizeof plain);
        }
    }
}

static void need_close(const float *a, const float *b, int64_t count, int apart) {
    for (int64_t i = 0; i < count; i++) {
        assert_float_equal(a[i * apart], b[i], 1e-4f);
    }
}

/* A column of a matrix: that is how it lies transposed. */
static void of_a_column(void **state) {
    (void)state;
    static const int64_t strides[] = {1, DIM, INT64_C(1) << 40};
    static float column[DIM * APART];
    for (ptrdiff_t i = 0; i < DIM; i++) {
        column[i * APART] = out_weight[i];
        column[i * APART + 1] = column[i * APART + 2] = 1e30f;
    }
    for (size_t l = 0; l < COUNT_OF(lengths); l++) {
        static struct results plain, other;
        run(&plain, lengths[l], out_weight, DIM, 1);
        for (size_t s = 0; s < COUNT_OF(strides); s++) {
            run(&other, lengths[l], column, strides[s], APART);
            need_close(other.output, plain.output, lengths[l], 1);
            need_close(other.grad_input, plain.grad_input, lengths[l], 1);
            need_close(other.grad_in, plain.grad_in, 3 * (int64_t)DIM, 1);
            need_close(other.grad_out, plain.grad_out, DIM, APART);
            for (int i = 0; i < DIM * APART; i++) {
                assert_true(i % APART == 0 || other.grad_out[i] == 0.0f);
            }
        }
    }
}

/* A call without rows, and a batch of none. */
static void of_nothing(void **state) {
    (void)state;
    static const int64_t shapes[][3] = {{2, 0, 1}, {0, 3, 1}};
    attn_tensor in, out;
    attn_tensor_init(&in, ATTN_F32, 2, (int64_t[]){3 * (int64_t)DIM, 1}, in_weight);
    attn_tensor_init(&out, ATTN_F32, 2, (int64_t[]){1, DIM}, out_weight);
    assert_int_equal(attn_layer_set_parameter(layer, "in_proj_weight", &in), ATTN_OK);
    assert_int_equal(attn_layer_set_parameter(layer, "out_proj.weight", &out), ATTN_OK);
    for (size_t s = 0; s < COUNT_OF(shapes); s++) {
        attn_tensor x, y;
        attn_layer_args args;
        attn_tensor_init(&x, ATTN_F32, 3, shapes[s], NULL);
        for (int i = 0; i < 3; i++) {
            x.stride[i] = INT64_MAX - i;
        }
        y = x;
        assert_int_equal(attn_layer_args_init(&args, sizeof args), ATTN_OK);
        args.input = &x;
        args.output = &y;
        assert_int_equal(attn_layer_forward(layer, &args), ATTN_OK);
    }
}

/* Attention to no keys. */
static void of_no_keys(void **state) {
    (void)state;
    static float query[2 * 2 * 3 * 4], out[2 * 2 * 3 * 4];
    const attn_bounds bounds = {sizeof bounds, 2, 3, 3};
    attn_desc *desc = NULL;
    attn_plan *plan = NULL;
    attn_forward_args args;
    attn_tensor q, k, o;
    assert_int_equal(attn_desc_create(&desc), ATTN_OK);
    assert_int_equal(attn_desc_set_heads(desc, 2, 2), ATTN_OK);
    assert_int_equal(attn_desc_set_dims(desc, 4, 4), ATTN_OK);
    assert_int_equal(attn_plan_create(&plan, context, desc, &bounds), ATTN_OK);
    attn_tensor_init(&q, ATTN_F32, 4, (int64_t[]){2, 2, 3, 4}, query);
    attn_tensor_init(&o, ATTN_F32, 4, (int64_t[]){2, 2, 3, 4}, out);
    attn_tensor_init(&k, ATTN_F32, 4, (int64_t[]){2, 2, 0, 4}, NULL);
    for (int i = 0; i < 3; i++) {
        k.stride[i] = INT64_MAX - i;
    }
    memset(out, 0xff, sizeof out);
    assert_int_equal(attn_forward_args_init(&args, sizeof args), ATTN_OK);
    args.query = &q;
    args.key = args.value = &k;
    args.out = &o;
    assert_int_equal(attn_plan_forward(plan, &args), ATTN_OK);
    for (size_t i = 0; i < COUNT_OF(out); i++) {
        assert_true(out[i] == 0.0f);
    }
    attn_plan_destroy(plan);
    attn_desc_destroy(desc);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const int skipped = run_skip_isa();
    if (skipped != 0) {
        return skipped;
    }
    const struct CMUnitTest tests[] = {
        TEST(of_one_row),
        TEST(of_a_column),
        TEST(of_nothing),
        TEST(of_no_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
