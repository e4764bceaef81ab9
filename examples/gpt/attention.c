/*
 * How a network uses libattn. Once:
 *
 *     context      where work runs: here, on the program's own threads
 *     descriptor   which attention: heads, causal, positions; no data
 *     plan         the descriptor made ready for sizes up to the bounds
 *
 * and then, for every layer of every step:
 *
 *     attn_plan_forward    writes the output, and two numbers for each row
 *     attn_plan_backward   reads all that again, and the gradient of the output
 *
 * Between the two nothing is kept but the caller's arrays. The weights, a number for
 * each query and key, are computed twice and never stored.
 *
 * While a text is written, keys and values of earlier tokens stay in a cache:
 *
 *     attn_cache_append    puts those of new tokens behind them
 *     attn_plan_forward    with the cache in place of keys and values
 */
#include "attention.h"

#include "fail.h"
#include "progress.h"

static void check(attn_status status, const char *task) {
    if (status != ATTN_OK) {
        fail(FAILED, "%s: %s: %s", task, attn_status_string(status), attn_last_error());
    }
}

static void open_context(struct attention *attention, struct workers *workers) {
    check(attn_context_create(&attention->context), "context");
    /* The library need not start threads where the program has some. */
    check(attn_context_set_threads(attention->context, workers_count(workers)),
          "threads");
    check(attn_context_set_parallel_for(attention->context, workers_run, workers),
          "threads");
    /* product.c keeps BLAS to one thread; the library may rely on it. */
    check(attn_context_set_blas_policy(attention->context, ATTN_BLAS_SINGLE), "BLAS");
}

void attention_open(struct attention *attention, struct workers *workers, int32_t heads,
                    int32_t head_dim, int64_t batch, int64_t tokens) {
    *attention = (struct attention){.heads = heads, .head_dim = head_dim};
    open_context(attention, workers);

    /* Setters that fail need no check of their own: the plan then fails likewise. */
    attn_desc *desc = NULL;
    check(attn_desc_create(&desc), "descriptor");
    attn_desc_set_heads(desc, heads, heads);
    attn_desc_set_dims(desc, head_dim, head_dim);
    attn_desc_set_causal(desc, 1);
    /* In training there are as many queries as keys, and this says nothing. When text
     * is generated, one query stands beside the last key of all those before it. */
    attn_desc_set_alignment(desc, ATTN_ALIGN_BOTTOM_RIGHT);
    /* How the network knows where things are: a key loses score by its distance. The
     * slopes come with each call, and are learned. */
    attn_desc_set_alibi(desc, 1);

    const attn_bounds bounds = {
        .size = sizeof bounds,
        .batch = batch,
        .q_length = tokens,
        .kv_length = tokens,
    };
    attn_status status =
        attn_plan_create(&attention->plan, attention->context, desc, &bounds);
    attn_desc_destroy(desc); /* the plan has its own copy */
    check(status, "plan");
}

/* (batch, heads, tokens, head_dim), the order that the library wants to hear of, lying
 * as (batch, tokens, heads, head_dim). */
static attn_tensor view_tokens(const struct attention *attention, int64_t batch,
                               int64_t tokens, float *data) {
    const int64_t heads = attention->heads;
    const int64_t head_dim = attention->head_dim;
    const int64_t shape[] = {batch, heads, tokens, head_dim};
    attn_tensor tensor;
    check(attn_tensor_init(&tensor, ATTN_F32, 4, shape, data), "tensor");
    tensor.stride[0] = tokens * heads * head_dim;
    tensor.stride[1] = head_dim;
    tensor.stride[2] = heads * head_dim;
    return tensor;
}

/* What is contiguous. */
static attn_tensor view(int32_t rank, const int64_t *shape, float *data) {
    attn_tensor tensor;
    check(attn_tensor_init(&tensor, ATTN_F32, rank, shape, data), "tensor");
    return tensor;
}

/* A call's arguments and the tensors that they point to. */
struct call {
    attn_tensor query, key, value, slopes, out, row_max, row_sum, weights;
    attn_forward_args args;
};

static void fill(struct call *call, const struct attention *attention,
                 const struct attention_data *data) {
    const int64_t scores[] = {data->batch, attention->heads, data->tokens,
                              data->tokens};
    const int64_t slopes[] = {attention->heads};
    call->query = view_tokens(attention, data->batch, data->tokens, data->query);
    call->key = view_tokens(attention, data->batch, data->tokens, data->key);
    call->value = view_tokens(attention, data->batch, data->tokens, data->value);
    call->out = view_tokens(attention, data->batch, data->tokens, data->out);
    call->slopes = view(1, slopes, data->slopes);
    call->row_max = view(3, scores, data->row_max);
    call->row_sum = view(3, scores, data->row_sum);

    attn_forward_args *args = &call->args;
    attn_forward_args_init(args, sizeof *args); /* every member NULL or 0: not there */
    args->query = &call->query;
    args->alibi_slopes = &call->slopes;
    args->out = &call->out;
    if (data->cache != NULL) {
        args->cache = data->cache;
        args->cache_layer = data->layer;
    } else {
        args->key = &call->key;
        args->value = &call->value;
        args->row_max = &call->row_max;
        args->row_sum = &call->row_sum;
    }
    if (data->weights != NULL) {
        call->weights = view(4, scores, data->weights);
        args->weights = &call->weights;
    }
}

/* The keys and values of the call are those of the cache from here on. */
static void append(const struct call *call, const struct attention_data *data) {
    attn_append_args args;
    attn_append_args_init(&args, sizeof args);
    args.layer = data->layer;
    args.key = &call->key;
    args.value = &call->value;
    check(attn_cache_append(data->cache, &args), "cache");
}

void attention_forward(struct attention *attention, const struct attention_data *data) {
    struct call call;
    fill(&call, attention, data);
    double start = progress_clock();
    if (data->cache != NULL) {
        append(&call, data);
    }
    check(attn_plan_forward(attention->plan, &call.args), "attention");
    attention->forward_seconds += progress_clock() - start;
}

void attention_backward(struct attention *attention, const struct attention_data *data,
                        const struct attention_gradients *gradients) {
    struct call call;
    fill(&call, attention, data);
    const int64_t slopes[] = {attention->heads};
    const attn_tensor d_out =
        view_tokens(attention, data->batch, data->tokens, gradients->d_out);
    const attn_tensor d_query =
        view_tokens(attention, data->batch, data->tokens, gradients->d_query);
    const attn_tensor d_key =
        view_tokens(attention, data->batch, data->tokens, gradients->d_key);
    const attn_tensor d_value =
        view_tokens(attention, data->batch, data->tokens, gradients->d_value);
    const attn_tensor d_slopes = view(1, slopes, gradients->d_slopes);

    attn_backward_args args;
    attn_backward_args_init(&args, sizeof args);
    args.forward = &call.args;
    args.grad_out = &d_out;
    args.grad_query = &d_query;
    args.grad_key = &d_key;
    args.grad_value = &d_value;
    args.grad_alibi_slopes = &d_slopes;
    double start = progress_clock();
    check(attn_plan_backward(attention->plan, &args), "gradients of attention");
    attention->backward_seconds += progress_clock() - start;
}

void attention_close(struct attention *attention) {
    attn_plan_destroy(attention->plan);
    attn_context_destroy(attention->context);
    *attention = (struct attention){0};
}
