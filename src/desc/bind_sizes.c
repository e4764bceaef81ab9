/*
 * How large a call is: batch and lengths, from query and key or, where sequences are
 * packed or cached, from where they start and what the cache keeps of them.
 */
#include "base/arith.h"
#include "base/status.h"
#include "desc/bind.h"
#include "desc/binding.h"

static const struct row q_starts =
    ROW_OF(attn_forward_args, q_starts, q_starts, "s", 0, ATTN_I32, BATCH);
static const struct row k_starts =
    ROW_OF(attn_forward_args, k_starts, k_starts, "s", 0, ATTN_I32, BATCH);
static const struct row sequences =
    ROW_OF(attn_forward_args, sequences, sequences, "b", 0, ATTN_I32, BATCH);

static attn_status check_rank(const attn_tensor *tensor, const char *name, int rank) {
    if (tensor == NULL) {
        return attn_fail(ATTN_ERR_INVALID, "%s is missing", name);
    }
    REQUIRE(tensor->rank == rank, ATTN_ERR_INVALID, "%s has rank %d, should be %d",
            name, (int)tensor->rank, rank);
    return ATTN_OK;
}

/* Inputs that say how long sequences are stand there if and only if they should. */
static attn_status check_wanted(const struct problem *problem,
                                const attn_forward_args *args) {
    const struct {
        const attn_tensor *tensor;
        const char *name;
        bool wanted;
    } starts[] = {
        {args->q_starts, "q_starts", problem->q_packed},
        {args->k_starts, "k_starts", problem->kv_packed},
    };
    for (size_t i = 0; i < COUNT_OF(starts); i++) {
        REQUIRE(starts[i].tensor == NULL || starts[i].wanted, ATTN_ERR_INVALID,
                "%s is given, but the descriptor does not announce packed sequences",
                starts[i].name);
        if (!starts[i].wanted) {
            continue;
        }
        TRY(check_rank(starts[i].tensor, starts[i].name, 1));
        REQUIRE(starts[i].tensor != NULL && starts[i].tensor->shape[0] > 0,
                ATTN_ERR_INVALID,
                "%s is empty: it has one number more than there are sequences",
                starts[i].name);
    }
    return ATTN_OK;
}

static attn_status check_cache(const struct call *call, const attn_forward_args *args) {
    const struct cached *cached = call->cached;
    const struct problem *problem = call->problem;
    if (cached == NULL) {
        REQUIRE(args->sequences == NULL, ATTN_ERR_INVALID,
                "sequences is given, but no cache");
        REQUIRE(args->cache_layer == 0, ATTN_ERR_INVALID,
                "cache_layer is %d, but there is no cache", (int)args->cache_layer);
        return ATTN_OK;
    }
    REQUIRE(args->key == NULL && args->value == NULL, ATTN_ERR_INVALID,
            "%s and a cache are given: keys and values come from one of them",
            args->key != NULL ? "key" : "value");
    REQUIRE(!problem->kv_lengths, ATTN_ERR_UNSUPPORTED,
            "the descriptor announces kv_lengths, but a cache knows how long its "
            "sequences are: attn_desc_set_lengths(desc, q, 0)");
    REQUIRE(!problem->kv_packed, ATTN_ERR_UNSUPPORTED,
            "the descriptor announces packed keys, but a cache knows how long its "
            "sequences are: attn_desc_set_packed(desc, q, 0)");
    const struct {
        const char *name;
        int32_t cache, problem;
    } size[] = {
        {"kv_heads", cached->kv_heads, problem->kv_heads},
        {"key_dim", cached->key_dim, problem->key_dim},
        {"value_dim", cached->value_dim, problem->value_dim},
    };
    for (size_t i = 0; i < COUNT_OF(size); i++) {
        REQUIRE(size[i].cache == size[i].problem, ATTN_ERR_INVALID,
                "the cache has %s %d, the descriptor %d", size[i].name,
                (int)size[i].cache, (int)size[i].problem);
    }
    return ATTN_OK;
}

static attn_status take_batch(struct call *call, const attn_forward_args *args) {
    const struct problem *problem = call->problem;
    TRY(check_rank(args->query, "query", 4));
    call->q_rows = args->query->shape[2];
    call->batch =
        problem->q_packed ? args->q_starts->shape[0] - 1 : args->query->shape[0];
    if (call->cached == NULL) {
        TRY(check_rank(args->key, "key", 4));
        call->kv_rows = args->key->shape[2];
    }
    return ATTN_OK;
}

attn_status attn_check_starts(const struct integers *starts, const char *name,
                              int64_t batch, int64_t rows, int64_t *longest) {
    int64_t before = 0;
    *longest = 0;
    for (int64_t b = 0; b <= batch; b++) {
        const int64_t start = integer_at(starts, b, 0);
        REQUIRE(start >= before && start <= rows, ATTN_ERR_INVALID,
                "%s[%lld] is %lld, which is not within %lld to %lld", name,
                (long long)b, (long long)start, (long long)before, (long long)rows);
        *longest = b == 0 ? 0 : max_i64(*longest, start - before);
        before = start;
    }
    return ATTN_OK;
}

static attn_status take_cached_lengths(struct call *call) {
    const int64_t count = call->cached->sequences;
    REQUIRE(call->sequences.data != NULL || call->batch <= count, ATTN_ERR_INVALID,
            "batch is %lld, but the cache has %lld sequences", (long long)call->batch,
            (long long)count);
    for (int64_t b = 0; b < call->batch; b++) {
        const int64_t sequence =
            call->sequences.data != NULL ? integer_at(&call->sequences, b, 0) : b;
        REQUIRE(sequence >= 0 && sequence < count, ATTN_ERR_INVALID,
                "sequences[%lld] is %lld, but the cache has %lld sequences",
                (long long)b, (long long)sequence, (long long)count);
        call->kv_length = max_i64(call->kv_length, attn_call_kept(call, b)->rows);
    }
    call->kv_rows = call->kv_length;
    return ATTN_OK;
}

/* The first packed sequence that has so many rows. */
static int64_t sequence_of(const struct integers *starts, int64_t batch, int64_t rows) {
    int64_t b = 0;
    while (b < batch - 1 &&
           integer_at(starts, b + 1, 0) - integer_at(starts, b, 0) != rows) {
        b++;
    }
    return b;
}

static attn_status check_bounds(const struct call *call, const attn_bounds *bounds) {
    const struct problem *problem = call->problem;
    const struct {
        const char *name;
        int64_t size, bound;
        const struct integers *starts; /* of packed sequences, or NULL */
    } sizes[] = {
        {"batch", call->batch, bounds->batch, NULL},
        {"q_length", call->q_length, bounds->q_length,
         problem->q_packed ? &call->q_starts : NULL},
        {"kv_length", call->kv_length, bounds->kv_length,
         problem->kv_packed ? &call->k_starts : NULL},
    };
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        const struct integers *starts = sizes[i].starts;
        REQUIRE(starts == NULL || sizes[i].size <= sizes[i].bound, ATTN_ERR_INVALID,
                "%s of sequence %lld is %lld, beyond the plan's bound of %lld",
                sizes[i].name,
                (long long)sequence_of(starts, call->batch, sizes[i].size),
                (long long)sizes[i].size, (long long)sizes[i].bound);
        REQUIRE(sizes[i].size <= sizes[i].bound, ATTN_ERR_INVALID,
                "%s is %lld, beyond the plan's bound of %lld", sizes[i].name,
                (long long)sizes[i].size, (long long)sizes[i].bound);
    }
    return ATTN_OK;
}

attn_status attn_bind_sizes(struct binding *binding, struct call *call,
                            const attn_bounds *bounds, const attn_forward_args *args) {
    const struct problem *problem = call->problem;
    TRY(check_cache(call, args));
    TRY(check_wanted(problem, args));
    TRY(take_batch(call, args));
    TRY(attn_bind_input(binding, args, &q_starts));
    TRY(attn_bind_input(binding, args, &k_starts));
    TRY(attn_bind_input(binding, args, &sequences));
    call->q_length = call->q_rows;
    call->kv_length = call->kv_rows;
    if (problem->q_packed) {
        TRY(attn_check_starts(&call->q_starts, "q_starts", call->batch, call->q_rows,
                              &call->q_length));
    }
    if (problem->kv_packed) {
        TRY(attn_check_starts(&call->k_starts, "k_starts", call->batch, call->kv_rows,
                              &call->kv_length));
    }
    if (call->cached != NULL) {
        TRY(take_cached_lengths(call));
    }
    return check_bounds(call, bounds);
}
