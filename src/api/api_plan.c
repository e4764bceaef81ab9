/*
 * Plans and calls.
 */
#include <string.h>

#include "api/api.h"
#include "desc/bind.h"
#include "plan/plan.h"

attn_status attn_plan_create(attn_plan **plan, attn_context *context,
                             const attn_desc *desc, const attn_bounds *bounds) {
    REQUIRE_POINTER(plan);
    *plan = NULL;
    REQUIRE_POINTER(context);
    REQUIRE_POINTER(desc);
    attn_bounds taken;
    TRY(attn_struct_take(&taken, sizeof taken, bounds, "bounds"));
    struct attn_plan *made = attn_mem_allocate(&context->allocator, sizeof *made);
    REQUIRE(made != NULL, ATTN_ERR_NO_MEMORY, "no memory for a plan");
    attn_status status = attn_plan_setup(made, context, desc, &taken);
    if (status != ATTN_OK) {
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
        attn_mem_release(&context->allocator, plan);
        attn_context_release(context);
    }
}

size_t attn_plan_workspace_size(const attn_plan *plan) {
    return plan != NULL ? plan->workspace : 0;
}

size_t attn_plan_explain(const attn_plan *plan, char *text, size_t size) {
    if (plan != NULL) {
        return attn_plan_write(plan, text, size);
    }
    if (size > 0) {
        text[0] = '\0';
    }
    return 0;
}

attn_status attn_forward_args_init(attn_forward_args *args, size_t size) {
    REQUIRE_POINTER(args);
    REQUIRE(size >= sizeof args->size && size % 8 == 0, ATTN_ERR_INVALID,
            "size is %zu, should be sizeof(attn_forward_args): a multiple of 8", size);
    memset(args, 0, size);
    args->size = (int64_t)size;
    return ATTN_OK;
}

/* Runs a bound call in the caller's workspace or in a borrowed one. */
static attn_status run_with_workspace(const attn_plan *plan, const struct call *call,
                                      const attn_forward_args *args) {
    if (args->workspace != NULL) {
        return attn_plan_run(plan, call, args->workspace);
    }
    void *workspace = attn_context_borrow(plan->context, plan->workspace);
    REQUIRE(workspace != NULL, ATTN_ERR_NO_MEMORY,
            "no memory for %zu bytes of workspace", plan->workspace);
    attn_status status = attn_plan_run(plan, call, workspace);
    attn_context_give_back(plan->context, workspace);
    return status;
}

attn_status attn_plan_forward(const attn_plan *plan, const attn_forward_args *args) {
    REQUIRE_POINTER(plan);
    attn_forward_args taken;
    TRY(attn_struct_take(&taken, sizeof taken, args, "args"));
    REQUIRE(taken.workspace == NULL || (uintptr_t)taken.workspace % MEM_ALIGNMENT == 0,
            ATTN_ERR_INVALID, "workspace is %d bytes past a multiple of %d",
            (int)((uintptr_t)taken.workspace % MEM_ALIGNMENT), (int)MEM_ALIGNMENT);
    REQUIRE(taken.workspace == NULL ||
                (taken.workspace_size >= 0 &&
                 (uint64_t)taken.workspace_size >= plan->workspace),
            ATTN_ERR_INVALID, "workspace has %lld bytes, the plan needs %zu",
            (long long)taken.workspace_size, plan->workspace);
    REQUIRE(taken.workspace != NULL || taken.workspace_size == 0, ATTN_ERR_INVALID,
            "workspace_size is %lld, but workspace is NULL",
            (long long)taken.workspace_size);
    struct call call;
    TRY(attn_call_bind(&call, &plan->problem, &plan->bounds, &taken));
    return run_with_workspace(plan, &call, &taken);
}
