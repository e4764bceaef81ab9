/*
 * What calls on layers refuse because it is missing, or because the layer has no use
 * for it: inputs, outputs and gradients that options and descriptors do not announce.
 */
#include <stdio.h>

#include "tests/support/layer_refuse.h"

static void missing(void **state) {
    (void)state;
    const attn_layer_args args = refuse_call.args;
    refuse_call.args.input = NULL;
    refuse_both(ATTN_ERR_INVALID, "input is missing");
    refuse_call.args = args;
    refuse_call.args.output = NULL;
    refuse_forward(ATTN_ERR_INVALID, "output is missing");
    layer_forward((refuse_call.args = args, &refuse_call));
    layer_reset(&refuse_call);
    refuse_call.backward.grad_output = NULL;
    refuse_backward(ATTN_ERR_INVALID, "grad_output is missing");
    refuse_call.backward.grad_output = &refuse_call.grad_output;
    refuse_call.args.state = NULL;
    refuse_call.args.state_size = 0;
    refuse_backward(ATTN_ERR_INVALID, "state is NULL");
    /* output is not looked at backwards */
    refuse_call.args = args;
    refuse_call.args.output = NULL;
    layer_backward(&refuse_call);
}

static void missing_parameters(void **state) {
    (void)state;
    for (int n = 0; n < LAYER_SAMPLES; n++) {
        refuse_reopen(n);
        attn_layer *whole = refuse_call.layer;
        for (int t = 0; t < refuse_call.tensors; t++) {
            const struct layer_tensor *p = &refuse_call.tensor[t];
            char says[128];
            if (!p->parameter) {
                continue;
            }
            attn_layer *some = NULL;
            layer_need(&refuse_call,
                       layer_create(&some, refuse_call.context, &refuse_problem),
                       "create");
            for (int o = 0; o < refuse_call.tensors; o++) {
                if (o != t && refuse_call.tensor[o].parameter) {
                    layer_need(&refuse_call,
                               attn_layer_set_parameter(some,
                                                        refuse_call.tensor[o].name,
                                                        &refuse_call.tensor[o].tensor),
                               "parameter");
                }
            }
            snprintf(says, sizeof says, "parameter %s was not given", p->name);
            refuse_call.layer = some;
            refuse_both(ATTN_ERR_INVALID, says);
            attn_layer_destroy(some);
            refuse_call.layer = whole;
        }
    }
}

static void no_gradients(void **state) {
    (void)state;
    for (int n = 0; n < LAYER_SAMPLES; n += LAYER_STACK) {
        refuse_reopen(n);
        for (int t = 0; t < refuse_call.tensors; t++) {
            refuse_call.tensor[t].gradient.rank = 0;
        }
        layer_give(refuse_call.layer, &refuse_call);
        refuse_call.backward.grad_input = NULL;
        refuse_backward(ATTN_ERR_INVALID, "no gradient is asked for");
    }
}

static void inputs_that_are_not_announced(void **state) {
    (void)state;
    attn_tensor ids = refuse_spare(ATTN_I32, 2, 2, 8, 0);
    attn_tensor offsets = refuse_spare(ATTN_I64, 1, 2, 0, 0);
    attn_tensor positions = refuse_spare(ATTN_F32, 2, 8, 32, 0);
    attn_tensor key = refuse_spare(ATTN_F32, 3, 2, 8, 32);
    attn_tensor cosines = refuse_spare(ATTN_F32, 2, 8, 8, 0);
    static const int samples[] = {0, LAYER_STACK};
    for (size_t s = 0; s < COUNT_OF(samples); s++) {
        refuse_reopen(samples[s]);
        const attn_layer_args args = refuse_call.args;
        const struct {
            const attn_tensor **member, *tensor;
            const char *says;
        } cases[] = {
            {&refuse_call.args.position_ids, &ids, "position_ids is given|rotary_dim"},
            {&refuse_call.args.offsets, &offsets, "offsets is given|rotary_dim"},
            {&refuse_call.args.cosines, &cosines, "cosines is given|rotary_dim"},
            {&refuse_call.args.sines, &cosines, "sines is given|rotary_dim"},
            {&refuse_call.args.key_position_ids, &ids,
             "key_position_ids is given|rotary_dim"},
            {&refuse_call.args.key_offsets, &offsets,
             "key_offsets is given|rotary_dim"},
            {&refuse_call.args.positions, &positions,
             "positions is given|not relative"},
            {&refuse_call.args.targets, &ids, "targets is given|none"},
            {&refuse_call.args.value, &key, "value is given|"},
        };
        for (size_t c = 0; c < COUNT_OF(cases); c++) {
            *cases[c].member = cases[c].tensor;
            refuse_both(ATTN_ERR_INVALID, cases[c].says);
            refuse_call.args = args;
        }
        refuse_call.args.relative_zero = 1;
        refuse_both(ATTN_ERR_INVALID, "relative_zero is 1|not relative");
        refuse_call.args = args;
        refuse_call.args.query_length = 8;
        refuse_both(ATTN_ERR_INVALID, "query_length is 8|no targets");
        refuse_call.args = args;
        refuse_call.attention[0].bias = &ids;
        refuse_both(ATTN_ERR_INVALID, "bias");
        refuse_call.attention[0].bias = NULL;
        /* what belongs to inference with caches and packed sequences */
        const attn_forward_args attention = refuse_call.attention[0];
        refuse_call.attention[0].q_starts = &ids;
        refuse_both(ATTN_ERR_INVALID, "q_starts is given");
        refuse_call.attention[0] = attention;
        refuse_call.attention[0].value_scales = &key;
        refuse_both(ATTN_ERR_INVALID, "value_scales is given");
        refuse_call.attention[0] = attention;
        refuse_call.attention[0].cache = (const attn_cache *)(const void *)&key;
        refuse_both(ATTN_ERR_UNSUPPORTED, "cache is given");
        refuse_call.attention[0] = attention;
        attn_profile profile = {.size = sizeof profile};
        refuse_call.attention[0].profile = &profile;
        refuse_both(ATTN_ERR_UNSUPPORTED, "profile is given");
        refuse_call.attention[0] = attention;
    }
}

static void what_a_multihead_layer_has_not(void **state) {
    (void)state;
    attn_forward_args cross;
    attn_backward_args gradients;
    attn_tensor weights = refuse_spare(ATTN_F32, 3, 2, 8, 8);
    attn_forward_args_init(&cross, sizeof cross);
    attn_backward_args_init(&gradients, sizeof gradients);
    const attn_layer_args args = refuse_call.args;
    refuse_call.args.cross_attention = &cross;
    refuse_both(ATTN_ERR_INVALID, "cross_attention is given");
    refuse_call.args = args;
    /* gradients of what is not there */
    refuse_call.backward.grad_key = &weights;
    refuse_backward(ATTN_ERR_INVALID, "grad_key is given, but key is not");
    refuse_call.backward.grad_key = NULL;
    refuse_call.backward.grad_value = &weights;
    refuse_backward(ATTN_ERR_INVALID, "grad_value is given, but value is not");
    refuse_call.backward.grad_value = NULL;
    refuse_call.backward.grad_positions = &weights;
    refuse_backward(ATTN_ERR_INVALID, "grad_positions is given, but positions is not");
    refuse_call.backward.grad_positions = NULL;
    refuse_call.backward.cross_attention = &gradients;
    refuse_backward(ATTN_ERR_INVALID, "cross_attention");
}

static void outputs_that_a_multihead_layer_has_not(void **state) {
    (void)state;
    attn_tensor weights = refuse_spare(ATTN_F32, 3, 2, 8, 8);
    const struct refuse_member outputs[] = {
        {"weights", &refuse_call.args.weights, 0, 1, 1},
        {"mean_weights", &refuse_call.args.mean_weights, 0, 1, 1},
        {"cross_weights", &refuse_call.args.cross_weights, 0, 1, 1},
        {"cross_mean_weights", &refuse_call.args.cross_mean_weights, 0, 1, 1},
    };
    for (size_t o = 0; o < COUNT_OF(outputs); o++) {
        *outputs[o].tensor = &weights;
        refuse_forward(ATTN_ERR_INVALID, outputs[o].name);
        *outputs[o].tensor = NULL;
    }
}

static void what_a_stack_has_not(void **state) {
    (void)state;
    refuse_reopen(LAYER_STACK);
    attn_tensor key = refuse_spare(ATTN_F32, 3, 2, 8, 32);
    attn_tensor weights = refuse_spare(ATTN_F32, 3, 3, 2, 8);
    attn_forward_args cross;
    attn_backward_args gradients;
    attn_forward_args_init(&cross, sizeof cross);
    attn_backward_args_init(&gradients, sizeof gradients);
    const attn_layer_args args = refuse_call.args;
    refuse_call.args.key = &key;
    refuse_both(ATTN_ERR_INVALID, "key|given|no cross attention");
    refuse_call.args = args;
    refuse_call.args.cross_attention = &cross;
    refuse_both(ATTN_ERR_INVALID, "cross_attention is given");
    refuse_call.args = args;
    refuse_call.args.cross_weights = &weights;
    refuse_forward(ATTN_ERR_INVALID, "cross_weights is given|no cross attention");
    refuse_call.args = args;
    refuse_call.args.cross_mean_weights = &weights;
    refuse_forward(ATTN_ERR_INVALID, "cross_mean_weights is given|no cross attention");
    refuse_call.args = args;
    /* outputs of attention are those of the stack */
    const attn_tensor **const outputs[] = {&refuse_call.attention[0].lse,
                                           &refuse_call.attention[0].row_max,
                                           &refuse_call.attention[0].row_sum,
                                           &refuse_call.attention[0].weights,
                                           &refuse_call.attention[0].mean_weights,
                                           &refuse_call.attention[0].key_sums,
                                           &refuse_call.attention[0].raw_scores,
                                           &refuse_call.attention[0].capped_scores,
                                           &refuse_call.attention[0].biased_scores,
                                           &refuse_call.attention[0].dropout_mask};
    for (size_t o = 0; o < COUNT_OF(outputs); o++) {
        *outputs[o] = &weights;
        refuse_forward(ATTN_ERR_INVALID, "attention has outputs");
        *outputs[o] = NULL;
    }
    const attn_tensor **const incoming[] = {&refuse_call.gradients[0].grad_lse,
                                            &refuse_call.gradients[0].grad_weights,
                                            &refuse_call.gradients[0].grad_key_sums};
    for (size_t g = 0; g < COUNT_OF(incoming); g++) {
        *incoming[g] = &weights;
        refuse_backward(ATTN_ERR_INVALID, "attention: grad_lse");
        *incoming[g] = NULL;
    }
    refuse_call.backward.cross_attention = &gradients;
    refuse_backward(ATTN_ERR_INVALID, "cross_attention");
    refuse_reopen(6);
    refuse_call.args.key = NULL;
    refuse_both(ATTN_ERR_INVALID, "key|missing");
}

/* Weights of stacks have as many blocks as there are. */
static void outputs_of_stacks(void **state) {
    (void)state;
    refuse_reopen(6);
    const attn_tensor before = refuse_call.extra[LAYER_CROSS_WEIGHTS];
    attn_tensor t = before;
    refuse_call.args.cross_weights = &t;
    t.shape[0] = 1;
    refuse_forward(ATTN_ERR_INVALID, "cross_weights|2 blocks|1");
    t = before;
    t.rank = 4;
    refuse_forward(ATTN_ERR_INVALID, "cross_weights|rank 5");
    t = before;
    for (int d = 1; d < 5; d++) {
        t.shape[d]--;
        refuse_forward(ATTN_ERR_INVALID, "weights");
        t = before;
    }
    t.stride[0] = 0;
    refuse_forward(ATTN_ERR_INVALID, "cross_weights|overlap");
    t = before;
    t.dtype = ATTN_I32;
    refuse_forward(ATTN_ERR_INVALID, "weights|i32");
    refuse_call.args.cross_weights = &refuse_call.extra[LAYER_CROSS_WEIGHTS];
    attn_tensor mean = refuse_call.extra[LAYER_MEAN_WEIGHTS];
    refuse_call.args.mean_weights = &mean;
    mean.shape[0] = 3;
    refuse_forward(ATTN_ERR_INVALID, "mean_weights|2 blocks|3");
    mean.shape[0] = 2;
    layer_forward(&refuse_call);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, refuse_setup, refuse_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(missing),
        TEST(missing_parameters),
        TEST(no_gradients),
        TEST(inputs_that_are_not_announced),
        TEST(what_a_multihead_layer_has_not),
        TEST(outputs_that_a_multihead_layer_has_not),
        TEST(what_a_stack_has_not),
        TEST(outputs_of_stacks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
