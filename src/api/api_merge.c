/*
 * Merging states of attention over parts of the keys.
 */
#include "api/api.h"
#include "layer/merge.h"

attn_status attn_merge(attn_context *context, int32_t count,
                       const attn_tensor *const *outs, const attn_tensor *const *lses,
                       const attn_tensor *out, const attn_tensor *lse) {
    REQUIRE_POINTER(outs);
    REQUIRE_POINTER(lses);
    REQUIRE_POINTER(out);
    struct merge merge;
    TRY(attn_merge_bind(&merge, count, outs, lses, out, lse));
    if (context != NULL) {
        atomic_store(&context->planned, true);
    }
    attn_merge_run(&merge, context);
    return ATTN_OK;
}
