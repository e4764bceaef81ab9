/*
 * Which engine and which tiles. Nothing here may depend on the number of threads, on
 * the batch or on what a call asks for: see core/recipe.h.
 */
#include "plan/plan.h"

#include "base/arith.h"
#include "exec/blas.h"

/*
 * Rows of this many keys fit the second-level cache together with the panel, and one
 * softmax over them saves the rescaling.
 */
enum { DENSE_KEYS = 512 };

/* One product is never wider or deeper than this while its volume is limited. */
enum { DEPTH = 256 };

/* Where the volume is not limited: what is fastest with large packed products. */
enum { LARGE_TILE_Q = 256, LARGE_TILE_K = 512 };

/* Key and value panels of a thread, each at most so many floats (512 KiB). */
enum { PANEL_FLOATS = 128 * 1024 };

/* Open sums of values of a thread: at most so many floats (1 MiB) and rows. */
enum { BLOCK_FLOATS = 256 * 1024, BLOCK_ROWS = 1024 };

/* The largest m n k of one product under the context's policy. */
static int64_t volume_limit(const struct attn_plan *plan) {
    return plan->context->blas_policy == ATTN_BLAS_SAFE ? attn_blas()->volume
                                                        : INT64_MAX;
}

/*
 * A tile whose products stay within the volume. Scores of 64 x 128 (32 KiB) just fit
 * the first-level cache. Where the volume does not allow that, many keys are worth more
 * than many rows, since row maxima and sums cost the same for few keys as for many;
 * below 96 keys the rows give way. Multiples of 32 keys are whole vectors for all
 * kernels, BLAS's included.
 */
static void choose_tile(struct recipe *recipe, int64_t dim, int64_t volume) {
    const int64_t depth = min_i64(dim, DEPTH);
    int64_t rows = 64, keys = 0;
    for (;; rows /= 2) {
        keys = min_i64(128, volume / (rows * depth) / 32 * 32);
        if (keys >= 96 || (rows <= 16 && keys >= 32)) {
            break;
        }
    }
    *recipe = (struct recipe){(int)rows, (int)keys, DEPTH};
}

void attn_plan_choose_tiles(struct attn_plan *plan) {
    struct toolbox *tools = &plan->tools;
    struct recipe *recipe = &tools->recipe;
    const struct problem *problem = &plan->problem;
    const int64_t dim = max_i64(problem->key_dim, problem->value_dim);
    const int64_t volume = volume_limit(plan);
    if (volume == INT64_MAX) {
        *recipe = (struct recipe){LARGE_TILE_Q, LARGE_TILE_K, INT32_MAX};
    } else {
        choose_tile(recipe, dim, volume);
    }
    const int64_t tile_floats = (int64_t)recipe->tile_k * dim;
    const int64_t tiles = ceil_div(max_i64(plan->bounds.kv_length, 1), recipe->tile_k);
    tools->panel_slots = (int)max_i64(1, min_i64(tiles, PANEL_FLOATS / tile_floats));
    int64_t rows = min_i64(BLOCK_ROWS, BLOCK_FLOATS / problem->value_dim);
    rows = max_i64(1, rows / recipe->tile_q) * recipe->tile_q;
    tools->block_rows = (int)rows;
}

int64_t attn_plan_dense_keys(const struct attn_plan *plan) {
    const int64_t keys = plan->bounds.kv_length;
    switch (plan->forced) {
    case ATTN_ENGINE_DENSE:
        return keys;
    case ATTN_ENGINE_FLASH:
        return 0;
    default:
        return min_i64(keys, DENSE_KEYS);
    }
}

const struct engine *attn_plan_engine(const struct attn_plan *plan, int64_t keys) {
    switch (plan->forced) {
    case ATTN_ENGINE_DENSE:
        return &attn_engine_dense;
    case ATTN_ENGINE_FLASH:
        return &attn_engine_flash;
    default:
        return keys <= DENSE_KEYS ? &attn_engine_dense : &attn_engine_flash;
    }
}
