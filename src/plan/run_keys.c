/*
 * A call of few queries, on more threads than it has key-value heads: the threads share
 * the keys. In a first loop they take splits of the keys and leave the sums of each in
 * the workspace, in a second they take heads and join their splits. The splits are
 * those that a single thread has too, joined in the same order.
 */
#include <stdatomic.h>

#include "base/arith.h"
#include "engine/decode.h"
#include "plan/plan.h"

/* Heads for each thread from which on the keys need no sharing. */
enum { UNITS_OF_A_THREAD = 2 };

/* The sums of a head's splits may take so many floats (256 KiB). */
enum { SHARED_FLOATS = 64 * 1024 };

int64_t attn_plan_shared_units(const struct attn_plan *plan) {
    return (int64_t)UNITS_OF_A_THREAD * plan->context->threads;
}

void attn_plan_book_parts(struct attn_plan *plan) {
    const struct problem *problem = &plan->problem;
    const struct recipe *recipe = &plan->tools.recipe;
    const int64_t queries =
        min_i64(plan->bounds.q_length, min_i64(recipe->few_rows, recipe->tile_q));
    const int64_t rows = min_i64(queries * problem->group, recipe->tile_q);
    const int64_t floats = decode_part_floats(rows, problem->value_dim);
    const bool shared =
        plan->context->threads > 1 && floats * DECODE_SPLITS_MAX <= SHARED_FLOATS;
    plan->part_floats = shared ? floats : 0;
    plan->parts = (size_t)round_up((int64_t)plan->workspace, MEM_ALIGNMENT);
    plan->workspace = plan->parts + (size_t)(attn_plan_shared_units(plan) *
                                             DECODE_SPLITS_MAX * plan->part_floats) *
                                        sizeof(float);
}

bool attn_plan_shares_keys(const struct attn_plan *plan, const struct call *call) {
    const struct recipe *recipe = &plan->tools.recipe;
    const int64_t units = call->batch * plan->problem.kv_heads;
    return plan->part_floats > 0 && call->q_length <= recipe->few_rows &&
           call->q_length * plan->problem.group <= recipe->tile_q &&
           units < attn_plan_shared_units(plan) && !attn_observe_wanted(call) &&
           attn_plan_threads_worth(plan, call) > 1 &&
           attn_decode_splits(recipe, call->kv_length) > 1;
}

struct keys_job {
    const struct attn_plan *plan;
    const struct call *call;
    char *workspace;
    float *parts;
    int64_t units;
    atomic_llong next;
    atomic_bool stop;
};

/* The queries of a unit: a group of heads of a batch element. */
static struct block block_of(const struct keys_job *job, int64_t unit) {
    const struct problem *problem = &job->plan->problem;
    const int64_t b = unit / problem->kv_heads;
    const int64_t head = unit % problem->kv_heads * problem->group;
    return (struct block){
        .b = b,
        .head = head,
        .head_end = head + problem->group,
        .row_end = attn_call_rows(job->call, b),
    };
}

static int64_t splits_of(const struct keys_job *job, const struct block *block) {
    return attn_decode_splits(&job->plan->tools.recipe,
                              attn_call_keys(job->call, block->b));
}

static float *parts_of(const struct keys_job *job, int64_t unit) {
    return job->parts + unit * DECODE_SPLITS_MAX * job->plan->part_floats;
}

static void setup(struct work *work, struct keys_job *job, int32_t index) {
    const struct toolbox *tools = &job->plan->tools;
    attn_work_setup(work, tools, job->workspace + (size_t)index * tools->layout.total,
                    &job->stop);
}

static void run_splits(void *argument, int32_t index) {
    struct keys_job *job = argument;
    struct work work;
    struct watch watch;
    setup(&work, job, index);
    work_watch(&work, &watch, job->call);
    long long i;
    while ((i = atomic_fetch_add(&job->next, 1)) < job->units * DECODE_SPLITS_MAX &&
           !attn_work_stopped(&work, job->call)) {
        const int64_t unit = i / DECODE_SPLITS_MAX, split = i % DECODE_SPLITS_MAX;
        const struct block block = block_of(job, unit);
        if (split < splits_of(job, &block) && block.row_end > 0) {
            attn_decode_part(&work, job->call, &block, split,
                             parts_of(job, unit) + split * job->plan->part_floats);
        }
    }
    work_unwatch(&work);
}

static void run_joins(void *argument, int32_t index) {
    struct keys_job *job = argument;
    struct work work;
    struct watch watch;
    setup(&work, job, index);
    work_watch(&work, &watch, job->call);
    long long unit;
    while ((unit = atomic_fetch_add(&job->next, 1)) < job->units) {
        struct block block = block_of(job, unit);
        const int64_t rows = block.row_end;
        if (rows > 0) {
            attn_decode_join(&work, job->call, &block, splits_of(job, &block),
                             parts_of(job, unit), job->plan->part_floats);
        }
        block.row_end = job->call->q_length;
        attn_plan_empty_rows(job->call, job->plan->tools.kernels, &block, rows);
    }
    work_unwatch(&work);
}

bool attn_plan_run_keys(const struct attn_plan *plan, const struct call *call,
                        char *workspace) {
    const int32_t tasks = attn_plan_threads_worth(plan, call);
    struct keys_job job = {
        .plan = plan,
        .call = call,
        .workspace = workspace,
        .parts = (float *)(void *)(workspace + plan->parts),
        .units = call->batch * plan->problem.kv_heads,
    };
    atomic_init(&job.next, 0);
    atomic_init(&job.stop, false);
    attn_context_run(plan->context, tasks, run_splits, &job);
    if (atomic_load(&job.stop)) {
        return false;
    }
    atomic_store(&job.next, 0);
    attn_context_run(plan->context, (int32_t)min_i64(tasks, job.units), run_joins,
                     &job);
    return true;
}
