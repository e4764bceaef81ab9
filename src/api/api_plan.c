/*
 * Plans and calls.
 */
#include <string.h>

#include "api/api.h"
#include "base/arith.h"
#include "base/clock.h"
#include "base/text.h"
#include "cache/cache.h"
#include "desc/bind.h"
#include "plan/plan.h"

attn_status attn_plan_create(attn_plan **plan, attn_context *context,
                             const attn_desc *desc, const attn_bounds *bounds) {
    REQUIRE_POINTER(plan);
    *plan = NULL;
    REQUIRE(context != NULL, ATTN_ERR_INVALID,
            "context is NULL: a plan needs one of attn_context_create()");
    REQUIRE_POINTER(desc);
    attn_bounds taken;
    TRY(attn_struct_take(&taken, sizeof taken, bounds, "bounds"));
    struct attn_plan *made = attn_mem_allocate(&context->allocator, sizeof *made);
    REQUIRE(made != NULL, ATTN_ERR_NO_MEMORY, "no memory for a plan");
    attn_status status = attn_plan_setup(made, context, desc, &taken);
    if (status != ATTN_OK) {
        attn_plan_clear(made);
        attn_mem_release(&context->allocator, made);
        return status;
    }
    attn_context_retain(context);
    atomic_store(&context->planned, true);
    *plan = made;
    return ATTN_OK;
}

void attn_plan_destroy(attn_plan *plan) {
    if (plan != NULL) {
        struct attn_context *context = plan->context;
        attn_plan_clear(plan);
        attn_mem_release(&context->allocator, plan);
        attn_context_release(context);
    }
}

size_t attn_plan_workspace_size(const attn_plan *plan) {
    return plan != NULL ? plan->workspace : 0;
}

size_t attn_plan_explain(const attn_plan *plan, char *text, size_t size) {
    return plan != NULL ? attn_plan_write(plan, text, size)
                        : attn_text_start(text, size).length;
}

attn_status attn_forward_args_init(attn_forward_args *args, size_t size) {
    return attn_struct_init(args, size, "attn_forward_args");
}

attn_status attn_backward_args_init(attn_backward_args *args, size_t size) {
    return attn_struct_init(args, size, "attn_backward_args");
}

attn_status attn_profile_init(attn_profile *profile, size_t size) {
    return attn_struct_init(profile, size, "attn_profile");
}

static attn_status check_workspace(const void *workspace, int64_t size, size_t needed) {
    REQUIRE((uintptr_t)workspace % MEM_ALIGNMENT == 0, ATTN_ERR_INVALID,
            "workspace is %d bytes past a multiple of %d",
            (int)((uintptr_t)workspace % MEM_ALIGNMENT), (int)MEM_ALIGNMENT);
    REQUIRE(workspace == NULL || (size >= 0 && (uint64_t)size >= needed),
            ATTN_ERR_INVALID, "workspace has %lld bytes, the plan needs %zu",
            (long long)size, needed);
    REQUIRE(workspace != NULL || size == 0, ATTN_ERR_INVALID,
            "workspace_size is %lld, but workspace is NULL", (long long)size);
    return ATTN_OK;
}

typedef attn_status run_call(const attn_plan *plan, const struct call *call,
                             void *workspace);

/* Runs a call in the caller's workspace or, if that is NULL, a borrowed one. */
static attn_status run_with(const attn_plan *plan, run_call *run,
                            const struct call *call, void *workspace, size_t needed) {
    if (workspace != NULL) {
        return run(plan, call, workspace);
    }
    workspace = attn_context_borrow(plan->context, needed);
    REQUIRE(workspace != NULL, ATTN_ERR_NO_MEMORY,
            "no memory for %zu bytes of workspace", needed);
    attn_status status = run(plan, call, workspace);
    attn_context_give_back(plan->context, workspace);
    return status;
}

static attn_status check_profile(const attn_profile *profile) {
    REQUIRE(profile == NULL || profile->size >= (int64_t)sizeof profile->size,
            ATTN_ERR_INVALID,
            "profile: size is %lld, less than the %zu bytes of that member",
            (long long)profile->size, sizeof profile->size);
    return ATTN_OK;
}

/* Adds a call that started then to the caller's profile, if there is one, as far as
 * the caller knows its members. */
static void add_profile(attn_profile *profile, const struct profile *measured,
                        int64_t start) {
    if (profile == NULL) {
        return;
    }
    attn_profile sum = {0};
    const size_t known = (size_t)min_i64(profile->size, sizeof sum);
    memcpy(&sum, profile, known);
    int64_t *const parts[STAGES] = {
        [STAGE_COPIES] = &sum.copies,   [STAGE_SCORES] = &sum.scores,
        [STAGE_TERMS] = &sum.terms,     [STAGE_SOFTMAX] = &sum.softmax,
        [STAGE_VALUES] = &sum.values,   [STAGE_GRADIENTS] = &sum.gradients,
        [STAGE_OUTPUTS] = &sum.outputs, [STAGE_OTHER] = &sum.other,
    };
    sum.calls++;
    sum.elapsed += clock_nanoseconds() - start;
    for (int i = 0; i < STAGES; i++) {
        *parts[i] += measured->spent[i];
    }
    memcpy(profile, &sum, known);
}

attn_status attn_plan_forward(const attn_plan *plan, const attn_forward_args *args) {
    REQUIRE_POINTER(plan);
    attn_forward_args taken;
    TRY(attn_struct_take(&taken, sizeof taken, args, "args"));
    TRY(check_workspace(taken.workspace, taken.workspace_size, plan->workspace));
    TRY(check_profile(taken.profile));
    const int64_t start = taken.profile != NULL ? clock_nanoseconds() : 0;
    struct profile measured = {{0}};
    struct call call;
    struct cached cached;
    if (taken.cache != NULL) {
        TRY(attn_cache_view(taken.cache, taken.cache_layer, &cached));
    }
    TRY(attn_call_bind(&call, &plan->problem, &plan->bounds, &taken, NULL,
                       taken.cache != NULL ? &cached : NULL));
    call.profile = taken.profile != NULL ? &measured : NULL;
    TRY(run_with(plan, attn_plan_run, &call, taken.workspace, plan->workspace));
    add_profile(taken.profile, &measured, start);
    return ATTN_OK;
}

size_t attn_plan_backward_workspace_size(const attn_plan *plan) {
    return plan != NULL ? plan->backward_workspace : 0;
}

attn_status attn_plan_backward(const attn_plan *plan, const attn_backward_args *args) {
    REQUIRE_POINTER(plan);
    attn_backward_args taken;
    attn_forward_args forward;
    TRY(attn_struct_take(&taken, sizeof taken, args, "args"));
    TRY(attn_struct_take(&forward, sizeof forward, taken.forward, "forward"));
    TRY(check_workspace(taken.workspace, taken.workspace_size,
                        plan->backward_workspace));
    TRY(check_profile(forward.profile));
    const int64_t start = forward.profile != NULL ? clock_nanoseconds() : 0;
    struct profile measured = {{0}};
    struct call call;
    TRY(attn_call_bind_backward(&call, &plan->problem, &plan->bounds, &taken, &forward,
                                NULL));
    call.profile = forward.profile != NULL ? &measured : NULL;
    TRY(run_with(plan, attn_plan_run_backward, &call, taken.workspace,
                 plan->backward_workspace));
    add_profile(forward.profile, &measured, start);
    return ATTN_OK;
}
