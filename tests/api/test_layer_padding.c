/*
 * attn_layer_set_reproducible() and padding: a sequence alone, and the same one in a
 * longer tensor, whose lengths say where it ends. Features are so many, and sequences
 * so long and so short, that products are cut and computed in every way there is.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attn/layer.h"
#include "tests/support/random.h"
#include "tests/support/test.h"

enum { EMBED = 256, HEADS = 4, LONGEST = 600 };

static float input[LONGEST * EMBED], alone[LONGEST * EMBED], padded[LONGEST * EMBED];
static float weights[4 * EMBED * (EMBED + 1)];

static void fill(float *numbers, size_t count, float size, struct random *random) {
    for (size_t i = 0; i < count; i++) {
        numbers[i] = size * random_float(random);
    }
}

static attn_layer *make_layer(attn_context *context, attn_desc *desc, int64_t length) {
    attn_multihead_options options;
    attn_layer *layer = NULL;
    assert_int_equal(attn_multihead_options_init(&options, sizeof options), ATTN_OK);
    options.embed_dim = EMBED;
    options.heads = HEADS;
    options.input_bias = options.output_bias = 1;
    const attn_bounds bounds = {sizeof bounds, 1, length, length};
    assert_int_equal(
        attn_layer_create_multihead(&layer, context, &options, desc, &bounds), ATTN_OK);
    float *at = weights;
    for (int64_t i = 0; i < attn_layer_parameter_count(layer); i++) {
        const char *name;
        int32_t rank;
        int64_t shape[3];
        attn_tensor tensor;
        assert_int_equal(attn_layer_parameter(layer, i, &name, &rank, shape), ATTN_OK);
        assert_int_equal(attn_tensor_init(&tensor, ATTN_F32, rank, shape, at), ATTN_OK);
        assert_int_equal(attn_layer_set_parameter(layer, name, &tensor), ATTN_OK);
        at += rank == 2 ? shape[0] * shape[1] : shape[0];
    }
    assert_int_equal(attn_layer_set_reproducible(layer, 1), ATTN_OK);
    return layer;
}

/* The first `count` tokens of the input are the sequence, in a tensor of `length`. */
static void run(int32_t count, int64_t length, float *output) {
    attn_context *context = NULL;
    attn_desc *desc = NULL;
    attn_layer_args args;
    attn_forward_args attention;
    attn_tensor in, out, lengths;
    const int64_t shape[] = {1, length, EMBED}, one[] = {1};
    assert_int_equal(attn_context_create(&context), ATTN_OK);
    assert_int_equal(attn_desc_create(&desc), ATTN_OK);
    assert_int_equal(attn_desc_set_lengths(desc, 1, 1), ATTN_OK);
    attn_layer *layer = make_layer(context, desc, length);
    assert_int_equal(attn_layer_args_init(&args, sizeof args), ATTN_OK);
    assert_int_equal(attn_forward_args_init(&attention, sizeof attention), ATTN_OK);
    assert_int_equal(attn_tensor_init(&in, ATTN_F32, 3, shape, input), ATTN_OK);
    assert_int_equal(attn_tensor_init(&out, ATTN_F32, 3, shape, output), ATTN_OK);
    assert_int_equal(attn_tensor_init(&lengths, ATTN_I32, 1, one, &count), ATTN_OK);
    args.input = &in;
    args.output = &out;
    args.attention = &attention;
    attention.q_lengths = attention.kv_lengths = &lengths;
    assert_int_equal(attn_layer_forward(layer, &args), ATTN_OK);
    attn_layer_destroy(layer);
    attn_desc_destroy(desc);
    attn_context_destroy(context);
}

static void padding_changes_no_bit(void **state) {
    (void)state;
    static const int sizes[][2] = {{3, 30},    {8, 9},     {100, 256}, {255, 256},
                                   {256, 257}, {300, 512}, {512, 600}};
    struct random random = random_stream(11, 109);
    fill(input, COUNT_OF(input), 1.0f, &random);
    fill(weights, COUNT_OF(weights), 1.0f / sqrtf(EMBED), &random);
    for (size_t s = 0; s < COUNT_OF(sizes); s++) {
        run(sizes[s][0], sizes[s][0], alone);
        run(sizes[s][0], sizes[s][1], padded);
        assert_memory_equal(alone, padded,
                            (size_t)sizes[s][0] * EMBED * sizeof alone[0]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(padding_changes_no_bit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
