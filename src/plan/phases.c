/*
 * Cutting a backward call into phases and pieces.
 */
#include "plan/phases.h"
#include "base/arith.h"

/* Pieces for each thread, so that uneven ones even out. */
enum { PIECES_OF_A_THREAD = 4 };

/* What additive scores and their gradients take, whichever of these are asked for. */
enum { ADDITIVE_PRODUCTS = 12 };

static bool has_keys(const struct call *call) {
    return call->grad_key.data != NULL || call->grad_value.data != NULL;
}

/* Products of a tile that scores and their gradients take; 1 if weights do. */
static int products_of_scores(const struct call *call) {
    return call->grad_query.data != NULL || call->grad_key.data != NULL ||
                   attn_call_wants_sums(call)
               ? 2
               : 1;
}

/* True if a gradient has one element for all indices of this axis. */
static bool shares(const struct view *view, int axis) {
    return view->data != NULL && view->stride[axis] == 0;
}

static int64_t count_tiles(const struct attn_plan *plan, const struct call *call) {
    return ceil_div(call->kv_length, plan->backward.recipe.tile_k);
}

static void count_ranges(struct phase *phase, const struct attn_plan *plan) {
    const struct call *call = &phase->call;
    phase->batch_ranges = ceil_div(call->batch, phase->batches);
    phase->head_ranges = plan->problem.query_heads / phase->heads;
    phase->row_ranges = ceil_div(call->q_length, phase->rows);
    phase->tile_ranges = max_i64(1, ceil_div(count_tiles(plan, call), phase->tiles));
}

/* A phase whose pieces own what they share. */
static struct phase phase_of(const struct attn_plan *plan, const struct call *call) {
    struct phase phase = {.call = *call, .heads = plan->problem.group};
    const bool all_batches =
        shares(&call->grad_bias, BATCH) || shares(&call->grad_slopes, BATCH) ||
        shares(&call->grad_sinks, BATCH) || attn_call_wants_tables(call);
    phase.batches = all_batches ? call->batch : 1;
    if (shares(&call->grad_bias, HEAD) ||
        shares(&call->grad_tables[TABLE_RELATIVE_KEYS], HEAD)) {
        phase.heads = plan->problem.query_heads;
    } else if (!has_keys(call)) {
        phase.heads = 1;
    }
    phase.rows = call->q_length;
    phase.tiles = max_i64(1, count_tiles(plan, call));
    count_ranges(&phase, plan);
    return phase;
}

int64_t attn_phase_pieces(const struct phase *phase) {
    return phase->batch_ranges * phase->head_ranges * phase->row_ranges *
           phase->tile_ranges;
}

/* Cuts rows or tiles so that there are this many pieces, at multiples of step. */
static void cut(struct phase *phase, const struct attn_plan *plan, int64_t *share,
                int64_t step, int64_t pieces) {
    const int64_t ranges = ceil_div(pieces, attn_phase_pieces(phase));
    *share = max_i64(step, round_up(ceil_div(*share, ranges), step));
    count_ranges(phase, plan);
}

static void clear_queries(struct call *call) {
    call->grad_query.data = NULL;
}

static void clear_keys(struct call *call) {
    call->grad_key.data = call->grad_value.data = NULL;
}

static void clear_sums(struct call *call) {
    call->grad_bias.data = call->grad_slopes.data = NULL;
    for (int i = 0; i < TABLES; i++) {
        call->grad_tables[i].data = NULL;
    }
}

/* The phase of the gradients of queries: pieces are rows of a head. */
static struct phase queries_phase(const struct attn_plan *plan, struct call call,
                                  int64_t pieces) {
    clear_keys(&call);
    clear_sums(&call);
    struct phase phase = phase_of(plan, &call);
    cut(&phase, plan, &phase.rows, plan->backward.recipe.tile_q, pieces);
    return phase;
}

/* The phase of keys and values: pieces are key tiles of a key-value head. */
static struct phase keys_phase(const struct attn_plan *plan, struct call call,
                               int64_t pieces) {
    clear_queries(&call);
    clear_sums(&call);
    struct phase phase = phase_of(plan, &call);
    cut(&phase, plan, &phase.tiles, 1, pieces);
    return phase;
}

/*
 * The phase of sums. A bias has pieces of rows if it does not repeat over rows, of key
 * tiles if it does; but if it repeats over keys, the order of its sums depends on which
 * heads make a block, and that on the rows of a piece.
 */
static struct phase sums_phase(const struct attn_plan *plan, struct call call,
                               int64_t pieces) {
    clear_queries(&call);
    clear_keys(&call);
    struct phase phase = phase_of(plan, &call);
    if (call.grad_slopes.data == NULL && !attn_call_wants_tables(&call) &&
        !shares(&call.grad_bias, COLUMN)) {
        if (shares(&call.grad_bias, ROW)) {
            cut(&phase, plan, &phase.tiles, 1, pieces);
        } else {
            cut(&phase, plan, &phase.rows, plan->backward.recipe.tile_q, pieces);
        }
    }
    return phase;
}

/* The phase of sinks, which need the state of rows but no tiles. */
static struct phase sinks_phase(const struct attn_plan *plan, struct call call) {
    clear_queries(&call);
    clear_keys(&call);
    clear_sums(&call);
    struct phase phase = phase_of(plan, &call);
    phase.tiles = 0;
    phase.tile_ranges = 1;
    return phase;
}

/*
 * The time of a phase, in products of all rows and keys, on this many threads. Where
 * gradients of weights come in, each piece makes the weights of all its rows once more.
 */
static double time_of(const struct phase *phase, int products, bool weights,
                      int32_t tasks) {
    const int64_t pieces = attn_phase_pieces(phase);
    const int additive = phase->call.problem->additive ? ADDITIVE_PRODUCTS : 0;
    const double work =
        products + additive + (weights ? (double)phase->tile_ranges : 0.0);
    return work * (double)ceil_div(pieces, tasks) / (double)pieces;
}

static void add(struct phases *phases, const struct phase *phase) {
    phases->phase[phases->count++] = *phase;
}

/* All but the sinks: one phase, or several if that takes less time. */
static void add_tiles(struct phases *phases, const struct attn_plan *plan,
                      const struct call *call) {
    const bool weights =
        call->grad_weights.data != NULL || call->grad_key_sums.data != NULL;
    const int32_t tasks = phases->tasks;
    const int64_t pieces = (int64_t)tasks * (weights ? 1 : PIECES_OF_A_THREAD);
    const int query = call->grad_query.data != NULL, key = call->grad_key.data != NULL,
              value = call->grad_value.data != NULL;
    const struct phase whole = phase_of(plan, call);
    const double whole_time =
        time_of(&whole, products_of_scores(call) + query + key + value, weights, tasks);
    double time = 0.0;
    const int before = phases->count;
    if (query != 0) {
        const struct phase phase = queries_phase(plan, *call, pieces);
        time += time_of(&phase, 3, weights, tasks);
        add(phases, &phase);
    }
    if (has_keys(call)) {
        const struct phase phase = keys_phase(plan, *call, pieces);
        const int products = products_of_scores(&phase.call) + key + value;
        time += time_of(&phase, products, weights, tasks);
        add(phases, &phase);
    }
    if (attn_call_wants_sums(call)) {
        const struct phase phase = sums_phase(plan, *call, pieces);
        time += time_of(&phase, 2, weights, tasks);
        add(phases, &phase);
    }
    if (whole_time <= time) {
        phases->count = before;
        add(phases, &whole);
    }
}

void attn_plan_phases(struct phases *phases, const struct attn_plan *plan,
                      const struct call *call) {
    *phases = (struct phases){.tasks = attn_plan_threads_worth(plan, call)};
    struct call tiles = *call;
    tiles.grad_sinks.data = NULL;
    if (tiles.grad_query.data != NULL || has_keys(&tiles) ||
        attn_call_wants_sums(&tiles)) {
        add_tiles(phases, plan, &tiles);
    }
    if (call->grad_sinks.data != NULL) {
        const struct phase phase = sinks_phase(plan, *call);
        add(phases, &phase);
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
