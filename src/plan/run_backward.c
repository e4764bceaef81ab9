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

/* Sets rows [row, end) of one head to 0, from this column on. */
static void clear(const struct view *view, int64_t b, int64_t h, int64_t row,
                  int64_t end, int64_t column, int64_t columns) {
    for (int64_t i = row; view->data != NULL && i < end; i++) {
        memset(view_at(view, b, h, i, column), 0, (size_t)columns * sizeof(float));
    }
}

/* Sets to 0 what lies beyond the lengths. */
static void clear_beyond(const struct call *call, const struct part *part,
                         int64_t tile_k) {
    const struct problem *problem = call->problem;
    for (int64_t b = part->b; b < part->b_end; b++) {
        const int64_t row = max_i64(part->row, attn_call_rows(call, b));
        const int64_t key = max_i64(part->tile * tile_k, attn_call_keys(call, b));
        const int64_t end_key = min_i64(part->tile_end * tile_k, call->kv_length);
        for (int64_t h = part->head; h < part->head_end; h++) {
            const int64_t g = h / problem->group;
            clear(&call->grad_query, b, h, row, part->row_end, 0, problem->key_dim);
            clear(&call->grad_key, b, g, key, end_key, 0, problem->key_dim);
            clear(&call->grad_value, b, g, key, end_key, 0, problem->value_dim);
        }
    }
}

/*
 * Sets a sum to 0, or the part of it that is a piece's own. Where it repeats in an axis
 * it has one element there, even if the call has none.
 */
static void clear_sum(const struct view *view, const struct part *part, int64_t column,
                      int64_t column_end) {
    const int64_t *stride = view->stride;
    const int64_t b_end = stride[BATCH] == 0 ? part->b + 1 : part->b_end;
    const int64_t h_end = stride[HEAD] == 0 ? part->head + 1 : part->head_end;
    const int64_t row_end = stride[ROW] == 0 ? part->row + 1 : part->row_end;
    const int64_t columns = stride[COLUMN] == 0 ? 1 : column_end - column;
    for (int64_t b = part->b; view->data != NULL && b < b_end; b++) {
        for (int64_t h = part->head; h < h_end; h++) {
            clear(view, b, h, part->row, row_end, column, columns);
        }
    }
}

static void clear_sums(const struct call *call, const struct part *part,
                       int64_t tile_k) {
    clear_sum(&call->grad_bias, part, part->tile * tile_k,
              min_i64(part->tile_end * tile_k, call->kv_length));
    clear_sum(&call->grad_slopes, part, 0, 1);
    clear_sum(&call->grad_sinks, part, 0, 1);
    for (enum table i = 0; i < TABLES; i++) {
        const struct view *view = &call->grad_tables[i];
        const int64_t end = view->stride[HEAD] == 0 ? part->head + 1 : part->head_end;
        for (int64_t h = part->head; h < end; h++) {
            clear(view, 0, h, 0, attn_table_rows(call, i), 0,
                  attn_table_columns(call, i));
        }
    }
}

/* The query heads of one key-value head, of one batch element. */
static void run_group(struct work *work, const struct job *job, const struct part *part,
                      int64_t b, int64_t head, int64_t head_end) {
    const struct call *call = &job->phase->call;
    const struct toolbox *tools = &job->plan->backward;
    const int64_t rows_end = min_i64(part->row_end, attn_call_rows(call, b));
    const int64_t tile_end = min_i64(
        part->tile_end, ceil_div(attn_call_keys(call, b), tools->recipe.tile_k));
    /* as many heads of a group at once as the block has rows for */
    const int64_t rows = min_i64(tools->block_rows, rows_end - part->row);
    const int64_t together = max_i64(1, tools->block_rows / max_i64(1, rows));
    int64_t written = call->accumulate ? tile_end : part->tile;
    struct block block = {.b = b};
    for (block.head = head; block.head < head_end; block.head = block.head_end) {
        block.head_end = min_i64(block.head + together, head_end);
        for (block.row = part->row; block.row < rows_end; block.row = block.row_end) {
            block.row_end = min_i64(block.row + rows, rows_end);
            attn_backward_run(work, call, &block, part->tile, tile_end, &written);
            if (attn_work_stopped(work, call)) {
                return;
            }
        }
    }
    block.head = head;
    attn_backward_clear_tiles(work, call, &block, written, tile_end);
}

static void run_part(struct work *work, const struct job *job,
                     const struct part *part) {
    const struct call *call = &job->phase->call;
    const int64_t group = call->problem->group;
    if (!call->accumulate) {
        clear_beyond(call, part, job->plan->backward.recipe.tile_k);
        clear_sums(call, part, job->plan->backward.recipe.tile_k);
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
    struct watch watch;
    work_watch(&work, &watch, &job->phase->call);
    long long i;
    while ((i = atomic_fetch_add(&job->next, 1)) < pieces &&
           !attn_work_stopped(&work, &job->phase->call)) {
        const struct part part = attn_phase_part(job->phase, job->plan, i);
        run_part(&work, job, &part);
    }
    work_unwatch(&work);
}

/* Without rows all gradients are 0. */
static void clear_all(const struct attn_plan *plan, const struct call *call) {
    const struct problem *problem = &plan->problem;
    const struct part all = {
        .b_end = call->batch,
        .head_end = problem->query_heads,
        .row_end = call->q_length,
        .tile_end = ceil_div(call->kv_length, plan->backward.recipe.tile_k),
    };
    if (call->accumulate) {
        return;
    }
    clear_sums(call, &all, plan->backward.recipe.tile_k);
    if (call->grad_key.data == NULL && call->grad_value.data == NULL) {
        return;
    }
    for (int64_t b = 0; b < call->batch; b++) {
        for (int64_t g = 0; g < problem->kv_heads; g++) {
            clear(&call->grad_key, b, g, 0, call->kv_length, 0, problem->key_dim);
            clear(&call->grad_value, b, g, 0, call->kv_length, 0, problem->value_dim);
        }
    }
}

attn_status attn_plan_run_backward(const struct attn_plan *plan,
                                   const struct call *call, void *workspace) {
    if (call->batch == 0 || call->q_length == 0) {
        clear_all(plan, call);
        return ATTN_OK;
    }
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
