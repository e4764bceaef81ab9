/*
 * Cutting a backward call into phases and pieces.
 */
#include "plan/phases.h"
#include "base/arith.h"

/* Pieces for each thread, so that uneven ones even out. */
enum { PIECES_OF_A_THREAD = 4 };

/* Gradients that are summed over rows and keys, perhaps over heads and batch too. */
static bool has_sums(const struct call *call) {
    return call->grad_bias.data != NULL || call->grad_slopes.data != NULL ||
           call->grad_sinks.data != NULL;
}

static bool has_keys(const struct call *call) {
    return call->grad_key.data != NULL || call->grad_value.data != NULL;
}

/* True if a gradient has one element for all indices of this axis. */
static bool shares(const struct view *view, int axis) {
    return view->data != NULL && view->stride[axis] == 0;
}

static int64_t count_tiles(const struct attn_plan *plan, const struct call *call) {
    return ceil_div(call->kv_length, plan->backward.recipe.tile_k);
}

/* A phase whose pieces own what they share. */
static struct phase phase_of(const struct attn_plan *plan, const struct call *call) {
    struct phase phase = {.call = *call, .heads = plan->problem.group};
    const bool all_batches = shares(&call->grad_bias, BATCH) ||
                             shares(&call->grad_slopes, BATCH) ||
                             shares(&call->grad_sinks, BATCH);
    phase.batches = all_batches ? max_i64(1, call->batch) : 1;
    if (shares(&call->grad_bias, HEAD)) {
        phase.heads = plan->problem.query_heads;
    }
    phase.rows = max_i64(1, call->q_length);
    phase.tiles = max_i64(1, count_tiles(plan, call));
    return phase;
}

static void count_ranges(struct phase *phase, const struct attn_plan *plan) {
    const struct call *call = &phase->call;
    phase->batch_ranges = max_i64(1, ceil_div(call->batch, phase->batches));
    phase->head_ranges = plan->problem.query_heads / phase->heads;
    phase->row_ranges = max_i64(1, ceil_div(call->q_length, phase->rows));
    phase->tile_ranges = max_i64(1, ceil_div(count_tiles(plan, call), phase->tiles));
}

int64_t attn_phase_pieces(const struct phase *phase) {
    return phase->batch_ranges * phase->head_ranges * phase->row_ranges *
           phase->tile_ranges;
}

/* The share of a range that makes pieces enough, a multiple of step. */
static int64_t share_of(int64_t length, int64_t step, int64_t others, int32_t tasks) {
    const int64_t ranges =
        ceil_div((int64_t)tasks * PIECES_OF_A_THREAD, max_i64(1, others));
    return max_i64(step, round_up(ceil_div(length, ranges), step));
}

static void clear_queries(struct call *call) {
    call->grad_query.data = NULL;
}

static void clear_keys(struct call *call) {
    call->grad_key.data = call->grad_value.data = NULL;
}

static void clear_sums(struct call *call) {
    call->grad_bias.data = call->grad_slopes.data = call->grad_sinks.data = NULL;
}

/* The phase of the gradients of queries: pieces are rows of a head. */
static struct phase queries_phase(const struct attn_plan *plan, const struct call *call,
                                  int32_t tasks) {
    struct call own = *call;
    clear_keys(&own);
    clear_sums(&own);
    struct phase phase = phase_of(plan, &own);
    phase.heads = 1;
    phase.rows = share_of(call->q_length, plan->backward.recipe.tile_q,
                          call->batch * plan->problem.query_heads, tasks);
    count_ranges(&phase, plan);
    return phase;
}

/* The phase of keys and values: pieces are key tiles of a key-value head. */
static struct phase keys_phase(const struct attn_plan *plan, const struct call *call,
                               int32_t tasks) {
    struct call own = *call;
    clear_queries(&own);
    clear_sums(&own);
    struct phase phase = phase_of(plan, &own);
    phase.tiles = share_of(count_tiles(plan, call), 1,
                           call->batch * plan->problem.kv_heads, tasks);
    count_ranges(&phase, plan);
    return phase;
}

/*
 * The phase of sums. A bias has pieces of rows if it does not repeat over rows; if it
 * repeats over keys, the order of its sums depends on which heads make a block, and
 * that on the rows of a piece.
 */
static struct phase sums_phase(const struct attn_plan *plan, const struct call *call,
                               int32_t tasks) {
    struct call own = *call;
    clear_queries(&own);
    clear_keys(&own);
    struct phase phase = phase_of(plan, &own);
    count_ranges(&phase, plan);
    if (call->grad_slopes.data == NULL && call->grad_sinks.data == NULL &&
        !shares(&call->grad_bias, ROW) && !shares(&call->grad_bias, COLUMN)) {
        phase.rows = share_of(call->q_length, plan->backward.recipe.tile_q,
                              attn_phase_pieces(&phase), tasks);
        count_ranges(&phase, plan);
    }
    return phase;
}

/* The time of a phase, in products of all rows and keys, on this many threads. */
static double time_of(const struct phase *phase, int products, int32_t tasks) {
    const int64_t pieces = attn_phase_pieces(phase);
    return (double)products * (double)ceil_div(pieces, tasks) / (double)pieces;
}

static void add(struct phases *phases, const struct phase *phase, int products,
                int32_t tasks, double *time) {
    phases->phase[phases->count++] = *phase;
    *time += time_of(phase, products, tasks);
}

void attn_plan_phases(struct phases *phases, const struct attn_plan *plan,
                      const struct call *call) {
    const int32_t tasks = attn_plan_threads_worth(plan, call);
    const int query = call->grad_query.data != NULL, key = call->grad_key.data != NULL,
              value = call->grad_value.data != NULL;
    struct phase whole = phase_of(plan, call);
    count_ranges(&whole, plan);
    const double whole_time = time_of(&whole, 2 + query + key + value, tasks);
    *phases = (struct phases){.tasks = tasks};
    double time = 0.0;
    if (query != 0) {
        struct phase phase = queries_phase(plan, call, tasks);
        add(phases, &phase, 3, tasks, &time);
    }
    if (has_keys(call)) {
        struct phase phase = keys_phase(plan, call, tasks);
        add(phases, &phase, 2 + key + value, tasks, &time);
    }
    if (has_sums(call)) {
        struct phase phase = sums_phase(plan, call, tasks);
        add(phases, &phase, 2, tasks, &time);
    }
    /* delta would be made again, from all weights, by every piece of keys */
    const bool costly =
        call->grad_weights.data != NULL || call->grad_key_sums.data != NULL;
    if (costly || whole_time <= time) {
        phases->count = 1;
        phases->phase[0] = whole;
    }
}

struct part attn_phase_part(const struct phase *phase, const struct attn_plan *plan,
                            int64_t i) {
    const struct call *call = &phase->call;
    /* the last rows first: under a causal mask they have the most to do */
    const int64_t row = phase->row_ranges - 1 - i % phase->row_ranges;
    const int64_t tile = i / phase->row_ranges % phase->tile_ranges;
    const int64_t rest = i / phase->row_ranges / phase->tile_ranges;
    const int64_t head = rest % phase->head_ranges;
    const int64_t batch = rest / phase->head_ranges;
    return (struct part){
        .b = batch * phase->batches,
        .b_end = min_i64(call->batch, (batch + 1) * phase->batches),
        .head = head * phase->heads,
        .head_end = (head + 1) * phase->heads,
        .row = row * phase->rows,
        .row_end = min_i64(call->q_length, (row + 1) * phase->rows),
        .tile = tile * phase->tiles,
        .tile_end = min_i64(count_tiles(plan, call), (tile + 1) * phase->tiles),
    };
}
