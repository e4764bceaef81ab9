/*
 * Tuning: choices of tiles and engine take turns at a small problem until the time is
 * out, each on a plan of its own, and the fastest goes into the context's table.
 *
 * The problem is one key-value head with its group of query heads, since a tile does
 * not know of more, on one thread, since recipes may not depend on threads.
 */
#include "plan/tune.h"

#include "base/arith.h"
#include "base/clock.h"
#include "base/status.h"
#include "desc/bind.h"
#include "exec/blas.h"
#include "exec/tuning.h"

/* What is measured at most: longer problems are more of the same. */
enum { QUERIES_MOST = 1024, KEYS_MOST = 2048 };

enum { CHOICES_MAX = 16, ARRAYS = 4 };

struct choice {
    struct tuned tuned;
    double seconds; /* the shortest of its runs */
};

struct probe {
    struct attn_context context;
    attn_desc desc;
    attn_bounds bounds;
    attn_tensor tensor[ARRAYS]; /* query, key, value, out */
    float *data;
    double gain; /* how many times as fast the winner is as what was there before */
    int count;   /* choices of the comparison at hand; the first is what to beat */
    struct choice choice[CHOICES_MAX];
};

static double now(void) {
    return 1e-9 * (double)clock_nanoseconds();
}

/* ------------------------------------------------------------------- running */

static attn_status run_once(struct probe *probe, const attn_plan *plan, void *workspace,
                            double *seconds) {
    attn_forward_args args = {.size = sizeof args};
    struct call call;
    args.query = &probe->tensor[0];
    args.key = &probe->tensor[1];
    args.value = &probe->tensor[2];
    args.out = &probe->tensor[3];
    TRY(attn_call_bind(&call, &plan->problem, &plan->bounds, &args, NULL, NULL));
    const double start = now();
    const attn_status status = attn_plan_run(plan, &call, workspace);
    *seconds = now() - start;
    return status;
}

/* A run of this choice, after one that is not counted. */
static attn_status run_choice(struct probe *probe, struct choice *choice) {
    attn_plan plan;
    TRY(attn_tuning_put(&probe->context, &choice->tuned));
    TRY(attn_plan_setup(&plan, &probe->context, &probe->desc, &probe->bounds));
    void *workspace = attn_context_borrow(&probe->context, plan.workspace);
    attn_status status = ATTN_OK;
    if (workspace == NULL) {
        status = attn_fail(ATTN_ERR_NO_MEMORY, "no memory for a workspace of %zu bytes",
                           plan.workspace);
    }
    for (int i = 0; i < 2 && status == ATTN_OK; i++) {
        double seconds = 0;
        status = run_once(probe, &plan, workspace, &seconds);
        if (i == 1 && (choice->seconds == 0 || seconds < choice->seconds)) {
            choice->seconds = seconds;
        }
    }
    if (workspace != NULL) {
        attn_context_give_back(&probe->context, workspace);
    }
    attn_plan_clear(&plan);
    return status;
}

/* Rounds until `until`, at least one; leaves the winner as choice 0. */
static attn_status compare(struct probe *probe, double until) {
    do {
        for (int i = 0; i < probe->count; i++) {
            TRY(run_choice(probe, &probe->choice[i]));
        }
    } while (probe->count > 1 && now() < until);
    int best = 0;
    for (int i = 1; i < probe->count; i++) {
        if (probe->choice[i].seconds < probe->choice[best].seconds) {
            best = i;
        }
    }
    if (probe->choice[best].seconds < 0.97 * probe->choice[0].seconds) {
        probe->gain *= probe->choice[0].seconds / probe->choice[best].seconds;
        probe->choice[0] = probe->choice[best];
    }
    probe->count = 1;
    return ATTN_OK;
}

/* ------------------------------------------------------------------- choices */

/* What a plan of long sequences without tuning would do, as an entry. */
static attn_status take_defaults(struct probe *probe, struct tuned *tuned) {
    attn_plan plan;
    attn_bounds bounds = probe->bounds;
    bounds.q_length = max_i64(bounds.q_length, TUNED_TILE_Q);
    bounds.kv_length = max_i64(bounds.kv_length, TUNED_TILE_K);
    TRY(attn_plan_setup(&plan, &probe->context, &probe->desc, &bounds));
    const struct recipe *recipe = &plan.tools.recipe;
    *tuned = (struct tuned){
        .key_dim = plan.problem.key_dim,
        .value_dim = plan.problem.value_dim,
        .group = plan.problem.group,
        .tile_q = recipe->tile_q,
        .tile_k = recipe->tile_k,
        .edge = (int32_t)min_i64(recipe->cut.edge, TUNED_TILE_K),
        .depth = (int32_t)min_i64(recipe->cut.depth, TUNED_TILE_K),
        .dense_keys = recipe->dense_keys,
        .few_rows = (int32_t)min_i64(recipe->few_rows, TUNED_FEW),
        .turn_keys = recipe->turn_keys ? 1 : 0,
        .own = recipe->cut.own ? 1 : 0,
    };
    attn_plan_clear(&plan);
    return ATTN_OK;
}

static struct tuned *add_choice(struct probe *probe) {
    probe->choice[probe->count] = (struct choice){.tuned = probe->choice[0].tuned};
    return &probe->choice[probe->count++].tuned;
}

/* Tiles and cuts for kernels of our own, and for BLAS libraries that are fast at small
 * products, at larger ones, and only at large ones. */
static void add_tiles(struct probe *probe) {
    static const int16_t sizes[][5] = {
        {64, 128, 128, 128, 1},  {64, 256, 256, 128, 1},  {96, 128, 128, 128, 1},
        {96, 256, 256, 128, 1},  {128, 128, 128, 128, 1}, {128, 256, 256, 256, 1},
        {32, 256, 256, 128, 1},  {64, 128, 64, 128, 0},   {64, 128, 64, 64, 0},
        {48, 96, 48, 48, 0},     {96, 128, 96, 64, 0},    {64, 256, 64, 128, 0},
        {128, 128, 64, 128, 0},  {32, 256, 64, 128, 0},   {128, 256, 64, 64, 0},
        {64, 512, 512, 512, 0},  {128, 512, 512, 512, 0}, {128, 256, 512, 512, 0},
        {256, 512, 512, 512, 0},
    };
    const struct tuned base = probe->choice[0].tuned;
    const int64_t volume = attn_tuning_volume(&probe->context, &base);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        const int16_t *size = sizes[i];
        const bool same = base.tile_q == size[0] && base.tile_k == size[1] &&
                          base.edge == size[2] && base.depth == size[3];
        if (base.own == size[4] && !same &&
            (int64_t)size[2] * size[2] * size[3] <= volume) {
            struct tuned *tuned = add_choice(probe);
            tuned->tile_q = size[0];
            tuned->tile_k = size[1];
            tuned->edge = size[2];
            tuned->depth = size[3];
        }
    }
}

/* One softmax over all keys, or the online one. */
static void add_dense(struct probe *probe) {
    const int32_t keys = (int32_t)probe->bounds.kv_length;
    struct tuned *tuned = add_choice(probe);
    tuned->dense_keys = tuned->dense_keys >= keys ? keys - 1 : keys;
}

/* For BLAS, with cuts that it allows, or as they are. */
static void fit_blas(const struct probe *probe, struct tuned *tuned) {
    enum { EDGE = 64, EDGE_SMALL = 48 }; /* as plan/recipe.c has them */
    tuned->own = 0;
    const int64_t volume = attn_tuning_volume(&probe->context, tuned);
    if ((int64_t)tuned->edge * tuned->edge * tuned->depth > volume) {
        tuned->edge = tuned->depth =
            (int64_t)EDGE * EDGE * EDGE <= volume ? EDGE : EDGE_SMALL;
    }
}

/* Products by kernels of our own or by BLAS, which likes large ones if it packs. */
static void add_own(struct probe *probe) {
    struct tuned *tuned = add_choice(probe);
    if (tuned->own == 0) {
        tuned->own = 1;
        tuned->edge = tuned->tile_k;
        return;
    }
    fit_blas(probe, tuned);
    if (attn_tuning_volume(&probe->context, tuned) == INT64_MAX) {
        tuned->tile_q = 128;
        tuned->tile_k = 256;
        tuned->edge = tuned->depth = TUNED_TILE_K;
    }
}

/* Keys as they lie, not transposed, in products by BLAS. */
static void add_turned(struct probe *probe) {
    struct tuned *tuned = add_choice(probe);
    tuned->turn_keys = 0;
    fit_blas(probe, tuned);
}

/* Decoding, or products of matrices. */
static void add_few(struct probe *probe) {
    const int32_t queries = (int32_t)probe->bounds.q_length;
    struct tuned *tuned = add_choice(probe);
    tuned->few_rows = tuned->few_rows >= queries ? queries - 1 : queries;
}

/* ------------------------------------------------------------------- the probe */

static attn_tensor contiguous(const int64_t *shape, float *data) {
    attn_tensor tensor = {.data = data, .dtype = ATTN_F32, .rank = 4};
    int64_t stride = 1;
    for (int d = 3; d >= 0; d--) {
        tensor.shape[d] = shape[d];
        tensor.stride[d] = stride;
        stride *= shape[d];
    }
    return tensor;
}

static attn_status open_data(struct probe *probe) {
    const struct problem *p = &probe->desc.facts;
    const int64_t shape[ARRAYS][4] = {
        {1, p->query_heads, probe->bounds.q_length, p->key_dim},
        {1, 1, probe->bounds.kv_length, p->key_dim},
        {1, 1, probe->bounds.kv_length, p->value_dim},
        {1, p->query_heads, probe->bounds.q_length, p->value_dim},
    };
    int64_t count[ARRAYS], all = 0;
    for (int i = 0; i < ARRAYS; i++) {
        count[i] = round_up(shape[i][1] * shape[i][2] * shape[i][3], 16);
        all += count[i];
    }
    probe->data =
        attn_mem_allocate(&probe->context.allocator, (size_t)all * sizeof(float));
    REQUIRE(probe->data != NULL, ATTN_ERR_NO_MEMORY,
            "no memory for %lld numbers to measure with", (long long)all);
    uint32_t bits = 1;
    for (int64_t i = 0; i < all; i++) {
        bits = bits * 1664525u + 1013904223u;
        probe->data[i] = (float)(bits >> 8) * 0x1p-23f - 1.0f;
    }
    float *at = probe->data;
    for (int i = 0; i < ARRAYS; i++) {
        probe->tensor[i] = contiguous(shape[i], at);
        at += count[i];
    }
    return ATTN_OK;
}

static void close_data(struct probe *probe) {
    attn_mem_release(&probe->context.allocator, probe->data);
    probe->data = NULL;
}

/* Data of a size that every choice may be run at within the time. */
static attn_status fit(struct probe *probe, double seconds) {
    for (;;) {
        TRY(open_data(probe));
        probe->choice[0].seconds = 0;
        TRY(run_choice(probe, &probe->choice[0]));
        const bool fits = 2 * CHOICES_MAX * probe->choice[0].seconds < seconds;
        if (fits || probe->bounds.q_length <= 2 * (int64_t)TUNED_FEW) {
            return ATTN_OK;
        }
        probe->bounds.q_length /= 2;
        close_data(probe);
    }
}

static int32_t megaflops(double flops, double seconds) {
    const double rate = flops / seconds * 1e-6;
    return rate < 1e9 ? (int32_t)rate : 1000000000;
}

/* The rate at the size measured. That of what was there before follows from the
 * comparisons, whose choices took turns. */
static void note_rate(struct probe *probe) {
    const struct choice *winner = &probe->choice[0];
    struct tuned *tuned = &probe->choice[0].tuned;
    const double flops =
        2.0 * (double)probe->desc.facts.query_heads * (double)probe->bounds.q_length *
        (double)probe->bounds.kv_length * (tuned->key_dim + (double)tuned->value_dim);
    tuned->q_length = (int32_t)probe->bounds.q_length;
    tuned->kv_length = (int32_t)probe->bounds.kv_length;
    tuned->megaflops = megaflops(flops, winner->seconds);
    tuned->before = megaflops(flops, winner->seconds * probe->gain);
}

/*
 * The choice to beat; true if the problem fills a tile. One that does not tells nothing
 * of tiles: its times would differ by chance, and longer problems of these dims would
 * get the winner. It keeps what was found before.
 */
static attn_status start(struct probe *probe, const struct tuning *before,
                         bool *tiles) {
    struct tuned *tuned = &probe->choice[0].tuned;
    TRY(take_defaults(probe, tuned));
    probe->count = 1;
    *tiles = probe->bounds.q_length >= tuned->tile_q &&
             probe->bounds.kv_length >= tuned->tile_k;
    const struct tuned *found =
        attn_tuning_find(before, tuned->key_dim, tuned->value_dim, tuned->group);
    if (!*tiles && found != NULL) {
        *tuned = *found;
    }
    return ATTN_OK;
}

static attn_status measure(struct probe *probe, const struct tuning *before,
                           double seconds) {
    const double begin = now();
    bool tiles;
    TRY(start(probe, before, &tiles));
    TRY(fit(probe, seconds));
    const bool automatic = probe->desc.engine == ATTN_ENGINE_AUTO;
    const bool few = probe->bounds.q_length <= TUNED_FEW;
    if (probe->bounds.q_length > probe->choice[0].tuned.few_rows) {
        if (tiles) {
            add_tiles(probe);
            TRY(compare(probe, begin + 0.6 * seconds));
            add_own(probe);
            add_turned(probe);
            TRY(compare(probe, begin + 0.75 * seconds));
        }
        if (automatic && probe->bounds.kv_length <= TUNED_DENSE) {
            add_dense(probe);
            TRY(compare(probe, begin + (few ? 0.85 : 1.0) * seconds));
        }
    }
    if (automatic && few) {
        add_few(probe);
        TRY(compare(probe, begin + seconds));
    }
    note_rate(probe);
    return ATTN_OK;
}

static void open_probe(struct probe *probe, const struct attn_context *context,
                       const struct problem *problem, int32_t engine,
                       const attn_bounds *bounds) {
    *probe = (struct probe){.bounds = {sizeof probe->bounds, 1, 0, 0}, .gain = 1.0};
    attn_context_setup(&probe->context, 1);
    probe->context.isa = context->isa;
    probe->context.blas_policy = context->blas_policy;
    probe->context.allocator = context->allocator;
    attn_desc_setup(&probe->desc);
    probe->desc.facts.query_heads = problem->group;
    probe->desc.facts.kv_heads = 1;
    probe->desc.facts.key_dim = problem->key_dim;
    probe->desc.facts.value_dim = problem->value_dim;
    probe->desc.facts.causal = problem->causal;
    probe->desc.engine = engine;
    probe->bounds.q_length = min_i64(bounds->q_length, QUERIES_MOST);
    probe->bounds.kv_length = min_i64(bounds->kv_length, KEYS_MOST);
}

attn_status attn_plan_tune(struct attn_context *context, const struct attn_desc *desc,
                           const attn_bounds *bounds, int32_t milliseconds) {
    attn_plan plan;
    struct probe probe;
    const attn_status valid = attn_plan_setup(&plan, context, desc, bounds);
    attn_plan_clear(&plan);
    TRY(valid);
    REQUIRE(!plan.problem.additive, ATTN_ERR_UNSUPPORTED,
            "additive scores are not tuned: what is found is for products");
    open_probe(&probe, context, &plan.problem, desc->engine, bounds);
    attn_status status = ATTN_OK;
    if (probe.bounds.q_length > 0 && probe.bounds.kv_length > 0) {
        status = measure(&probe, context->tuning, 1e-3 * milliseconds);
        close_data(&probe);
        if (status == ATTN_OK) {
            status = attn_tuning_put(context, &probe.choice[0].tuned);
        }
    }
    attn_context_clear(&probe.context);
    return status;
}
