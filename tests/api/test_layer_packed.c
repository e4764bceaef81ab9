/*
 * Packed weights: forward calls read them and nothing else of a weight, whichever layer
 * of the same options packed them, and tensors again once told to; what the three calls
 * refuse. That results are right is test_layer's to show.
 */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/expect.h"
#include "tests/support/layer.h"
#include "tests/support/run.h"

static void enlarge(attn_multihead_options *options) {
    options->embed_dim *= 8;
    options->key_dim *= 8;
    options->value_dim *= 8;
    options->key_embed_dim *= 8;
    options->value_embed_dim *= 8;
}

/* A sample with so many rows and features that packed weights are faster for all of its
 * products, whichever way the BLAS at hand makes them go. */
static struct layer_problem large_sample(int n) {
    struct layer_problem sample = layer_sample(n);
    sample.q_length += 8;
    sample.kv_length += sample.kv_length > 0 ? 8 : 0;
    sample.targets *= 3;
    sample.stack.feed_forward_dim *= 8;
    sample.self.rows_after += 4;
    enlarge(&sample.self.options);
    enlarge(&sample.memory.options);
    return sample;
}

static void need_nan(const struct layer_call *call) {
    assert_true(isnan(*(const float *)call->output.data));
}

static void what_calls_read(void **state) {
    (void)state;
    for (int n = 0; n < LAYER_SAMPLES; n++) {
        struct layer_problem problem = large_sample(n);
        problem.packed = 1;
        struct layer_call call;
        layer_open(&call, &problem);
        layer_forward(&call);
        struct layer_snapshot before = layer_take(&call, LAYER_OUTPUT);
        const int64_t size = (int64_t)attn_layer_packed_size(call.layer);
        if (size == 0) {
            free(before.values);
            layer_close(&call);
            continue; /* kernels that have no use for it */
        }
        layer_spoil_weights(&call);
        layer_reset(&call);
        layer_forward(&call);
        layer_need_same(&before, &call, LAYER_OUTPUT, "spoilt tensors");
        /* tensors again */
        layer_need(&call, attn_layer_set_packed(call.layer, NULL, 0), "unset");
        layer_reset(&call);
        layer_forward(&call);
        need_nan(&call);
        layer_need(&call, attn_layer_set_packed(call.layer, call.packed, size), "set");
        layer_give(call.layer, &call);
        layer_reset(&call);
        layer_forward(&call);
        need_nan(&call);
        layer_close(&call);
    }
}

/* The bounds are nothing to the packed weights. */
static void layers_share_them(void **state) {
    (void)state;
    for (int n = 0; n < LAYER_SAMPLES; n++) {
        struct layer_problem problem = large_sample(n), larger = problem;
        struct layer_call first, second;
        problem.packed = 1;
        layer_open(&first, &problem);
        layer_forward(&first);
        struct layer_snapshot output = layer_take(&first, LAYER_OUTPUT);
        layer_open(&second, &larger);
        attn_layer *other = NULL;
        const int64_t size = (int64_t)attn_layer_packed_size(first.layer);
        larger.batch += 9;
        larger.q_length += 3;
        layer_need(&second, layer_create(&other, second.context, &larger), "create");
        assert_int_equal(attn_layer_packed_size(other), size);
        layer_give(other, &second);
        layer_need(&second, attn_layer_set_packed(other, first.packed, size), "set");
        layer_spoil_weights(&second);
        attn_layer_destroy(second.layer);
        second.layer = other;
        layer_reset(&second);
        second.args.state = NULL;
        second.args.state_size = 0;
        if (size > 0) {
            layer_forward(&second);
            layer_need_same(&output, &second, LAYER_OUTPUT, "another layer");
        } else {
            free(output.values);
        }
        layer_close(&first);
        layer_close(&second);
    }
}

static void refusals(void **state) {
    (void)state;
    struct layer_call call;
    struct layer_problem problem = large_sample(0);
    layer_open(&call, &problem);
    const int64_t size = layer_pack(&call);
    assert_int_equal(attn_layer_packed_size(NULL), 0);
    expect_refusal(attn_layer_pack(NULL, call.packed, size), ATTN_ERR_INVALID, "layer");
    expect_refusal(attn_layer_set_packed(NULL, call.packed, size), ATTN_ERR_INVALID,
                   "layer");
    if (size > 0) {
        char *memory = call.packed, says[64];
        attn_layer *layer = call.layer;
        expect_refusal(attn_layer_pack(layer, NULL, size), ATTN_ERR_INVALID, "NULL");
        expect_refusal(attn_layer_pack(layer, memory + 32, size), ATTN_ERR_INVALID,
                       "multiple of 64");
        expect_refusal(attn_layer_set_packed(layer, memory + 32, size),
                       ATTN_ERR_INVALID, "multiple of 64");
        snprintf(says, sizeof says, "size is %lld|need %lld", (long long)size - 1,
                 (long long)size);
        expect_refusal(attn_layer_pack(layer, memory, size - 1), ATTN_ERR_INVALID,
                       says);
        expect_refusal(attn_layer_set_packed(layer, memory, size - 1), ATTN_ERR_INVALID,
                       says);
        /* what is refused is not taken: the old ones are still read */
        layer_forward(&call);
        struct layer_snapshot output = layer_take(&call, LAYER_OUTPUT);
        char *copy = aligned_alloc(64, (size_t)size);
        assert_non_null(copy);
        memcpy(copy, memory, (size_t)size);
        for (int at = 0; at < 40; at++) {
            copy[at] ^= 1;
            expect_refusal(attn_layer_set_packed(layer, copy, size), ATTN_ERR_INVALID,
                           "does not hold|attn_layer_pack");
            copy[at] ^= 1;
        }
        memset(copy + 64, 0xff, (size_t)size - 64);
        layer_forward(&call);
        layer_need_same(&output, &call, LAYER_OUTPUT, "after refusals");
        layer_need(&call, attn_layer_set_packed(layer, copy, size), "set");
        layer_forward(&call);
        need_nan(&call);
        free(copy);
    }
    layer_close(&call);
}

/* Memory that meets a parameter, and a parameter that is not there. */
static void packing_refusals(void **state) {
    (void)state;
    enum { E = 32, ROOM = 1 << 16 };
    attn_context *context = NULL;
    attn_layer *layer = NULL;
    attn_multihead_options options;
    attn_tensor tensor;
    assert_int_equal(attn_context_create(&context), ATTN_OK);
    assert_int_equal(attn_multihead_options_init(&options, sizeof options), ATTN_OK);
    options.embed_dim = E;
    options.heads = 2;
    const attn_bounds bounds = {sizeof bounds, 1, 4, 0};
    assert_int_equal(
        attn_layer_create_multihead(&layer, context, &options, NULL, &bounds), ATTN_OK);
    const int64_t size = (int64_t)attn_layer_packed_size(layer);
    char *memory = aligned_alloc(64, (size_t)size + ROOM);
    assert_non_null(memory);
    memset(memory, 0, (size_t)size + ROOM);
    attn_tensor_init(&tensor, ATTN_F32, 2, (int64_t[]){96, E}, memory + size);
    assert_int_equal(attn_layer_set_parameter(layer, "in_proj_weight", &tensor),
                     ATTN_OK);
    if (size > 0) {
        expect_refusal(attn_layer_pack(layer, memory, size), ATTN_ERR_INVALID,
                       "out_proj.weight was not given");
        attn_tensor_init(&tensor, ATTN_F32, 2, (int64_t[]){E, E}, memory + size - 64);
        assert_int_equal(attn_layer_set_parameter(layer, "out_proj.weight", &tensor),
                         ATTN_OK);
        expect_refusal(attn_layer_pack(layer, memory, size), ATTN_ERR_INVALID,
                       "packed weights overlaps parameter out_proj.weight");
    } else {
        assert_int_equal(attn_layer_pack(layer, NULL, 0), ATTN_OK);
        assert_int_equal(attn_layer_set_packed(layer, NULL, 0), ATTN_OK);
    }
    attn_layer_destroy(layer);
    attn_context_destroy(context);
    free(memory);
}

/* Weights of as many bytes, but of other shapes. */
static void weights_of_another_layer(void **state) {
    (void)state;
    attn_context *context = NULL;
    attn_layer *layer[2];
    attn_multihead_options options;
    const attn_bounds bounds = {sizeof bounds, 1, 4, 4};
    assert_int_equal(attn_context_create(&context), ATTN_OK);
    assert_int_equal(attn_multihead_options_init(&options, sizeof options), ATTN_OK);
    options.embed_dim = 32;
    options.heads = 2;
    options.separate = 1;
    for (int i = 0; i < 2; i++) {
        options.key_embed_dim = i == 0 ? 16 : 48;
        options.value_embed_dim = i == 0 ? 48 : 16;
        assert_int_equal(
            attn_layer_create_multihead(&layer[i], context, &options, NULL, &bounds),
            ATTN_OK);
    }
    const int64_t size = (int64_t)attn_layer_packed_size(layer[0]);
    assert_int_equal(attn_layer_packed_size(layer[1]), size);
    if (size > 0) {
        static const char *const names[] = {"q_proj_weight", "k_proj_weight",
                                            "v_proj_weight", "out_proj.weight"};
        static const int64_t inputs[] = {32, 16, 48, 32};
        static float values[32 * 48];
        char *memory = aligned_alloc(64, (size_t)size);
        assert_non_null(memory);
        for (int p = 0; p < 4; p++) {
            attn_tensor tensor;
            attn_tensor_init(&tensor, ATTN_F32, 2, (int64_t[]){32, inputs[p]}, values);
            assert_int_equal(attn_layer_set_parameter(layer[0], names[p], &tensor),
                             ATTN_OK);
        }
        assert_int_equal(attn_layer_pack(layer[0], memory, size), ATTN_OK);
        assert_int_equal(attn_layer_set_packed(layer[0], memory, size), ATTN_OK);
        expect_refusal(attn_layer_set_packed(layer[1], memory, size), ATTN_ERR_INVALID,
                       "these shapes");
        assert_int_equal(attn_layer_set_packed(layer[0], NULL, 0), ATTN_OK);
        free(memory);
    }
    attn_layer_destroy(layer[0]);
    attn_layer_destroy(layer[1]);
    attn_context_destroy(context);
}

int main(void) {
    const int skipped = run_skip_isa();
    if (skipped != 0) {
        return skipped;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_calls_read),
        cmocka_unit_test(layers_share_them),
        cmocka_unit_test(refusals),
        cmocka_unit_test(packing_refusals),
        cmocka_unit_test(weights_of_another_layer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
