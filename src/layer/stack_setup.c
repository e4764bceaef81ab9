/*
 * From the options of a stack to its parameters and memory.
 */
#include <float.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "layer/stack.h"

/* The longest prefix is "layers.<number>.multihead_attn.". */
enum { PREFIX = 48, LAYERS_MAX = 1 << 20 };

#define EPSILON_DEFAULT 1e-5

static attn_status check_options(const attn_stack_options *o) {
    const struct {
        const char *name;
        int64_t value, least, most;
    } sizes[] = {
        {"layers", o->layers, 1, LAYERS_MAX},
        {"groups", o->groups, 0, o->layers},
        {"feed_forward_dim", o->feed_forward_dim, 1, INT_MAX},
        {"activation", o->activation, ATTN_ACTIVATION_RELU, ATTN_ACTIVATION_SILU},
        {"gated", o->gated, 0, 1},
        {"feed_forward_bias", o->feed_forward_bias, 0, 1},
        {"norm", o->norm, ATTN_NORM_LAYER, ATTN_NORM_RMS},
        {"norm_bias", o->norm_bias, 0, 1},
        {"norm_first", o->norm_first, 0, 1},
        {"final_norm", o->final_norm, 0, 1},
        {"recompute", o->recompute, 0, 1},
    };
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        REQUIRE(sizes[i].value >= sizes[i].least && sizes[i].value <= sizes[i].most,
                ATTN_ERR_INVALID, "options: %s is %lld, not within %lld to %lld",
                sizes[i].name, (long long)sizes[i].value, (long long)sizes[i].least,
                (long long)sizes[i].most);
    }
    REQUIRE(o->epsilon == 0 || (o->epsilon >= FLT_MIN && o->epsilon <= FLT_MAX),
            ATTN_ERR_INVALID, "options: epsilon is %g, should be 0 or within %g to %g",
            o->epsilon, (double)FLT_MIN, (double)FLT_MAX);
    REQUIRE(o->self_attention != NULL, ATTN_ERR_INVALID,
            "options: self_attention is NULL");
    return ATTN_OK;
}

static void list(struct attn_layer *layer, int64_t first, bool there, int which,
                 const char *prefix, const char *name, int32_t rank, int64_t size,
                 int64_t size2) {
    const int64_t shape[] = {size, size2};
    layer->block[which] = there ? layer->parameters.count - first : -1;
    if (there) {
        attn_parameters_add(&layer->parameters, prefix, name, rank, shape);
    }
}

/* The parameters of a group of blocks. */
static void list_group(struct attn_layer *layer, int64_t group) {
    const attn_stack_options *o = &layer->stack;
    const int64_t first = layer->parameters.count, embed = layer->self.facts.embed_dim;
    const int64_t feed = o->feed_forward_dim;
    const bool bias = o->feed_forward_bias == 1, gated = o->gated == 1;
    char prefix[PREFIX], inner[2 * PREFIX];
    snprintf(prefix, sizeof prefix, "layers.%lld.", (long long)group);
    snprintf(inner, sizeof inner, "%sself_attn.", prefix);
    attn_multihead_list(&layer->self, &layer->parameters, first, inner);
    if (o->cross_attention != NULL) {
        snprintf(inner, sizeof inner, "%smultihead_attn.", prefix);
        attn_multihead_list(&layer->cross, &layer->parameters, first, inner);
    }
    list(layer, first, true, LINEAR1_WEIGHT, prefix, "linear1.weight", 2, feed, embed);
    list(layer, first, bias, LINEAR1_BIAS, prefix, "linear1.bias", 1, feed, 0);
    list(layer, first, gated, GATE_WEIGHT, prefix, "gate.weight", 2, feed, embed);
    list(layer, first, gated && bias, GATE_BIAS, prefix, "gate.bias", 1, feed, 0);
    list(layer, first, true, LINEAR2_WEIGHT, prefix, "linear2.weight", 2, embed, feed);
    list(layer, first, bias, LINEAR2_BIAS, prefix, "linear2.bias", 1, embed, 0);
    int norms = 0;
    for (int step = 0; step < STEPS; step++) {
        const bool there = attn_stack_has(layer, (enum step)step);
        char name[24];
        norms += there;
        snprintf(name, sizeof name, "norm%d.weight", norms);
        list(layer, first, there, NORM_WEIGHT + step, prefix, name, 1, embed, 0);
        snprintf(name, sizeof name, "norm%d.bias", norms);
        list(layer, first, there && o->norm_bias == 1, NORM_BIAS + step, prefix, name,
             1, embed, 0);
    }
    layer->group_parameters = layer->parameters.count - first;
}

static void list_all(struct attn_layer *layer) {
    const int64_t embed = layer->self.facts.embed_dim;
    static const char *const names[] = {"norm.weight", "norm.bias"};
    for (int64_t group = 0; group < layer->stack.groups; group++) {
        list_group(layer, group);
    }
    for (int i = 0; i < 2; i++) {
        const bool there =
            layer->stack.final_norm == 1 && (i == 0 || layer->stack.norm_bias == 1);
        layer->final_norm[i] = there ? layer->parameters.count : -1;
        if (there) {
            attn_parameters_add(&layer->parameters, "", names[i], 1, &embed);
        }
    }
}

bool attn_stack_measure_state(const struct attn_layer *layer, int64_t batch,
                              int64_t q_length, int64_t kv_length, size_t *bytes) {
    struct stack_call stack =
        attn_stack_measured(layer, batch, q_length, kv_length, true);
    struct ledger state = {0};
    int64_t all;
    attn_stack_place_state(&stack, &state);
    if (state.overflowed ||
        !checked_mul(stack.state_of_block, layer->stack.layers, &all) ||
        !checked_add(all, state.bytes, &all) || all > PTRDIFF_MAX) {
        return false;
    }
    *bytes = (size_t)all;
    return true;
}

/* What a call needs; backward: a backward call, else a forward call of either kind. */
static bool measure(const struct attn_layer *layer, bool backward, size_t *bytes) {
    const attn_bounds *bounds = &layer->bounds;
    struct ledger all = {0};
    for (int kept = 0; kept < 2; kept++) {
        struct stack_call stack =
            attn_stack_measured(layer, bounds->batch, bounds->q_length,
                                bounds->kv_length, kept != 0 || backward);
        struct ledger ledger = {0};
        attn_stack_place(&stack, backward, &ledger);
        if (backward) {
            struct stack_gradients gradients = {0};
            attn_stack_place_gradients(&stack, &gradients, &ledger);
        }
        all.bytes = max_i64(all.bytes, ledger.bytes);
        all.overflowed |= ledger.overflowed;
    }
    *bytes = (size_t)all.bytes;
    return !all.overflowed;
}

static attn_status measure_workspace(struct attn_layer *layer) {
    const attn_bounds *bounds = &layer->bounds;
    REQUIRE(measure(layer, false, &layer->workspace) &&
                measure(layer, true, &layer->backward_workspace),
            ATTN_ERR_INVALID,
            "the workspace overflows: batch %lld, sequences of %lld, memories of %lld",
            (long long)bounds->batch, (long long)bounds->q_length,
            (long long)bounds->kv_length);
    return ATTN_OK;
}

static attn_status setup_attention(struct attn_layer *layer, const attn_desc *self_desc,
                                   const attn_desc *cross_desc) {
    const attn_stack_options *o = &layer->stack;
    attn_bounds bounds = layer->bounds;
    bounds.kv_length = bounds.q_length;
    TRY(attn_multihead_setup(&layer->self, layer->context, o->self_attention, self_desc,
                             &bounds, "self_attention"));
    const int64_t embed = layer->self.facts.embed_dim;
    REQUIRE(layer->self.facts.targets == 0, ATTN_ERR_INVALID,
            "self_attention: targets are for multi-head layers");
    REQUIRE(layer->self.facts.key_embed_dim == embed &&
                layer->self.facts.value_embed_dim == embed,
            ATTN_ERR_INVALID,
            "self_attention: key_embed_dim and value_embed_dim must be embed_dim, %lld",
            (long long)embed);
    if (o->cross_attention == NULL) {
        REQUIRE(cross_desc == NULL, ATTN_ERR_INVALID,
                "cross_desc is given, but options.cross_attention is not");
        layer->bounds.kv_length = 0;
        return ATTN_OK;
    }
    TRY(attn_multihead_setup(&layer->cross, layer->context, o->cross_attention,
                             cross_desc, &layer->bounds, "cross_attention"));
    const attn_multihead_options *cross = &layer->cross.facts;
    REQUIRE(cross->embed_dim == embed, ATTN_ERR_INVALID,
            "cross_attention: embed_dim is %lld, that of self_attention %lld",
            (long long)cross->embed_dim, (long long)embed);
    REQUIRE(cross->key_embed_dim == cross->value_embed_dim, ATTN_ERR_INVALID,
            "cross_attention: key_embed_dim is %lld, value_embed_dim %lld, but both "
            "come from the memory",
            (long long)cross->key_embed_dim, (long long)cross->value_embed_dim);
    REQUIRE(cross->relative == 0 && cross->rotary_dim == 0 && cross->targets == 0,
            ATTN_ERR_UNSUPPORTED,
            "cross_attention: rotary and relative positions are for self_attention, "
            "targets for multi-head layers");
    return ATTN_OK;
}

attn_status attn_layer_setup_stack(struct attn_layer *layer,
                                   const attn_stack_options *options,
                                   const attn_desc *self_desc,
                                   const attn_desc *cross_desc,
                                   const attn_bounds *bounds) {
    attn_stack_options *o = &layer->stack;
    layer->kind = LAYER_STACK;
    layer->bounds = *bounds;
    TRY(attn_struct_take(o, sizeof *o, options, "options"));
    TRY(check_options(o));
    o->groups = o->groups > 0 ? o->groups : o->layers;
    o->epsilon = o->epsilon > 0 ? o->epsilon : EPSILON_DEFAULT;
    TRY(setup_attention(layer, self_desc, cross_desc));
    TRY(attn_layer_allocate_parameters(
        layer, o->groups * (2 * MULTIHEAD_PARAMETERS + BLOCK_PARAMETERS) + 2));
    list_all(layer);
    return measure_workspace(layer);
}
