/*
 * The parameters of layers, by the lists in attn/layer.h.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/element.h"
#include "tests/support/layer_data.h"

struct lister {
    struct layer_call *call;
    struct random *random;
    char prefix[48];
};

/* Rows of this many inputs make outputs of about the size of the inputs. */
static double size_of_weight(int64_t inputs) {
    return inputs > 0 ? 1 / sqrt((double)inputs) : 1;
}

/* A weight of two dimensions may be stored transposed. */
static void turn(struct layer_tensor *t, struct random *random) {
    const attn_tensor plain = t->tensor;
    if (plain.rank != 2 || plain.shape[0] < 2 || plain.shape[1] < 2 ||
        !random_percent(random, 25)) {
        return;
    }
    /* within the block of the plain one: as many elements as fit */
    attn_tensor turned = plain;
    turned.stride[0] = 1;
    turned.stride[1] = plain.shape[0];
    const int64_t count = element_count(&plain);
    float *values = malloc((size_t)count * sizeof *values);
    assert_non_null(values);
    for (int64_t n = 0; n < count; n++) {
        values[n] = *(float *)element_nth(&plain, n);
        *(float *)element_nth(&plain, n) = NAN;
    }
    for (int64_t n = 0; n < count; n++) {
        *(float *)element_nth(&turned, n) = values[n];
    }
    free(values);
    t->tensor = turned;
}

static void list(const struct lister *l, const char *name, int32_t rank, int64_t n0,
                 int64_t n1, int64_t n2, double size) {
    struct layer_tensor *t =
        layer_add(l->call, l->random, l->prefix, name, rank, n0, n1, n2, 0, size);
    t->parameter = 1;
    if (!l->call->problem.plain && strstr(name, "weight") != NULL) {
        turn(t, l->random);
    }
}

static void list_tables(const struct lister *l, const struct layer_attention *a) {
    const struct layer_sizes n = layer_sizes(&a->options);
    list(l, "r_proj_weight", 2, n.heads * n.key_dim, n.embed, 0,
         size_of_weight(n.embed));
    if (a->content) {
        list(l, "r_w_bias", 2, n.heads, n.key_dim, 0, 0.5);
    }
    if (a->position) {
        list(l, "r_r_bias", 2, n.heads, n.key_dim, 0, 0.5);
    }
    if (a->segments) {
        list(l, "seg_embed", 3, 2, n.heads, n.key_dim, 0.5);
        list(l, "r_s_bias", 2, n.heads, n.key_dim, 0, 0.5);
    }
}

static void list_attention(const struct lister *l, const struct layer_attention *a) {
    const attn_multihead_options *o = &a->options;
    const struct layer_sizes n = layer_sizes(o);
    const struct {
        const char *name;
        int64_t heads, dim, inputs;
    } parts[] = {{"q_proj_weight", n.heads, n.key_dim, n.embed},
                 {"k_proj_weight", n.kv_heads, n.key_dim, n.key_embed},
                 {"v_proj_weight", n.kv_heads, n.value_dim, n.value_embed}};
    int64_t all = 0;
    for (int p = 0; p < 3; p++) {
        const int64_t heads = parts[p].heads, dim = parts[p].dim;
        const int64_t inputs = parts[p].inputs;
        all += heads * dim;
        if (o->project == ATTN_PROJECT_SLICES) {
            list(l, parts[p].name, 3, heads, dim, inputs / heads,
                 size_of_weight(inputs / heads));
        } else if (o->separate) {
            list(l, parts[p].name, 2, heads * dim, inputs, 0, size_of_weight(inputs));
        }
    }
    if (!o->separate) {
        list(l, "in_proj_weight", 2, all, n.embed, 0, size_of_weight(n.embed));
    }
    if (o->input_bias) {
        list(l, "in_proj_bias", 1, all, 0, 0, 0.3);
    }
    if (o->key_value_bias) {
        list(l, "bias_k", 3, 1, 1, n.kv_heads * n.key_dim, 1);
        list(l, "bias_v", 3, 1, 1, n.kv_heads * n.value_dim, 1);
    }
    const int64_t combined =
        o->combine == ATTN_COMBINE_MEAN ? n.value_dim : n.heads * n.value_dim;
    list(l, "out_proj.weight", 2, n.embed, combined, 0, size_of_weight(combined));
    if (o->output_bias) {
        list(l, "out_proj.bias", 1, n.embed, 0, 0, 0.3);
    }
    if (o->relative) {
        list_tables(l, a);
    }
}

/* A norm's gain is around 1. */
static void list_norm(const struct lister *l, const char *name, int with_bias) {
    const int64_t embed = l->call->problem.self.options.embed_dim;
    char full[24];
    snprintf(full, sizeof full, "%s.weight", name);
    list(l, full, 1, embed, 0, 0, 0.2);
    const attn_tensor *gain = &l->call->tensor[l->call->tensors - 1].tensor;
    for (int64_t n = 0; n < embed; n++) {
        *(float *)element_nth(gain, n) += 1;
    }
    if (with_bias) {
        snprintf(full, sizeof full, "%s.bias", name);
        list(l, full, 1, embed, 0, 0, 0.3);
    }
}

static void list_feed_forward(const struct lister *l) {
    const attn_stack_options *o = &l->call->problem.stack;
    const int64_t feed = o->feed_forward_dim;
    const int64_t embed = l->call->problem.self.options.embed_dim;
    list(l, "linear1.weight", 2, feed, embed, 0, size_of_weight(embed));
    if (o->feed_forward_bias) {
        list(l, "linear1.bias", 1, feed, 0, 0, 0.3);
    }
    if (o->gated) {
        list(l, "gate.weight", 2, feed, embed, 0, size_of_weight(embed));
        if (o->feed_forward_bias) {
            list(l, "gate.bias", 1, feed, 0, 0, 0.3);
        }
    }
    list(l, "linear2.weight", 2, embed, feed, 0, size_of_weight(feed));
    if (o->feed_forward_bias) {
        list(l, "linear2.bias", 1, embed, 0, 0, 0.3);
    }
}

static void list_group(struct lister *l, int64_t group) {
    const struct layer_problem *p = &l->call->problem;
    const int with_bias = p->stack.norm_bias == 1;
    snprintf(l->prefix, sizeof l->prefix, "layers.%d.self_attn.", (int)group);
    list_attention(l, &p->self);
    if (p->cross) {
        snprintf(l->prefix, sizeof l->prefix, "layers.%d.multihead_attn.", (int)group);
        list_attention(l, &p->memory);
    }
    snprintf(l->prefix, sizeof l->prefix, "layers.%d.", (int)group);
    list_feed_forward(l);
    list_norm(l, "norm1", with_bias);
    list_norm(l, "norm2", with_bias);
    if (p->cross) {
        list_norm(l, "norm3", with_bias);
    }
}

void layer_add_parameters(struct layer_call *call, struct random *random) {
    const struct layer_problem *p = &call->problem;
    struct lister l = {call, random, ""};
    if (p->layers == 0) {
        list_attention(&l, &p->self);
        return;
    }
    const int64_t groups = p->stack.groups > 0 ? p->stack.groups : p->layers;
    for (int64_t group = 0; group < groups; group++) {
        list_group(&l, group);
    }
    l.prefix[0] = '\0';
    if (p->stack.final_norm) {
        list_norm(&l, "norm", p->stack.norm_bias == 1);
    }
}
