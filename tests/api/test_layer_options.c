/*
 * What the functions that make layers refuse: one thing wrong at a time, the status,
 * and the words and numbers of the message.
 */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "tests/support/expect.h"

static attn_context *context;
static attn_layer *layer;
static attn_multihead_options options, memory;
static attn_stack_options stack;
static attn_bounds bounds;

static int setup(void **state) {
    (void)state;
    assert_int_equal(attn_context_create(&context), ATTN_OK);
    assert_int_equal(attn_multihead_options_init(&options, sizeof options), ATTN_OK);
    assert_int_equal(attn_stack_options_init(&stack, sizeof stack), ATTN_OK);
    options.embed_dim = 12;
    options.heads = 4;
    options.kv_heads = 2;
    memory = options;
    stack.layers = 3;
    stack.feed_forward_dim = 8;
    stack.self_attention = &options;
    stack.cross_attention = &memory;
    bounds = (attn_bounds){sizeof bounds, 2, 5, 6};
    layer = NULL;
    return 0;
}

static int teardown(void **state) {
    (void)state;
    attn_layer_destroy(layer);
    attn_context_destroy(context);
    return 0;
}

/* A layer that is refused is set to NULL. */
static void refused(int stacked, const attn_desc *desc, attn_status status,
                    const char *says) {
    attn_layer *made = (attn_layer *)&bounds;
    const attn_status got =
        stacked ? attn_layer_create_stack(&made, context, &stack, desc, NULL, &bounds)
                : attn_layer_create_multihead(&made, context, &options, desc, &bounds);
    if (got == ATTN_OK) {
        attn_layer_destroy(made);
    }
    expect_refusal(got, status, says);
    assert_null(made);
}

static void good(void) {
    attn_layer *made = NULL;
    expect_mark();
    if (attn_layer_create_multihead(&made, context, &options, NULL, &bounds) !=
        ATTN_OK) {
        fail_msg("%s", attn_last_error());
    }
    expect_marked();
    attn_layer_destroy(made);
}

static void good_options(void **state) {
    (void)state;
    good();
    attn_layer *made = NULL;
    assert_int_equal(
        attn_layer_create_stack(&made, context, &stack, NULL, NULL, &bounds), ATTN_OK);
    attn_layer_destroy(made);
    attn_layer_destroy(NULL);
}

/* --------------------------------------------------------------------- options */

/* Fields in turn. */
struct field {
    size_t at;
    int64_t value;
    const char *says;
};
#define FIELD(member, value, says)                                                     \
    { offsetof(attn_multihead_options, member), value, says }
#define STACK(member, value, says)                                                     \
    { offsetof(attn_stack_options, member), value, says }

static void set(void *struct_, const struct field *field) {
    memcpy((char *)struct_ + field->at, &field->value, sizeof field->value);
}

static const struct field fields[] = {
    FIELD(embed_dim, 0, "embed_dim is 0|1 to"),
    FIELD(embed_dim, -12, "embed_dim is -12"),
    FIELD(embed_dim, INT64_C(1) << 31, "embed_dim is 2147483648|2147483647"),
    FIELD(embed_dim, 13, "embed_dim 13|4 heads|key_dim"),
    FIELD(heads, 0, "heads is 0"),
    FIELD(heads, -4, "heads is -4"),
    FIELD(heads, INT64_C(1) << 31, "heads is 2147483648"),
    FIELD(heads, 3, "3 heads|2 kv_heads"),
    FIELD(kv_heads, -1, "kv_heads is -1"),
    FIELD(kv_heads, 3, "4 heads|3 kv_heads"),
    FIELD(kv_heads, 8, "4 heads|8 kv_heads"),
    FIELD(key_dim, -1, "key_dim is -1"),
    FIELD(key_dim, 65537, "key_dim is 65537|65536"),
    FIELD(value_dim, -1, "value_dim is -1"),
    FIELD(value_dim, 65537, "value_dim is 65537|65536"),
    FIELD(key_embed_dim, -1, "key_embed_dim is -1"),
    FIELD(key_embed_dim, 7, "key_embed_dim 7|separate"),
    FIELD(value_embed_dim, -1, "value_embed_dim is -1"),
    FIELD(value_embed_dim, 7, "value_embed_dim 7|separate"),
    FIELD(separate, 2, "separate is 2|0 to 1"),
    FIELD(separate, -1, "separate is -1"),
    FIELD(input_bias, 2, "input_bias is 2"),
    FIELD(output_bias, -1, "output_bias is -1"),
    FIELD(key_value_bias, 3, "key_value_bias is 3"),
    FIELD(zero_attention, 2, "zero_attention is 2"),
    FIELD(combine, 2, "combine is 2"),
    FIELD(combine, -1, "combine is -1"),
    FIELD(project, 2, "project is 2"),
    FIELD(project, ATTN_PROJECT_SLICES, "SLICES|separate"),
    FIELD(rotary_dim, -2, "rotary_dim is -2"),
    FIELD(rotary_dim, 1, "rotary_dim is 1|even"),
    FIELD(rotary_dim, 4, "rotary_dim is 4|key_dim, 3"),
    FIELD(rotary_interleaved, 1, "rotary_interleaved|without rotary_dim"),
    FIELD(rotary_interleaved, 2, "rotary_interleaved is 2"),
    FIELD(relative, 2, "relative is 2"),
    FIELD(targets, 2, "targets is 2"),
};

static void fields_of_options(void **state) {
    (void)state;
    const attn_multihead_options before = options;
    for (size_t f = 0; f < COUNT_OF(fields); f++) {
        options = before;
        set(&options, &fields[f]);
        refused(0, NULL, ATTN_ERR_INVALID, fields[f].says);
        refused(1, NULL, ATTN_ERR_INVALID, fields[f].says);
        /* as the second of a stack's */
        memory = options;
        options = before;
        refused(1, NULL, ATTN_ERR_INVALID, fields[f].says);
        memory = before;
    }
}

/* What needs other options too. */
static void options_together(void **state) {
    (void)state;
    options.rotary_base = 10;
    refused(0, NULL, ATTN_ERR_INVALID, "rotary_base|without rotary_dim");
    options.rotary_dim = 2;
    good();
    static const double bases[] = {-1, NAN, INFINITY};
    for (size_t b = 0; b < COUNT_OF(bases); b++) {
        options.rotary_base = bases[b];
        refused(0, NULL, ATTN_ERR_INVALID, "rotary_base");
    }
    options.rotary_base = 0;
    options.separate = 1;
    options.key_embed_dim = 7;
    options.value_embed_dim = 5;
    good();
    options.project = ATTN_PROJECT_SLICES;
    refused(0, NULL, ATTN_ERR_INVALID, "key_embed_dim 7|2 slices");
    options.key_embed_dim = 8;
    refused(0, NULL, ATTN_ERR_INVALID, "value_embed_dim 5|2 slices");
    options.value_embed_dim = 6;
    good();
    options.embed_dim = 13;
    options.key_dim = 2;
    refused(0, NULL, ATTN_ERR_INVALID, "embed_dim 13|4 slices");
    /* more features than BLAS takes */
    options.project = ATTN_PROJECT_ALL;
    options.heads = INT64_C(1) << 20;
    options.key_dim = 65536;
    refused(0, NULL, ATTN_ERR_UNSUPPORTED, "BLAS|2147483647");
    options.key_dim = options.value_dim = 0;
    options.heads = options.kv_heads = 1;
    options.embed_dim = 65537;
    options.rotary_dim = 0;
    refused(0, NULL, ATTN_ERR_INVALID, "65537|65536");
}

static const struct field stack_fields[] = {
    STACK(layers, 0, "layers is 0|1 to"),
    STACK(layers, -3, "layers is -3"),
    STACK(layers, (1 << 20) + 1, "layers is 1048577"),
    STACK(groups, -1, "groups is -1"),
    STACK(groups, 4, "groups is 4|0 to 3"),
    STACK(feed_forward_dim, 0, "feed_forward_dim is 0"),
    STACK(feed_forward_dim, INT64_C(1) << 31, "feed_forward_dim is 2147483648"),
    STACK(activation, 4, "activation is 4"),
    STACK(activation, -1, "activation is -1"),
    STACK(gated, 2, "gated is 2"),
    STACK(feed_forward_bias, -1, "feed_forward_bias is -1"),
    STACK(norm, 2, "norm is 2"),
    STACK(norm, -1, "norm is -1"),
    STACK(norm_bias, 2, "norm_bias is 2"),
    STACK(norm_first, 2, "norm_first is 2"),
    STACK(final_norm, 2, "final_norm is 2"),
    STACK(recompute, -1, "recompute is -1"),
};

static void fields_of_stacks(void **state) {
    (void)state;
    const attn_stack_options before = stack;
    for (size_t f = 0; f < COUNT_OF(stack_fields); f++) {
        stack = before;
        set(&stack, &stack_fields[f]);
        refused(1, NULL, ATTN_ERR_INVALID, stack_fields[f].says);
    }
    stack = before;
    static const double epsilons[] = {-1, NAN, INFINITY, 1e-38, 1e39};
    for (size_t e = 0; e < COUNT_OF(epsilons); e++) {
        stack.epsilon = epsilons[e];
        refused(1, NULL, ATTN_ERR_INVALID, "epsilon");
    }
    stack = before;
    stack.self_attention = NULL;
    refused(1, NULL, ATTN_ERR_INVALID, "self_attention is NULL");
}

static void attentions_of_stacks(void **state) {
    (void)state;
    const attn_multihead_options before = options;
    options.separate = 1;
    options.key_embed_dim = 5;
    refused(1, NULL, ATTN_ERR_INVALID, "self_attention|key_embed_dim|12");
    options = before;
    options.targets = 1;
    refused(1, NULL, ATTN_ERR_INVALID, "self_attention|targets");
    options = before;
    memory.embed_dim = 16;
    refused(1, NULL, ATTN_ERR_INVALID, "cross_attention|embed_dim is 16|12");
    memory = before;
    memory.separate = 1;
    memory.key_embed_dim = 5;
    refused(1, NULL, ATTN_ERR_INVALID, "cross_attention|key_embed_dim is 5|12|memory");
    memory = before;
    memory.rotary_dim = 2;
    refused(1, NULL, ATTN_ERR_UNSUPPORTED, "cross_attention|rotary");
    memory = before;
    memory.relative = 1;
    refused(1, NULL, ATTN_ERR_UNSUPPORTED, "cross_attention|relative");
    memory = before;
    memory.targets = 1;
    refused(1, NULL, ATTN_ERR_UNSUPPORTED, "cross_attention|targets");
    memory = before;
    /* a descriptor of what is not there */
    attn_desc *desc = NULL;
    attn_layer *made = NULL;
    assert_int_equal(attn_desc_create(&desc), ATTN_OK);
    stack.cross_attention = NULL;
    expect_refusal(attn_layer_create_stack(&made, context, &stack, NULL, desc, &bounds),
                   ATTN_ERR_INVALID, "cross_desc|cross_attention");
    attn_desc_destroy(desc);
}

/* ------------------------------------------------- descriptors, bounds, structs */

static void descriptors(void **state) {
    (void)state;
    static const struct {
        int32_t heads, kv_heads, key_dim, value_dim;
        const char *says;
    } cases[] = {
        {8, 2, 3, 3, "heads 4|descriptor 8"},
        {4, 4, 3, 3, "kv heads 2|descriptor 4"},
        {4, 2, 6, 3, "key dim 3|descriptor 6"},
        {4, 2, 3, 6, "value dim 3|descriptor 6"},
    };
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        attn_desc *desc = NULL;
        assert_int_equal(attn_desc_create(&desc), ATTN_OK);
        attn_desc_set_heads(desc, cases[c].heads, cases[c].kv_heads);
        attn_desc_set_dims(desc, cases[c].key_dim, cases[c].value_dim);
        refused(0, desc, ATTN_ERR_INVALID, cases[c].says);
        refused(1, desc, ATTN_ERR_INVALID, cases[c].says);
        attn_desc_destroy(desc);
    }
    /* what a plan would refuse: position_bias without relative keys */
    attn_desc *desc = NULL;
    assert_int_equal(attn_desc_create(&desc), ATTN_OK);
    attn_desc_set_query_biases(desc, 0, 1);
    refused(0, desc, ATTN_ERR_INVALID, "position");
    options.relative = 1;
    assert_int_equal(
        attn_layer_create_multihead(&layer, context, &options, desc, &bounds), ATTN_OK);
    options.relative = 0;
    /* a setter that failed */
    attn_desc_set_causal(desc, 5);
    refused(0, desc, ATTN_ERR_INVALID, "causal");
    attn_desc_destroy(desc);
    /* packed sequences */
    assert_int_equal(attn_desc_create(&desc), ATTN_OK);
    attn_desc_set_packed(desc, 1, 0);
    refused(0, desc, ATTN_ERR_UNSUPPORTED, "packed queries");
    refused(1, desc, ATTN_ERR_UNSUPPORTED, "packed queries");
    attn_desc_set_packed(desc, 0, 1);
    refused(0, desc, ATTN_ERR_UNSUPPORTED, "packed keys");
    attn_desc_destroy(desc);
}

static void bad_bounds(void **state) {
    (void)state;
    const attn_bounds before = bounds;
    int64_t *const members[] = {&bounds.batch, &bounds.q_length, &bounds.kv_length};
    static const char *const names[] = {"batch", "q_length", "kv_length"};
    for (int m = 0; m < 3; m++) {
        *members[m] = -1;
        refused(0, NULL, ATTN_ERR_INVALID, names[m]);
        refused(1, NULL, ATTN_ERR_INVALID, names[m]);
        *members[m] = (INT64_C(1) << 53) + 1;
        refused(0, NULL, ATTN_ERR_INVALID, names[m]);
        bounds = before;
    }
    bounds.batch = bounds.q_length = INT64_C(1) << 53;
    refused(0, NULL, ATTN_ERR_INVALID, "overflows");
    refused(1, NULL, ATTN_ERR_INVALID, "overflows");
    bounds = before;
    /* a stack without cross attention has no memory, whose length is not looked at */
    stack.cross_attention = NULL;
    bounds.kv_length = -1;
    attn_layer *made = NULL;
    assert_int_equal(
        attn_layer_create_stack(&made, context, &stack, NULL, NULL, &bounds), ATTN_OK);
    attn_layer_destroy(made);
}

static void pointers(void **state) {
    (void)state;
    attn_layer *made = NULL;
    expect_refusal(attn_layer_create_multihead(NULL, context, &options, NULL, &bounds),
                   ATTN_ERR_INVALID, "layer");
    expect_refusal(attn_layer_create_stack(NULL, context, &stack, NULL, NULL, &bounds),
                   ATTN_ERR_INVALID, "layer");
    expect_refusal(attn_layer_create_multihead(&made, NULL, &options, NULL, &bounds),
                   ATTN_ERR_INVALID, "context");
    expect_refusal(attn_layer_create_stack(&made, NULL, &stack, NULL, NULL, &bounds),
                   ATTN_ERR_INVALID, "context");
    expect_refusal(attn_layer_create_multihead(&made, context, NULL, NULL, &bounds),
                   ATTN_ERR_INVALID, "options is NULL");
    expect_refusal(attn_layer_create_stack(&made, context, NULL, NULL, NULL, &bounds),
                   ATTN_ERR_INVALID, "options is NULL");
    expect_refusal(attn_layer_create_multihead(&made, context, &options, NULL, NULL),
                   ATTN_ERR_INVALID, "bounds is NULL");
    expect_refusal(attn_layer_create_stack(&made, context, &stack, NULL, NULL, NULL),
                   ATTN_ERR_INVALID, "bounds is NULL");
    expect_refusal(attn_multihead_options_init(NULL, sizeof options), ATTN_ERR_INVALID,
                   "NULL");
    expect_refusal(attn_multihead_options_init(&options, 4), ATTN_ERR_INVALID, "4");
    expect_refusal(attn_stack_options_init(NULL, sizeof stack), ATTN_ERR_INVALID,
                   "NULL");
    expect_refusal(attn_stack_options_init(&stack, 12), ATTN_ERR_INVALID, "12");
}

/* Structs of other versions. */
static void sizes_of_structs(void **state) {
    (void)state;
    static const int64_t sizes[] = {0, 4, -8, 12, INT64_C(1) << 40};
    for (size_t s = 0; s < COUNT_OF(sizes); s++) {
        options.size = sizes[s];
        refused(0, NULL, ATTN_ERR_INVALID, "options|size");
        refused(1, NULL, ATTN_ERR_INVALID, "self_attention|size");
        options.size = sizeof options;
        memory.size = sizes[s];
        refused(1, NULL, ATTN_ERR_INVALID, "cross_attention|size");
        memory.size = sizeof memory;
        stack.size = sizes[s];
        refused(1, NULL, ATTN_ERR_INVALID, "options|size");
        stack.size = sizeof stack;
        bounds.size = sizes[s];
        refused(0, NULL, ATTN_ERR_INVALID, "bounds|size");
        bounds.size = sizeof bounds;
    }
    /* a newer program, without and with something this library does not know */
    struct {
        attn_multihead_options options;
        int64_t more;
    } newer = {options, 0};
    const attn_multihead_options *newer_options = (void *)&newer;
    newer.options.size = sizeof newer;
    assert_int_equal(
        attn_layer_create_multihead(&layer, context, newer_options, NULL, &bounds),
        ATTN_OK);
    newer.more = 1;
    attn_layer *made = NULL;
    expect_refusal(
        attn_layer_create_multihead(&made, context, newer_options, NULL, &bounds),
        ATTN_ERR_UNSUPPORTED, "options|nonzero byte");
    struct {
        attn_stack_options stack;
        int64_t more;
    } newer_stack = {stack, INT64_C(1) << 56};
    newer_stack.stack.size = sizeof newer_stack;
    expect_refusal(attn_layer_create_stack(&made, context, (void *)&newer_stack, NULL,
                                           NULL, &bounds),
                   ATTN_ERR_UNSUPPORTED, "options|nonzero byte");
    /* an older one, whose struct ends before the last member */
    options.size = offsetof(attn_multihead_options, targets);
    options.targets = 77;
    good();
}

/* A layer settles its context. */
static void contexts_are_settled(void **state) {
    (void)state;
    assert_int_equal(attn_context_set_threads(context, 2), ATTN_OK);
    options.heads = 0;
    refused(0, NULL, ATTN_ERR_INVALID, "heads");
    assert_int_equal(attn_context_set_threads(context, 1), ATTN_OK);
    options.heads = 4;
    assert_int_equal(
        attn_layer_create_multihead(&layer, context, &options, NULL, &bounds), ATTN_OK);
    expect_refusal(attn_context_set_threads(context, 2), ATTN_ERR_INVALID, "context");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(good_options),         TEST(fields_of_options),
        TEST(options_together),     TEST(fields_of_stacks),
        TEST(attentions_of_stacks), TEST(descriptors),
        TEST(bad_bounds),           TEST(pointers),
        TEST(sizes_of_structs),     TEST(contexts_are_settled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
