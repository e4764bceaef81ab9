/*
 * The parameters of layers: names and shapes are those of the header, and what the
 * setters refuse.
 */
#include "tests/support/expect.h"
#include "tests/support/layer.h"

static attn_context *context;
static attn_layer *layer;

static int setup(void **state) {
    (void)state;
    attn_multihead_options options;
    assert_int_equal(attn_context_create(&context), ATTN_OK);
    assert_int_equal(attn_multihead_options_init(&options, sizeof options), ATTN_OK);
    options.embed_dim = 12;
    options.heads = 4;
    options.kv_heads = 2;
    const attn_bounds bounds = {sizeof bounds, 2, 5, 6};
    assert_int_equal(
        attn_layer_create_multihead(&layer, context, &options, NULL, &bounds), ATTN_OK);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    attn_layer_destroy(layer);
    attn_context_destroy(context);
    return 0;
}

/* Each parameter that the header lists, and no other. */
static void names_and_shapes(void **state) {
    (void)state;
    for (uint64_t number = 30000; number < 30200; number += TEST_SHARE) {
        static struct layer_call call;
        const struct layer_problem problem = layer_compose(number);
        layer_open(&call, &problem);
        int64_t count = 0;
        for (int t = 0; t < call.tensors; t++) {
            count += call.tensor[t].parameter;
        }
        assert_int_equal(attn_layer_parameter_count(call.layer), count);
        for (int64_t n = 0; n < count; n++) {
            const char *name;
            int32_t rank;
            int64_t shape[3] = {-1, -1, -1};
            layer_need(&call, attn_layer_parameter(call.layer, n, &name, &rank, shape),
                       "attn_layer_parameter");
            const struct layer_tensor *t = layer_find(&call, "", name);
            assert_non_null(t);
            assert_int_equal(rank, t->tensor.rank);
            for (int d = 0; d < 3; d++) {
                assert_int_equal(shape[d], d < rank ? t->tensor.shape[d] : 0);
            }
            for (int64_t m = 0; m < n; m++) {
                const char *other;
                attn_layer_parameter(call.layer, m, &other, NULL, NULL);
                assert_string_not_equal(name, other);
            }
        }
        layer_close(&call);
    }
}

static void numbers_of_parameters(void **state) {
    (void)state;
    assert_int_equal(attn_layer_parameter_count(layer), 2);
    assert_int_equal(attn_layer_parameter_count(NULL), 0);
    assert_int_equal(attn_layer_parameter(layer, 1, NULL, NULL, NULL), ATTN_OK);
    const char *name = "kept";
    int32_t rank = 77;
    int64_t shape[3] = {7, 7, 7};
    expect_refusal(attn_layer_parameter(layer, 2, &name, &rank, shape),
                   ATTN_ERR_INVALID, "index is 2|2 parameters");
    expect_refusal(attn_layer_parameter(layer, -1, &name, &rank, shape),
                   ATTN_ERR_INVALID, "index is -1");
    expect_refusal(attn_layer_parameter(NULL, 0, &name, &rank, shape), ATTN_ERR_INVALID,
                   "layer");
    assert_string_equal(name, "kept");
    assert_true(rank == 77 && shape[0] == 7);
    expect_refusal(attn_layer_set_reproducible(NULL, 1), ATTN_ERR_INVALID, "layer");
    expect_refusal(attn_layer_set_reproducible(layer, 2), ATTN_ERR_INVALID,
                   "reproducible is 2");
    expect_refusal(attn_layer_set_reproducible(layer, -1), ATTN_ERR_INVALID, "-1");
}

static float weights[24 * 12], gradients[24 * 12], more[12 * 12];

/* Both setters refuse the tensor. */
static void refused_parameter(const char *name, const attn_tensor *tensor,
                              attn_status status, const char *says) {
    expect_refusal(attn_layer_set_parameter(layer, name, tensor), status, says);
    expect_refusal(attn_layer_set_gradient(layer, name, tensor), status, says);
}

static void bad_parameters(void **state) {
    (void)state;
    attn_tensor good, t;
    attn_tensor_init(&good, ATTN_F32, 2, (int64_t[]){24, 12}, weights);
    refused_parameter("in_proj_weights", &good, ATTN_ERR_INVALID,
                      "no parameter|in_proj_weights|in_proj_weight");
    refused_parameter("", &good, ATTN_ERR_INVALID, "no parameter");
    refused_parameter(NULL, &good, ATTN_ERR_INVALID, "no parameter|NULL");
    expect_refusal(attn_layer_set_parameter(NULL, "in_proj_weight", &good),
                   ATTN_ERR_INVALID, "layer");
    expect_refusal(attn_layer_set_gradient(NULL, "in_proj_weight", &good),
                   ATTN_ERR_INVALID, "layer");
    expect_refusal(attn_layer_set_parameter(layer, "in_proj_weight", NULL),
                   ATTN_ERR_INVALID, "in_proj_weight is NULL");
    static const int64_t shapes[][3] = {{12, 24, 0}, {24, 11, 0}, {25, 12, 0}};
    for (size_t s = 0; s < COUNT_OF(shapes); s++) {
        attn_tensor_init(&t, ATTN_F32, 2, shapes[s], weights);
        refused_parameter("in_proj_weight", &t, ATTN_ERR_INVALID,
                          "in_proj_weight has shape|(24, 12)");
    }
    static const int32_t ranks[] = {0, 1, 3, 6, 7, -1};
    for (size_t r = 0; r < COUNT_OF(ranks); r++) {
        t = good;
        t.rank = ranks[r];
        refused_parameter("in_proj_weight", &t, ATTN_ERR_INVALID,
                          "in_proj_weight has shape|(24, 12)");
    }
    t = good;
    t.dtype = ATTN_I32;
    refused_parameter("in_proj_weight", &t, ATTN_ERR_INVALID, "in_proj_weight|i32");
    t.dtype = ATTN_BF16;
    refused_parameter("in_proj_weight", &t, ATTN_ERR_UNSUPPORTED,
                      "in_proj_weight|bf16");
    t = good;
    t.reserved[1] = 1;
    refused_parameter("in_proj_weight", &t, ATTN_ERR_UNSUPPORTED, "in_proj_weight");
    t = good;
    t.data = NULL;
    refused_parameter("in_proj_weight", &t, ATTN_ERR_INVALID, "in_proj_weight");
    t.data = (char *)weights + 2;
    refused_parameter("in_proj_weight", &t, ATTN_ERR_INVALID, "in_proj_weight|aligned");
    static const int64_t strides[][2] = {{12, 2}, {11, 1}, {0, 1},  {-12, 1},
                                         {1, 23}, {1, 0},  {24, 2}, {2, 24}};
    for (size_t s = 0; s < COUNT_OF(strides); s++) {
        t = good;
        t.stride[0] = strides[s][0];
        t.stride[1] = strides[s][1];
        refused_parameter("in_proj_weight", &t, ATTN_ERR_INVALID,
                          "in_proj_weight|stride");
    }
    t = good;
    t.stride[0] = INT64_C(1) << 31;
    refused_parameter("in_proj_weight", &t, ATTN_ERR_UNSUPPORTED,
                      "in_proj_weight|2147483648|BLAS");
    /* transposed ones are good */
    t = good;
    t.stride[0] = 1;
    t.stride[1] = 24;
    assert_int_equal(attn_layer_set_parameter(layer, "in_proj_weight", &t), ATTN_OK);
}

/* Gradients meet no parameter and no other gradient. */
static void overlapping_gradients(void **state) {
    (void)state;
    attn_tensor in, out, t;
    attn_tensor_init(&in, ATTN_F32, 2, (int64_t[]){24, 12}, weights);
    attn_tensor_init(&out, ATTN_F32, 2, (int64_t[]){12, 12}, more);
    assert_int_equal(attn_layer_set_parameter(layer, "in_proj_weight", &in), ATTN_OK);
    assert_int_equal(attn_layer_set_parameter(layer, "out_proj.weight", &out), ATTN_OK);
    expect_refusal(attn_layer_set_gradient(layer, "in_proj_weight", &in),
                   ATTN_ERR_INVALID,
                   "gradient of in_proj_weight overlaps in_proj_weight");
    attn_tensor_init(&t, ATTN_F32, 2, (int64_t[]){12, 12},
                     weights + (ptrdiff_t)24 * 12 - 1);
    expect_refusal(attn_layer_set_gradient(layer, "out_proj.weight", &t),
                   ATTN_ERR_INVALID,
                   "gradient of out_proj.weight overlaps in_proj_weight");
    in.data = gradients;
    assert_int_equal(attn_layer_set_gradient(layer, "in_proj_weight", &in), ATTN_OK);
    t.data = gradients + 143;
    expect_refusal(attn_layer_set_gradient(layer, "out_proj.weight", &t),
                   ATTN_ERR_INVALID,
                   "gradient of out_proj.weight overlaps that of in_proj_weight");
    expect_refusal(attn_layer_set_parameter(layer, "out_proj.weight", &t),
                   ATTN_ERR_INVALID,
                   "out_proj.weight overlaps the gradient of in_proj_weight");
    /* given again where it is, and taken away */
    assert_int_equal(attn_layer_set_gradient(layer, "in_proj_weight", &in), ATTN_OK);
    assert_int_equal(attn_layer_set_gradient(layer, "in_proj_weight", NULL), ATTN_OK);
    assert_int_equal(attn_layer_set_gradient(layer, "out_proj.weight", &t), ATTN_OK);
    /* parameters may be the same memory */
    in.data = weights;
    out.data = weights;
    assert_int_equal(attn_layer_set_parameter(layer, "in_proj_weight", &in), ATTN_OK);
    assert_int_equal(attn_layer_set_parameter(layer, "out_proj.weight", &out), ATTN_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(names_and_shapes),
        TEST(numbers_of_parameters),
        TEST(bad_parameters),
        TEST(overlapping_gradients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
