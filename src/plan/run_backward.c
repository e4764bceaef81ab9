/*
 * Running a backward call: phases one after the other, pieces to threads, blocks to the
 * engine.
 */
#include "plan/phases.h"

#include <stdatomic.h>
#include <string.h>

#include "base/arith.h"
#include "base/status.h"
#include "engine/backward.h"

struct job {
    const struct attn_plan *plan;
    const struct phase *phase;
    char *workspace;
    atomic_llong next;
    atomic_bool stop;
};

/* Sets rows [row, end) and columns [column, column_end) of one head to 0. */
static void clear(const struct view *view, int64_t b, int64_t h, int64_t row,
                  int64_t end, int64_t column, int64_t column_end) {
    for (int64_t i = row; view->data != NULL && i < end; i++) {
        memset(view_at(view, b, h, i, column), 0,
               (size_t)(column_end - column) * sizeof(float));
    }
}

/* The same for all columns of a gradient whose axes may have one element. */
static void clear_shared(const struct view *view, int64_t b, int64_t h, int64_t row,
                         int64_t end, int64_t columns) {
    clear(view, b, h, row, view->stride[ROW] == 0 ? row + 1 : end, 0,
          view->stride[COLUMN] == 0 ? 1 : columns);
}

/*
 * Sets to 0 what blocks only add to, and what no block reaches: beyond the lengths. The
 * gradients of keys within the lengths start from 0 in the engine, unless there are no
 * rows.
 */
static void start_part(const struct call *call, const struct part *part,
                       int64_t tile_k) {
    const struct problem *problem = call->problem;
    for (int64_t b = part->b; b < part->b_end; b++) {
        const int64_t rows = attn_call_rows(call, b), keys = attn_call_keys(call, b);
        const int64_t first_key = max_i64(part->tile * tile_k, rows > 0 ? keys : 0);
        const int64_t end_key = min_i64(part->tile_end * tile_k, call->kv_length);
        for (int64_t h = part->head; h < part->head_end; h++) {
            const int64_t g = h / problem->group;
            clear(&call->grad_query, b, h, max_i64(part->row, rows), part->row_end, 0,
                  problem->key_dim);
            clear(&call->grad_key, b, g, first_key, end_key, 0, problem->key_dim);
            clear(&call->grad_value, b, g, first_key, end_key, 0, problem->value_dim);
        }
    }
}

/* The same for sums; with no batch elements there are those that a batch shares. */
static void start_sums(const struct call *call, const struct part *part) {
    for (int64_t b = part->b; b < max_i64(1, part->b_end); b++) {
        for (int64_t h = part->head; h < part->head_end; h++) {
            clear_shared(&call->grad_bias, b, h, part->row, part->row_end,
                         call->kv_length);
            clear(&call->grad_slopes, b, h, 0, 1, 0, 1);
            clear(&call->grad_sinks, b, h, 0, 1, 0, 1);
        }
    }
}

/* The query heads of one key-value head, of one batch element. */
static void run_group(struct work *work, const struct job *job, const struct part *part,
                      int64_t b, int64_t head, int64_t head_end) {
    const struct call *call = &job->phase->call;
    const int64_t block_rows = job->plan->backward.block_rows;
    const int64_t rows_end = min_i64(part->row_end, attn_call_rows(call, b));
    const int64_t tile_end =
        min_i64(part->tile_end,
                ceil_div(attn_call_keys(call, b), job->plan->backward.recipe.tile_k));
    /* as many heads of a group at once as the block has rows for */
    const int64_t rows = min_i64(block_rows, part->row_end - part->row);
    const int64_t together = max_i64(1, block_rows / max_i64(1, rows));
    bool fresh = !call->accumulate;
    struct block block = {.b = b};
    for (block.head = head; block.head < head_end; block.head = block.head_end) {
        block.head_end = min_i64(block.head + together, head_end);
        for (block.row = part->row; block.row < rows_end; block.row = block.row_end) {
            block.row_end = min_i64(block.row + rows, rows_end);
            attn_backward_run(work, call, &block, part->tile, tile_end, fresh);
            fresh = false;
            if (attn_work_stopped(work, call)) {
                return;
            }
        }
    }
}

static void run_part(struct work *work, const struct job *job,
                     const struct part *part) {
    const struct call *call = &job->phase->call;
    const int64_t group = call->problem->group;
    if (!call->accumulate) {
        start_part(call, part, job->plan->backward.recipe.tile_k);
        start_sums(call, part);
    }
    for (int64_t b = part->b; b < part->b_end; b++) {
        for (int64_t head = part->head, end; head < part->head_end; head = end) {
            end = min_i64((head / group + 1) * group, part->head_end);
            run_group(work, job, part, b, head, end);
            if (attn_work_stopped(work, call)) {
                return;
            }
        }
    }
}

static void run_task(void *argument, int32_t index) {
    struct job *job = argument;
    const struct toolbox *tools = &job->plan->backward;
    const int64_t pieces = attn_phase_pieces(job->phase);
    struct work work;
    attn_work_setup(&work, tools, job->workspace + (size_t)index * tools->layout.total,
                    &job->stop);
    long long i;
    while ((i = atomic_fetch_add(&job->next, 1)) < pieces &&
           !attn_work_stopped(&work, &job->phase->call)) {
        const struct part part = attn_phase_part(job->phase, job->plan, i);
        run_part(&work, job, &part);
    }
}

attn_status attn_plan_run_backward(const struct attn_plan *plan,
                                   const struct call *call, void *workspace) {
    struct phases phases;
    attn_plan_phases(&phases, plan, call);
    for (int i = 0; i < phases.count; i++) {
        struct job job = {
            .plan = plan, .phase = &phases.phase[i], .workspace = workspace};
        atomic_init(&job.next, 0);
        atomic_init(&job.stop, false);
        const int64_t tasks =
            min_i64(phases.tasks, attn_phase_pieces(&phases.phase[i]));
        attn_context_run(plan->context, (int32_t)max_i64(1, tasks), run_task, &job);
        REQUIRE(!atomic_load(&job.stop), ATTN_ERR_CANCELLED,
                "should_stop asked to stop");
    }
    return ATTN_OK;
}
