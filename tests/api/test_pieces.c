/*
 * Rows of which no pieces of bfloat16 can be made, beside others: results are within
 * the bounds of all kernels, and rows that do not meet them keep their bits. Numbers
 * that are bfloat16 are within the same bounds.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/call.h"
#include "tests/support/check.h"
#include "tests/support/element.h"
#include "tests/support/run.h"

/* A row of a head of one tensor, and what it is multiplied with. */
struct odd {
    enum { KEY, QUERY, VALUE } what;
    int64_t row;
    float factor;
};

static void spoil(struct test_call *call, const struct odd *odd) {
    struct test_inputs *inputs = &call->inputs;
    const attn_tensor *tensor = odd->what == KEY     ? &inputs->key
                                : odd->what == QUERY ? &inputs->query
                                                     : &inputs->value;
    for (int64_t c = 0; c < tensor->shape[3]; c++) {
        element_put(tensor->dtype, element_at(tensor, 0, 1, odd->row, c),
                    element_float(tensor, 0, 1, odd->row, c) * odd->factor);
    }
}

/* Queries before a key or value do not attend it, and others are not the query. */
static void need_same_rows(const struct test_call *before,
                           const struct test_call *after, const struct odd *odd) {
    const struct test_problem *p = &before->inputs.problem;
    for (int64_t i = 0; i < p->q_length; i++) {
        if (i < odd->row || (odd->what == QUERY && i != odd->row)) {
            const float *right = element_at(&before->outputs.tensor[OUT], 0, 1, i, 0);
            assert_memory_equal(element_at(&after->outputs.tensor[OUT], 0, 1, i, 0),
                                right, (size_t)p->value_dim * sizeof *right);
        }
    }
}

static void beside_others(void **state) {
    (void)state;
    static const char bf16[] =
        "h2 q180 k180 d40/48 causal query=bf16 key=bf16 value=bf16 seed=1";
    static const char *const texts[] = {"h2 q180 k180 d40/48 causal seed=1",
                                        "h2 q700 k700 d64/33 causal seed=2", bf16};
    static const struct odd odds[] = {
        {KEY, 70, 0x1p-60f},    {KEY, 71, 0x1p-120f},   {KEY, 95, 0x1p70f},
        {QUERY, 65, 0x1p-70f},  {QUERY, 66, 0x1p-130f}, {QUERY, 130, 0x1p80f},
        {VALUE, 40, 0x1p-110f}, {VALUE, 41, 0x1p-140f}, {VALUE, 90, 0x1p60f},
        {VALUE, 177, 0x1p100f},
    };
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        for (size_t o = 0; o < COUNT_OF(odds); o++) {
            struct test_call before, after;
            call_open(&before, texts[t], ALL_OUTPUTS);
            call_open(&after, texts[t], ALL_OUTPUTS);
            spoil(&after, &odds[o]);
            call_run(&before);
            call_run(&after);
            assert_int_equal(check_outputs(&after.inputs, &after.outputs), 0);
            need_same_rows(&before, &after, &odds[o]);
            call_close(&before);
            call_close(&after);
        }
    }
}

/* Of one kind all rows but one: what is left out must not be lost either. */
static void most_of_them(void **state) {
    (void)state;
    static const struct odd kinds[] = {{KEY, 0, 0x1p-55f},
                                       {QUERY, 0, 0x1p-55f},
                                       {VALUE, 0, 0x1p-105f},
                                       {VALUE, 0, 0x1p45f}};
    for (size_t kind = 0; kind < COUNT_OF(kinds); kind++) {
        struct test_call call;
        call_open(&call, "h2 q160 k320 d64 seed=3", ALL_OUTPUTS);
        for (int64_t row = 1; row < 160; row++) {
            struct odd odd = kinds[kind];
            odd.row = row;
            spoil(&call, &odd);
        }
        call_run(&call);
        assert_int_equal(check_outputs(&call.inputs, &call.outputs), 0);
        call_close(&call);
    }
}

/* The sums of values that come to less than floats hold, in one product or beside odd
 * values: a masked one changes no bit. */
static void next_to_nothing(void **state) {
    (void)state;
    static const float sizes[] = {0x1p-95f, 0x1p-96f, 0x1p-97f, 0x1p-98f, 0x1p-99f};
    for (size_t s = 0; s < COUNT_OF(sizes); s++) {
        struct test_call clean, dirty;
        call_open(&clean, "h2 q200 k200 d64 causal scale=0.7 seed=4", ONLY_OUT);
        call_open(&dirty, "h2 q200 k200 d64 causal scale=0.7 seed=4", ONLY_OUT);
        struct test_call *both[] = {&clean, &dirty};
        for (int c = 0; c < 2; c++) {
            for (int64_t j = 0; j < 200; j++) {
                float *value = element_at(&both[c]->inputs.value, 0, 1, j, 0);
                float *key = element_at(&both[c]->inputs.key, 0, 1, j, 0);
                for (int d = 0; d < 64; d++) {
                    value[d] = j == 0 ? 0.0f : -sizes[s];
                    key[d] = j == 0 ? 4.0f : 0.0f;
                }
                float *query = element_at(&both[c]->inputs.query, 0, 1, j, 0);
                for (int d = 0; d < 64; d++) {
                    query[d] = 0.17f;
                }
            }
        }
        memset(element_at(&dirty.inputs.value, 0, 1, 199, 0), 0xff, 64 * sizeof(float));
        call_run(&clean);
        call_run(&dirty);
        for (int64_t i = 0; i < 199; i++) {
            assert_memory_equal(element_at(&clean.outputs.tensor[OUT], 0, 1, i, 0),
                                element_at(&dirty.outputs.tensor[OUT], 0, 1, i, 0),
                                64 * sizeof(float));
        }
        call_close(&clean);
        call_close(&dirty);
    }
}

/* bfloat16, of which a number is one piece, with everything else that meets it; scales
 * are powers of two and others. */
static void stored_in_16_bits(void **state) {
    (void)state;
    static const char *const texts[] = {
        "h2 q64 k64 d64",
        "h2 q33 k95 d40/48",
        "h4/2 q100 k100 d80 causal softcap=20",
        "h2 q300 k300 d64 causal",
        "b2 h2 q140 k130 d96/33 bias kvlens",
        "h2 q90 k600 d128 window=100,20",
        "h2 q150 k150 d64 scale=-0.3 alibi",
        "h2 q150 k200 d32 ubias relkeys",
    };
    static const char *const types[] = {"query=bf16 key=bf16 value=bf16",
                                        "query=bf16 key=bf16 value=bf16 out=bf16",
                                        "query=bf16 value=bf16", "key=bf16"};
    int wrong = 0;
    for (size_t n = 0; n < COUNT_OF(types) * COUNT_OF(texts); n++) {
        char text[160];
        snprintf(text, sizeof text, "%s %s seed=%d", texts[n / COUNT_OF(types)],
                 types[n % COUNT_OF(types)], (int)n);
        wrong += run_text(text, n % 2 == 0 ? DATA_RANDOM : (int)(n % DATA_KINDS));
    }
    assert_int_equal(wrong, 0);
}

/* Weights are rounded only where query, key, value and out are bfloat16. Of the same
 * numbers and a scale that is a power of two, other results have the same bits. */
static void weights_are_exact(void **state) {
    (void)state;
    static const char *const texts[] = {"h2 q200 k300 d64", "h2 q150 k700 d64/48"};
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        char text[160];
        struct test_call floats, stored, rounded;
        snprintf(text, sizeof text, "%s key=bf16 value=bf16 seed=%d", texts[t], (int)t);
        struct test_problem problem = run_parse(text);
        problem.query_type = STORE_BF16;
        call_open_on(&stored, NULL, &problem, DATA_RANDOM, ONLY_OUT);
        problem.query_type = STORE_F32;
        call_open_on(&floats, NULL, &problem, DATA_RANDOM, ONLY_OUT);
        problem.out_type = STORE_BF16;
        call_open_on(&rounded, NULL, &problem, DATA_RANDOM, ONLY_OUT);
        const attn_tensor *query = &stored.inputs.query,
                          *out = &floats.outputs.tensor[OUT];
        for (int64_t n = 0; n < element_count(query); n++) {
            int64_t i[4];
            element_index(query, n, i);
            const float x = element_float(query, i[0], i[1], i[2], i[3]);
            element_put(ATTN_F32, element_nth(&floats.inputs.query, n), x);
            element_put(ATTN_F32, element_nth(&rounded.inputs.query, n), x);
        }
        call_run(&floats);
        call_run(&stored);
        call_run(&rounded);
        assert_true(call_same(&floats, &stored));
        for (int64_t n = 0; n < element_count(out); n++) {
            uint16_t right;
            element_put(ATTN_BF16, &right, *(float *)element_nth(out, n));
            assert_memory_equal(element_nth(&rounded.outputs.tensor[OUT], n), &right,
                                sizeof right);
        }
        call_close(&floats);
        call_close(&stored);
        call_close(&rounded);
    }
}

/* Queries of 0 in bfloat16, which no scale makes anything else. */
static void extreme_scales(void **state) {
    (void)state;
    static const char *const scales[] = {"3e38", "-2e38", "1.7e38",
                                         "0",    "3e-45", "1e-39"};
    for (size_t n = 0; n < COUNT_OF(scales); n++) {
        char text[160];
        struct test_call call;
        snprintf(text, sizeof text,
                 "q80 k90 d64 query=bf16 key=bf16 value=bf16 scale=%s seed=%d",
                 scales[n], (int)n);
        call_open(&call, text, ALL_OUTPUTS);
        for (int64_t i = 0; i < 80; i++) {
            memset(element_at(&call.inputs.query, 0, 0, i, 0), 0,
                   64 * sizeof(uint16_t));
        }
        call_run(&call);
        assert_int_equal(check_outputs(&call.inputs, &call.outputs), 0);
        call_close(&call);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(beside_others),   cmocka_unit_test(most_of_them),
        cmocka_unit_test(next_to_nothing), cmocka_unit_test(stored_in_16_bits),
        cmocka_unit_test(extreme_scales),  cmocka_unit_test(weights_are_exact),
    };
    int skip = run_skip_isa();
    return skip != 0 ? skip : cmocka_run_group_tests(tests, NULL, NULL);
}
