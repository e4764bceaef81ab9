/*
 * The memory of a multi-head layer's call, and its checks.
 *
 * Queries, keys and values that come from one input by one weight lie side by side in
 * rows of one product, and attention finds them by strides.
 */
#include "base/status.h"
#include "layer/multihead_parts.h"

/* A parameter of the call's layer; one of rank 0 where there is none. */
static const struct parameter *parameter_of(const struct multihead_call *call,
                                            enum multihead_parameter parameter) {
    static const struct parameter none = {.rank = 0};
    const int64_t at = call->multihead->parameter[parameter];
    return at < 0 ? &none : &call->parameters->list[call->first + at];
}

const attn_tensor *attn_multihead_value(const struct multihead_call *call,
                                        enum multihead_parameter parameter) {
    return &parameter_of(call, parameter)->value;
}

const attn_tensor *attn_multihead_gradient(const struct multihead_call *call,
                                           enum multihead_parameter parameter) {
    return &parameter_of(call, parameter)->gradient;
}

struct weight attn_multihead_matrix(const struct multihead_call *call,
                                    enum multihead_parameter parameter, int64_t index) {
    return attn_parameter_weight(parameter_of(call, parameter), index);
}

struct weight attn_multihead_matrix_gradient(const struct multihead_call *call,
                                             enum multihead_parameter parameter,
                                             int64_t index) {
    return attn_parameter_weight_gradient(parameter_of(call, parameter), index);
}

/* Rows in the order of an input, but for what is moved row by row. */
static struct sequences rows_like(const struct multihead_call *call,
                                  const struct sequences *input, float *data,
                                  struct size size, int64_t features) {
    const attn_multihead_options *facts = &call->multihead->facts;
    const bool across = sequences_even_across(input, size) && facts->targets == 0 &&
                        call->multihead->extras == 0;
    return across ? sequences_across(data, size, features)
                  : sequences_at(data, size, features);
}

struct sequences attn_multihead_rows(const struct multihead_call *call, float *data,
                                     int64_t features) {
    const struct size size = {call->batch, call->q_length};
    return rows_like(call, &call->input, data, size, features);
}

void attn_multihead_place_parts(const struct multihead_call *call,
                                struct sequences part[PARTS], struct ledger *ledger) {
    const struct multihead *multihead = call->multihead;
    const int64_t *width = multihead->width;
    const struct sequences *inputs[] = {&call->input, &call->key, &call->value};
    for (int i = 0; i < PARTS; i++) {
        const struct size size = {call->batch,
                                  i == PART_QUERY ? call->q_length : call->kv_length};
        const int first = i;
        int64_t features = width[i];
        for (; attn_multihead_with_next(call, i); i++) {
            features += width[i + 1];
        }
        float *data = ledger_floats(ledger, size.batch, size.rows, features);
        for (int p = first; p <= i; p++) {
            part[p] = rows_like(call, inputs[first], data, size, features);
            data = data != NULL ? data + width[p] : NULL;
        }
    }
}

bool attn_multihead_with_next(const struct multihead_call *call, int part) {
    return call->multihead->facts.separate == 0 &&
           ((part == PART_QUERY && call->one_input) ||
            (part == PART_KEY && call->one_key));
}

int64_t attn_multihead_relative_rows(const struct multihead_call *call) {
    return call->args != NULL ? call->args->positions->shape[0]
                              : max_i64(1, call->q_length + call->kv_length);
}

void attn_multihead_keep(struct multihead_call *call, struct ledger *ledger) {
    const attn_multihead_options *facts = &call->multihead->facts;
    attn_multihead_place_parts(call, call->part, ledger);
    call->heads = ledger_floats(ledger, call->batch, call->q_length,
                                facts->heads * facts->value_dim);
    if (call->training) {
        call->row_max =
            ledger_floats(ledger, call->batch, call->q_length, facts->heads);
        call->row_sum =
            ledger_floats(ledger, call->batch, call->q_length, facts->heads);
    }
    if (facts->relative == 1) {
        call->relative_keys = ledger_floats(ledger, attn_multihead_relative_rows(call),
                                            call->multihead->width[PART_QUERY], 1);
    }
    if (call->multihead->extras > 0) {
        attn_multihead_keep_extra(call, ledger);
    }
}

void attn_multihead_scratch(struct multihead_call *call, struct ledger *ledger) {
    const struct multihead *multihead = call->multihead;
    if (multihead->facts.combine == ATTN_COMBINE_MEAN) {
        call->average =
            ledger_floats(ledger, call->batch, call->q_length, multihead->combined);
    }
    if (multihead->facts.targets == 1) {
        call->target_rows =
            ledger_floats(ledger, call->batch, call->rows,
                          max_i64(multihead->width[PART_QUERY], multihead->combined));
    }
    size_t bytes = multihead->plan.workspace;
    if (multihead->extras > 0 && multihead->extra_plan.workspace > bytes) {
        bytes = multihead->extra_plan.workspace;
    }
    /* products and attention take turns */
    const int64_t threads = multihead->plan.context->threads;
    const int64_t products = threads *
                             attn_linear_tiled_floats(multihead->plan.tools.kernels) *
                             (int64_t)sizeof(float);
    call->plan_workspace = ledger_bytes(ledger, max_i64((int64_t)bytes, products));
    call->linear.memory = call->plan_workspace;
}

attn_tensor attn_heads_of(const struct sequences *rows, int64_t batch, int64_t heads,
                          int64_t length, int64_t dim) {
    return (attn_tensor){
        .data = rows->data,
        .shape = {batch, heads, length, dim},
        .stride = {rows->batch_stride, dim, rows->row_stride, 1},
        .dtype = ATTN_F32,
        .rank = 4,
    };
}

attn_tensor attn_multihead_statistic(const struct multihead_call *call, float *data) {
    attn_tensor tensor;
    const int64_t shape[] = {call->batch, call->multihead->facts.heads, call->q_length};
    attn_tensor_init(&tensor, ATTN_F32, 3, shape, data);
    return tensor;
}

attn_status attn_multihead_bind_rotary(const struct multihead_call *call,
                                       const attn_tensor *tensor, bool key,
                                       bool inverse, struct rotary *rotary) {
    const attn_multihead_options *facts = &call->multihead->facts;
    const attn_layer_args *from = call->args;
    attn_rotary_args args = {
        .size = sizeof args,
        .input = tensor,
        .output = tensor,
        .rotary_dim = facts->rotary_dim,
        .interleaved = facts->rotary_interleaved,
        .inverse = inverse,
        .base = facts->rotary_base,
        .position_ids = from->position_ids,
        .offsets = from->offsets,
        .cosines = from->cosines,
        .sines = from->sines,
    };
    if (key && (from->key_position_ids != NULL || from->key_offsets != NULL)) {
        args.position_ids = from->key_position_ids;
        args.offsets = from->key_offsets;
    }
    const attn_status status = attn_rotary_bind(rotary, &args);
    return status == ATTN_OK
               ? ATTN_OK
               : attn_fail_in(status, key ? "rotation of keys" : "rotation of queries");
}

static attn_status bind_rotations(struct multihead_bound *bound,
                                  const struct multihead_call *call) {
    const attn_layer_args *args = call->args;
    if (call->multihead->facts.rotary_dim > 0) {
        TRY(attn_multihead_bind_rotary(call, &bound->query, false, false,
                                       &bound->rotate_query));
        return attn_multihead_bind_rotary(call, &bound->key, true, false,
                                          &bound->rotate_key);
    }
    const struct named_tensor given[] = {
        {"position_ids", args->position_ids},
        {"offsets", args->offsets},
        {"cosines", args->cosines},
        {"sines", args->sines},
        {"key_position_ids", args->key_position_ids},
        {"key_offsets", args->key_offsets},
    };
    for (size_t i = 0; i < COUNT_OF(given); i++) {
        REQUIRE(given[i].tensor == NULL, ATTN_ERR_INVALID,
                "%s is given, but the layer has no rotary_dim", given[i].name);
    }
    return ATTN_OK;
}

/* What a relative layer has of its own. */
static attn_status check_relative(const struct multihead_call *call) {
    const attn_forward_args *args = call->attention;
    const struct named_tensor own[] = {
        {"relative_keys", args->relative_keys}, {"content_bias", args->content_bias},
        {"position_bias", args->position_bias}, {"segment_keys", args->segment_keys},
        {"segment_bias", args->segment_bias},
    };
    for (size_t i = 0; i < COUNT_OF(own); i++) {
        REQUIRE(own[i].tensor == NULL, ATTN_ERR_INVALID,
                "%s: %s is given, but a relative layer has its own", call->name,
                own[i].name);
    }
    REQUIRE(
        args->relative_zero == 0, ATTN_ERR_INVALID,
        "%s: relative_zero is %lld: that of a relative layer is in its own arguments",
        call->name, (long long)args->relative_zero);
    return ATTN_OK;
}

/* Relative keys and what goes with them, from parameters. */
static void bind_relative(struct multihead_bound *bound,
                          const struct multihead_call *call) {
    const attn_multihead_options *facts = &call->multihead->facts;
    const struct {
        enum multihead_parameter parameter;
        const attn_tensor **argument;
    } tables[] = {
        {CONTENT_BIAS, &bound->args.content_bias},
        {POSITION_BIAS, &bound->args.position_bias},
        {SEGMENT_KEYS, &bound->args.segment_keys},
        {SEGMENT_BIAS, &bound->args.segment_bias},
    };
    for (size_t i = 0; i < COUNT_OF(tables); i++) {
        const attn_tensor *value = attn_multihead_value(call, tables[i].parameter);
        if (value->rank > 0) {
            *tables[i].argument = value;
        }
    }
    bound->relative_keys = (attn_tensor){
        .data = call->relative_keys,
        .shape = {facts->heads, attn_multihead_relative_rows(call), facts->key_dim},
        .stride = {facts->key_dim, call->multihead->width[PART_QUERY], 1},
        .dtype = ATTN_F32,
        .rank = 3,
    };
    bound->args.relative_keys = &bound->relative_keys;
    bound->args.relative_zero = call->args->relative_zero;
}

attn_status attn_multihead_apart(const struct multihead_call *call,
                                 const struct named_tensor *list, size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct extent extent;
        if (list[i].tensor != NULL) {
            TRY(attn_tensor_extent(list[i].tensor, list[i].name, &extent));
            TRY(attn_parameters_apart(call->parameters, &extent));
        }
    }
    return ATTN_OK;
}

/* Outputs of the attention that the caller has: no parameter may lie there. */
static attn_status check_outputs(const struct multihead_call *call) {
    const attn_forward_args *args = call->attention;
    const struct named_tensor outputs[] = {
        {"lse", args->lse},
        {"row_max", args->row_max},
        {"row_sum", args->row_sum},
        {"weights", args->weights},
        {"mean_weights", args->mean_weights},
        {"key_sums", args->key_sums},
        {"raw_scores", args->raw_scores},
        {"capped_scores", args->capped_scores},
        {"biased_scores", args->biased_scores},
        {"dropout_mask", args->dropout_mask},
    };
    return attn_multihead_apart(call, outputs, COUNT_OF(outputs));
}

attn_status attn_multihead_bind(struct multihead_bound *bound,
                                const struct multihead_call *call) {
    const struct multihead *multihead = call->multihead;
    const attn_multihead_options *facts = &multihead->facts;
    const struct sequences heads =
        attn_multihead_rows(call, call->heads, facts->heads * facts->value_dim);
    bound->query = attn_heads_of(&call->part[PART_QUERY], call->batch, facts->heads,
                                 call->q_length, facts->key_dim);
    bound->key = attn_heads_of(&call->part[PART_KEY], call->batch, facts->kv_heads,
                               call->kv_length, facts->key_dim);
    bound->value = attn_heads_of(&call->part[PART_VALUE], call->batch, facts->kv_heads,
                                 call->kv_length, facts->value_dim);
    bound->out = attn_heads_of(&heads, call->batch, facts->heads, call->q_length,
                               facts->value_dim);
    bound->args = *call->attention;
    bound->args.query = &bound->query;
    bound->args.key = &bound->key;
    bound->args.value = &bound->value;
    bound->args.out = &bound->out;
    REQUIRE(!call->training ||
                (bound->args.row_max == NULL) == (bound->args.row_sum == NULL),
            ATTN_ERR_INVALID,
            "%s has one of row_max and row_sum: with a state both or none", call->name);
    if (call->training && bound->args.row_max == NULL && multihead->extras == 0) {
        bound->row_max = attn_multihead_statistic(call, call->row_max);
        bound->row_sum = attn_multihead_statistic(call, call->row_sum);
        bound->args.row_max = &bound->row_max;
        bound->args.row_sum = &bound->row_sum;
    }
    if (facts->relative == 1) {
        TRY(check_relative(call));
        bind_relative(bound, call);
    }
    bound->args.should_stop = call->should_stop;
    bound->args.should_stop_user = call->should_stop_user;
    struct others others = *call->others;
    others.own = bound;
    others.own_bytes = sizeof *bound;
    TRY(bind_rotations(bound, call));
    if (multihead->extras > 0) {
        TRY(attn_multihead_bind_extra(call, bound, &others));
    }
    const attn_status status =
        attn_call_bind(&bound->call, &multihead->plan.problem, &multihead->plan.bounds,
                       &bound->args, &others, NULL);
    return status == ATTN_OK ? check_outputs(call) : attn_fail_in(status, call->name);
}
