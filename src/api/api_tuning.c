/*
 * Tuning.
 */
#include "api/api.h"
#include "attn/tuning.h"
#include "desc/bind.h"
#include "exec/tuning.h"
#include "plan/tune.h"

/* A tuned context stays as it is: what was found is within its policy, and lies in
 * memory of its allocator. */
static attn_status settle(attn_context *context, attn_status status) {
    if (status == ATTN_OK) {
        atomic_store(&context->planned, true);
    }
    return status;
}

enum { MILLISECONDS = 200, MILLISECONDS_MAX = 60000 };

attn_status attn_context_tune(attn_context *context, const attn_desc *desc,
                              const attn_bounds *bounds, int32_t milliseconds) {
    REQUIRE_POINTER(context);
    REQUIRE_POINTER(desc);
    attn_bounds taken;
    TRY(attn_struct_take(&taken, sizeof taken, bounds, "bounds"));
    REQUIRE(milliseconds >= 0 && milliseconds <= MILLISECONDS_MAX, ATTN_ERR_INVALID,
            "milliseconds is %d, not within 0 to %d", (int)milliseconds,
            (int)MILLISECONDS_MAX);
    return settle(context,
                  attn_plan_tune(context, desc, &taken,
                                 milliseconds == 0 ? MILLISECONDS : milliseconds));
}

size_t attn_context_tuning_export(const attn_context *context, char *text,
                                  size_t size) {
    if (context != NULL) {
        return attn_tuning_write(context, text, size);
    }
    if (size > 0) {
        text[0] = '\0';
    }
    return 0;
}

attn_status attn_context_tuning_import(attn_context *context, const char *text) {
    REQUIRE_POINTER(context);
    REQUIRE_POINTER(text);
    return settle(context, attn_tuning_read(context, text));
}
