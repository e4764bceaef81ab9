/*
 * How a program decodes with libattn. Once:
 *
 *     context      where work runs: on the library's own threads
 *     descriptor   which attention: heads, causal; no data
 *     plan         the descriptor made ready for sizes up to the bounds
 *     cache        room for the keys and values of a text, of all layers
 *
 * and then for every layer, whether one token comes or a whole prompt:
 *
 *     attn_rotary         tells query and key where they stand
 *     attn_cache_append   puts key and value behind those of the tokens before
 *     attn_plan_forward   the queries, which are the last of the text, attend them all
 */
#include "attention.h"

#include "fail.h"

static void check(attn_status status, const char *task) {
    if (status != ATTN_OK) {
        fail(FAILED, "%s: %s: %s", task, attn_status_string(status), attn_last_error());
    }
}

static void open_plan(struct attention *attention, int rows, int length) {
    /* Setters that fail need no check of their own: the plan then fails likewise. */
    attn_desc *desc = NULL;
    check(attn_desc_create(&desc), "descriptor");
    attn_desc_set_heads(desc, attention->heads, attention->kv_heads);
    attn_desc_set_dims(desc, attention->head_dim, attention->head_dim);
    attn_desc_set_causal(desc, 1);
    /* The queries of a call are the last tokens of the text. */
    attn_desc_set_alignment(desc, ATTN_ALIGN_BOTTOM_RIGHT);
    const attn_bounds bounds = {
        .size = sizeof bounds,
        .batch = 1,
        .q_length = rows,
        .kv_length = length,
    };
    attn_status status =
        attn_plan_create(&attention->plan, attention->context, desc, &bounds);
    attn_desc_destroy(desc); /* the plan has its own copy */
    check(status, "plan");
}

static void open_cache(struct attention *attention, int layers, int length,
                       int32_t dtype) {
    attn_cache_options options;
    check(attn_cache_options_init(&options, sizeof options), "cache");
    options.layers = layers;
    options.kv_heads = attention->kv_heads;
    options.key_dim = options.value_dim = attention->head_dim;
    options.dtype = dtype;
    options.sequences = 1; /* one text, in one piece of memory */
    options.capacity = length;
    check(attn_cache_create(&attention->cache, attention->context, &options), "cache");
}

void attention_open(struct attention *attention, const struct shape *shape, int rows,
                    int length, int32_t dtype, int threads) {
    *attention = (struct attention){
        .heads = shape->heads,
        .kv_heads = shape->kv_heads,
        .head_dim = shape->head_dim,
    };
    check(attn_context_create(&attention->context), "context");
    check(attn_context_set_threads(attention->context, threads), "threads");
    open_plan(attention, rows, length);
    open_cache(attention, shape->layers, length, dtype);
}

/* (1, heads, rows, head_dim), the order that the library wants to hear of, lying as
 * (rows, heads, head_dim). */
static attn_tensor view(const struct attention *attention, int32_t heads, int rows,
                        float *data) {
    const int64_t shape[] = {1, heads, rows, attention->head_dim};
    attn_tensor tensor;
    check(attn_tensor_init(&tensor, ATTN_F32, 4, shape, data), "tensor");
    tensor.stride[1] = attention->head_dim;
    tensor.stride[2] = (int64_t)heads * attention->head_dim;
    return tensor;
}

/* In place. llama2.c stores the weights of query and key so that the pairs that turn
 * together are neighbours. */
static void rotate(struct attention *attention, const attn_tensor *tokens,
                   const attn_tensor *position) {
    attn_rotary_args args;
    check(attn_rotary_args_init(&args, sizeof args), "rotation");
    args.input = tokens;
    args.output = tokens;
    args.interleaved = 1;
    args.offsets = position;
    check(attn_rotary(attention->context, &args), "rotation");
}

void attention_read(struct attention *attention, int layer, int rows, float *query,
                    float *key, float *value, float *mixed) {
    const attn_tensor queries = view(attention, attention->heads, rows, query);
    const attn_tensor keys = view(attention, attention->kv_heads, rows, key);
    const attn_tensor values = view(attention, attention->kv_heads, rows, value);
    const attn_tensor out = view(attention, attention->heads, rows, mixed);

    /* The cache knows how far the text is: the first row stands behind that. */
    int64_t first = attn_cache_length(attention->cache, layer, 0);
    const int64_t one = 1;
    attn_tensor position;
    check(attn_tensor_init(&position, ATTN_I64, 1, &one, &first), "tensor");
    rotate(attention, &queries, &position);
    rotate(attention, &keys, &position);

    attn_append_args append;
    check(attn_append_args_init(&append, sizeof append), "append");
    append.layer = layer;
    append.key = &keys;
    append.value = &values;
    check(attn_cache_append(attention->cache, &append), "append");

    attn_forward_args args;
    check(attn_forward_args_init(&args, sizeof args), "attention");
    args.query = &queries;
    args.cache = attention->cache; /* in place of key and value */
    args.cache_layer = layer;
    args.out = &out;
    check(attn_plan_forward(attention->plan, &args), "attention");
}

size_t attention_bytes(const struct attention *attention) {
    return attn_cache_bytes(attention->cache, NULL);
}

void attention_close(struct attention *attention) {
    attn_cache_destroy(attention->cache);
    attn_plan_destroy(attention->plan);
    attn_context_destroy(attention->context);
    *attention = (struct attention){0};
}
