/*
 * Packed sequences: one after the other without padding, of any length, rows that
 * belong to none left alone. By every engine against the oracle, and bit for bit what
 * each sequence gives alone.
 */
#include <stdio.h>
#include <string.h>

#include "tests/support/call.h"
#include "tests/support/check.h"
#include "tests/support/element.h"
#include "tests/support/fence.h"
#include "tests/support/rows.h"
#include "tests/support/run.h"

static const char *const words[] = {"",
                                    "causal",
                                    "causal align=br",
                                    "causal align=offsets",
                                    "causal align=kvlens",
                                    "causal prefix align=br",
                                    "window=9,4 align=br",
                                    "alibi align=br",
                                    "sinks causal align=br",
                                    "softcap=2 scale=-0.3",
                                    "dropout=0.4 causal",
                                    "relbias=32,128 bidir align=br",
                                    "relkeys ubias vbias causal align=br",
                                    "query=f16 key=i8 value=bf16 out=f16 causal",
                                    "value=i8 out=bf16 sinks window=30,-1 align=br"};

static void masks_and_terms(void **state) {
    (void)state;
    static const char *const sizes[] = {"b5 h2 q90 k150 d16", "b4 h4/2 q7 k1300 d24",
                                        "b3 h6/2 q40 k40 d17/8 layout=bshd"};
    static const char *const sides[] = {"qpacked kpacked", "qpacked kpacked",
                                        "qpacked kvlens", "kpacked qlens"};
    int wrong = 0;
    for (size_t n = 0; n < COUNT_OF(words) * 12; n += TEST_SHARE) {
        char text[200];
        snprintf(text, sizeof text, "%s %s %s seed=%d", sizes[n % 3], sides[n % 4],
                 words[n / 12], (int)n);
        wrong += run_text(text, DATA_RANDOM);
    }
    assert_int_equal(wrong, 0);
}

static void sizes_of_zero(void **state) {
    (void)state;
    static const char *const texts[] = {"b0 h2 q5 k7 d4 qpacked kpacked",
                                        "b3 q0 k7 d4 qpacked kpacked sinks",
                                        "b3 h2 q5 k0 d4 qpacked kpacked sinks",
                                        "b2 q0 k0 d3 qpacked kpacked",
                                        "b2 q5 k0 d4 kpacked",
                                        "b0 q3 k3 d8 qpacked key=i8"};
    int wrong = 0;
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        for (int seed = 0; seed < 4; seed++) {
            char text[128];
            snprintf(text, sizeof text, "%s seed=%d", texts[t], seed);
            wrong += run_text(text, DATA_RANDOM);
        }
    }
    assert_int_equal(wrong, 0);
}

/* ------------------------------------------------------------ sequences alone */

/* Points the tensors of a call of one sequence to those of sequence b of another. */
static void share(struct test_call *alone, const struct test_call *all, int64_t b) {
    const struct test_inputs *from = &all->inputs;
    struct test_inputs *to = &alone->inputs;
    const struct rows_place q = rows_of_query(from, b, 0), k = rows_of_key(from, b, 0);
    const struct {
        attn_tensor *to;
        const attn_tensor *from;
        struct rows_place place;
    } tensors[] = {{&to->query, &from->query, q},
                   {&to->key, &from->key, k},
                   {&to->value, &from->value, k}};
    for (size_t t = 0; t < COUNT_OF(tensors); t++) {
        tensors[t].to->data =
            element_at(tensors[t].from, tensors[t].place.b, 0, tensors[t].place.i, 0);
        memcpy(tensors[t].to->stride, tensors[t].from->stride,
               sizeof tensors[t].to->stride);
    }
    const attn_tensor *scales[] = {&from->key_scales, &from->value_scales};
    attn_tensor *own[] = {&to->key_scales, &to->value_scales};
    for (size_t s = 0; s < COUNT_OF(scales); s++) {
        *own[s] = *scales[s];
        if (scales[s]->rank > 0 && scales[s]->shape[scales[s]->rank - 1] > 1) {
            own[s]->data = element_at(scales[s], 0, 0, 0, k.i);
            own[s]->shape[scales[s]->rank - 1] = to->problem.kv_length;
        }
    }
    to->sinks = from->sinks;
    to->relative_bias = from->relative_bias;
    alone->args.dropout_seed = from->dropout_seed;
}

static void compare_rows(const struct test_call *alone, const struct test_call *all,
                         int64_t b) {
    const struct test_problem *p = &alone->inputs.problem;
    const int64_t first = rows_of_query(&all->inputs, b, 0).i;
    for (int64_t n = 0; n < p->q_heads * p->q_length; n++) {
        const int64_t h = n / p->q_length, i = n % p->q_length;
        const attn_tensor *out = &alone->outputs.tensor[OUT];
        assert_memory_equal(element_at(out, 0, h, i, 0),
                            element_at(&all->outputs.tensor[OUT], 0, h, first + i, 0),
                            (size_t)p->value_dim * element_size(out->dtype));
        for (int o = LSE; o <= ROW_SUM; o++) {
            assert_memory_equal(element_at(&alone->outputs.tensor[o], 0, 0, h, i),
                                element_at(&all->outputs.tensor[o], 0, 0, h, first + i),
                                sizeof(float));
        }
    }
}

static void as_each_sequence_alone(void **state) {
    (void)state;
    static const char *const texts[] = {
        "b6 h4/2 q100 k300 d24 causal align=br sinks seed=1",
        "b6 h4/2 q8 k2500 d64 align=br relbias=32,128 seed=2",
        "b5 h3 q150 k700 d32/40 window=40,9 align=br layout=bshd seed=3",
        "b6 h4/2 q9 k1300 d16 key=i8 value=f16 query=bf16 out=f16 seed=4",
        "b6 h2 q130 k130 d16 causal softcap=3 key=f16 value=i8 out=bf16 seed=5"};
    static const char *const engines[] = {"auto", "dense", "flash", "decode"};
    for (size_t n = 0; n < COUNT_OF(texts) * COUNT_OF(engines); n++) {
        char text[200];
        struct test_call all;
        snprintf(text, sizeof text, "%s engine=%s qpacked kpacked",
                 texts[n / COUNT_OF(engines)], engines[n % COUNT_OF(engines)]);
        call_open(&all, text, ROW_OUTPUTS);
        call_run(&all);
        assert_int_equal(check_outputs(&all.inputs, &all.outputs), 0);
        for (int64_t b = 0; b < all.inputs.problem.batch; b++) {
            struct test_problem problem = all.inputs.problem;
            struct test_call alone;
            problem.batch = 1;
            problem.q_packed = problem.k_packed = 0;
            problem.q_length = element_int(&all.inputs.q_starts, 0, b + 1) -
                               element_int(&all.inputs.q_starts, 0, b);
            problem.kv_length = element_int(&all.inputs.k_starts, 0, b + 1) -
                                element_int(&all.inputs.k_starts, 0, b);
            call_open_on(&alone, NULL, &problem, DATA_RANDOM, ROW_OUTPUTS);
            share(&alone, &all, b);
            call_run(&alone);
            compare_rows(&alone, &all, b);
            call_close(&alone);
        }
        call_close(&all);
    }
}

/* ----------------------------------------------------------------- how it is run */

/* Some sequences of one query and some of many, shared by threads as they come. */
static void number_of_threads(void **state) {
    (void)state;
    static const char *const texts[] = {
        "b7 h4/2 q200 k700 d64 causal align=br qpacked kpacked seed=1",
        "b2 h2/1 q3 k20000 d64 causal align=br qpacked kpacked sinks seed=2",
        "b3 h2/1 q2 k20000 d64 qpacked kpacked key=f16 value=i8 out=f16 seed=3",
        "b2 q1 k20000 d64 kpacked window=100,0 align=br seed=4",
        "b9 h2 q60 k60 d32 qpacked kpacked dropout=0.3 seed=5"};
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        struct test_problem problem = run_parse(texts[t]);
        struct test_call one;
        problem.threads = 1;
        call_open_on(&one, NULL, &problem, DATA_RANDOM, ROW_OUTPUTS);
        for (problem.threads = 2; problem.threads <= 4; problem.threads++) {
            struct test_call many;
            call_open_on(&many, NULL, &problem, DATA_RANDOM, ROW_OUTPUTS);
            call_need_same(&one, &many);
            assert_true(outputs_whole(&many.outputs));
            call_close(&many);
        }
        call_close(&one);
    }
}

/* The rows before all sequences and after them lie on pages that are not there. */
static void cut(attn_tensor *tensor, struct gen_packing packing, int row, int at_end,
                int copy) {
    const attn_tensor whole = *tensor;
    if (tensor->rank == 0 || tensor->shape[row] != packing.rows) {
        return;
    }
    int64_t before = tensor->shape[row] > 1 ? packing.first * tensor->stride[row] : 0;
    before *= (int64_t)element_size(tensor->dtype);
    tensor->data = (char *)tensor->data + before;
    tensor->shape[row] = packing.end - packing.first;
    fence_tensor(tensor, at_end, copy);
    tensor->data = (char *)tensor->data - before;
    memcpy(tensor->shape, whole.shape, sizeof whole.shape);
}

static void rows_of_no_sequence_are_not_touched(void **state) {
    (void)state;
    static const char *const texts[] = {
        "b4 q30 k90 d24 qpacked kpacked causal align=br",
        "b3 h4/2 q3 k700 d16 qpacked kpacked layout=bshd",
        "b3 h2/1 q5 k200 d17 qpacked kpacked key=i8 value=f16 out=f16 layout=bshd",
        "b5 h2 q40 k60 d8 qpacked kpacked value=i8 out=bf16 layout=bshd"};
    int cases = 0;
    for (size_t n = 0; n < COUNT_OF(texts) * 24; n += TEST_SHARE) {
        char text[160];
        struct test_call call;
        snprintf(text, sizeof text, "%s engine=%s seed=%d", texts[n / 24],
                 n % 3 == 0   ? "auto"
                 : n % 3 == 1 ? "flash"
                              : "decode",
                 (int)n);
        call_open(&call, text, ROW_OUTPUTS);
        const struct test_problem *p = &call.inputs.problem;
        const struct gen_packing q = gen_pack_queries(p, NULL);
        const struct gen_packing k = gen_pack_keys(p, NULL);
        const int at_end = n / 3 % 2 == 0;
        if (q.end > q.first && k.end > k.first) {
            cases += q.first > 0 || k.first > 0 || q.end < q.rows || k.end < k.rows;
            cut(&call.inputs.query, q, 2, at_end, 1);
            cut(&call.inputs.key, k, 2, at_end, 1);
            cut(&call.inputs.value, k, 2, at_end, 1);
            cut(&call.inputs.key_scales, k, call.inputs.key_scales.rank - 1, at_end, 1);
            cut(&call.inputs.value_scales, k, call.inputs.value_scales.rank - 1, at_end,
                1);
            cut(&call.outputs.tensor[OUT], q, 2, at_end, 0);
            run_args(&call.args, &call.inputs, &call.outputs);
            run_need(attn_plan_forward(call.plan, &call.args), p, "attn_plan_forward");
            /* only numbers can be looked at where the memory around them is gone */
            struct test_outputs outputs = call.outputs;
            memset(outputs.block, 0, sizeof outputs.block);
            assert_int_equal(check_outputs(&call.inputs, &outputs), 0);
        }
        fence_free();
        call_close(&call);
    }
    assert_true(cases > 30 / TEST_SHARE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(masks_and_terms),
        cmocka_unit_test(sizes_of_zero),
        cmocka_unit_test(as_each_sequence_alone),
        cmocka_unit_test(number_of_threads),
        cmocka_unit_test(rows_of_no_sequence_are_not_touched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
