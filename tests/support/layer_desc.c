/*
 * From problems to descriptors and layers.
 */
#include "tests/support/layer.h"

attn_desc *layer_desc(const struct layer_attention *a) {
    attn_desc *desc = NULL;
    if (a->desc == 0) {
        return NULL;
    }
    assert_int_equal(attn_desc_create(&desc), ATTN_OK);
    if (a->desc == 2) {
        const struct layer_sizes n = layer_sizes(&a->options);
        attn_desc_set_heads(desc, (int32_t)n.heads, (int32_t)n.kv_heads);
        attn_desc_set_dims(desc, (int32_t)n.key_dim, (int32_t)n.value_dim);
    }
    if (a->scale != 0) {
        attn_desc_set_scale(desc, a->scale);
    }
    attn_desc_set_softcap(desc, a->softcap);
    attn_desc_set_causal(desc, a->causal);
    attn_desc_set_alignment(desc, a->align);
    if (a->window > 0) {
        attn_desc_set_window(desc, a->window, a->window);
    }
    attn_desc_set_lengths(desc, a->q_lengths, a->kv_lengths);
    attn_desc_set_mask(desc, a->mask ? ATTN_BOOL : 0);
    attn_desc_set_bias(desc, a->bias ? ATTN_F32 : 0);
    attn_desc_set_alibi(desc, a->alibi);
    attn_desc_set_sinks(desc, a->sinks);
    attn_desc_set_dropout(desc, a->dropout);
    if (a->buckets > 0) {
        attn_desc_set_relative_bias(desc, a->buckets, 20, a->bidirectional);
    }
    attn_desc_set_relative_keys(desc, a->relative_keys);
    attn_desc_set_query_biases(desc, a->content, a->position);
    attn_desc_set_segments(desc, a->segments);
    return desc;
}

attn_status layer_create(attn_layer **layer, attn_context *context,
                         const struct layer_problem *problem) {
    attn_desc *self = layer_desc(&problem->self);
    attn_desc *cross = problem->cross ? layer_desc(&problem->memory) : NULL;
    attn_multihead_options options = problem->self.options;
    attn_multihead_options memory = problem->memory.options;
    attn_bounds bounds = {sizeof bounds, problem->batch, problem->q_length,
                          problem->kv_length};
    options.size = memory.size = sizeof options;
    attn_status status;
    if (problem->layers == 0) {
        bounds.kv_length = layer_keys(problem);
        status = attn_layer_create_multihead(layer, context, &options, self, &bounds);
    } else {
        attn_stack_options stack = problem->stack;
        stack.size = sizeof stack;
        stack.layers = problem->layers;
        stack.self_attention = &options;
        stack.cross_attention = problem->cross ? &memory : NULL;
        status = attn_layer_create_stack(layer, context, &stack, self, cross, &bounds);
    }
    attn_desc_destroy(self);
    attn_desc_destroy(cross);
    return status;
}
