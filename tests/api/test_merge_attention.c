/*
 * What merging is for: attention over any split of the keys, merged, is attention over
 * all of them, within what the roundings of parts and merge allow. The whole call keeps
 * within its own bound of the same oracle by the tests of attention.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/check.h"
#include "tests/support/element.h"
#include "tests/support/merge.h"
#include "tests/support/oracle.h"
#include "tests/support/run.h"

enum { PARTS = 64 };

/* Attention over some of the keys. */
struct part {
    struct test_inputs inputs; /* views of those of all keys */
    struct test_outputs outputs;
    struct oracle_row row;
    int64_t integers[2][8]; /* query_offsets and kv_lengths of this part */
};

/* Keys from the first on, of a tensor whose last dimension they are. */
static void cut_columns(attn_tensor *tensor, int64_t first, int64_t keys) {
    const int32_t last = tensor->rank - 1;
    if (last < 0 || tensor->shape[last] == 1) {
        return;
    }
    tensor->data = (char *)tensor->data +
                   first * tensor->stride[last] * (int64_t)element_size(tensor->dtype);
    tensor->shape[last] = keys;
}

static void cut_rows(attn_tensor *tensor, int64_t first, int64_t keys) {
    tensor->data = (float *)tensor->data + first * tensor->stride[2];
    tensor->shape[2] = keys;
}

/* The attention over keys [first, first + keys), which has the sink or not. */
static void cut(struct part *part, const struct test_inputs *whole, int64_t first,
                int64_t keys, int sink) {
    struct test_inputs *in = &part->inputs;
    *in = *whole;
    in->problem.kv_length = keys;
    cut_rows(&in->key, first, keys);
    cut_rows(&in->value, first, keys);
    cut_columns(&in->mask, first, keys);
    cut_columns(&in->bias, first, keys);
    cut_columns(&in->k_documents, first, keys);
    cut_columns(&in->k_ranks, first, keys);
    const int64_t batch = whole->problem.batch;
    assert_true(batch <= 8);
    for (int64_t b = 0; b < batch; b++) {
        if (in->query_offsets.rank > 0) {
            part->integers[0][b] = element_int(&whole->query_offsets, 0, b) - first;
        }
        const int64_t left = oracle_kv_length(whole, b) - first;
        part->integers[1][b] = left < 0 ? 0 : left < keys ? left : keys;
    }
    if (in->query_offsets.rank > 0) {
        attn_tensor_init(&in->query_offsets, ATTN_I64, 1, &batch, part->integers[0]);
    }
    if (in->kv_lengths.rank > 0) {
        attn_tensor_init(&in->kv_lengths, ATTN_I64, 1, &batch, part->integers[1]);
    }
    if (!sink) {
        in->problem.sinks = 0;
        in->sinks.rank = 0;
    }
}

/* What is right for one row, from the parts; compares the merged outputs with it. */
static void check_row(struct part *parts, int32_t count,
                      const struct test_outputs *merged, const struct oracle_row *whole,
                      int64_t b, int64_t h, int64_t i) {
    struct merge_number lse[PARTS], out[PARTS];
    for (int32_t p = 0; p < count; p++) {
        oracle_compute(&parts[p].row, &parts[p].inputs, b, h, i);
        lse[p] = (struct merge_number){parts[p].row.lse, parts[p].row.lse_error};
    }
    const struct merge_number sum = merge_lse(count, lse);
    assert_true(check_number(sum.value, whole->lse, 1e-9 * (1 + fabs(whole->lse))));
    const double got = element_float(&merged->tensor[LSE], 0, b, h, i);
    if (!check_number(got, whole->lse, sum.error)) {
        fail_msg("%d parts: lse of row (%d, %d, %d) is %.9g, expected %.9g within %.3g",
                 (int)count, (int)b, (int)h, (int)i, got, whole->lse, sum.error);
    }
    for (int64_t c = 0; c < merged->tensor[OUT].shape[3]; c++) {
        for (int32_t p = 0; p < count; p++) {
            out[p] =
                (struct merge_number){parts[p].row.out[c], parts[p].row.out_error[c]};
        }
        const struct merge_number right = merge_out(count, lse, out);
        const double x = element_float(&merged->tensor[OUT], b, h, i, c);
        if (!check_number(x, whole->out[c], right.error)) {
            fail_msg("%d parts: element (%d, %d, %d, %d) is %.9g, expected %.9g within "
                     "%.3g",
                     (int)count, (int)b, (int)h, (int)i, (int)c, x, whole->out[c],
                     right.error);
        }
    }
}

/* Splits the keys at the places `at`, in ascending order, and merges the parts. Part
 * `sink` has the sink. */
static void split(const struct test_inputs *whole, const int64_t *at, int32_t count,
                  int32_t sink) {
    struct part *parts = calloc((size_t)count, sizeof *parts);
    const attn_tensor *outs[PARTS], *lses[PARTS];
    struct test_outputs merged;
    struct oracle_row row;
    const struct test_problem *problem = &whole->problem;
    const unsigned wanted = 1 << OUT | 1 << LSE;
    assert_non_null(parts);
    for (int32_t p = 0; p < count; p++) {
        const int64_t first = p > 0 ? at[p - 1] : 0;
        const int64_t end = p < count - 1 ? at[p] : problem->kv_length;
        cut(&parts[p], whole, first, end - first, p == sink);
        outputs_open(&parts[p].outputs, &parts[p].inputs.problem, wanted);
        run_forward(&parts[p].inputs, &parts[p].outputs);
        oracle_open(&parts[p].row, &parts[p].inputs.problem);
        outs[p] = &parts[p].outputs.tensor[OUT];
        lses[p] = &parts[p].outputs.tensor[LSE];
    }
    outputs_open(&merged, problem, wanted);
    oracle_open(&row, problem);
    if (attn_merge(NULL, count, outs, lses, &merged.tensor[OUT], &merged.tensor[LSE]) !=
        ATTN_OK) {
        fail_msg("%s", attn_last_error());
    }
    assert_true(outputs_whole(&merged));
    for (int64_t b = 0; b < problem->batch; b++) {
        for (int64_t h = 0; h < problem->q_heads; h++) {
            for (int64_t i = 0; i < problem->q_length; i++) {
                oracle_compute(&row, whole, b, h, i);
                check_row(parts, count, &merged, &row, b, h, i);
            }
        }
    }
    for (int32_t p = 0; p < count; p++) {
        oracle_close(&parts[p].row);
        outputs_close(&parts[p].outputs);
    }
    oracle_close(&row);
    outputs_close(&merged);
    free(parts);
}

static int compare(const void *a, const void *b) {
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Parts of any size, 0 included. */
static void split_anywhere(const struct test_inputs *whole, int32_t count,
                           struct random *random) {
    int64_t at[PARTS] = {0};
    for (int32_t p = 0; p < count - 1; p++) {
        at[p] = random_between(random, 0, whole->problem.kv_length);
    }
    qsort(at, (size_t)count - 1, sizeof *at, compare);
    split(whole, at, count, (int32_t)random_between(random, 0, count - 1));
}

static void any_split(void **state) {
    (void)state;
    static const char *const texts[] = {
        "b2 h4/2 q9 k40 d16/24",
        "b1 h2 q33 k150 d8/130 layout=bshd",
        "b2 h3 q17 k50 d8 causal align=offsets",
        "b2 h2/1 q20 k60 d8/16 window=12,5 align=offsets",
        "b2 h2 q20 k60 d8/16 causal window=12,0 align=offsets kvlens",
        "b2 h4 q9 k40 d16 causal align=offsets alibi",
        "b1 h4 q7 k300 d32/8 mask bias softcap=7",
        "b2 h2 q11 k44 d12 docs mask",
        "b2 h2 q11 k44 d12 ranks=upto kvlens qlens",
        "b2 h4/2 q13 k90 d16/24 sinks",
        "b2 h4 q13 k90 d16 sinks causal align=offsets kvlens scale=0.7",
        "b4 h8/2 q1 k500 d64 kvlens",
    };
    static const int32_t counts[] = {1, 2, 3, 7, 64};
    struct random random = random_stream(105, 0);
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        for (int data = 0; data < DATA_KINDS; data++) {
            struct test_problem problem = run_parse(texts[t]);
            struct test_inputs whole;
            problem.seed = t * 10 + (uint64_t)data;
            gen_inputs(&whole, &problem, data);
            for (size_t c = 0; c < COUNT_OF(counts); c += TEST_SHARE) {
                split_anywhere(&whole, counts[c], &random);
            }
            gen_free(&whole);
        }
    }
}

/* Blocks of keys that a causal mask hides from the first queries are empty there. */
static void blocks_after_the_diagonal(void **state) {
    (void)state;
    const struct test_problem problem =
        run_parse("b1 h2 q64 k64 d16 causal align=offsets seed=3");
    static const int64_t at[] = {16, 32, 48};
    struct test_inputs whole;
    gen_inputs(&whole, &problem, DATA_RANDOM);
    element_set_int(&whole.query_offsets, 0, 0, 0);
    split(&whole, at, 4, -1);
    element_set_int(&whole.query_offsets, 0, 0, -5); /* and some from all of them */
    split(&whole, at, 4, -1);
    gen_free(&whole);
}

/* A sink that every part has is counted once for each: as the header warns. */
static void a_sink_in_every_part(void **state) {
    (void)state;
    float zero[8] = {0}, one[4] = {1, 1, 1, 1}, x[2][4], l[2];
    attn_tensor query, key, value, sinks, outs[2], lses[2];
    const attn_tensor *out_list[2] = {&outs[0], &outs[1]};
    const attn_tensor *lse_list[2] = {&lses[0], &lses[1]};
    static const int64_t shape[4] = {1, 1, 1, 4};
    const struct test_problem with = run_parse("b1 h1 q1 k1 d4 sinks");
    const struct test_problem without = run_parse("b1 h1 q1 k1 d4");
    attn_context *context = run_context(&with);
    attn_plan *plans[2] = {run_plan(context, &with), run_plan(context, &without)};
    attn_tensor_init(&query, ATTN_F32, 4, shape, zero);
    attn_tensor_init(&key, ATTN_F32, 4, shape, zero + 4);
    attn_tensor_init(&value, ATTN_F32, 4, shape, one);
    attn_tensor_init(&sinks, ATTN_F32, 1, shape, zero); /* of weight 1 */
    for (int every = 0; every < 2; every++) {
        for (int p = 0; p < 2; p++) {
            const int sink = p == 0 || every;
            attn_forward_args args;
            attn_forward_args_init(&args, sizeof args);
            attn_tensor_init(&outs[p], ATTN_F32, 4, shape, x[p]);
            attn_tensor_init(&lses[p], ATTN_F32, 3, shape, &l[p]);
            args.query = &query;
            args.key = &key;
            args.value = &value;
            args.sinks = sink ? &sinks : NULL;
            args.out = &outs[p];
            args.lse = &lses[p];
            assert_int_equal(attn_plan_forward(plans[!sink], &args), ATTN_OK);
        }
        assert_int_equal(attn_merge(NULL, 2, out_list, lse_list, &outs[0], &lses[0]),
                         ATTN_OK);
        /* two keys and one sink share the weight, or two sinks */
        const double right = every ? 2.0 / 4 : 2.0 / 3;
        assert_true(fabs(x[0][0] - right) < 1e-6);
        assert_true(fabs(l[0] - log(every ? 4 : 3)) < 1e-6);
    }
    attn_plan_destroy(plans[0]);
    attn_plan_destroy(plans[1]);
    attn_context_destroy(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_split),
        cmocka_unit_test(blocks_after_the_diagonal),
        cmocka_unit_test(a_sink_in_every_part),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
