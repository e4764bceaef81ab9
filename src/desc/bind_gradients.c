/*
 * The gradients of a backward call: those that come in and those that go out.
 */
#include "base/status.h"
#include "desc/bind.h"
#include "desc/binding.h"

#define GRADIENT(member, view, axes, optional, ...)                                    \
    ROW_OF(attn_backward_args, member, view, axes, optional, ATTN_F32, __VA_ARGS__)

static const struct row incoming[] = {
    GRADIENT(grad_out, grad_out, "bhiv", 0, BATCH, HEAD, ROW, COLUMN),
    GRADIENT(grad_lse, grad_lse, "bhi", 0, BATCH, HEAD, ROW),
    GRADIENT(grad_weights, grad_weights, "bhij", 0, BATCH, HEAD, ROW, COLUMN),
    GRADIENT(grad_key_sums, grad_key_sums, "bhj", 0, BATCH, HEAD, COLUMN),
};

static const struct row outgoing[] = {
    GRADIENT(grad_query, grad_query, "bhid", 0, BATCH, HEAD, ROW, COLUMN),
    GRADIENT(grad_key, grad_key, "bgjd", 0, BATCH, HEAD, ROW, COLUMN),
    GRADIENT(grad_value, grad_value, "bgjv", 0, BATCH, HEAD, ROW, COLUMN),
    GRADIENT(grad_bias, grad_bias, "bhij", 4, BATCH, HEAD, ROW, COLUMN),
    GRADIENT(grad_alibi_slopes, grad_slopes, "bh", 1, BATCH, HEAD),
    GRADIENT(grad_sinks, grad_sinks, "h", 0, HEAD),
    GRADIENT(grad_relative_bias, grad_tables[TABLE_RELATIVE_BIAS], "nh", 0, ROW, HEAD),
    GRADIENT(grad_relative_keys, grad_tables[TABLE_RELATIVE_KEYS], "hld", 1, HEAD, ROW,
             COLUMN),
    GRADIENT(grad_content_bias, grad_tables[TABLE_CONTENT_BIAS], "hd", 0, HEAD, COLUMN),
    GRADIENT(grad_position_bias, grad_tables[TABLE_POSITION_BIAS], "hd", 0, HEAD,
             COLUMN),
    GRADIENT(grad_segment_keys, grad_tables[TABLE_SEGMENT_KEYS], "thd", 0, ROW, HEAD,
             COLUMN),
    GRADIENT(grad_segment_bias, grad_tables[TABLE_SEGMENT_BIAS], "hd", 0, HEAD, COLUMN),
    GRADIENT(grad_score_vector, grad_tables[TABLE_SCORE_VECTOR], "hd", 0, HEAD, COLUMN),
};

/* True if a row of the table is there. */
static bool any(const void *args, const struct row *table, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (attn_bind_tensor(args, &table[i]) != NULL) {
            return true;
        }
    }
    return false;
}

/* A gradient has the shape of what it is the gradient of, as that is given. */
static attn_status check_shape(const attn_tensor *gradient, const attn_tensor *input,
                               const char *name) {
    if (gradient == NULL) {
        return ATTN_OK;
    }
    REQUIRE(input != NULL, ATTN_ERR_INVALID, "grad_%s is given, but %s is not", name,
            name);
    REQUIRE(gradient->rank == input->rank, ATTN_ERR_INVALID,
            "grad_%s has rank %d, should have that of %s: %d", name,
            (int)gradient->rank, name, (int)input->rank);
    for (int i = 0; i < input->rank; i++) {
        REQUIRE(gradient->shape[i] == input->shape[i], ATTN_ERR_INVALID,
                "grad_%s has size %lld in dimension %d, should have that of %s: %lld",
                name, (long long)gradient->shape[i], i, name,
                (long long)input->shape[i]);
    }
    return ATTN_OK;
}

/* What the gradients are computed from, beside the inputs. */
static attn_status check_state(const attn_backward_args *args,
                               const attn_forward_args *forward) {
    REQUIRE(any(args, incoming, COUNT_OF(incoming)), ATTN_ERR_INVALID,
            "none of grad_out, grad_lse, grad_weights and grad_key_sums is given");
    REQUIRE(any(args, outgoing, COUNT_OF(outgoing)), ATTN_ERR_INVALID,
            "no gradient is asked for");
    REQUIRE(args->grad_out == NULL || forward->out != NULL, ATTN_ERR_INVALID,
            "out is missing: grad_out needs it");
    REQUIRE(forward->lse != NULL ||
                (forward->row_max != NULL && forward->row_sum != NULL),
            ATTN_ERR_INVALID,
            "lse is missing, and so is %s: a backward call needs lse, or row_max and "
            "row_sum",
            forward->row_max == NULL ? "row_max" : "row_sum");
    REQUIRE(args->accumulate == 0 || args->accumulate == 1, ATTN_ERR_INVALID,
            "accumulate is %lld, should be 0 or 1", (long long)args->accumulate);
    return ATTN_OK;
}

attn_status attn_bind_gradients(struct binding *binding, const attn_backward_args *args,
                                const attn_forward_args *forward) {
    TRY(check_state(args, forward));
    const struct {
        const attn_tensor *gradient, *input;
        const char *name;
    } pairs[] = {
        {args->grad_bias, forward->bias, "bias"},
        {args->grad_alibi_slopes, forward->alibi_slopes, "alibi_slopes"},
        {args->grad_sinks, forward->sinks, "sinks"},
        {args->grad_relative_bias, forward->relative_bias, "relative_bias"},
        {args->grad_relative_keys, forward->relative_keys, "relative_keys"},
        {args->grad_content_bias, forward->content_bias, "content_bias"},
        {args->grad_position_bias, forward->position_bias, "position_bias"},
        {args->grad_segment_keys, forward->segment_keys, "segment_keys"},
        {args->grad_segment_bias, forward->segment_bias, "segment_bias"},
        {args->grad_score_vector, forward->score_vector, "score_vector"},
    };
    for (size_t i = 0; i < COUNT_OF(pairs); i++) {
        TRY(check_shape(pairs[i].gradient, pairs[i].input, pairs[i].name));
    }
    for (size_t i = 0; i < COUNT_OF(incoming); i++) {
        TRY(attn_bind_input(binding, args, &incoming[i]));
    }
    for (size_t i = 0; i < COUNT_OF(outgoing); i++) {
        TRY(attn_bind_output(binding, args, &outgoing[i]));
    }
    return ATTN_OK;
}
