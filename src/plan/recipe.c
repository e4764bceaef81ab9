/*
 * Which engine and which tiles. Nothing here may depend on the number of threads, on
 * the batch or on what a call asks for: see core/recipe.h.
 */
#include "plan/plan.h"

#include "base/arith.h"
#include "core/pieces_tile.h"
#include "exec/blas.h"
#include "exec/tuning.h"

/*
 * Rows of this many keys fit the second-level cache together with the panel, and one
 * softmax over them saves the rescaling.
 */
enum { DENSE_KEYS = 512 };

/*
 * Products of 64 x 64 x 64 are the largest that every OpenBLAS but some for arm64
 * computes in the calling thread. Two of them side by side make a tile of scores, 32
 * KiB, which just fits the first-level cache. Where less is allowed, the same with 48 x
 * 48 x 48. Where more is, sums run over 128: a fiftieth faster, since they are loaded
 * and stored half as often.
 */
enum { EDGE = 64, EDGE_SMALL = 48, DEPTH = 128 };

/*
 * With kernels of our own and no mask that leaves out tiles: half as many steps of the
 * softmax, which takes 0.98 to 1.01 of the time. Gradients gain nothing by it. Sums of
 * values run over DEPTH all the same: longer ones would round more.
 */
enum { UNMASKED_TILE_K = 4 * EDGE };

/*
 * Where products are made of pieces sums leave tiles after each tile of keys, and
 * pieces of keys are loaded for each tile of queries, so that both may have more: 0.95
 * to 0.98 of the time together. Not with dims of which so many keys do not fit the
 * cache.
 */
enum { PIECES_TILE_Q = 2 * EDGE, PIECES_TILE_K = 8 * EDGE };
_Static_assert((int)PIECES_TILE_K <= (int)TUNED_TILE_K &&
                   (int)DENSE_KEYS <= (int)TUNED_TILE_K,
               "no tile has more keys");

/*
 * The dense engine has its scores in the second-level cache in any case, so kernels of
 * our own take all keys at once, and rows under a causal mask end where it does. With
 * 32 queries less is computed beyond that. 197 to 512 keys take 0.98 to 0.99 of the
 * time with this, 128 under a causal mask 0.87. Without one, tiles have whole blocks of
 * rows of the kernel, 66 of them with AVX2: 0.98 to 1.00.
 */
enum { DENSE_CAUSAL_Q = 32 };

/*
 * Where nothing limits products and packing them costs: what repays that. Tiles of 256
 * by 512 are a fiftieth faster without masks, but a sixth slower with causal masks and
 * windows, which leave out less of them.
 */
enum { LARGE_TILE_Q = 128, LARGE_TILE_K = 256, LARGE_EDGE = 1 << 20 };

/* Key and value panels of a thread, each at most so many floats (512 KiB). */
enum { PANEL_FLOATS = 128 * 1024 };

/* Open sums of values of a thread: at most so many floats (1 MiB) and rows. */
enum { BLOCK_FLOATS = 256 * 1024, BLOCK_ROWS = 2048 };

/*
 * Queries of a sequence up to which reading its keys beats packing them for products of
 * matrices: so many stacked in a group of heads, or so many of each head.
 */
enum { FEW_STACKED = 16, FEW_LEAST = 3, FEW_MOST = 8 };

/* Keys of a split: some 30 us of reading, so that its end does not count. */
enum { SPLIT_KEYS = 1024 };

static void choose_few(struct recipe *recipe, int32_t forced,
                       const struct problem *problem, const struct tuned *tuned) {
    const int64_t usual =
        problem->additive
            ? 0
            : max_i64(FEW_LEAST, min_i64(FEW_MOST, FEW_STACKED / problem->group));
    const int64_t rows = tuned != NULL ? tuned->few_rows : usual;
    recipe->few_rows = forced == ATTN_ENGINE_AUTO     ? rows
                       : forced == ATTN_ENGINE_DECODE ? INT64_MAX
                                                      : 0;
    recipe->split_tiles =
        (int)max_i64(1, min_i64(SPLIT_TILES_MAX, SPLIT_KEYS / recipe->tile_k));
}

/* The larger of its dims. */
static int64_t dim_of(const struct problem *problem) {
    return max_i64(problem->key_dim, problem->value_dim);
}

/* True if blocks of the block mask have so few keys, which are half of the usual tile:
 * with that half sparse ones take 0.55 of the time, full ones up to 1.15. */
static bool has_small_blocks(const struct problem *problem, int keys) {
    return problem->k_block > 0 && problem->k_block <= keys;
}

/* True if masks may leave out keys before those that are attended. */
static bool skips_keys(const struct problem *problem) {
    return problem->left >= 0 || problem->mask || problem->k_block > 0 ||
           problem->documents;
}

/* What decides the tiles that kernels of our own have by default. */
struct kind {
    bool masked, skips, small_blocks;
};

static struct kind kind_of(const struct attn_plan *plan) {
    return (struct kind){.masked = plan->tools.masks.count > 0,
                         .skips = skips_keys(&plan->problem),
                         .small_blocks = has_small_blocks(&plan->problem, EDGE)};
}

/* Fewer keys leave out more of them under masks; with pieces, a causal mask alone does
 * not repay that. */
static struct recipe own_tiles(const struct attn_plan *plan, struct kind kind) {
    const bool pieces = pieces_repay(plan->tools.kernels, &plan->problem);
    const bool large = pieces && PIECES_TILE_K * dim_of(&plan->problem) <= PANEL_FLOATS;
    const int keys = kind.small_blocks                     ? EDGE
                     : (pieces ? kind.skips : kind.masked) ? 2 * EDGE
                     : large                               ? PIECES_TILE_K
                                                           : UNMASKED_TILE_K;
    return (struct recipe){.tile_q = large && !kind.masked ? PIECES_TILE_Q : EDGE,
                           .tile_k = keys,
                           .cut = {keys, DEPTH, true},
                           .turn_keys = true};
}

/* True if tuning found nothing better than those, with some masks or without. */
static bool is_own_default(const struct attn_plan *plan, const struct tuned *tuned) {
    static const struct kind kinds[] = {
        {.masked = false}, {.masked = true}, {.masked = true, .skips = true}};
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        const struct recipe usual = own_tiles(plan, kinds[i]);
        if (tuned->tile_q == usual.tile_q && tuned->tile_k == usual.tile_k &&
            tuned->edge == usual.cut.edge && tuned->depth == usual.cut.depth &&
            tuned->own != 0 && tuned->turn_keys != 0) {
            return true;
        }
    }
    return false;
}

static struct recipe choose_tiles(const struct attn_plan *plan,
                                  const struct tuned *tuned) {
    const struct blas *blas = attn_blas();
    const bool own = attn_product_own_is_faster(plan->tools.kernels);
    if (tuned != NULL && !(own && is_own_default(plan, tuned))) {
        return (struct recipe){.tile_q = tuned->tile_q,
                               .tile_k = tuned->tile_k,
                               .cut = {tuned->edge, tuned->depth, tuned->own != 0},
                               .turn_keys = tuned->turn_keys != 0};
    }
    if (own) {
        return own_tiles(plan, kind_of(plan));
    }
    const bool limited =
        blas->volume != INT64_MAX && plan->context->blas_policy == ATTN_BLAS_SAFE;
    if (limited || blas->small_kernels) {
        const int edge =
            blas->volume >= (int64_t)EDGE * EDGE * EDGE ? EDGE : EDGE_SMALL;
        const int depth = blas->volume >= (int64_t)EDGE * EDGE * DEPTH ? DEPTH : edge;
        const bool small_blocks = has_small_blocks(&plan->problem, edge);
        return (struct recipe){.tile_q = edge,
                               .tile_k = small_blocks ? edge : 2 * edge,
                               .cut = {edge, depth, false},
                               .turn_keys = true};
    }
    return (struct recipe){.tile_q = LARGE_TILE_Q,
                           .tile_k = LARGE_TILE_K,
                           .cut = {LARGE_EDGE, LARGE_EDGE, false},
                           .turn_keys = true};
}

const struct tuned *attn_plan_tuned(const struct attn_plan *plan) {
    /* what is best for products says little of additive scores */
    return plan->problem.additive
               ? NULL
               : attn_tuning_find(plan->context->tuning, plan->problem.key_dim,
                                  plan->problem.value_dim, plan->problem.group);
}

/* Tiles no larger than the largest sequence, which has one then in any case. */
static void fit_bounds(struct recipe *recipe, const struct attn_plan *plan) {
    const int64_t keys =
        round_up(max_i64(plan->bounds.kv_length, 1), (int64_t)2 * EDGE);
    recipe->tile_k = (int)min_i64(recipe->tile_k, keys);
    recipe->cut.edge = (int)min_i64(recipe->cut.edge, recipe->tile_k);
    if (plan->bounds.q_length <= EDGE / plan->problem.group) {
        recipe->tile_q = (int)min_i64(recipe->tile_q, EDGE);
    }
}

static void choose_forward(struct attn_plan *plan) {
    struct toolbox *tools = &plan->tools;
    struct recipe *recipe = &tools->recipe;
    const struct problem *problem = &plan->problem;
    const int64_t dim = dim_of(problem);
    const struct tuned *tuned = attn_plan_tuned(plan);
    *recipe = choose_tiles(plan, tuned);
    choose_few(recipe, plan->forced, problem, tuned);
    const int columns = product_columns(tools->kernels);
    recipe->columns = recipe->cut.own && recipe->tile_k % columns == 0 ? columns : 0;
    recipe->pieces = pieces_repay(tools->kernels, problem) && recipe->cut.own &&
                     !problem->additive && recipe->tile_q % PIECES_SIDE == 0 &&
                     recipe->tile_k % PIECES_SIDE == 0;
    if (recipe->pieces) {
        fit_bounds(recipe, plan);
    }
    recipe->dense_keys = tuned != NULL ? tuned->dense_keys : DENSE_KEYS;
    const int64_t tile_floats = recipe->tile_k * panel_columns(recipe, dim);
    const int64_t tiles = ceil_div(max_i64(plan->bounds.kv_length, 1), recipe->tile_k);
    tools->panel_slots = (int)max_i64(1, min_i64(tiles, PANEL_FLOATS / tile_floats));
    /* no more rows than the heads of a group can have; 2^53 * 2^31 would not fit */
    const int64_t q_rows = min_i64(plan->bounds.q_length, BLOCK_ROWS) * problem->group;
    int64_t rows = min_i64(BLOCK_ROWS, BLOCK_FLOATS / problem->value_dim);
    rows = min_i64(rows, q_rows + recipe->tile_q - 1);
    rows = max_i64(1, rows / recipe->tile_q) * recipe->tile_q;
    tools->block_rows = (int)rows;
}

/* True if the dense engine should take all keys at once. */
static bool takes_all_keys(const struct attn_plan *plan) {
    const struct recipe *recipe = &plan->tools.recipe;
    return recipe->cut.own && recipe->columns > 0 && !skips_keys(&plan->problem) &&
           DENSE_KEYS * dim_of(&plan->problem) <= PANEL_FLOATS;
}

static void choose_dense(struct attn_plan *plan) {
    struct toolbox *dense = &plan->dense;
    struct recipe *recipe = &dense->recipe;
    *dense = plan->tools;
    if (!takes_all_keys(plan)) {
        return;
    }
    /* fewer only where no sequence has more: that it is all of them decides the bits */
    const int64_t keys = max_i64(plan->bounds.kv_length, recipe->columns);
    recipe->tile_k = (int)round_up(min_i64(DENSE_KEYS, keys), recipe->columns);
    dense->panel_slots = 1;
    /* rows are cut for threads at multiples of the tile that others have */
    if (recipe->pieces) {
        return; /* tiles are whole blocks of those */
    }
    if (!plan->problem.causal) {
        recipe->tile_q =
            (int)round_up(recipe->tile_q, PRODUCT_ROWS(dense->kernels->width));
    } else if (recipe->tile_q % DENSE_CAUSAL_Q == 0) {
        recipe->tile_q = DENSE_CAUSAL_Q;
    }
}

/* Tiles of rows as in the forward pass. Scores are the same to the bit. */
static void choose_backward(struct attn_plan *plan) {
    struct toolbox *tools = &plan->backward;
    *tools = plan->tools;
    tools->panel_slots = 1; /* each tile of keys meets all rows of a block at once */
    if (tools->recipe.cut.own && tools->recipe.tile_k >= UNMASKED_TILE_K) {
        tools->recipe.tile_k = 2 * EDGE;
        tools->recipe.cut.edge = 2 * EDGE;
    }
    const int64_t tile_q = tools->recipe.tile_q;
    int64_t rows = min_i64(tools->block_rows, BLOCK_FLOATS / plan->problem.key_dim);
    tools->block_rows = (int)(max_i64(1, rows / tile_q) * tile_q);
}

void attn_plan_choose_tiles(struct attn_plan *plan) {
    choose_forward(plan);
    choose_dense(plan);
    choose_backward(plan);
}

int64_t attn_plan_dense_keys(const struct attn_plan *plan) {
    const int64_t keys = plan->bounds.kv_length;
    switch (plan->forced) {
    case ATTN_ENGINE_DENSE:
        return keys;
    case ATTN_ENGINE_FLASH:
    case ATTN_ENGINE_DECODE:
        return 0;
    default:
        return min_i64(keys, plan->tools.recipe.dense_keys);
    }
}

bool attn_plan_uses_dense(const struct attn_plan *plan) {
    return attn_plan_dense_keys(plan) > attn_small_keys(&plan->tools);
}

const struct engine *attn_plan_engine(const struct attn_plan *plan, int64_t rows,
                                      int64_t keys) {
    if (rows <= plan->tools.recipe.few_rows) {
        return &attn_engine_decode;
    }
    switch (plan->forced) {
    case ATTN_ENGINE_DENSE:
        return &attn_engine_dense;
    case ATTN_ENGINE_FLASH:
        return &attn_engine_flash;
    default:
        return keys <= plan->tools.recipe.dense_keys ? &attn_engine_dense
                                                     : &attn_engine_flash;
    }
}

const struct toolbox *attn_plan_tools(const struct attn_plan *plan,
                                      const struct engine *engine, int64_t keys) {
    /* where the small engine may stand in, tiles of rows are those that it takes */
    const bool own =
        engine == &attn_engine_dense && keys > attn_small_keys(&plan->tools);
    return own ? &plan->dense : &plan->tools;
}
