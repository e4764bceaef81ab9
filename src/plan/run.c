/*
 * Running a call: pieces to threads, blocks to engines.
 *
 * Threads take pieces from a counter until none is left. Within a piece, blocks go by
 * in a fixed order, heads first and rows within, so that whoever owns a sum adds to it
 * in the same order every time.
 */
#include <stdatomic.h>
#include <string.h>

#include "base/arith.h"
#include "base/status.h"
#include "engine/decode.h"
#include "plan/plan.h"

struct job {
    const struct attn_plan *plan;
    const struct call *call;
    struct split split;
    char *workspace;
    atomic_llong next;
    atomic_bool stop;
};

void attn_plan_empty_rows(const struct call *call, const struct kernels *kernels,
                          const struct block *block, int64_t row) {
    /* packed sequences have no rows beyond theirs */
    const bool packed = call->q_starts.data != NULL;
    for (int64_t h = block->head;
         h < block->head_end && row < block->row_end && !packed; h++) {
        struct head head;
        attn_head_bind(&head, call, block->b, h);
        attn_softmax_empty_rows(&head, row, block->row_end);
        attn_observe_empty_rows(&head, kernels, row, block->row_end);
    }
}

static void clear_key_sums(const struct call *call, const struct block *piece) {
    for (int64_t h = piece->head; h < piece->head_end && call->kv_length > 0; h++) {
        memset(view_at(&call->key_sums, piece->b, h, 0, 0), 0,
               (size_t)call->kv_length * sizeof(float));
    }
}

/*
 * The decode engine stacks the heads of a group, so the first piece of a group has the
 * work of its others too.
 */
static void gather_group(struct block *piece, int64_t group) {
    if (piece->head % group != 0) {
        piece->head_end = piece->head;
    } else {
        piece->head_end = round_up(piece->head_end, group);
    }
}

/* Goes on with these tools, in the same memory. */
static void take_tools(struct work *work, const struct toolbox *tools) {
    if (work->tools != tools) {
        struct watch *watch = work->watch;
        attn_work_setup(work, tools, work->memory, work->stop);
        work->watch = watch;
    }
}

static void run_piece(struct work *work, const struct job *job, struct block *piece) {
    const struct call *call = job->call;
    const struct attn_plan *plan = job->plan;
    const int64_t length = attn_call_rows(call, piece->b);
    const int64_t keys = attn_call_keys(call, piece->b);
    const struct engine *engine = attn_plan_engine(plan, length, keys);
    if (engine == &attn_engine_dense && plan->forced == ATTN_ENGINE_AUTO &&
        attn_small_fits(&plan->tools, call, length, keys)) {
        engine = &attn_engine_small;
    }
    take_tools(work, attn_plan_tools(plan, engine, keys));
    const int64_t group = plan->problem.group;
    const int64_t rows_end = min_i64(piece->row_end, length);
    if (engine == &attn_engine_decode) {
        gather_group(piece, group);
    }
    const bool observe = attn_observe_wanted(call);
    /* as many heads of a group at once as the block has rows for, and whole stacks */
    const int64_t rows =
        min_i64(plan->tools.block_rows, max_i64(1, rows_end - piece->row));
    int64_t together = max_i64(1, plan->tools.block_rows / rows);
    if (engine == &attn_engine_decode) {
        together = attn_decode_whole_stacks(&plan->tools.recipe, length, together);
    }

    if (call->key_sums.data != NULL) {
        clear_key_sums(call, piece);
    }
    struct block block = {.b = piece->b};
    for (block.head = piece->head; block.head < piece->head_end;
         block.head = block.head_end) {
        const int64_t group_end = (block.head / group + 1) * group;
        block.head_end =
            min_i64(block.head + together, min_i64(group_end, piece->head_end));
        for (block.row = piece->row; block.row < rows_end; block.row = block.row_end) {
            block.row_end = min_i64(block.row + rows, rows_end);
            engine->run(work, call, &block);
            if (observe && !attn_work_stopped(work, call)) {
                const enum stage before = work_turn(work, STAGE_OUTPUTS);
                attn_observe(work, call, &block);
                work_turn(work, before);
            }
            if (attn_work_stopped(work, call)) {
                return;
            }
        }
    }
    attn_plan_empty_rows(call, plan->tools.kernels, piece,
                         max_i64(piece->row, rows_end));
}

static void run_task(void *argument, int32_t index) {
    struct job *job = argument;
    const struct toolbox *tools = &job->plan->tools;
    struct work work;
    attn_work_setup(&work, tools, job->workspace + (size_t)index * tools->layout.total,
                    &job->stop);
    struct watch watch;
    work_watch(&work, &watch, job->call);
    long long i;
    while ((i = atomic_fetch_add(&job->next, 1)) < job->split.pieces &&
           !attn_work_stopped(&work, job->call)) {
        struct block piece = attn_plan_piece(&job->split, job->call, i);
        run_piece(&work, job, &piece);
    }
    work_unwatch(&work);
}

attn_status attn_plan_run(const struct attn_plan *plan, const struct call *call,
                          void *workspace) {
    const bool sums = call->key_sums.data != NULL && call->kv_length > 0;
    if (call->batch == 0 || (call->q_length == 0 && !sums)) {
        return ATTN_OK;
    }
    struct job job = {.plan = plan, .call = call, .workspace = workspace};
    atomic_init(&job.next, 0);
    atomic_init(&job.stop, false);
    attn_plan_split(&job.split, plan, call);
    bool stopped;
    if (attn_plan_shares_keys(plan, call)) {
        stopped = !attn_plan_run_keys(plan, call, workspace);
    } else {
        attn_context_run(plan->context, job.split.tasks, run_task, &job);
        stopped = atomic_load(&job.stop);
    }
    REQUIRE(!stopped, ATTN_ERR_CANCELLED, "should_stop asked to stop");
    return ATTN_OK;
}
