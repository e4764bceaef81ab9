/*
 * Rotary position embeddings.
 */
#include "api/api.h"
#include "desc/bind.h"
#include "layer/rotary.h"

attn_status attn_rotary_args_init(attn_rotary_args *args, size_t size) {
    return attn_struct_init(args, size, "attn_rotary_args");
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
