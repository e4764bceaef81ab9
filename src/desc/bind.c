/*
 * Arguments of a call, checked in the order of the tables below. Query and key give the
 * sizes of the axes b, i and j, the problem the others.
 */
#include "desc/bind.h"

#include "base/arith.h"
#include "base/dtype.h"
#include "base/status.h"
#include "desc/binding.h"
#include "desc/desc.h"

#define INPUT(member, view, axes, optional, dtype, ...)                                \
    ROW_OF(attn_forward_args, member, view, axes, optional, dtype, __VA_ARGS__)
#define OUTPUT(member, view, axes, dtype, ...)                                         \
    ROW_OF(attn_forward_args, member, view, axes, 0, dtype, __VA_ARGS__)

/* What may be stored in 16 bits. */
enum { STORED = ATTN_F32 | ALSO_HALVES };

/* Inputs that a descriptor announces, or not. */
enum input {
    IN_QUERY,
    IN_KEY,
    IN_VALUE,
    IN_BLOCK_MASK,
    IN_MASK,
    IN_BIAS,
    IN_ALIBI_SLOPES,
    IN_SINKS,
    IN_Q_LENGTHS,
    IN_KV_LENGTHS,
    IN_QUERY_OFFSETS,
    IN_PREFIX_LENGTHS,
    IN_Q_DOCUMENTS,
    IN_K_DOCUMENTS,
    IN_Q_SEGMENTS,
    IN_K_SEGMENTS,
    IN_Q_RANKS,
    IN_K_RANKS,
    IN_RELATIVE_BIAS,
    IN_RELATIVE_KEYS,
    IN_CONTENT_BIAS,
    IN_POSITION_BIAS,
    IN_SEGMENT_KEYS,
    IN_SCORE_VECTOR,
    INPUTS
};

static const struct row inputs[INPUTS] = {
    [IN_QUERY] = INPUT(query, query, "ahid", 0, STORED, BATCH, HEAD, ROW, COLUMN),
    [IN_KEY] =
        INPUT(key, key, "cgjd", 0, STORED | ALSO_BYTES, BATCH, HEAD, ROW, COLUMN),
    [IN_VALUE] =
        INPUT(value, value, "cgjv", 0, STORED | ALSO_BYTES, BATCH, HEAD, ROW, COLUMN),
    [IN_BLOCK_MASK] =
        INPUT(block_mask, block_mask, "bhpr", 4, ATTN_BOOL, BATCH, HEAD, ROW, COLUMN),
    [IN_MASK] = INPUT(mask, mask, "bhij", 4, ATTN_BOOL, BATCH, HEAD, ROW, COLUMN),
    [IN_BIAS] = INPUT(bias, bias, "bhij", 4, ATTN_F32, BATCH, HEAD, ROW, COLUMN),
    [IN_ALIBI_SLOPES] = INPUT(alibi_slopes, slopes, "bh", 1, ATTN_F32, BATCH, HEAD),
    [IN_SINKS] = INPUT(sinks, sinks, "h", 0, ATTN_F32, HEAD),
    [IN_Q_LENGTHS] = INPUT(q_lengths, q_lengths, "b", 0, ATTN_I32, BATCH),
    [IN_KV_LENGTHS] = INPUT(kv_lengths, kv_lengths, "b", 0, ATTN_I32, BATCH),
    [IN_QUERY_OFFSETS] = INPUT(query_offsets, offsets, "b", 0, ATTN_I32, BATCH),
    [IN_PREFIX_LENGTHS] = INPUT(prefix_lengths, prefixes, "b", 0, ATTN_I32, BATCH),
    [IN_Q_DOCUMENTS] =
        INPUT(q_documents, q_documents, "bi", 1, ATTN_I32, BATCH, COLUMN),
    [IN_K_DOCUMENTS] =
        INPUT(k_documents, k_documents, "bj", 1, ATTN_I32, BATCH, COLUMN),
    [IN_Q_SEGMENTS] = INPUT(q_segments, q_segments, "bi", 1, ATTN_I32, BATCH, COLUMN),
    [IN_K_SEGMENTS] = INPUT(k_segments, k_segments, "bj", 1, ATTN_I32, BATCH, COLUMN),
    [IN_Q_RANKS] = INPUT(q_ranks, q_ranks, "bi", 1, ATTN_I32, BATCH, COLUMN),
    [IN_K_RANKS] = INPUT(k_ranks, k_ranks, "bj", 1, ATTN_I32, BATCH, COLUMN),
    [IN_RELATIVE_BIAS] =
        INPUT(relative_bias, tables[TABLE_RELATIVE_BIAS], "nh", 0, ATTN_F32, ROW, HEAD),
    [IN_RELATIVE_KEYS] = INPUT(relative_keys, tables[TABLE_RELATIVE_KEYS], "hld", 1,
                               ATTN_F32, HEAD, ROW, COLUMN),
    [IN_CONTENT_BIAS] = INPUT(content_bias, tables[TABLE_CONTENT_BIAS], "hd", 0,
                              ATTN_F32, HEAD, COLUMN),
    [IN_POSITION_BIAS] = INPUT(position_bias, tables[TABLE_POSITION_BIAS], "hd", 0,
                               ATTN_F32, HEAD, COLUMN),
    [IN_SEGMENT_KEYS] = INPUT(segment_keys, tables[TABLE_SEGMENT_KEYS], "thd", 0,
                              ATTN_F32, ROW, HEAD, COLUMN),
    [IN_SCORE_VECTOR] = INPUT(score_vector, tables[TABLE_SCORE_VECTOR], "hd", 0,
                              ATTN_F32, HEAD, COLUMN),
};

/* Inputs that may be left out whatever the descriptor says. */
static const struct row key_scales =
    INPUT(key_scales, key_scales, "cgj", 3, ATTN_F32, BATCH, HEAD, ROW);
static const struct row value_scales =
    INPUT(value_scales, value_scales, "cgj", 3, ATTN_F32, BATCH, HEAD, ROW);
static const struct row rng_indices =
    INPUT(rng_indices, rng_indices, "b", 0, ATTN_I32, BATCH);
static const struct row segment_bias =
    INPUT(segment_bias, tables[TABLE_SEGMENT_BIAS], "hd", 0, ATTN_F32, HEAD, COLUMN);

/* Outputs of a forward call; the first four are inputs of a backward call. */
enum { STATE_OUTPUTS = 4 };
static const struct row outputs[] = {
    OUTPUT(out, out, "ahiv", STORED, BATCH, HEAD, ROW, COLUMN),
    OUTPUT(lse, lse, "ahi", ATTN_F32, BATCH, HEAD, ROW),
    OUTPUT(row_max, row_max, "ahi", ATTN_F32, BATCH, HEAD, ROW),
    OUTPUT(row_sum, row_sum, "ahi", ATTN_F32, BATCH, HEAD, ROW),
    OUTPUT(weights, weights, "bhij", ATTN_F32, BATCH, HEAD, ROW, COLUMN),
    OUTPUT(mean_weights, mean_weights, "bij", ATTN_F32, BATCH, ROW, COLUMN),
    OUTPUT(key_sums, key_sums, "bhj", ATTN_F32, BATCH, HEAD, COLUMN),
    OUTPUT(raw_scores, raw_scores, "bhij", ATTN_F32, BATCH, HEAD, ROW, COLUMN),
    OUTPUT(capped_scores, capped_scores, "bhij", ATTN_F32, BATCH, HEAD, ROW, COLUMN),
    OUTPUT(biased_scores, biased_scores, "bhij", ATTN_F32, BATCH, HEAD, ROW, COLUMN),
    OUTPUT(dropout_mask, dropout_mask, "bhij", ATTN_BOOL, BATCH, HEAD, ROW, COLUMN),
};

/* Whether each input should be there. */
static void announce(const struct call *call, bool announced[INPUTS]) {
    const struct problem *problem = call->problem;
    announced[IN_QUERY] = true;
    announced[IN_KEY] = announced[IN_VALUE] = call->cached == NULL;
    announced[IN_BLOCK_MASK] = problem->q_block > 0;
    announced[IN_MASK] = problem->mask;
    announced[IN_BIAS] = problem->bias;
    announced[IN_ALIBI_SLOPES] = problem->alibi;
    announced[IN_SINKS] = problem->sinks;
    announced[IN_Q_LENGTHS] = problem->q_lengths;
    announced[IN_KV_LENGTHS] = problem->kv_lengths;
    announced[IN_QUERY_OFFSETS] = problem->alignment == ATTN_ALIGN_OFFSETS;
    announced[IN_PREFIX_LENGTHS] = problem->prefix;
    announced[IN_Q_DOCUMENTS] = announced[IN_K_DOCUMENTS] = problem->documents;
    announced[IN_Q_SEGMENTS] = announced[IN_K_SEGMENTS] = problem->segments;
    announced[IN_Q_RANKS] = announced[IN_K_RANKS] = problem->ranks != ATTN_RANKS_OFF;
    announced[IN_RELATIVE_BIAS] = problem->relative_buckets > 0;
    announced[IN_RELATIVE_KEYS] = problem->relative_keys;
    announced[IN_CONTENT_BIAS] = problem->content_bias;
    announced[IN_POSITION_BIAS] = problem->position_bias;
    announced[IN_SEGMENT_KEYS] = problem->segments;
    announced[IN_SCORE_VECTOR] = problem->additive;
}

static int64_t axis_size(const void *views, char axis) {
    const struct call *call = views;
    const struct problem *problem = call->problem;
    switch (axis) {
    case 'b':
        return call->batch;
    case 'h':
        return problem->query_heads;
    case 'g':
        return problem->kv_heads;
    case 'i':
        return call->q_rows;
    case 'j':
        return call->kv_rows;
    case 'a':
        return problem->q_packed ? 1 : call->batch;
    case 'c':
        return problem->kv_packed ? 1 : call->batch;
    case 's':
        return call->batch + 1;
    case 'd':
        return problem->key_dim;
    case 'v':
        return problem->value_dim;
    case 'l':
        return call->relative_rows;
    case 'n':
        return problem->relative_buckets;
    case 't':
        return 2;
    case 'p':
        return ceil_div(call->q_length, problem->q_block);
    default:
        return ceil_div(call->kv_length, problem->k_block);
    }
}

/* Bytes are nothing without scales, nor scales without bytes. */
static attn_status check_scales(const attn_forward_args *args) {
    const struct {
        const char *name;
        const attn_tensor *tensor, *scales;
    } of[] = {
        {"key", args->key, args->key_scales},
        {"value", args->value, args->value_scales},
    };
    for (size_t i = 0; i < COUNT_OF(of); i++) {
        const bool bytes = of[i].tensor != NULL && of[i].tensor->dtype == ATTN_I8;
        REQUIRE(!bytes || of[i].scales != NULL, ATTN_ERR_INVALID,
                "%s_scales is missing: %s is i8", of[i].name, of[i].name);
        REQUIRE(bytes || of[i].scales == NULL, ATTN_ERR_INVALID,
                "%s_scales is given, but there is no %s of i8", of[i].name, of[i].name);
    }
    return ATTN_OK;
}

static attn_status bind_inputs(struct binding *binding, const struct call *call,
                               const attn_forward_args *args) {
    bool announced[INPUTS];
    announce(call, announced);
    for (int i = 0; i < INPUTS; i++) {
        const bool there = attn_bind_tensor(args, &inputs[i]) != NULL;
        REQUIRE(there || !announced[i], ATTN_ERR_INVALID, "%s is missing",
                inputs[i].name);
        REQUIRE(!there || announced[i], ATTN_ERR_INVALID,
                "%s is given, but the descriptor does not announce it", inputs[i].name);
    }
    REQUIRE(args->segment_bias == NULL || call->problem->segments, ATTN_ERR_INVALID,
            "segment_bias is given, but the descriptor does not announce segments");
    for (int i = 0; i < INPUTS; i++) {
        if (announced[i]) {
            TRY(attn_bind_input(binding, args, &inputs[i]));
        }
    }
    TRY(check_scales(args));
    TRY(attn_bind_input(binding, args, &key_scales));
    TRY(attn_bind_input(binding, args, &value_scales));
    TRY(attn_bind_input(binding, args, &segment_bias));
    return attn_bind_input(binding, args, &rng_indices);
}

/* The number of relative keys, which only their tensor says. */
static attn_status take_relative_rows(struct call *call,
                                      const attn_forward_args *args) {
    const attn_tensor *keys = args->relative_keys;
    const long long zero = args->relative_zero;
    if (!call->problem->relative_keys || keys == NULL) {
        REQUIRE(zero == 0, ATTN_ERR_INVALID,
                "relative_zero is %lld, but the descriptor does not announce "
                "relative_keys",
                zero);
        return ATTN_OK;
    }
    REQUIRE(keys->rank == 2 || keys->rank == 3, ATTN_ERR_INVALID,
            "relative_keys has rank %d, should be 2 or 3", (int)keys->rank);
    call->relative_rows = keys->shape[keys->rank - 2];
    call->relative_zero = zero;
    REQUIRE(call->relative_rows > 0 && call->relative_rows <= OFFSET_MAX,
            ATTN_ERR_INVALID, "relative_keys has %lld rows, not within 1 to 2^53",
            (long long)call->relative_rows);
    REQUIRE(zero >= 0 && zero < call->relative_rows, ATTN_ERR_INVALID,
            "relative_zero is %lld, which is no row of relative_keys: it has %lld",
            zero, (long long)call->relative_rows);
    return ATTN_OK;
}

/* Each of the integers of a batch must lie within [low, high]. */
static attn_status check_range(const struct call *call, const struct integers *integers,
                               const char *name, int64_t low, int64_t high) {
    for (int64_t b = 0; integers->data != NULL && b < call->batch; b++) {
        const int64_t value = integer_at(integers, b, 0);
        REQUIRE(value >= low && value <= high, ATTN_ERR_INVALID,
                "%s[%lld] is %lld, which is not within %lld to %lld", name,
                (long long)b, (long long)value, (long long)low, (long long)high);
    }
    return ATTN_OK;
}

/* A window must not reach for keys that a cache has forgotten. */
static attn_status check_forgotten(const struct call *call) {
    const int64_t left = call->problem->left;
    for (int64_t b = 0; call->cached != NULL && left >= 0 && b < call->batch; b++) {
        const struct kept *kept = attn_call_kept(call, b);
        const int64_t rows = attn_call_rows(call, b);
        const int64_t p = call->offsets.data != NULL
                              ? integer_at(&call->offsets, b, 0)
                              : kept->position + kept->rows - rows;
        const int64_t first = max_i64(0, p - left);
        REQUIRE(rows == 0 || kept->position == 0 || first >= kept->position,
                ATTN_ERR_INVALID,
                "the first query of batch element %lld has position %lld and a window "
                "from %lld on, but the cache keeps no key before %lld: steps of fewer "
                "tokens, a larger capacity or evicting less do",
                (long long)b, (long long)p, (long long)first,
                (long long)kept->position);
    }
    return ATTN_OK;
}

/* Prefixes count from the first token, whatever a cache has forgotten. */
static int64_t longest_prefix(const struct call *call) {
    int64_t longest = call->kv_length;
    for (int64_t b = 0; call->cached != NULL && b < call->batch; b++) {
        const struct kept *kept = attn_call_kept(call, b);
        longest = max_i64(longest, kept->position + kept->rows);
    }
    return longest;
}

static attn_status check_values(const struct call *call) {
    TRY(check_range(call, &call->q_lengths, "q_lengths", 0, call->q_length));
    TRY(check_range(call, &call->kv_lengths, "kv_lengths", 0, call->kv_length));
    TRY(check_range(call, &call->prefixes, "prefix_lengths", 0, longest_prefix(call)));
    TRY(check_range(call, &call->rng_indices, "rng_indices", 0, UINT32_MAX));
    TRY(check_range(call, &call->offsets, "query_offsets", -OFFSET_MAX, OFFSET_MAX));
    return check_forgotten(call);
}

/* What forward and backward calls have in common. */
static attn_status start(struct binding *binding, struct call *call,
                         const struct problem *problem, const attn_bounds *bounds,
                         const attn_forward_args *args, const struct others *others,
                         const struct cached *cached) {
    if (others != NULL) {
        binding->others = others->count;
        binding->own = (uintptr_t)others->own;
        binding->own_end = binding->own + others->own_bytes;
        for (int i = 0; i < others->count; i++) {
            binding->tensor[binding->extents] = NULL;
            binding->extent[binding->extents++] = others->extent[i];
        }
    }
    *call = (struct call){
        .problem = problem,
        .cached = cached,
        .dropout_seed = (uint64_t)args->dropout_seed,
    };
    TRY(attn_bind_sizes(binding, call, bounds, args));
    if (cached != NULL) {
        attn_bind_memory(binding, "cache", cached->memory, cached->bytes);
    }
    TRY(take_relative_rows(call, args));
    return bind_inputs(binding, call, args);
}

/* Outputs of one number for each pair of tokens have no packed form. */
static attn_status check_outputs(const struct problem *problem,
                                 const attn_forward_args *args) {
    const bool packed = problem->q_packed || problem->kv_packed;
    for (size_t i = STATE_OUTPUTS; packed && i < COUNT_OF(outputs); i++) {
        REQUIRE(attn_bind_tensor(args, &outputs[i]) == NULL, ATTN_ERR_UNSUPPORTED,
                "%s is given, but there is none of packed %s", outputs[i].name,
                problem->q_packed ? "queries" : "keys");
    }
    return ATTN_OK;
}

/* The backward pass takes plain float32 tensors. */
static attn_status check_backward(const struct problem *problem,
                                  const attn_forward_args *args) {
    const struct {
        const char *name;
        const attn_tensor *tensor;
    } of[] = {{"query", args->query},
              {"key", args->key},
              {"value", args->value},
              {"out", args->out}};
    REQUIRE(!problem->q_packed && !problem->kv_packed, ATTN_ERR_UNSUPPORTED,
            "there is no backward pass of packed %s yet",
            problem->q_packed ? "queries" : "keys");
    REQUIRE(args->cache == NULL, ATTN_ERR_UNSUPPORTED,
            "there is no backward pass of a cache: give key and value");
    for (size_t i = 0; i < COUNT_OF(of); i++) {
        const int32_t dtype = of[i].tensor != NULL ? of[i].tensor->dtype : ATTN_F32;
        REQUIRE(dtype != ATTN_F16 && dtype != ATTN_BF16 && dtype != ATTN_I8,
                ATTN_ERR_UNSUPPORTED, "the backward pass takes f32, %s is %s",
                of[i].name, attn_dtype_name(dtype));
    }
    return ATTN_OK;
}

attn_status attn_call_bind(struct call *call, const struct problem *problem,
                           const attn_bounds *bounds, const attn_forward_args *args,
                           const struct others *others, const struct cached *cached) {
    struct binding binding;
    attn_binding_start(&binding, call, axis_size);
    REQUIRE(args->reserved == 0, ATTN_ERR_UNSUPPORTED,
            "args: reserved is %d, should be 0", (int)args->reserved);
    TRY(start(&binding, call, problem, bounds, args, others, cached));
    call->should_stop = args->should_stop;
    call->should_stop_user = args->should_stop_user;
    REQUIRE(args->out != NULL, ATTN_ERR_INVALID, "out is missing");
    TRY(check_outputs(problem, args));
    for (size_t i = 0; i < COUNT_OF(outputs); i++) {
        if (attn_bind_tensor(args, &outputs[i]) != NULL) {
            TRY(attn_bind_output(&binding, args, &outputs[i]));
        }
    }
    TRY(attn_bind_apart(&binding, args->workspace, args->workspace_size));
    return check_values(call);
}

attn_status attn_call_bind_backward(struct call *call, const struct problem *problem,
                                    const attn_bounds *bounds,
                                    const attn_backward_args *args,
                                    const attn_forward_args *forward,
                                    const struct others *others) {
    struct binding binding;
    attn_binding_start(&binding, call, axis_size);
    TRY(check_backward(problem, forward));
    TRY(start(&binding, call, problem, bounds, forward, others, NULL));
    call->should_stop = args->should_stop;
    call->should_stop_user = args->should_stop_user;
    for (size_t i = 0; i < STATE_OUTPUTS; i++) {
        TRY(attn_bind_input(&binding, forward, &outputs[i]));
    }
    TRY(attn_bind_gradients(&binding, args, forward));
    call->accumulate = args->accumulate == 1;
    TRY(attn_bind_apart(&binding, args->workspace, args->workspace_size));
    return check_values(call);
}
