/*
 * Keys that are parameters (add_bias_kv of PyTorch) or zero (add_zero_attn), which
 * every query attends.
 *
 * They are a call of attention of their own, without masks, and its result is merged
 * with that of the other keys: with l and e the LSE of the two, and t that of all keys,
 *
 *     out = exp(l - t) out_l + exp(e - t) out_e,  t = log(exp(l) + exp(e))
 *
 * Backward calls of both parts take the output and the LSE of the whole.
 */
#include <math.h>
#include <string.h>

#include "base/status.h"
#include "layer/multihead_parts.h"

void attn_multihead_keep_extra(struct multihead_call *call, struct ledger *ledger) {
    const attn_multihead_options *facts = &call->multihead->facts;
    const int64_t extras = call->multihead->extras;
    struct multihead_extra *extra = &call->extra;
    extra->keys = ledger_floats(ledger, extras, call->multihead->width[PART_KEY], 1);
    extra->values =
        ledger_floats(ledger, extras, call->multihead->width[PART_VALUE], 1);
    extra->heads = ledger_floats(ledger, call->batch, call->q_length,
                                 facts->heads * facts->value_dim);
    extra->lse = ledger_floats(ledger, call->batch, call->q_length, facts->heads);
    extra->own_lse = ledger_floats(ledger, call->batch, call->q_length, facts->heads);
}

/* Rows of the extra keys, the same for all batch elements. */
static attn_tensor extra_rows(const struct multihead_call *call, float *data,
                              int64_t dim) {
    const int64_t heads = call->multihead->facts.kv_heads;
    const struct sequences rows = {data, 0, heads * dim};
    return attn_heads_of(&rows, call->batch, heads, call->multihead->extras, dim);
}

/* The columns [first, first + count) of weights that the caller asked for. */
static attn_tensor columns_of(const attn_tensor *weights, int64_t first,
                              int64_t count) {
    attn_tensor columns = *weights;
    columns.shape[3] = count;
    columns.data = (float *)weights->data + first;
    return columns;
}

/* The two parts of weights pass for tensors of the layer's own, and each is bound with
 * a part of the inputs: here is the whole. */
static attn_status check_weights(const attn_forward_args *args,
                                 const struct others *others) {
    struct extent extent;
    TRY(attn_tensor_extent(args->weights, "weights", &extent));
    TRY(attn_tensor_check_distinct(args->weights, "weights"));
    TRY(attn_multihead_inputs_apart(args, &extent));
    for (int i = 0; i < others->count; i++) {
        REQUIRE(extent.begin >= others->extent[i].end ||
                    others->extent[i].begin >= extent.end,
                ATTN_ERR_INVALID, "weights overlaps %s: their byte ranges meet",
                others->extent[i].name);
    }
    return ATTN_OK;
}

/* Weights have columns for the extra keys after the others. */
static attn_status bind_weights(const struct multihead_call *call,
                                struct multihead_bound *bound,
                                const struct others *others) {
    const attn_tensor *weights = call->attention->weights;
    const int64_t extras = call->multihead->extras, keys = call->kv_length;
    REQUIRE(call->attention->mean_weights == NULL &&
                call->attention->key_sums == NULL && call->attention->row_max == NULL &&
                call->attention->row_sum == NULL && call->attention->lse == NULL,
            ATTN_ERR_UNSUPPORTED,
            "with key_value_bias or zero_attention a call has no mean_weights, "
            "key_sums, lse, row_max and row_sum; it has weights");
    if (weights == NULL) {
        return ATTN_OK;
    }
    REQUIRE(
        weights->rank == 4 && weights->dtype == ATTN_F32 &&
            weights->shape[3] == keys + extras && weights->stride[3] == 1,
        ATTN_ERR_INVALID,
        "weights should be f32 and have %lld columns, for %lld keys and %lld that the "
        "layer adds, with a last stride of 1",
        (long long)(keys + extras), (long long)keys, (long long)extras);
    TRY(check_weights(call->attention, others));
    bound->extra.weights = columns_of(weights, 0, keys);
    bound->extra.extra_weights = columns_of(weights, keys, extras);
    bound->args.weights = &bound->extra.weights;
    bound->extra.args.weights = &bound->extra.extra_weights;
    return ATTN_OK;
}

attn_status attn_multihead_bind_extra(const struct multihead_call *call,
                                      struct multihead_bound *bound,
                                      const struct others *others) {
    const struct multihead *multihead = call->multihead;
    const attn_multihead_options *facts = &multihead->facts;
    struct multihead_extra_bound *extra = &bound->extra;
    const struct size size = {call->batch, call->q_length};
    const struct sequences heads =
        sequences_at(call->extra.heads, size, facts->heads * facts->value_dim);
    extra->key = extra_rows(call, call->extra.keys, facts->key_dim);
    extra->value = extra_rows(call, call->extra.values, facts->value_dim);
    extra->out = attn_heads_of(&heads, call->batch, facts->heads, call->q_length,
                               facts->value_dim);
    extra->lse = attn_multihead_statistic(call, call->extra.lse);
    extra->own_lse = attn_multihead_statistic(call, call->extra.own_lse);
    TRY(attn_forward_args_init(&extra->args, sizeof extra->args));
    TRY(bind_weights(call, bound, others));
    extra->args.query = &bound->query;
    extra->args.key = &extra->key;
    extra->args.value = &extra->value;
    extra->args.out = &extra->out;
    extra->args.lse = &extra->own_lse;
    extra->args.rng_indices = call->attention->rng_indices;
    /* other weights than those of the first keys are to be dropped */
    extra->args.dropout_seed = ~call->attention->dropout_seed;
    extra->args.should_stop = call->should_stop;
    extra->args.should_stop_user = call->should_stop_user;
    /* the LSE of the other keys, then of all */
    bound->args.lse = &extra->lse;
    bound->args.row_max = bound->args.row_sum = NULL;
    return attn_call_bind(&extra->call, &multihead->extra_plan.problem,
                          &multihead->extra_plan.bounds, &extra->args, others, NULL);
}

/* The parameters, and a row of zeros. */
static void make_rows(const struct multihead_call *call, float *to,
                      enum multihead_parameter parameter, enum part part) {
    const int64_t width = call->multihead->width[part];
    const float *bias = parameter_vector(attn_multihead_value(call, parameter));
    if (bias != NULL) {
        memcpy(to, bias, (size_t)width * sizeof *to);
        to += width;
    }
    if (call->multihead->facts.zero_attention == 1) {
        memset(to, 0, (size_t)width * sizeof *to);
    }
}

/* All weights of row r of head h multiplied by what the part's share of the whole is.
 */
static void scale_weights(const attn_tensor *weights, int64_t b, int64_t h, int64_t r,
                          float share) {
    float *row = (float *)weights->data + b * weights->stride[0] +
                 h * weights->stride[1] + r * weights->stride[2];
    for (int64_t j = 0; j < weights->shape[3]; j++) {
        row[j] *= share;
    }
}

struct merge {
    const struct multihead_call *call;
    const struct multihead_bound *bound;
};

static void merge_row(const struct merge *merge, int64_t b, int64_t h, int64_t r) {
    const struct multihead_call *call = merge->call;
    const attn_multihead_options *facts = &call->multihead->facts;
    const int64_t at = (b * facts->heads + h) * call->q_length + r;
    const int64_t dim = facts->value_dim;
    float *out = call->heads + ((b * call->q_length + r) * facts->heads + h) * dim;
    const float *other =
        call->extra.heads + ((b * call->q_length + r) * facts->heads + h) * dim;
    float *lse = &call->extra.lse[at];
    const float own = call->extra.own_lse[at];
    /* rows beyond the lengths attend the extra keys alone, whatever sink there is */
    const bool within = r < attn_call_rows(&merge->bound->call, b);
    const float other_lse = within ? *lse : -INFINITY;
    const float top = other_lse > own ? other_lse : own;
    float share = 0.0f, own_share = 0.0f;
    *lse = top;
    if (top != -INFINITY) {
        const float sum = expf(other_lse - top) + expf(own - top);
        share = expf(other_lse - top) / sum;
        own_share = expf(own - top) / sum;
        *lse = top + logf(sum);
    }
    for (int64_t c = 0; c < dim; c++) {
        out[c] = share * out[c] + own_share * other[c];
    }
    if (call->attention->weights != NULL) {
        scale_weights(&merge->bound->extra.weights, b, h, r, share);
        scale_weights(&merge->bound->extra.extra_weights, b, h, r, own_share);
    }
}

static void merge_task(const void *argument, int64_t b, int64_t row, int64_t end) {
    const struct merge *merge = argument;
    for (int64_t h = 0; h < merge->call->multihead->facts.heads; h++) {
        for (int64_t r = row; r < end; r++) {
            merge_row(merge, b, h, r);
        }
    }
}

attn_status attn_multihead_add_extra(const struct multihead_call *call,
                                     const struct multihead_bound *bound) {
    const struct size size = {call->batch, call->q_length};
    const struct merge merge = {call, bound};
    make_rows(call, call->extra.keys, BIAS_K, PART_KEY);
    make_rows(call, call->extra.values, BIAS_V, PART_VALUE);
    TRY(attn_plan_run(&call->multihead->extra_plan, &bound->extra.call,
                      call->plan_workspace));
    attn_rows_run(call->linear.context, size,
                  3 * call->multihead->facts.heads * call->multihead->facts.value_dim,
                  merge_task, &merge);
    return ATTN_OK;
}
