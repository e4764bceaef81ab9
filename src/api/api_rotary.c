/*
 * Rotary position embeddings.
 */
#include <string.h>

#include "api/api.h"
#include "desc/bind.h"
#include "layer/rotary.h"

attn_status attn_rotary_args_init(attn_rotary_args *args, size_t size) {
    REQUIRE_POINTER(args);
    REQUIRE(size >= sizeof args->size && size % 8 == 0, ATTN_ERR_INVALID,
            "size is %zu, should be sizeof(attn_rotary_args): a multiple of 8", size);
    memset(args, 0, size);
    args->size = (int64_t)size;
    return ATTN_OK;
}

attn_status attn_rotary(attn_context *context, const attn_rotary_args *args) {
    attn_rotary_args taken;
    struct rotary rotary;
    TRY(attn_struct_take(&taken, sizeof taken, args, "args"));
    TRY(attn_rotary_bind(&rotary, &taken));
    if (context != NULL) {
        atomic_store(&context->planned, true);
    }
    const int32_t isa = context != NULL ? context->isa : attn_kernels_best();
    attn_rotary_run(&rotary, context, attn_kernels(isa));
    return ATTN_OK;
}
