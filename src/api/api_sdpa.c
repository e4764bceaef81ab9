/*
 * The one call: descriptor, plan and arguments on the stack, everything else as in
 * attn_plan_forward().
 */
#include "api/api.h"
#include "attn.h"
#include "desc/bind.h"
#include "kernel/kernel.h"
#include "plan/plan.h"

attn_status attn_sdpa(attn_context *context, int64_t batch, int64_t query_heads,
                      int64_t kv_heads, int64_t q_length, int64_t kv_length,
                      int64_t key_dim, int64_t value_dim, int32_t causal,
                      const float *query, const float *key, const float *value,
                      float *out) {
    const struct {
        const char *name;
        int64_t size;
        int most;
    } sizes[] = {{"query_heads", query_heads, INT32_MAX},
                 {"kv_heads", kv_heads, INT32_MAX},
                 {"key_dim", key_dim, DIM_MAX},
                 {"value_dim", value_dim, DIM_MAX}};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        REQUIRE(sizes[i].size > 0 && sizes[i].size <= sizes[i].most, ATTN_ERR_INVALID,
                "%s is %lld, not within 1 to %d", sizes[i].name,
                (long long)sizes[i].size, sizes[i].most);
    }
    attn_desc desc;
    attn_desc_setup(&desc);
    TRY(attn_desc_set_heads(&desc, (int32_t)query_heads, (int32_t)kv_heads));
    TRY(attn_desc_set_dims(&desc, (int32_t)key_dim, (int32_t)value_dim));
    TRY(attn_desc_set_causal(&desc, causal));

    struct attn_context alone;
    if (context == NULL) {
        attn_context_setup(&alone, 1);
        alone.isa = attn_kernels_best();
    } else {
        atomic_store(&context->planned, true);
    }
    const attn_bounds bounds = {sizeof bounds, batch, q_length, kv_length};
    struct attn_plan plan;
    TRY(attn_plan_setup(&plan, context != NULL ? context : &alone, &desc, &bounds));

    attn_tensor tensor[4];
    TRY(attn_tensor_init(&tensor[0], ATTN_F32, 4,
                         (int64_t[]){batch, query_heads, q_length, key_dim},
                         (void *)(uintptr_t)query));
    TRY(attn_tensor_init(&tensor[1], ATTN_F32, 4,
                         (int64_t[]){batch, kv_heads, kv_length, key_dim},
                         (void *)(uintptr_t)key));
    TRY(attn_tensor_init(&tensor[2], ATTN_F32, 4,
                         (int64_t[]){batch, kv_heads, kv_length, value_dim},
                         (void *)(uintptr_t)value));
    TRY(attn_tensor_init(&tensor[3], ATTN_F32, 4,
                         (int64_t[]){batch, query_heads, q_length, value_dim}, out));
    attn_forward_args args;
    TRY(attn_forward_args_init(&args, sizeof args));
    args.query = &tensor[0];
    args.key = &tensor[1];
    args.value = &tensor[2];
    args.out = &tensor[3];
    attn_status status = attn_plan_forward(&plan, &args);
    if (context == NULL) {
        attn_context_clear(&alone);
    }
    return status;
}
