/*
 * Cutting a call into pieces. A piece owns every output it writes, so pieces may run in
 * any order on any thread. How finely they are cut changes no bit of the result: tiles
 * start at multiples of the tile size whatever piece they are in.
 */
#include "base/arith.h"
#include "exec/blas.h"
#include "plan/plan.h"

/*
 * A thread is woken for this much work: some 50 us, several times what waking costs.
 */
enum { FLOPS_OF_A_THREAD = 4 * 1000 * 1000 };

/* Pieces for each thread, so that uneven ones even out. */
enum { PIECES_OF_A_THREAD = 4 };

/* Fewer rows than this repay packing the keys badly. */
enum { ROWS_WORTH_PACKING = 256 };

/* What a feature of an additive score takes, in the time of those of a product. */
enum { ADDITIVE_FLOPS = 16 };

/* A thread's worth of reading, at the same time: some MiB. */
enum { BYTES_OF_A_THREAD = 1500 * 1000 };

/*
 * True if a call is little else than products that wait for each other: on several
 * threads it would take longer than on one.
 */
static bool is_queue(const struct attn_plan *plan, const struct call *call) {
    const struct blas *blas = attn_blas();
    return blas->one_at_a_time && !blas->small_kernels && !plan->tools.recipe.cut.own &&
           plan->tools.terms.count == 0 && !plan->problem.additive &&
           call->q_length > plan->tools.recipe.few_rows;
}

int32_t attn_plan_threads_worth(const struct attn_plan *plan, const struct call *call) {
    const struct problem *problem = &plan->problem;
    const double key_dim = problem->key_dim, value_dim = problem->value_dim;
    const double bytes_of_key =
        (key_dim + value_dim) * problem->kv_heads * sizeof(float);
    const double flops_of_score = key_dim * (problem->additive ? ADDITIVE_FLOPS : 2);
    const double flops_of_pair =
        (flops_of_score + 2.0 * value_dim) * problem->query_heads;
    double worth = 0.0;
    if (is_queue(plan, call)) {
        return 1;
    }
    for (int64_t b = 0; b < call->batch; b++) {
        const double rows = (double)attn_call_rows(call, b);
        const double keys = (double)attn_call_keys(call, b);
        const double flops = rows * keys * flops_of_pair / FLOPS_OF_A_THREAD;
        const double bytes = keys * bytes_of_key / BYTES_OF_A_THREAD;
        worth += rows == 0.0 ? 0.0 : flops > bytes ? flops : bytes;
    }
    return context_threads(plan->context, worth);
}

/* Chunks that hold something, of all sequences. */
static int64_t count_chunks(const struct call *call, int64_t rows) {
    int64_t count = 0;
    for (int64_t b = 0; b < call->batch; b++) {
        count += ceil_div(attn_call_rows(call, b), rows);
    }
    return count;
}

/* Rows of a chunk: as many as a block takes, fewer if there were too few pieces. */
static int64_t rows_of_chunk(const struct attn_plan *plan, const struct call *call,
                             int64_t groups, int32_t tasks) {
    const struct toolbox *tools = &plan->tools;
    const int64_t tile_q = tools->recipe.tile_q;
    int64_t rows = tools->block_rows;
    const int64_t least =
        min_i64(rows, max_i64(1, ROWS_WORTH_PACKING / tile_q) * tile_q);
    const int64_t wanted = tasks == 1 ? 1 : (int64_t)tasks * PIECES_OF_A_THREAD;
    while (rows > least && groups * count_chunks(call, rows) < wanted) {
        rows = max_i64(least, rows / 2 / tile_q * tile_q);
    }
    return rows;
}

void attn_plan_split(struct split *split, const struct attn_plan *plan,
                     const struct call *call) {
    const struct problem *problem = &plan->problem;
    split->tasks = attn_plan_threads_worth(plan, call);
    /*
     * the mean over heads has one owner for all heads, the sum over rows for all rows;
     * on one thread nobody else waits for heads
     */
    split->heads = problem->query_heads;
    if (call->mean_weights.data == NULL && split->tasks > 1) {
        /* heads that share keys stay together only as far as the block has room */
        const int64_t room = plan->tools.block_rows / max_i64(1, call->q_length);
        split->heads = min_i64(problem->group, max_i64(1, room));
        while (problem->group % split->heads != 0) {
            split->heads--;
        }
    }
    split->groups = problem->query_heads / split->heads;
    split->rows = rows_of_chunk(plan, call, split->groups, split->tasks);
    if (call->key_sums.data != NULL) {
        split->rows = max_i64(1, call->q_length);
    }
    /* a call without rows has one chunk all the same: key sums are 0, not absent */
    split->chunks = max_i64(1, ceil_div(call->q_length, split->rows));
    split->pieces = call->batch * split->groups * split->chunks;
    split->tasks = (int32_t)min_i64(split->tasks, max_i64(1, split->pieces));
}

struct block attn_plan_piece(const struct split *split, const struct call *call,
                             int64_t i) {
    /* the last rows first: under a causal mask they have the most to do */
    const int64_t chunk = split->chunks - 1 - i / (call->batch * split->groups);
    const int64_t rest = i % (call->batch * split->groups);
    const int64_t head = rest % split->groups * split->heads;
    return (struct block){
        .b = rest / split->groups,
        .head = head,
        .head_end = head + split->heads,
        .row = chunk * split->rows,
        .row_end = min_i64(call->q_length, (chunk + 1) * split->rows),
    };
}
