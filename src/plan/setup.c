/*
 * From descriptor and bounds to a plan.
 */
#include "base/arith.h"
#include "base/status.h"
#include "plan/plan.h"

/* Rows of scores of the dense engine must have a stride that BLAS's int holds. */
enum { DENSE_KEYS_MAX = 1 << 30 };

static attn_status check_bounds(const attn_bounds *bounds) {
    const struct {
        const char *name;
        int64_t value;
    } bound[] = {
        {"batch", bounds->batch},
        {"q_length", bounds->q_length},
        {"kv_length", bounds->kv_length},
    };
    for (size_t i = 0; i < COUNT_OF(bound); i++) {
        REQUIRE(bound[i].value >= 0, ATTN_ERR_INVALID, "bounds: %s is %lld",
                bound[i].name, (long long)bound[i].value);
        REQUIRE(bound[i].value <= OFFSET_MAX, ATTN_ERR_INVALID,
                "bounds: %s is %lld, more than 2^53", bound[i].name,
                (long long)bound[i].value);
    }
    return ATTN_OK;
}

/* Books the scratch of one thread for every engine that a call may choose. */
static attn_status book(struct attn_plan *plan) {
    struct toolbox *tools = &plan->tools;
    bool fits = true;
    if (plan->forced != ATTN_ENGINE_FLASH) {
        fits =
            attn_engine_dense.book(&tools->layout, tools, attn_plan_dense_keys(plan));
    }
    if (plan->forced != ATTN_ENGINE_DENSE) {
        fits = fits &&
               attn_engine_flash.book(&tools->layout, tools, plan->bounds.kv_length);
    }
    int64_t bytes = 0;
    fits = fits && attn_layout_place(&tools->layout) &&
           checked_mul((int64_t)tools->layout.total, plan->context->threads, &bytes);
    REQUIRE(
        fits, ATTN_ERR_INVALID,
        "the workspace for %d threads overflows: key dim %d, value dim %d, %lld keys",
        (int)plan->context->threads, (int)plan->problem.key_dim,
        (int)plan->problem.value_dim, (long long)plan->bounds.kv_length);
    plan->workspace = (size_t)bytes;
    return ATTN_OK;
}

attn_status attn_plan_setup(struct attn_plan *plan, struct attn_context *context,
                            const struct attn_desc *desc, const attn_bounds *bounds) {
    *plan = (struct attn_plan){
        .context = context,
        .bounds = *bounds,
        .forced = desc->engine,
    };
    TRY(attn_desc_resolve(&plan->problem, desc));
    TRY(check_bounds(bounds));
    REQUIRE(plan->forced != ATTN_ENGINE_DENSE || bounds->kv_length <= DENSE_KEYS_MAX,
            ATTN_ERR_UNSUPPORTED,
            "the dense engine takes up to %d keys, the bound is %lld",
            (int)DENSE_KEYS_MAX, (long long)bounds->kv_length);
    struct toolbox *tools = &plan->tools;
    tools->problem = &plan->problem;
    tools->kernels = attn_kernels(context->isa);
    attn_masks_select(&tools->masks, &plan->problem);
    attn_terms_select(&tools->terms, &plan->problem);
    attn_plan_choose_tiles(plan);
    return book(plan);
}
