/*
 * The plan in words.
 */
#include "base/text.h"
#include "plan/plan.h"

static void explain_engine(struct text *text, const struct attn_plan *plan) {
    const int64_t dense = attn_plan_dense_keys(plan);
    if (plan->forced != ATTN_ENGINE_AUTO) {
        const char *name = plan->forced == ATTN_ENGINE_DENSE ? "dense" : "flash";
        attn_text_add(text, "engine: %s\n", name);
        attn_text_add(text, "engine refused: %s (attn_desc_set_engine() forces %s)\n",
                      plan->forced == ATTN_ENGINE_DENSE ? "flash" : "dense", name);
    } else if (dense == plan->bounds.kv_length) {
        attn_text_add(text, "engine: dense\n");
        attn_text_add(text,
                      "engine refused: flash (no sequence has more than %lld keys)\n",
                      (long long)dense);
    } else {
        attn_text_add(text, "engine: flash, dense for sequences of up to %lld keys\n",
                      (long long)dense);
    }
}

static void explain_masks(struct text *text, const struct attn_plan *plan) {
    const struct toolbox *tools = &plan->tools;
    attn_text_add(text, "terms: scale %g", (double)plan->problem.scale);
    for (int i = 0; i < tools->terms.count; i++) {
        attn_text_add(text, ", %s", tools->terms.term[i]->name);
    }
    attn_text_add(text, "%s", plan->problem.sinks ? ", sink" : "");
    if (plan->problem.dropout > 0.0f) {
        attn_text_add(text, ", dropout %g", (double)plan->problem.dropout);
    }
    attn_text_add(text, "\nmasks:");
    int count = 0;
    if (plan->problem.q_lengths) {
        attn_text_add(text, "%s query lengths", count++ == 0 ? "" : ",");
    }
    if (plan->problem.kv_lengths) {
        attn_text_add(text, "%s key lengths", count++ == 0 ? "" : ",");
    }
    for (int i = 0; i < tools->masks.count; i++) {
        attn_text_add(text, "%s %s", count++ == 0 ? "" : ",",
                      tools->masks.mask[i]->name);
    }
    attn_text_add(text, "%s\n", count == 0 ? " none" : "");
}

size_t attn_plan_write(const struct attn_plan *plan, char *buffer, size_t size) {
    struct text text = attn_text_start(buffer, size);
    const struct problem *problem = &plan->problem;
    const struct toolbox *tools = &plan->tools;
    attn_text_add(&text, "heads: %d query, %d key-value\n", (int)problem->query_heads,
                  (int)problem->kv_heads);
    attn_text_add(&text, "dims: %d key, %d value\n", (int)problem->key_dim,
                  (int)problem->value_dim);
    attn_text_add(&text, "bounds: batch %lld, %lld queries, %lld keys\n",
                  (long long)plan->bounds.batch, (long long)plan->bounds.q_length,
                  (long long)plan->bounds.kv_length);
    explain_engine(&text, plan);
    explain_masks(&text, plan);
    attn_text_add(&text, "tiles: %d queries x %d keys; blocks of %d queries\n",
                  tools->recipe.tile_q, tools->recipe.tile_k, tools->block_rows);
    attn_text_add(&text, "workspace: %zu bytes, %zu a thread\n", plan->workspace,
                  tools->layout.total);
    attn_text_add(&text, "backward: blocks of %d queries, workspace %zu bytes\n",
                  plan->backward.block_rows, plan->backward_workspace);
    const bool room = text.length < size;
    text.length += attn_context_write(plan->context, room ? buffer + text.length : NULL,
                                      room ? size - text.length : 0);
    return text.length;
}
