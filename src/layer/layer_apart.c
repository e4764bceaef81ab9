/*
 * What a layer's call writes must not lie where anything is that it reads, be it an
 * input of the attention or of a rotation, or a parameter.
 */
#include <string.h>

#include "base/status.h"
#include "layer/layer_bind.h"
#include "layer/multihead_parts.h"

static bool meet(const struct extent *a, const struct extent *b) {
    return a->begin < b->end && b->begin < a->end;
}

attn_status attn_layer_apart(struct layer_call *call) {
    const int last = call->others.count - 1;
    const struct extent *written = &call->extent[last];
    call->written |= 1u << last;
    for (int i = 0; i < last; i++) {
        REQUIRE(!meet(written, &call->extent[i]), ATTN_ERR_INVALID,
                "%s overlaps %s: their byte ranges meet", written->name,
                call->extent[i].name);
    }
    return attn_parameters_apart(&call->layer->parameters, written);
}

/* An input against all that is written. */
static attn_status check_input(const struct layer_call *call,
                               const struct extent *input) {
    for (int i = 0; i < call->others.count; i++) {
        REQUIRE((call->written >> i & 1) == 0 || !meet(input, &call->extent[i]),
                ATTN_ERR_INVALID, "%s overlaps %s: their byte ranges meet",
                call->extent[i].name, input->name);
    }
    return call->backward
               ? attn_parameters_gradients_apart(&call->layer->parameters, input)
               : ATTN_OK;
}

static attn_status check_list(const struct layer_call *call,
                              const struct named_tensor *list, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (list[i].tensor != NULL) {
            struct extent extent;
            TRY(attn_tensor_extent(list[i].tensor, list[i].name, &extent));
            TRY(check_input(call, &extent));
        }
    }
    return ATTN_OK;
}

enum { ATTENTION_INPUTS = 22 };

static void list_inputs(struct named_tensor list[ATTENTION_INPUTS],
                        const attn_forward_args *args) {
    const struct named_tensor inputs[ATTENTION_INPUTS] = {
        {"q_lengths", args->q_lengths},
        {"kv_lengths", args->kv_lengths},
        {"query_offsets", args->query_offsets},
        {"prefix_lengths", args->prefix_lengths},
        {"q_documents", args->q_documents},
        {"k_documents", args->k_documents},
        {"block_mask", args->block_mask},
        {"mask", args->mask},
        {"bias", args->bias},
        {"alibi_slopes", args->alibi_slopes},
        {"sinks", args->sinks},
        {"rng_indices", args->rng_indices},
        {"relative_bias", args->relative_bias},
        {"relative_keys", args->relative_keys},
        {"content_bias", args->content_bias},
        {"position_bias", args->position_bias},
        {"q_segments", args->q_segments},
        {"k_segments", args->k_segments},
        {"segment_keys", args->segment_keys},
        {"segment_bias", args->segment_bias},
        {"q_ranks", args->q_ranks},
        {"k_ranks", args->k_ranks},
    };
    memcpy(list, inputs, sizeof inputs);
}

static attn_status check_attention(const struct layer_call *call,
                                   const attn_forward_args *args) {
    struct named_tensor inputs[ATTENTION_INPUTS];
    list_inputs(inputs, args);
    return check_list(call, inputs, ATTENTION_INPUTS);
}

attn_status attn_multihead_inputs_apart(const attn_forward_args *args,
                                        const struct extent *written) {
    struct named_tensor inputs[ATTENTION_INPUTS];
    list_inputs(inputs, args);
    for (int i = 0; i < ATTENTION_INPUTS; i++) {
        if (inputs[i].tensor != NULL) {
            struct extent extent;
            TRY(attn_tensor_extent(inputs[i].tensor, inputs[i].name, &extent));
            REQUIRE(!meet(written, &extent), ATTN_ERR_INVALID,
                    "%s overlaps %s: their byte ranges meet", written->name,
                    extent.name);
        }
    }
    return ATTN_OK;
}

attn_status attn_layer_check_inputs(const struct layer_call *call) {
    const attn_layer_args *args = &call->args;
    const struct named_tensor rotary[] = {
        {"position_ids", args->position_ids},
        {"offsets", args->offsets},
        {"cosines", args->cosines},
        {"sines", args->sines},
        {"key_position_ids", args->key_position_ids},
        {"key_offsets", args->key_offsets},
    };
    TRY(check_attention(call, &call->attention));
    TRY(check_attention(call, &call->cross_attention));
    TRY(check_list(call, rotary, COUNT_OF(rotary)));
    for (int i = 0; i < call->others.count && call->backward; i++) {
        if ((call->written >> i & 1) == 0) {
            TRY(attn_parameters_gradients_apart(&call->layer->parameters,
                                                &call->extent[i]));
        }
    }
    return ATTN_OK;
}
