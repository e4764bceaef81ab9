/*
 * Nothing outside the tensors is touched, and nothing beyond the lengths is read: each
 * tensor lies between pages that cannot be, and what the lengths leave out lies on
 * them.
 */
#include <stdio.h>
#include <string.h>

#include "tests/support/call.h"
#include "tests/support/check.h"
#include "tests/support/element.h"
#include "tests/support/fence.h"
#include "tests/support/run.h"

static const char *const texts[] = {
    "b2 h4/2 q37 k75 d17/9 causal align=br seed=1",
    "b2 h2 q70 k131 d64/40 qlens kvlens docs layout=bshd seed=2",
    "h3 q33 k65 d3/1 mask bias block=7x9 alibi sinks softcap=5 seed=3",
    "b2 h4/1 q1 k259 d128 causal prefix align=offsets dropout=0.1 seed=4",
    "q300 k517 d40/33 seed=5",
    "h2 q5 k31 d1 bias seed=6",
    "b2 h4/2 q37 k150 d17 relkeys ubias vbias relbias=9,30 seed=7",
    "b2 h2 q70 k60 d9 relkeys segments ranks=below layout=bshd seed=8",
    "b2 h4/2 q3 k75 d17/9 query=f16 key=i8 value=bf16 out=f16 seed=9",
    "b2 h2 q37 k131 d33 query=bf16 key=f16 value=i8 out=bf16 mask layout=bshd seed=10",
    "h6/2 q1 k300 d40/65 key=bf16 value=i8 causal align=br seed=11",
    "h2 q9 k140 d24/15 key=i8 value=f16 out=f16 kvlens seed=12",
    "b4 h2 q20 k90 d24 qpacked kpacked causal align=br seed=13",
    "b5 h4/2 q3 k400 d17 qpacked kpacked key=i8 value=f16 layout=bshd seed=14",
    "b3 h2 q40 k50 d8/3 kpacked qlens out=bf16 seed=15"};

static void tensors_between_pages(void **state) {
    (void)state;
    for (size_t n = 0; n < COUNT_OF(texts) * 8; n++) {
        struct test_call call;
        struct test_problem problem = run_parse(texts[n / 8]);
        problem.engine = (int32_t)(n / 2 % 4);
        call_open_on(&call, NULL, &problem, DATA_RANDOM, ALL_OUTPUTS);
        call_run(&call);
        struct test_call moved = call;
        int at_end = n % 2 == 0;
        attn_tensor *inputs[] = {
            &moved.inputs.query,          &moved.inputs.key,
            &moved.inputs.value,          &moved.inputs.q_lengths,
            &moved.inputs.kv_lengths,     &moved.inputs.query_offsets,
            &moved.inputs.prefix_lengths, &moved.inputs.q_documents,
            &moved.inputs.k_documents,    &moved.inputs.block_mask,
            &moved.inputs.mask,           &moved.inputs.bias,
            &moved.inputs.alibi_slopes,   &moved.inputs.sinks,
            &moved.inputs.rng_indices,    &moved.inputs.relative_bias,
            &moved.inputs.relative_keys,  &moved.inputs.content_bias,
            &moved.inputs.position_bias,  &moved.inputs.q_segments,
            &moved.inputs.k_segments,     &moved.inputs.segment_keys,
            &moved.inputs.segment_bias,   &moved.inputs.q_ranks,
            &moved.inputs.k_ranks,        &moved.inputs.key_scales,
            &moved.inputs.value_scales,   &moved.inputs.q_starts,
            &moved.inputs.k_starts,       &moved.inputs.score_vector};
        _Static_assert(COUNT_OF(inputs) == GEN_TENSORS, "all are listed");
        for (size_t t = 0; t < COUNT_OF(inputs); t++) {
            fence_tensor(inputs[t], at_end, 1);
        }
        for (int o = 0; o < OUTPUTS; o++) {
            fence_tensor(&moved.outputs.tensor[o], at_end, 0);
        }
        run_args(&moved.args, &moved.inputs, &moved.outputs);
        call_run(&moved);
        /* Alignment differs, so only the oracle can judge. */
        memset(moved.outputs.block, 0, sizeof moved.outputs.block);
        assert_int_equal(check_outputs(&moved.inputs, &moved.outputs), 0);
        fence_free();
        call_close(&call);
    }
}

/* Rows of query, key and value beyond the lengths lie on a page that is not there, and
 * so do documents, segments, ranks, mask and bias. */
static void nothing_beyond_the_lengths_is_read(void **state) {
    (void)state;
    static const char *const words[] = {"",
                                        "causal align=br",
                                        "docs",
                                        "bias",
                                        "mask",
                                        "segments",
                                        "ranks=upto",
                                        "relkeys vbias relbias=4,9",
                                        "query=f16 key=i8 value=bf16",
                                        "query=bf16 key=f16 value=i8"};
    static const struct fence_cut cuts[] = {{90, 41}, {300, 77}};
    for (size_t n = 0; n < COUNT_OF(words) * 4; n++) {
        char text[128];
        struct test_call call, trimmed;
        snprintf(text, sizeof text, "q90 k300 d24 qlens kvlens %s", words[n / 4]);
        struct test_problem problem = run_parse(text);
        problem.engine = (int32_t)(n % 4);
        call_open_on(&call, NULL, &problem, DATA_RANDOM, ALL_OUTPUTS);
        int64_t q_length[1] = {41}, kv_length[1] = {77};
        call.inputs.q_lengths.dtype = call.inputs.kv_lengths.dtype = ATTN_I64;
        call.inputs.q_lengths.data = q_length;
        call.inputs.kv_lengths.data = kv_length;
        call_run(&call);
        trimmed = call;
        attn_tensor *tensors[] = {
            &trimmed.inputs.query,       &trimmed.inputs.key,
            &trimmed.inputs.value,       &trimmed.inputs.q_documents,
            &trimmed.inputs.k_documents, &trimmed.inputs.mask,
            &trimmed.inputs.bias,        &trimmed.inputs.q_segments,
            &trimmed.inputs.k_segments,  &trimmed.inputs.q_ranks,
            &trimmed.inputs.k_ranks,     &trimmed.inputs.key_scales,
            &trimmed.inputs.value_scales};
        for (size_t t = 0; t < COUNT_OF(tensors); t++) {
            fence_beyond(tensors[t], cuts, COUNT_OF(cuts));
        }
        run_args(&trimmed.args, &trimmed.inputs, &trimmed.outputs);
        call_run(&trimmed);
        assert_int_equal(check_outputs(&call.inputs, &trimmed.outputs), 0);
        fence_free();
        call_close(&call);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_between_pages),
        cmocka_unit_test(nothing_beyond_the_lengths_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
