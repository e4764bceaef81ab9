/*
 * Turns a problem into library objects: a setter for each word of its text, a tensor
 * for each input. Every case has a context of its own, since cases may differ in
 * threads and instruction set.
 */
#include "bench/case.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/fail.h"
#include "bench/memory.h"
#include "bench/storage.h"

/* Ends the program unless the library agreed. */
static void need(const struct bench_case *c, attn_status status) {
    if (status != ATTN_OK) {
        fail(FAILED, "%s: %s: %s", c->title, attn_status_string(status),
             attn_last_error());
    }
}

static void describe(struct bench_case *c, attn_desc *desc) {
    const struct test_problem *p = &c->problem;
    need(c, attn_desc_set_heads(desc, p->q_heads, p->kv_heads));
    need(c, attn_desc_set_dims(desc, p->key_dim, p->value_dim));
    if (p->has_scale) {
        need(c, attn_desc_set_scale(desc, p->scale));
    }
    need(c, attn_desc_set_softcap(desc, p->softcap));
    need(c, attn_desc_set_causal(desc, p->causal));
    need(c, attn_desc_set_alignment(desc, p->alignment));
    need(c, attn_desc_set_window(desc, p->left, p->right));
    need(c, attn_desc_set_lengths(desc, p->q_lengths, p->kv_lengths && !c->cached));
    need(c, attn_desc_set_documents(desc, p->documents));
    need(c, attn_desc_set_prefix(desc, p->prefix));
    need(c, attn_desc_set_block_mask(desc, p->q_block, p->k_block));
    need(c, attn_desc_set_mask(desc, p->mask ? ATTN_BOOL : 0));
    need(c, attn_desc_set_bias(desc, p->bias ? ATTN_F32 : 0));
    need(c, attn_desc_set_alibi(desc, p->alibi));
    need(c, attn_desc_set_sinks(desc, p->sinks));
    need(c, attn_desc_set_dropout(desc, p->dropout));
    need(c, attn_desc_set_engine(desc, p->engine));
}

static void make_plan(struct bench_case *c) {
    const struct test_problem *p = &c->problem;
    need(c, attn_context_create(&c->context));
    need(c, attn_context_set_threads(c->context, p->threads));
    need(c, attn_context_set_isa(c->context, p->isa));

    attn_desc *desc;
    need(c, attn_desc_create(&desc));
    describe(c, desc);
    attn_bounds bounds = {sizeof bounds, p->batch, p->q_length, p->kv_length};
    if (c->tuned) {
        need(c, attn_context_tune(c->context, desc, &bounds, 0));
    }
    need(c, attn_plan_create(&c->plan, c->context, desc, &bounds));
    attn_desc_destroy(desc);
}

/* A view of query, key, value or out, in the problem's layout. */
static const attn_tensor *stored(struct bench_case *c, attn_tensor *tensor,
                                 int32_t type, int64_t heads, int64_t length,
                                 int64_t dim, void *data) {
    int64_t shape[4] = {c->problem.batch, heads, length, dim};
    need(c, attn_tensor_init(tensor, storage_dtype(type), 4, shape, data));
    if (c->problem.layout == LAYOUT_BSHD) {
        tensor->stride[1] = dim;
        tensor->stride[2] = heads * dim;
    }
    return tensor;
}

static const attn_tensor *view(struct bench_case *c, attn_tensor *tensor, int64_t heads,
                               int64_t length, int64_t dim, float *data) {
    return stored(c, tensor, STORE_F32, heads, length, dim, data);
}

/* The storage, or where there is none the floats. */
static void *data_of(const struct storage *storage, float *floats) {
    return storage->data != NULL ? storage->data : floats;
}

/* Copy number `turn` of key or value. */
static void *copy_of(const struct storage *storage, float *floats, int32_t type,
                     int64_t count, int turn) {
    char *data = data_of(storage, floats);
    return data + count * storage_bytes(type) * turn;
}

/* A contiguous view of an input that is optional: NULL if it is not there. */
static const attn_tensor *option(struct bench_case *c, attn_tensor *tensor,
                                 int32_t dtype, int32_t rank, int64_t n0, int64_t n1,
                                 int64_t n2, void *data) {
    if (data == NULL) {
        return NULL;
    }
    int64_t shape[3] = {n0, n1, n2};
    need(c, attn_tensor_init(tensor, dtype, rank, shape, data));
    return tensor;
}

static void set_main(struct bench_case *c) {
    const struct test_problem *p = &c->problem;
    const struct inputs *in = &c->inputs;
    attn_forward_args *args = &c->args;
    args->query = stored(c, &c->tensor.query, p->query_type, p->q_heads, p->q_length,
                         p->key_dim, data_of(&in->query_storage, in->query));
    args->key = stored(c, &c->tensor.key, p->key_type, p->kv_heads, p->kv_length,
                       p->key_dim, data_of(&in->key_storage, in->key));
    args->value = stored(c, &c->tensor.value, p->value_type, p->kv_heads, p->kv_length,
                         p->value_dim, data_of(&in->value_storage, in->value));
    args->out = stored(c, &c->tensor.out, p->out_type, p->q_heads, p->q_length,
                       p->value_dim, data_of(&in->out_storage, in->out));
    args->key_scales = option(c, &c->tensor.key_scales, ATTN_F32, 3, p->batch,
                              p->kv_heads, p->kv_length, in->key_storage.scales);
    args->value_scales = option(c, &c->tensor.value_scales, ATTN_F32, 3, p->batch,
                                p->kv_heads, p->kv_length, in->value_storage.scales);
}

static void set_masks(struct bench_case *c) {
    const struct test_problem *p = &c->problem;
    const struct inputs *in = &c->inputs;
    attn_forward_args *args = &c->args;
    int64_t b = p->batch, h = p->q_heads, q = p->q_length, k = p->kv_length;

    args->q_lengths =
        option(c, &c->tensor.q_lengths, ATTN_I64, 1, b, 0, 0, in->q_lengths);
    args->kv_lengths =
        option(c, &c->tensor.kv_lengths, ATTN_I64, 1, b, 0, 0, in->kv_lengths);
    args->query_offsets =
        option(c, &c->tensor.offsets, ATTN_I64, 1, b, 0, 0, in->offsets);
    args->prefix_lengths =
        option(c, &c->tensor.prefix, ATTN_I64, 1, b, 0, 0, in->prefix);
    args->q_documents =
        option(c, &c->tensor.q_documents, ATTN_I32, 2, b, q, 0, in->q_documents);
    args->k_documents =
        option(c, &c->tensor.k_documents, ATTN_I32, 2, b, k, 0, in->k_documents);
    if (in->block_mask != NULL) {
        args->block_mask = option(c, &c->tensor.block_mask, ATTN_BOOL, 3, h,
                                  inputs_blocks(q, p->q_block),
                                  inputs_blocks(k, p->k_block), in->block_mask);
    }
    args->mask = option(c, &c->tensor.mask, ATTN_BOOL, 2, q, k, 0, in->mask);
    args->bias = option(c, &c->tensor.bias, ATTN_F32, 3, h, q, k, in->bias);
    args->alibi_slopes = option(c, &c->tensor.slopes, ATTN_F32, 1, h, 0, 0, in->slopes);
    args->sinks = option(c, &c->tensor.sinks, ATTN_F32, 1, h, 0, 0, in->sinks);
}

static void set_backward(struct bench_case *c) {
    const struct test_problem *p = &c->problem;
    const struct inputs *in = &c->inputs;
    int64_t b = p->batch, h = p->q_heads, q = p->q_length;
    c->args.row_max = option(c, &c->tensor.row_max, ATTN_F32, 3, b, h, q, in->row_max);
    c->args.row_sum = option(c, &c->tensor.row_sum, ATTN_F32, 3, b, h, q, in->row_sum);

    attn_backward_args *args = &c->backward_args;
    need(c, attn_backward_args_init(args, sizeof *args));
    args->forward = &c->args;
    args->grad_out = view(c, &c->tensor.grad_out, h, q, p->value_dim, in->grad_out);
    args->grad_query = view(c, &c->tensor.grad_query, h, q, p->key_dim, in->grad_query);
    args->grad_key = view(c, &c->tensor.grad_key, p->kv_heads, p->kv_length, p->key_dim,
                          in->grad_key);
    args->grad_value = view(c, &c->tensor.grad_value, p->kv_heads, p->kv_length,
                            p->value_dim, in->grad_value);
    args->workspace_size = (int64_t)attn_plan_backward_workspace_size(c->plan);
}

/* The cache in place of key and value. */
static void set_cache(struct bench_case *c, int64_t page_keys) {
    attn_forward_args *args = &c->args;
    need(c,
         cached_open(&c->cache, c->context, &c->problem, &c->inputs, args, page_keys));
    args->cache = c->cache.cache;
    args->sequences = &c->cache.sequences;
    args->key = args->value = args->kv_lengths = NULL;
    args->key_scales = args->value_scales = NULL;
}

/* The text and the title. */
static void name_case(struct bench_case *c, const struct suite_entry *entry) {
    char words[64] = "";
    size_t length = problem_format(&c->problem, c->text, sizeof c->text);
    if (entry->page_keys > 0) {
        snprintf(words, sizeof words, " cache=%lld%s", (long long)entry->page_keys,
                 entry->tuned ? " tuned" : "");
    } else {
        snprintf(words, sizeof words, "%s%s%s", entry->cached ? " cache" : "",
                 entry->backward ? " backward" : "", entry->tuned ? " tuned" : "");
    }
    if (length + strlen(words) + 1 > sizeof c->text) {
        fail(MISUSED, "%s...: the text is too long", c->text);
    }
    memcpy(c->text + length, words, strlen(words) + 1);
    size_t size = strlen(c->name) + strlen(c->text) + sizeof ": ";
    c->title = memory_grow(NULL, (int64_t)size, 1);
    snprintf(c->title, size, "%s%s%s", c->name, c->name[0] != '\0' ? ": " : "",
             c->text);
}

void case_open(struct bench_case *c, const struct suite_entry *entry, int32_t threads) {
    *c = (struct bench_case){.name = entry->name,
                             .problem = entry->problem,
                             .backward = entry->backward,
                             .cached = entry->cached,
                             .tuned = entry->tuned};
    struct test_problem *p = &c->problem;
    if (threads > 0) {
        p->threads = threads;
    }
    if (p->threads == 0) {
        p->threads = 1;
    }
    name_case(c, entry);

    make_plan(c);
    inputs_make(&c->inputs, p, c->backward, c->cached);
    need(c, attn_forward_args_init(&c->args, sizeof c->args));
    set_main(c);
    set_masks(c);
    if (p->dropout > 0) {
        c->args.dropout_seed = (int64_t)p->seed;
    }
    if (c->backward) {
        set_backward(c);
    }
    if (c->cached) {
        set_cache(c, entry->page_keys);
    }

    c->args.workspace_size = (int64_t)attn_plan_workspace_size(c->plan);
    int64_t forward = c->args.workspace_size,
            backward = c->backward_args.workspace_size;
    c->workspace = memory_get(forward > backward ? forward : backward, 1);
    c->args.workspace = c->workspace;
    c->backward_args.workspace = c->workspace;
}

void case_close(struct bench_case *c) {
    attn_plan_destroy(c->plan);
    if (c->cached) {
        cached_close(&c->cache);
    }
    attn_context_destroy(c->context);
    inputs_free(&c->inputs);
    free(c->workspace);
    free(c->title);
    samples_free(&c->seconds);
    samples_free(&c->forward_seconds);
    samples_free(&c->backward_seconds);
    *c = (struct bench_case){0};
}

void case_run(struct bench_case *c) {
    case_forward(c);
    if (c->backward) {
        case_backward(c);
    }
}

void case_forward(struct bench_case *c) {
    const struct inputs *in = &c->inputs;
    if (c->cached) {
        cached_turn(&c->cache, c->turn);
    } else {
        c->tensor.key.data = copy_of(&in->key_storage, in->key, c->problem.key_type,
                                     in->key_count, c->turn);
        c->tensor.value.data = copy_of(&in->value_storage, in->value,
                                       c->problem.value_type, in->value_count, c->turn);
    }
    c->turn = c->turn + 1 < in->turns ? c->turn + 1 : 0;

    attn_status status = attn_plan_forward(c->plan, &c->args);
    if (status != ATTN_OK) {
        need(c, status);
    }
}

void case_backward(struct bench_case *c) {
    attn_status status = attn_plan_backward(c->plan, &c->backward_args);
    if (status != ATTN_OK) {
        need(c, status);
    }
}

char *case_explain(const struct bench_case *c) {
    size_t length = attn_plan_explain(c->plan, NULL, 0);
    char *text = memory_get((int64_t)length + 1, 1);
    attn_plan_explain(c->plan, text, length + 1);
    return text;
}
