/*
 * Both ways to attend.
 */
#include "tests/support/cache_attend.h"

#include <string.h>

#include "tests/support/check.h"
#include "tests/support/element.h"
#include "tests/support/oracle.h"
#include "tests/support/run.h"

attn_cache_options attend_options(const struct test_problem *problem, int32_t dtype,
                                  int64_t page_keys) {
    const int64_t capacity = problem->kv_length > 0 ? problem->kv_length : 1;
    attn_cache_options options;
    attn_cache_options_init(&options, sizeof options);
    options.layers = 2;
    options.kv_heads = problem->kv_heads;
    options.key_dim = problem->key_dim;
    options.value_dim = problem->value_dim;
    options.dtype = dtype;
    options.sequences = problem->batch + 2;
    options.capacity = capacity;
    if (page_keys > 0) {
        options.page_keys = page_keys < capacity ? page_keys : capacity;
        options.pages = options.sequences * gen_blocks(capacity, options.page_keys);
    }
    return options;
}

attn_tensor attend_integers(int64_t *values, int64_t count) {
    attn_tensor tensor;
    attn_tensor_init(&tensor, ATTN_I64, 1, &count, values);
    return tensor;
}

attn_tensor attend_cut(const attn_tensor *tensor, int32_t dim, int64_t from,
                       int64_t n) {
    attn_tensor part = *tensor;
    if (dim >= 0 && dim < tensor->rank && tensor->shape[dim] != 1) {
        part.shape[dim] = n;
        part.data = (char *)tensor->data +
                    from * tensor->stride[dim] * (int64_t)element_size(tensor->dtype);
    }
    return part;
}

static void append(attn_cache *cache, int32_t layer, const attn_tensor *key,
                   const attn_tensor *value, const attn_tensor *sequences,
                   const attn_tensor *lengths) {
    attn_append_args args;
    attn_append_args_init(&args, sizeof args);
    args.layer = layer;
    args.key = key;
    args.value = value;
    args.sequences = sequences;
    args.lengths = lengths;
    if (attn_cache_append(cache, &args) != ATTN_OK) {
        fail_msg("attn_cache_append: %s", attn_last_error());
    }
}

void attend_append(attn_cache *cache, int32_t layer, int64_t sequence,
                   const struct test_inputs *inputs, int64_t b, int64_t from,
                   int64_t n) {
    const attn_tensor sequences = attend_integers(&sequence, 1);
    attn_tensor key = attend_cut(&inputs->key, 0, b, 1);
    attn_tensor value = attend_cut(&inputs->value, 0, b, 1);
    key = attend_cut(&key, 2, from, n);
    value = attend_cut(&value, 2, from, n);
    append(cache, layer, &key, &value, &sequences, NULL);
}

void attend_fill(attn_cache *cache, int32_t layer, const int64_t *sequence,
                 const struct test_inputs *inputs, struct random *random) {
    enum { BATCH_MOST = 16 };
    const int64_t batch = inputs->problem.batch;
    int64_t numbers[BATCH_MOST], done[BATCH_MOST] = {0}, left = 0;
    assert_in_range(batch, 1, BATCH_MOST);
    memcpy(numbers, sequence, (size_t)batch * sizeof numbers[0]);
    if (random == NULL) {
        const attn_tensor sequences = attend_integers(numbers, batch);
        append(cache, layer, &inputs->key, &inputs->value, &sequences,
               gen_given(&inputs->kv_lengths));
        return;
    }
    for (int64_t b = 0; b < batch; b++) {
        left += oracle_kv_length(inputs, b);
    }
    while (left > 0) {
        const int64_t b = random_between(random, 0, batch - 1);
        const int64_t rest = oracle_kv_length(inputs, b) - done[b];
        const int64_t most = random_percent(random, 70) ? 3 + rest / 8 : rest;
        const int64_t n = random_between(random, 0, most < rest ? most : rest);
        attend_append(cache, layer, sequence[b], inputs, b, done[b], n);
        done[b] += n;
        left -= n;
    }
}

void attend_shuffle(int64_t *sequence, int64_t count, struct random *random) {
    for (int64_t i = 0; i < count; i++) {
        const int64_t at = random_between(random, 0, i);
        sequence[i] = sequence[at];
        sequence[at] = i;
    }
}

void attend_lengths(struct test_inputs *inputs) {
    if (inputs->problem.kv_lengths) {
        element_set_int(&inputs->kv_lengths, 0, inputs->problem.batch - 1,
                        inputs->problem.kv_length);
    }
}

void attend_tensors(struct test_call *call, attn_context *context,
                    const struct test_inputs *inputs, unsigned wanted) {
    *call = (struct test_call){.inputs = *inputs};
    outputs_open(&call->outputs, &inputs->problem, wanted);
    call->plan = run_plan(context, &inputs->problem);
    run_args(&call->args, &call->inputs, &call->outputs);
}

void attend_open(struct test_call *call, const struct test_call *plain,
                 const attn_cache *cache, int32_t layer, const attn_tensor *sequences) {
    struct test_inputs inputs = plain->inputs;
    unsigned wanted = 0;
    for (int o = 0; o < OUTPUTS; o++) {
        wanted |= plain->outputs.tensor[o].rank > 0 ? 1u << o : 0;
    }
    inputs.problem.kv_lengths = 0;
    inputs.kv_lengths.rank = 0;
    attn_context *context = run_context(&inputs.problem);
    attend_tensors(call, context, &inputs, wanted);
    call->context = context;
    call->args.key = call->args.value = NULL;
    call->args.cache = cache;
    call->args.cache_layer = layer;
    call->args.sequences = sequences;
}

void attend_close(struct test_call *call) {
    attn_plan_destroy(call->plan);
    attn_context_destroy(call->context);
    outputs_close(&call->outputs);
}

/* Queries are in dimension 2 of 4, the last but one of masks, and the last of tokens'
 * numbers; keys in the one after. */
struct test_inputs attend_inputs(const struct test_inputs *whole,
                                 const struct attend_part *part) {
    struct test_inputs in = *whole;
    attn_tensor *of_queries[] = {&in.q_documents, &in.q_segments, &in.q_ranks};
    attn_tensor *of_keys[] = {&in.k_documents, &in.k_segments, &in.k_ranks};
    attn_tensor *of_both[] = {&in.mask, &in.bias};
    memset(in.block, 0, sizeof in.block);
    in.problem.q_length = part->queries;
    in.problem.kv_length = part->keys;
    in.query = attend_cut(&in.query, 2, part->query, part->queries);
    in.key = attend_cut(&in.key, 2, part->key, part->keys);
    in.value = attend_cut(&in.value, 2, part->key, part->keys);
    for (size_t t = 0; t < COUNT_OF(of_queries); t++) {
        attn_tensor *q = of_queries[t], *k = of_keys[t];
        *q = attend_cut(q, q->rank - 1, part->query, part->queries);
        *k = attend_cut(k, k->rank - 1, part->key, part->keys);
    }
    for (size_t t = 0; t < COUNT_OF(of_both); t++) {
        attn_tensor *m = of_both[t];
        *m = attend_cut(m, m->rank - 2, part->query, part->queries);
        *m = attend_cut(m, m->rank - 1, part->key, part->keys);
    }
    return in;
}

int attend_check_rows(const struct test_inputs *inputs,
                      const struct test_outputs *outputs) {
    struct test_outputs rows = *outputs;
    for (int o = 0; o < OUTPUTS; o++) {
        if ((ROW_OUTPUTS >> o & 1) == 0) {
            rows.tensor[o].rank = 0;
            rows.block[o] = NULL;
        }
    }
    return check_outputs(inputs, &rows);
}

/* True if kernels may take keys as they lie, which differs. */
static int takes_rows(const struct test_problem *problem) {
    return problem->additive ? problem->q_length <= 2
                             : problem->engine == ATTN_ENGINE_AUTO ||
                                   problem->engine == ATTN_ENGINE_DECODE;
}

int attend_like(const struct test_call *plain, const struct test_call *cached) {
    return outputs_whole(&cached->outputs) &&
           (takes_rows(&plain->inputs.problem)
                ? check_outputs(&plain->inputs, &cached->outputs) == 0
                : call_same(plain, cached));
}

void attend_need_like(struct test_call *plain, struct test_call *cached) {
    call_run(plain);
    call_run(cached);
    if (!attend_like(plain, cached)) {
        fail_msg("from a cache it is another attention");
    }
}
