/*
 * Runs problems through the public interface.
 */
#include "tests/support/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/check.h"

struct test_problem run_parse(const char *text) {
    struct test_problem problem;
    const char *wrong = problem_parse(&problem, text);
    if (wrong != NULL) {
        fail_msg("\"%s\": %s", text, wrong);
    }
    return problem;
}

void run_need(attn_status status, const struct test_problem *problem,
              const char *call) {
    if (status != ATTN_OK) {
        char text[512];
        problem_format(problem, text, sizeof text);
        fail_msg("%s: %s: %s (\"%s\")", call, attn_status_string(status),
                 attn_last_error(), text);
    }
}

attn_context *run_context(const struct test_problem *problem) {
    attn_context *context = NULL;
    run_need(attn_context_create(&context), problem, "attn_context_create");
    run_need(attn_context_set_threads(context, problem->threads), problem,
             "attn_context_set_threads");
    run_need(attn_context_set_isa(context, problem->isa), problem,
             "attn_context_set_isa");
    return context;
}

attn_desc *run_desc(const struct test_problem *p) {
    attn_desc *desc = NULL;
    run_need(attn_desc_create(&desc), p, "attn_desc_create");
    run_need(attn_desc_set_heads(desc, p->q_heads, p->kv_heads), p, "set_heads");
    run_need(attn_desc_set_dims(desc, p->key_dim, p->value_dim), p, "set_dims");
    run_need(
        attn_desc_set_score(desc, p->additive ? ATTN_SCORE_ADDITIVE : ATTN_SCORE_DOT),
        p, "set_score");
    if (p->has_scale) {
        run_need(attn_desc_set_scale(desc, p->scale), p, "set_scale");
    }
    run_need(attn_desc_set_softcap(desc, p->softcap), p, "set_softcap");
    run_need(attn_desc_set_causal(desc, p->causal), p, "set_causal");
    run_need(attn_desc_set_alignment(desc, p->alignment), p, "set_alignment");
    run_need(attn_desc_set_window(desc, p->left, p->right), p, "set_window");
    run_need(attn_desc_set_lengths(desc, p->q_lengths, p->kv_lengths), p,
             "set_lengths");
    run_need(attn_desc_set_packed(desc, p->q_packed, p->k_packed), p, "set_packed");
    run_need(attn_desc_set_documents(desc, p->documents), p, "set_documents");
    run_need(attn_desc_set_prefix(desc, p->prefix), p, "set_prefix");
    run_need(attn_desc_set_block_mask(desc, p->q_block, p->k_block), p,
             "set_block_mask");
    run_need(attn_desc_set_mask(desc, p->mask ? ATTN_BOOL : 0), p, "set_mask");
    run_need(attn_desc_set_bias(desc, p->bias ? ATTN_F32 : 0), p, "set_bias");
    run_need(attn_desc_set_alibi(desc, p->alibi), p, "set_alibi");
    run_need(attn_desc_set_sinks(desc, p->sinks), p, "set_sinks");
    run_need(attn_desc_set_dropout(desc, p->dropout), p, "set_dropout");
    run_need(attn_desc_set_relative_bias(desc, p->buckets, p->max_distance,
                                         p->bidirectional),
             p, "set_relative_bias");
    run_need(attn_desc_set_relative_keys(desc, p->relative_keys), p,
             "set_relative_keys");
    run_need(attn_desc_set_query_biases(desc, p->content_bias, p->position_bias), p,
             "set_query_biases");
    run_need(attn_desc_set_segments(desc, p->segments), p, "set_segments");
    run_need(attn_desc_set_ranks(desc, p->ranks), p, "set_ranks");
    run_need(attn_desc_set_engine(desc, p->engine), p, "set_engine");
    return desc;
}

attn_plan *run_plan(attn_context *context, const struct test_problem *problem) {
    attn_desc *desc = run_desc(problem);
    attn_bounds bounds = {sizeof bounds, problem->batch, problem->q_length,
                          problem->kv_length};
    attn_plan *plan = NULL;
    run_need(attn_plan_create(&plan, context, desc, &bounds), problem,
             "attn_plan_create");
    attn_desc_destroy(desc);
    return plan;
}

void run_args(attn_forward_args *args, const struct test_inputs *inputs,
              const struct test_outputs *outputs) {
    assert_int_equal(attn_forward_args_init(args, sizeof *args), ATTN_OK);
    args->query = &inputs->query;
    args->key = &inputs->key;
    args->value = &inputs->value;
    args->q_lengths = gen_given(&inputs->q_lengths);
    args->kv_lengths = gen_given(&inputs->kv_lengths);
    args->query_offsets = gen_given(&inputs->query_offsets);
    args->prefix_lengths = gen_given(&inputs->prefix_lengths);
    args->q_documents = gen_given(&inputs->q_documents);
    args->k_documents = gen_given(&inputs->k_documents);
    args->block_mask = gen_given(&inputs->block_mask);
    args->mask = gen_given(&inputs->mask);
    args->bias = gen_given(&inputs->bias);
    args->alibi_slopes = gen_given(&inputs->alibi_slopes);
    args->sinks = gen_given(&inputs->sinks);
    args->dropout_seed = inputs->dropout_seed;
    args->rng_indices = gen_given(&inputs->rng_indices);
    args->relative_bias = gen_given(&inputs->relative_bias);
    args->relative_keys = gen_given(&inputs->relative_keys);
    args->relative_zero = inputs->relative_zero;
    args->content_bias = gen_given(&inputs->content_bias);
    args->position_bias = gen_given(&inputs->position_bias);
    args->q_segments = gen_given(&inputs->q_segments);
    args->k_segments = gen_given(&inputs->k_segments);
    args->segment_keys = gen_given(&inputs->segment_keys);
    args->segment_bias = gen_given(&inputs->segment_bias);
    args->q_ranks = gen_given(&inputs->q_ranks);
    args->k_ranks = gen_given(&inputs->k_ranks);
    args->key_scales = gen_given(&inputs->key_scales);
    args->value_scales = gen_given(&inputs->value_scales);
    args->score_vector = gen_given(&inputs->score_vector);
    args->q_starts = gen_given(&inputs->q_starts);
    args->k_starts = gen_given(&inputs->k_starts);
    outputs_give(outputs, args);
}

void run_on(attn_context *context, const struct test_inputs *inputs,
            const struct test_outputs *outputs) {
    attn_plan *plan = run_plan(context, &inputs->problem);
    attn_forward_args args;
    run_args(&args, inputs, outputs);
    run_need(attn_plan_forward(plan, &args), &inputs->problem, "attn_plan_forward");
    attn_plan_destroy(plan);
}

void run_forward(const struct test_inputs *inputs, const struct test_outputs *outputs) {
    attn_context *context = run_context(&inputs->problem);
    run_on(context, inputs, outputs);
    attn_context_destroy(context);
}

int run_and_check(const struct test_problem *problem, int data, unsigned wanted) {
    struct test_inputs inputs;
    struct test_outputs outputs;
    gen_inputs(&inputs, problem, data);
    outputs_open(&outputs, problem, wanted);
    run_forward(&inputs, &outputs);
    int wrong = check_outputs(&inputs, &outputs);
    outputs_close(&outputs);
    gen_free(&inputs);
    return wrong;
}

int32_t run_last_engine(const struct test_problem *problem) {
    return problem->additive ? ATTN_ENGINE_FLASH : ATTN_ENGINE_DECODE;
}

int run_engines(const struct test_problem *problem, int data, unsigned wanted) {
    int wrong = 0;
    struct test_problem each = *problem;
    for (each.engine = ATTN_ENGINE_AUTO; each.engine <= run_last_engine(problem);
         each.engine++) {
        wrong += run_and_check(&each, data, wanted);
    }
    return wrong;
}

int run_text(const char *text, int data) {
    struct test_problem problem = run_parse(text);
    return run_engines(&problem, data, ALL_OUTPUTS);
}

int run_skip_isa(void) {
    static const char *const names[] = {"auto", "scalar", "avx2",  "avx512",
                                        "neon", "amx",    "pieces"};
    const char *wanted = getenv("ATTN_ISA");
    int32_t isa = ATTN_ISA_AUTO;
    for (int32_t i = 0; wanted != NULL && i < (int32_t)COUNT_OF(names); i++) {
        isa = strcmp(wanted, names[i]) == 0 ? i : isa;
    }
    attn_context *context = NULL;
    attn_status status = attn_context_create(&context);
    if (status == ATTN_OK) {
        status = attn_context_set_isa(context, isa);
    }
    attn_context_destroy(context);
    if (status == ATTN_ERR_UNSUPPORTED) {
        printf("skipped: %s\n", attn_last_error());
        return EXIT_SKIPPED;
    }
    return status == ATTN_OK ? 0 : 1;
}

attn_context *run_context_tuned(const char *entry) {
    char text[4096];
    attn_context *context = NULL;
    assert_int_equal(attn_context_create(&context), ATTN_OK);
    assert_in_range(attn_context_tuning_export(context, text, sizeof text), 1, 2000);
    char *end = strstr(text, "end\n");
    assert_non_null(end);
    snprintf(end, 1000, "%s\nend\n", entry);
    assert_int_equal(attn_context_tuning_import(context, text), ATTN_OK);
    return context;
}
