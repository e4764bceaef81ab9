/*
 * What calls on layers refuse of single options: extra keys, relative positions,
 * targets, rotations, and statistics in a state.
 */
#include <stdio.h>

#include "tests/support/element.h"
#include "tests/support/layer_refuse.h"

/* Outputs that attention to extra keys has not. */
static void extra_keys(void **state) {
    (void)state;
    refuse_reopen(1);
    attn_tensor t = refuse_spare(ATTN_F32, 3, 2, 4, 4);
    const attn_tensor **const outputs[] = {
        &refuse_call.attention[0].mean_weights, &refuse_call.attention[0].key_sums,
        &refuse_call.attention[0].lse, &refuse_call.attention[0].row_max,
        &refuse_call.attention[0].row_sum};
    const attn_layer_args args = refuse_call.args;
    refuse_call.args.state = NULL;
    refuse_call.args.state_size = 0;
    for (size_t o = 0; o < COUNT_OF(outputs); o++) {
        *outputs[o] = &t;
        refuse_forward(ATTN_ERR_UNSUPPORTED, "key_value_bias|weights");
        *outputs[o] = NULL;
    }
    refuse_call.args = args;
    const attn_tensor **const incoming[] = {&refuse_call.gradients[0].grad_lse,
                                            &refuse_call.gradients[0].grad_weights,
                                            &refuse_call.gradients[0].grad_key_sums};
    for (size_t g = 0; g < COUNT_OF(incoming); g++) {
        *incoming[g] = &t;
        refuse_backward(ATTN_ERR_UNSUPPORTED, "key_value_bias|grad_lse");
        *incoming[g] = NULL;
    }
    const attn_tensor before = refuse_call.extra[LAYER_WEIGHTS];
    attn_tensor weights = before;
    refuse_call.attention[0].weights = &weights;
    weights.shape[3] = 8; /* without columns for the extra keys */
    refuse_forward(ATTN_ERR_INVALID, "weights|10 columns|8 keys");
    weights = before;
    weights.rank = 3;
    refuse_forward(ATTN_ERR_INVALID, "weights");
    weights = before;
    weights.dtype = ATTN_I32;
    refuse_forward(ATTN_ERR_INVALID, "weights");
    weights = before;
    weights.stride[3] = 2;
    refuse_forward(ATTN_ERR_INVALID, "weights");
    for (int d = 0; d < 3; d++) {
        weights = before;
        weights.shape[d]--;
        refuse_forward(ATTN_ERR_INVALID, "weights");
    }
}

static void relative_positions(void **state) {
    (void)state;
    refuse_reopen(2);
    const attn_layer_args args = refuse_call.args;
    attn_tensor positions = *args.positions;
    refuse_call.args.positions = NULL;
    refuse_both(ATTN_ERR_INVALID, "positions is missing|relative");
    refuse_call.args.positions = &positions;
    positions.shape[0] = 13; /* 4 queries and 8 keys */
    refuse_both(ATTN_ERR_INVALID, "positions has 13 rows|12");
    positions.shape[0] = 0;
    refuse_both(ATTN_ERR_INVALID, "positions has 0 rows");
    refuse_call.args = args;
    refuse_call.args.relative_zero = 8;
    refuse_both(ATTN_ERR_INVALID, "relative_zero");
    refuse_call.args.relative_zero = -1;
    refuse_both(ATTN_ERR_INVALID, "relative_zero");
    refuse_call.args = args;
    layer_forward(&refuse_call);
}

/* Tables that are parameters are no inputs of a call, and their gradients go where
 * attn_layer_set_gradient() says. */
static void tables_that_are_parameters(void **state) {
    (void)state;
    refuse_reopen(2);
    attn_tensor table = refuse_spare(ATTN_F32, 2, 2, 16, 0);
    attn_tensor keys = refuse_spare(ATTN_F32, 3, 2, 8, 16);
    attn_forward_args *args = &refuse_call.attention[0];
    attn_backward_args *back = &refuse_call.gradients[0];
    const struct {
        const char *name;
        const attn_tensor **member, *tensor;
        int backward;
    } cases[] = {
        {"relative_keys", &args->relative_keys, &keys, 0},
        {"content_bias", &args->content_bias, &table, 0},
        {"position_bias", &args->position_bias, &table, 0},
        {"segment_keys", &args->segment_keys, &keys, 0},
        {"segment_bias", &args->segment_bias, &table, 0},
        {"grad_relative_keys", &back->grad_relative_keys, &keys, 1},
        {"grad_content_bias", &back->grad_content_bias, &table, 1},
        {"grad_position_bias", &back->grad_position_bias, &table, 1},
        {"grad_segment_keys", &back->grad_segment_keys, &keys, 1},
        {"grad_segment_bias", &back->grad_segment_bias, &table, 1},
    };
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        char says[64];
        *cases[c].member = cases[c].tensor;
        snprintf(says, sizeof says, "attention: %s is given", cases[c].name);
        if (cases[c].backward) {
            refuse_backward(ATTN_ERR_INVALID, says);
        } else {
            refuse_both(ATTN_ERR_INVALID, says);
        }
        *cases[c].member = NULL;
    }
    args->relative_zero = 1;
    refuse_both(ATTN_ERR_INVALID, "relative_zero");
}

static void targets(void **state) {
    (void)state;
    refuse_reopen(3);
    const attn_layer_args args = refuse_call.args;
    attn_tensor t = *args.targets;
    refuse_call.args.targets = NULL;
    refuse_both(ATTN_ERR_INVALID, "targets is missing");
    refuse_call.args.targets = &t;
    t.shape[t.rank - 1] = 3;
    refuse_both(ATTN_ERR_INVALID, "targets|3|4");
    t = *args.targets;
    t.dtype = ATTN_F32;
    refuse_both(ATTN_ERR_INVALID, "targets|f32");
    refuse_call.args = args;
    refuse_call.args.query_length = -1;
    refuse_both(ATTN_ERR_INVALID, "query_length is -1");
    refuse_call.args.query_length = 9;
    refuse_both(ATTN_ERR_INVALID, "query_length is 9|bound of 8");
    refuse_call.args = args;
    refuse_call.args.key = NULL;
    refuse_both(ATTN_ERR_INVALID, "key is missing: targets need it");
    refuse_call.args = args;
    const int64_t last = args.targets->rank == 2 ? args.targets->shape[0] - 1 : 0;
    const int64_t before = element_int(args.targets, last, 3);
    element_set_int(args.targets, last, 3, 8);
    refuse_both(ATTN_ERR_INVALID, "targets[|][3] is 8|7");
    element_set_int(args.targets, last, 3, -1);
    refuse_both(ATTN_ERR_INVALID, "[3] is -1");
    element_set_int(args.targets, last, 3, before);
    layer_forward(&refuse_call);
}

static void rotations(void **state) {
    (void)state;
    refuse_reopen(3);
    const attn_layer_args args = refuse_call.args;
    attn_tensor ids = refuse_spare(ATTN_I32, 2, 2, 7, 0),
                offsets = refuse_spare(ATTN_I32, 1, 2, 0, 0);
    refuse_call.args.position_ids = &ids;
    refuse_both(ATTN_ERR_INVALID, "position_ids|7|8");
    refuse_call.args = args;
    refuse_call.args.offsets = &offsets;
    refuse_both(ATTN_ERR_INVALID, "position_ids|offsets");
    refuse_call.args = args;
    refuse_call.args.key_position_ids = &ids;
    refuse_both(ATTN_ERR_INVALID, "position_ids|7|8");
    refuse_call.args = args;
    refuse_call.args.cosines = &ids;
    refuse_both(ATTN_ERR_INVALID, "sines is missing");
    refuse_call.args = args;
    const int64_t before = element_int(args.position_ids, 1, 2);
    element_set_int(args.position_ids, 1, 2, -1);
    refuse_both(ATTN_ERR_INVALID, "position_ids[1][2] is -1");
    element_set_int(args.position_ids, 1, 2, before);
    layer_forward(&refuse_call);
}

/* One of what a state keeps: the backward call would miss the other. */
static void half_of_the_statistics(void **state) {
    (void)state;
    attn_tensor t = refuse_spare(ATTN_F32, 3, 2, 2, 8);
    refuse_call.attention[0].row_max = &t;
    refuse_both(ATTN_ERR_INVALID, "row_max|row_sum");
    refuse_call.attention[0].row_max = NULL;
    refuse_call.attention[0].row_sum = &t;
    refuse_both(ATTN_ERR_INVALID, "row_max|row_sum");
    refuse_call.args.state = NULL;
    refuse_call.args.state_size = 0;
    layer_forward(&refuse_call);
    refuse_call.attention[0].row_sum = NULL;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, refuse_setup, refuse_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(extra_keys), TEST(relative_positions), TEST(tables_that_are_parameters),
        TEST(targets),    TEST(rotations),          TEST(half_of_the_statistics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
