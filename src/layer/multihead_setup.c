/*
 * From the options of a multi-head layer to its sizes, parameters and plans.
 */
#include <limits.h>
#include <math.h>
#include <string.h>

#include "base/status.h"
#include "layer/multihead.h"

static attn_status check_sizes(const attn_multihead_options *o, const char *name) {
    const struct {
        const char *name;
        int64_t value, least, most;
    } sizes[] = {
        {"embed_dim", o->embed_dim, 1, INT_MAX},
        {"heads", o->heads, 1, INT_MAX},
        {"kv_heads", o->kv_heads, 0, INT_MAX},
        {"key_dim", o->key_dim, 0, DIM_MAX},
        {"value_dim", o->value_dim, 0, DIM_MAX},
        {"key_embed_dim", o->key_embed_dim, 0, INT_MAX},
        {"value_embed_dim", o->value_embed_dim, 0, INT_MAX},
        {"separate", o->separate, 0, 1},
        {"input_bias", o->input_bias, 0, 1},
        {"output_bias", o->output_bias, 0, 1},
        {"key_value_bias", o->key_value_bias, 0, 1},
        {"zero_attention", o->zero_attention, 0, 1},
        {"combine", o->combine, ATTN_COMBINE_CONCAT, ATTN_COMBINE_MEAN},
        {"project", o->project, ATTN_PROJECT_ALL, ATTN_PROJECT_SLICES},
        {"rotary_dim", o->rotary_dim, 0, DIM_MAX},
        {"rotary_interleaved", o->rotary_interleaved, 0, 1},
        {"relative", o->relative, 0, 1},
        {"targets", o->targets, 0, 1},
    };
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        REQUIRE(sizes[i].value >= sizes[i].least && sizes[i].value <= sizes[i].most,
                ATTN_ERR_INVALID, "%s: %s is %lld, not within %lld to %lld", name,
                sizes[i].name, (long long)sizes[i].value, (long long)sizes[i].least,
                (long long)sizes[i].most);
    }
    return ATTN_OK;
}

static int64_t either(int64_t value, int64_t instead) {
    return value != 0 ? value : instead;
}

/* Fills in what 0 stands for, as far as it divides. */
static attn_status fill_in(attn_multihead_options *o, const char *name) {
    REQUIRE(o->key_dim > 0 || o->embed_dim % o->heads == 0, ATTN_ERR_INVALID,
            "%s: embed_dim %lld is not a multiple of %lld heads, and key_dim is not "
            "given",
            name, (long long)o->embed_dim, (long long)o->heads);
    o->kv_heads = either(o->kv_heads, o->heads);
    o->key_dim = either(o->key_dim, o->embed_dim / o->heads);
    o->value_dim = either(o->value_dim, o->key_dim);
    o->key_embed_dim = either(o->key_embed_dim, o->embed_dim);
    o->value_embed_dim = either(o->value_embed_dim, o->embed_dim);
    REQUIRE(o->heads % o->kv_heads == 0, ATTN_ERR_INVALID,
            "%s: %lld heads are not a multiple of %lld kv_heads", name,
            (long long)o->heads, (long long)o->kv_heads);
    REQUIRE(o->key_dim <= DIM_MAX, ATTN_ERR_INVALID,
            "%s: heads of embed_dim / heads = %lld features, more than %d", name,
            (long long)o->key_dim, (int)DIM_MAX);
    return ATTN_OK;
}

static attn_status check_slices(const attn_multihead_options *o, const char *name) {
    const struct {
        const char *name;
        int64_t features, slices;
    } inputs[] = {
        {"embed_dim", o->embed_dim, o->heads},
        {"key_embed_dim", o->key_embed_dim, o->kv_heads},
        {"value_embed_dim", o->value_embed_dim, o->kv_heads},
    };
    for (size_t i = 0; i < COUNT_OF(inputs); i++) {
        REQUIRE(inputs[i].features % inputs[i].slices == 0, ATTN_ERR_INVALID,
                "%s: %s %lld does not fall into %lld slices", name, inputs[i].name,
                (long long)inputs[i].features, (long long)inputs[i].slices);
    }
    return ATTN_OK;
}

/* Rules that join several options. */
static attn_status check_together(const attn_multihead_options *o, const char *name) {
    const bool slices = o->project == ATTN_PROJECT_SLICES;
    const bool other_inputs =
        o->key_embed_dim != o->embed_dim || o->value_embed_dim != o->embed_dim;
    REQUIRE(o->separate == 1 || !other_inputs, ATTN_ERR_INVALID,
            "%s: embed_dim is %lld, key_embed_dim %lld, value_embed_dim %lld: they "
            "differ, so weights must be separate",
            name, (long long)o->embed_dim, (long long)o->key_embed_dim,
            (long long)o->value_embed_dim);
    REQUIRE(o->separate == 1 || !slices, ATTN_ERR_INVALID,
            "%s: ATTN_PROJECT_SLICES needs separate weights", name);
    if (slices) {
        TRY(check_slices(o, name));
    }
    REQUIRE(o->rotary_dim % 2 == 0 && o->rotary_dim <= o->key_dim, ATTN_ERR_INVALID,
            "%s: rotary_dim is %lld, should be even and at most key_dim, %lld", name,
            (long long)o->rotary_dim, (long long)o->key_dim);
    REQUIRE(o->rotary_dim > 0 || (o->rotary_interleaved == 0 && o->rotary_base == 0),
            ATTN_ERR_INVALID,
            "%s: rotary_interleaved or rotary_base without rotary_dim", name);
    REQUIRE(o->rotary_base >= 0 && isfinite(o->rotary_base), ATTN_ERR_INVALID,
            "%s: rotary_base is %g, should be finite and 0 or more", name,
            o->rotary_base);
    return ATTN_OK;
}

static attn_status take_widths(struct multihead *multihead, const char *name) {
    const attn_multihead_options *o = &multihead->facts;
    multihead->width[PART_QUERY] = o->heads * o->key_dim;
    multihead->width[PART_KEY] = o->kv_heads * o->key_dim;
    multihead->width[PART_VALUE] = o->kv_heads * o->value_dim;
    multihead->inputs[PART_QUERY] = o->embed_dim;
    multihead->inputs[PART_KEY] = o->key_embed_dim;
    multihead->inputs[PART_VALUE] = o->value_embed_dim;
    multihead->combined =
        o->combine == ATTN_COMBINE_MEAN ? o->value_dim : o->heads * o->value_dim;
    int64_t all = o->heads * o->value_dim;
    for (int i = 0; i < PARTS; i++) {
        all += multihead->width[i];
    }
    REQUIRE(all <= INT_MAX, ATTN_ERR_UNSUPPORTED,
            "%s: projections of %lld features in all, more than BLAS takes: %d", name,
            (long long)all, INT_MAX);
    return ATTN_OK;
}

static attn_status check_match(const char *name, const char *what, int64_t said,
                               int64_t is) {
    REQUIRE(said == 0 || said == is, ATTN_ERR_INVALID,
            "%s: the layer has %s %lld, its descriptor %lld", name, what, (long long)is,
            (long long)said);
    return ATTN_OK;
}

/* The descriptor with the layer's heads and dims. */
static attn_status take_desc(attn_desc *mine, const attn_desc *desc,
                             const attn_multihead_options *o, const char *name) {
    attn_desc_setup(mine);
    if (desc != NULL) {
        *mine = *desc;
    }
    struct problem *facts = &mine->facts;
    REQUIRE(!facts->q_packed && !facts->kv_packed, ATTN_ERR_UNSUPPORTED,
            "%s: the descriptor announces packed %s, which layers do not have", name,
            facts->q_packed ? "queries" : "keys");
    TRY(check_match(name, "heads", facts->query_heads, o->heads));
    TRY(check_match(name, "kv heads", facts->kv_heads, o->kv_heads));
    TRY(check_match(name, "key dim", facts->key_dim, o->key_dim));
    TRY(check_match(name, "value dim", facts->value_dim, o->value_dim));
    facts->query_heads = (int32_t)o->heads;
    facts->kv_heads = (int32_t)o->kv_heads;
    facts->key_dim = (int32_t)o->key_dim;
    facts->value_dim = (int32_t)o->value_dim;
    facts->relative_keys = facts->relative_keys || o->relative == 1;
    return ATTN_OK;
}

/* Attention to the extra keys: no mask, no terms but scale and softcap. */
static attn_status setup_extra(struct multihead *multihead,
                               struct attn_context *context, const attn_desc *desc,
                               const attn_bounds *bounds) {
    attn_desc plain;
    attn_desc_setup(&plain);
    plain.facts.query_heads = desc->facts.query_heads;
    plain.facts.kv_heads = desc->facts.kv_heads;
    plain.facts.key_dim = desc->facts.key_dim;
    plain.facts.value_dim = desc->facts.value_dim;
    plain.facts.scale = desc->facts.scale;
    plain.facts.softcap = desc->facts.softcap;
    plain.facts.dropout = desc->facts.dropout;
    plain.has_scale = desc->has_scale;
    const attn_bounds few = {sizeof few, bounds->batch, bounds->q_length,
                             multihead->extras};
    return attn_plan_setup(&multihead->extra_plan, context, &plain, &few);
}

attn_status attn_multihead_setup(struct multihead *multihead,
                                 struct attn_context *context,
                                 const attn_multihead_options *options,
                                 const attn_desc *desc, const attn_bounds *bounds,
                                 const char *name) {
    attn_multihead_options *facts = &multihead->facts;
    attn_desc mine;
    TRY(attn_struct_take(facts, sizeof *facts, options, name));
    TRY(check_sizes(facts, name));
    TRY(fill_in(facts, name));
    TRY(check_together(facts, name));
    TRY(take_widths(multihead, name));
    TRY(take_desc(&mine, desc, facts, name));
    multihead->extras = facts->key_value_bias + facts->zero_attention;
    TRY(attn_plan_setup(&multihead->plan, context, &mine, bounds));
    return multihead->extras > 0 ? setup_extra(multihead, context, &mine, bounds)
                                 : ATTN_OK;
}

/* Appends a parameter if it is there. */
struct lister {
    struct multihead *multihead;
    struct parameters *parameters;
    int64_t first;
    const char *prefix;
};

static void list(const struct lister *lister, bool there,
                 enum multihead_parameter which, const char *name, int32_t rank,
                 int64_t size, int64_t size2, int64_t size3) {
    const int64_t shape[] = {size, size2, size3};
    lister->multihead->parameter[which] =
        there ? lister->parameters->count - lister->first : -1;
    if (there) {
        attn_parameters_add(lister->parameters, lister->prefix, name, rank, shape);
    }
}

void attn_multihead_list(struct multihead *multihead, struct parameters *parameters,
                         int64_t first, const char *prefix) {
    const struct lister l = {multihead, parameters, first, prefix};
    const attn_multihead_options *o = &multihead->facts;
    const struct problem *problem = &multihead->plan.problem;
    const bool slices = o->project == ATTN_PROJECT_SLICES;
    const int64_t *width = multihead->width, *inputs = multihead->inputs;
    const int64_t all = width[PART_QUERY] + width[PART_KEY] + width[PART_VALUE];
    static const char *const names[] = {"q_proj_weight", "k_proj_weight",
                                        "v_proj_weight"};
    list(&l, o->separate == 0, IN_WEIGHT, "in_proj_weight", 2, all, o->embed_dim, 0);
    for (int i = 0; i < PARTS; i++) {
        const int64_t heads = i == PART_QUERY ? o->heads : o->kv_heads;
        const enum multihead_parameter which = (enum multihead_parameter)(Q_WEIGHT + i);
        if (slices) {
            list(&l, true, which, names[i], 3, heads, width[i] / heads,
                 inputs[i] / heads);
        } else {
            list(&l, o->separate == 1, which, names[i], 2, width[i], inputs[i], 0);
        }
    }
    list(&l, o->input_bias == 1, IN_BIAS, "in_proj_bias", 1, all, 0, 0);
    list(&l, o->key_value_bias == 1, BIAS_K, "bias_k", 3, 1, 1, width[PART_KEY]);
    list(&l, o->key_value_bias == 1, BIAS_V, "bias_v", 3, 1, 1, width[PART_VALUE]);
    list(&l, true, OUT_WEIGHT, "out_proj.weight", 2, o->embed_dim, multihead->combined,
         0);
    list(&l, o->output_bias == 1, OUT_BIAS, "out_proj.bias", 1, o->embed_dim, 0, 0);
    const bool relative = o->relative == 1;
    list(&l, relative, R_WEIGHT, "r_proj_weight", 2, width[PART_QUERY], o->embed_dim,
         0);
    list(&l, relative && problem->content_bias, CONTENT_BIAS, "r_w_bias", 2, o->heads,
         o->key_dim, 0);
    list(&l, relative && problem->position_bias, POSITION_BIAS, "r_r_bias", 2, o->heads,
         o->key_dim, 0);
    list(&l, relative && problem->segments, SEGMENT_KEYS, "seg_embed", 3, 2, o->heads,
         o->key_dim);
    list(&l, relative && problem->segments, SEGMENT_BIAS, "r_s_bias", 2, o->heads,
         o->key_dim, 0);
}
