/*
 * From descriptor and bounds to a plan.
 */
#include "base/arith.h"
#include "base/status.h"
#include "engine/backward.h"
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

/* Places regions, within at least so many bytes, and multiplies by threads; false if
 * that overflows. */
static bool place(struct layout *layout, size_t least, int32_t threads, size_t *total) {
    int64_t bytes = 0;
    if (!attn_layout_place(layout)) {
        return false;
    }
    layout->total = layout->total > least ? layout->total : least;
    const bool fits = checked_mul((int64_t)layout->total, threads, &bytes);
    *total = (size_t)bytes;
    return fits;
}

/* Books the scratch of one thread for every engine that a call may choose. */
static attn_status book(struct attn_plan *plan) {
    struct toolbox *tools = &plan->tools, *dense = &plan->dense;
    const int64_t keys = plan->bounds.kv_length,
                  dense_keys = attn_plan_dense_keys(plan);
    const int64_t small_keys = min_i64(dense_keys, attn_small_keys(tools));
    const bool uses_dense = attn_plan_uses_dense(plan);
    const struct {
        int32_t name;
        const struct engine *engine;
        struct toolbox *tools;
        int64_t keys;
    } engines[] = {
        {ATTN_ENGINE_DENSE, &attn_engine_dense, tools, small_keys},
        {ATTN_ENGINE_DENSE, &attn_engine_dense, dense, dense_keys},
        {ATTN_ENGINE_AUTO, &attn_engine_small, tools, small_keys},
        {ATTN_ENGINE_FLASH, &attn_engine_flash, tools, keys},
        {ATTN_ENGINE_DECODE, &attn_engine_decode, tools, keys},
    };
    bool fits = true;
    for (size_t i = 0; i < COUNT_OF(engines); i++) {
        if ((plan->forced == ATTN_ENGINE_AUTO || plan->forced == engines[i].name) &&
            (engines[i].tools == tools || uses_dense)) {
            fits = fits && engines[i].engine->book(&engines[i].tools->layout,
                                                   engines[i].tools, engines[i].keys);
        }
    }
    /* one thread uses one of them at a time */
    fits = fits && (!uses_dense || attn_layout_place(&dense->layout)) &&
           attn_backward_book(&plan->backward.layout, &plan->backward) &&
           place(&tools->layout, dense->layout.total, plan->context->threads,
                 &plan->workspace) &&
           place(&plan->backward.layout, 0, plan->context->threads,
                 &plan->backward_workspace);
    attn_plan_book_parts(plan);
    REQUIRE(
        fits, ATTN_ERR_INVALID,
        "the workspace for %d threads overflows: key dim %d, value dim %d, %lld keys",
        (int)plan->context->threads, (int)plan->problem.key_dim,
        (int)plan->problem.value_dim, (long long)plan->bounds.kv_length);
    return ATTN_OK;
}

/* Where the buckets of a relative bias start. */
static attn_status make_buckets(struct attn_plan *plan) {
    const int64_t count = attn_relative_bias_buckets(&plan->problem);
    if (count == 0) {
        return ATTN_OK;
    }
    plan->bucket_starts = attn_mem_allocate(
        &plan->context->allocator, (size_t)count * sizeof *plan->bucket_starts);
    REQUIRE(plan->bucket_starts != NULL, ATTN_ERR_NO_MEMORY,
            "no memory for %lld buckets of the relative bias", (long long)count);
    attn_relative_bias_starts(&plan->problem, plan->bucket_starts);
    plan->tools.bucket_starts = plan->bucket_starts;
    return ATTN_OK;
}

void attn_plan_clear(struct attn_plan *plan) {
    if (plan->bucket_starts != NULL) {
        attn_mem_release(&plan->context->allocator, plan->bucket_starts);
    }
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
    /* counters of dropout have 32 bits for a row and for a quarter of a column */
    REQUIRE(plan->problem.dropout == 0.0f ||
                (bounds->q_length <= UINT32_MAX + INT64_C(1) &&
                 bounds->kv_length <= 4 * (UINT32_MAX + INT64_C(1))),
            ATTN_ERR_UNSUPPORTED,
            "dropout takes up to 2^32 queries and 2^34 keys, the bounds are %lld and "
            "%lld",
            (long long)bounds->q_length, (long long)bounds->kv_length);
    struct toolbox *tools = &plan->tools;
    tools->problem = &plan->problem;
    tools->kernels = attn_kernels(context->isa);
    attn_masks_select(&tools->masks, &plan->problem);
    attn_terms_select(&tools->terms, &plan->problem);
    TRY(make_buckets(plan));
    attn_plan_choose_tiles(plan);
    return book(plan);
}
