/*
 * The plan in words.
 */
#include "base/arith.h"
#include "base/text.h"
#include "exec/blas.h"
#include "exec/tuning.h"
#include "plan/plan.h"

/* Why an engine is not used at all. */
static void refuse(struct text *text, const char *name, const char *why) {
    attn_text_add(text, "engine refused: %s (%s)\n", name, why);
}

static void explain_forced(struct text *text, int32_t forced) {
    static const char *const names[] = {
        [ATTN_ENGINE_DENSE] = "dense",
        [ATTN_ENGINE_FLASH] = "flash",
        [ATTN_ENGINE_DECODE] = "decode",
    };
    attn_text_add(text, "engine: %s\n", names[forced]);
    for (int32_t i = ATTN_ENGINE_DENSE; i <= ATTN_ENGINE_DECODE; i++) {
        if (i != forced) {
            refuse(text, names[i], "attn_desc_set_engine() forces another");
        }
    }
}

static void explain_engine(struct text *text, const struct attn_plan *plan) {
    const long long dense = attn_plan_dense_keys(plan);
    const long long few = plan->tools.recipe.few_rows;
    const bool only_few = plan->bounds.q_length <= few;
    const bool only_dense = dense == plan->bounds.kv_length;
    if (plan->forced != ATTN_ENGINE_AUTO) {
        explain_forced(text, plan->forced);
        return;
    }
    if (plan->problem.additive) {
        refuse(text, "decode", "it has no additive scores");
    } else {
        attn_text_add(
            text,
            "engine: decode for sequences of up to %lld queries: keys are read "
            "where they lie, not packed for cblas_sgemm\n",
            few);
    }
    if (only_few && few > 0) {
        refuse(text, "dense", "no sequence has more queries");
        refuse(text, "flash", "no sequence has more queries");
        return;
    }
    const int64_t small = attn_small_keys(&plan->tools);
    if (small > 0) {
        attn_text_add(text,
                      "engine: small beyond that, with up to %lld keys and %s: one "
                      "kernel for all of a head\n",
                      (long long)min_i64(small, plan->bounds.kv_length),
                      plan->tools.recipe.cut.own
                          ? "queries of one tile"
                          : "products too small for cblas_sgemm");
    }
    attn_text_add(text,
                  "engine: dense%s, with up to %lld keys: one softmax over all of "
                  "them\n",
                  plan->problem.additive ? "" : " beyond that", dense);
    if (only_dense) {
        refuse(text, "flash", "no sequence has more keys");
    } else {
        attn_text_add(text, "engine: flash beyond that: tiles of keys, one softmax "
                            "that goes on from tile to tile\n");
    }
}

static void explain_masks(struct text *text, const struct attn_plan *plan) {
    const struct toolbox *tools = &plan->tools;
    attn_text_add(text, "terms: %sscale %g",
                  plan->problem.additive ? "additive scores, " : "",
                  (double)plan->problem.scale);
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

static void explain_products(struct text *text, const struct recipe *recipe) {
    const struct cut *cut = &recipe->cut;
    if (recipe->pieces) {
        attn_text_add(
            text,
            "pieces: long sequences, forwards: tiles of AMX multiply floats in three "
            "pieces of bfloat16 each\n");
    }
    if (cut->own) {
        attn_text_add(text, "products: by kernels of our own, not cblas_sgemm%s\n",
                      attn_blas()->small_kernels
                          ? ""
                          : ", which would pack what it multiplies each time");
    } else {
        attn_text_add(text, "products: cblas_sgemm, sums over up to %d numbers\n",
                      cut->depth);
    }
}

/* What was measured, and what it lets expect of a whole call. */
static void explain_tuning(struct text *text, const struct attn_plan *plan) {
    const struct tuned *tuned = attn_plan_tuned(plan);
    const struct problem *problem = &plan->problem;
    if (tuned == NULL) {
        attn_text_add(text, "tuned: no, tiles are the defaults for this BLAS\n");
        return;
    }
    attn_text_add(text, "tuned: %.1f GFLOP/s with %d queries and %d keys, one thread",
                  1e-3 * tuned->megaflops, (int)tuned->q_length, (int)tuned->kv_length);
    if (tuned->before > 0 && tuned->before == tuned->megaflops) {
        attn_text_add(text, "; nothing else was 3 %% faster");
    } else if (tuned->before > 0) {
        attn_text_add(text, "; %.1f before", 1e-3 * tuned->before);
    }
    attn_text_add(text, "\n");
    if (tuned->megaflops > 0) {
        const double flops =
            2.0 * (double)plan->bounds.batch * (double)problem->query_heads *
            (double)plan->bounds.q_length * (double)plan->bounds.kv_length *
            ((double)problem->key_dim + problem->value_dim);
        attn_text_add(text,
                      "expected: %.0f us on one thread for a call as large as the "
                      "bounds, at that rate\n",
                      flops / tuned->megaflops);
    }
}

void attn_plan_describe(struct text *text, const struct attn_plan *plan) {
    const struct problem *problem = &plan->problem;
    const struct toolbox *tools = &plan->tools;
    attn_text_add(text, "heads: %d query, %d key-value\n", (int)problem->query_heads,
                  (int)problem->kv_heads);
    attn_text_add(text, "dims: %d key, %d value\n", (int)problem->key_dim,
                  (int)problem->value_dim);
    attn_text_add(text, "bounds: batch %lld, %lld queries, %lld keys\n",
                  (long long)plan->bounds.batch, (long long)plan->bounds.q_length,
                  (long long)plan->bounds.kv_length);
    explain_engine(text, plan);
    explain_masks(text, plan);
    attn_text_add(
        text, "tiles: %d queries x %d keys; blocks of %d queries share packed keys\n",
        tools->recipe.tile_q, tools->recipe.tile_k, tools->block_rows);
    if (attn_plan_uses_dense(plan) &&
        (plan->dense.recipe.tile_q != tools->recipe.tile_q ||
         plan->dense.recipe.tile_k != tools->recipe.tile_k)) {
        attn_text_add(text, "tiles of the dense engine: %d queries x %d keys\n",
                      plan->dense.recipe.tile_q, plan->dense.recipe.tile_k);
    }
    attn_text_add(
        text, "keys: %s\n",
        problem->additive
            ? "transposed for their scores; as they lie for one or two queries"
        : tools->recipe.turn_keys ? "transposed for their product"
                                  : "rows in their product, as they lie");
    explain_products(text, &tools->recipe);
    explain_tuning(text, plan);
    if (!problem->additive) {
        attn_text_add(text, "splits: decoding cuts keys into pieces of %d or more%s\n",
                      tools->recipe.split_tiles * tools->recipe.tile_k,
                      plan->part_floats > 0 ? ", which threads may share" : "");
    }
    attn_text_add(text, "workspace: %zu bytes, %zu of them for each thread\n",
                  plan->workspace, tools->layout.total);
    attn_text_add(text, "backward: blocks of %d queries, workspace %zu bytes\n",
                  plan->backward.block_rows, plan->backward_workspace);
}

size_t attn_plan_write(const struct attn_plan *plan, char *buffer, size_t size) {
    struct text text = attn_text_start(buffer, size);
    attn_plan_describe(&text, plan);
    attn_context_describe(&text, plan->context);
    return text.length;
}
