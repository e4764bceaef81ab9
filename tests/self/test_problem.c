/*
 * Problem strings: each word sets its member, what is written reads back as the same
 * problem, and nonsense is refused.
 */
#include <string.h>

#include "tests/support/compose.h"
#include "tests/support/run.h"

static void words_set_members(void **state) {
    (void)state;
    struct test_problem p = run_parse(
        "b2 h12/4 q512 k300 d64/32 causal align=br window=128,0 qlens kvlens docs "
        "prefix block=64x32 mask bias alibi sinks softcap=30 scale=0.5 dropout=0.25 "
        "relbias=32,128 bidir relkeys ubias vbias segments additive ranks=below "
        "qpacked kpacked query=f16 key=i8 value=bf16 out=f16 "
        "engine=flash layout=bshd threads=3 isa=avx2 seed=18446744073709551615");
    assert_int_equal(p.batch, 2);
    assert_int_equal(p.q_heads, 12);
    assert_int_equal(p.kv_heads, 4);
    assert_int_equal(p.q_length, 512);
    assert_int_equal(p.kv_length, 300);
    assert_int_equal(p.key_dim, 64);
    assert_int_equal(p.value_dim, 32);
    assert_int_equal(p.causal, 1);
    assert_int_equal(p.alignment, ATTN_ALIGN_BOTTOM_RIGHT);
    assert_int_equal(p.left, 128);
    assert_int_equal(p.right, 0);
    assert_true(p.q_lengths && p.kv_lengths && p.documents && p.prefix);
    assert_int_equal(p.q_block, 64);
    assert_int_equal(p.k_block, 32);
    assert_true(p.mask && p.bias && p.alibi && p.sinks && p.has_scale);
    assert_true(p.softcap == 30.0f && p.scale == 0.5f && p.dropout == 0.25f);
    assert_int_equal(p.buckets, 32);
    assert_int_equal(p.max_distance, 128);
    assert_true(p.bidirectional && p.relative_keys && p.content_bias);
    assert_true(p.position_bias && p.segments && p.additive);
    assert_int_equal(p.ranks, ATTN_RANKS_BELOW);
    assert_true(p.q_packed && p.k_packed);
    assert_int_equal(p.query_type, STORE_F16);
    assert_int_equal(p.key_type, STORE_I8);
    assert_int_equal(p.value_type, STORE_BF16);
    assert_int_equal(p.out_type, STORE_F16);
    assert_int_equal(p.engine, ATTN_ENGINE_FLASH);
    assert_int_equal(p.layout, LAYOUT_BSHD);
    assert_int_equal(p.threads, 3);
    assert_int_equal(p.isa, ATTN_ISA_AVX2);
    assert_true(p.seed == UINT64_MAX);
}

static void missing_words_have_defaults(void **state) {
    (void)state;
    struct test_problem p = run_parse("  h6 q17\td40 ");
    assert_int_equal(p.batch, 1);
    assert_int_equal(p.q_heads, 6);
    assert_int_equal(p.kv_heads, 6);
    assert_int_equal(p.kv_length, 17);
    assert_int_equal(p.value_dim, 40);
    assert_int_equal(p.left, -1);
    assert_int_equal(p.right, -1);
    assert_true(!p.causal && !p.has_scale && p.q_block == 0 && p.softcap == 0);
    assert_true(p.buckets == 0 && !p.relative_keys && p.ranks == ATTN_RANKS_OFF);
    assert_int_equal(p.alignment, ATTN_ALIGN_TOP_LEFT);
    p = run_parse("q0 k5");
    assert_int_equal(p.q_length, 0);
    assert_int_equal(p.kv_length, 5);
    p = run_parse("align=offsets engine=auto window=-1,7");
    assert_int_equal(p.alignment, ATTN_ALIGN_OFFSETS);
    assert_int_equal(p.left, -1);
    assert_int_equal(p.right, 7);
    assert_int_equal(run_parse("align=kvlens").alignment, ATTN_ALIGN_KV_LENGTHS);
    assert_int_equal(run_parse("engine=decode").engine, ATTN_ENGINE_DECODE);
}

static void nonsense_is_refused(void **state) {
    (void)state;
    static const char *const texts[] = {"x3",
                                        "b",
                                        "b-1",
                                        "q1.5",
                                        "h6/4",
                                        "h0",
                                        "d0",
                                        "causal=1",
                                        "align",
                                        "align=up",
                                        "window=3",
                                        "window=1;2",
                                        "window=-2,0",
                                        "block=8",
                                        "block=8x-1",
                                        "softcap=",
                                        "softcap=1x",
                                        "dropout",
                                        "dropout=some",
                                        "relbias",
                                        "relbias=32",
                                        "relbias=32x128",
                                        "relbias=-1,5",
                                        "bidir=1",
                                        "ranks",
                                        "ranks=up",
                                        "segments=2",
                                        "threads=-1",
                                        "threads=2x",
                                        "seed=-1",
                                        "isa=sse",
                                        "engine=fast",
                                        "query=i8",
                                        "out=i8",
                                        "key=f64",
                                        "layout=sbhd",
                                        "q99999999999999999999",
                                        "masked",
                                        "d64/",
                                        "d64/32/16",
                                        "h4294967297",
                                        "seed=99999999999999999999"};
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        struct test_problem p = {.batch = 77};
        if (problem_parse(&p, texts[t]) == NULL) {
            fail_msg("\"%s\" was read as a problem", texts[t]);
        }
        assert_int_equal(p.batch, 77);
    }
}

static void shortest_text(void **state) {
    (void)state;
    static const char *const texts[][2] = {
        {"", ""},
        {"b1 q1 k1 d1/1 align=tl window=-1,-1", ""},
        {"k40 q40 h3/3 d64/64", "h3 q40 d64"},
        {"scale=0", "scale=0"},
        {"k0 q1", "k0"},
        {"scale=0.1 softcap=1e3", "softcap=1e+03 scale=0.1"},
        {"ranks=off", ""},
        {"ranks=upto vbias relkeys bidir relbias=4,9",
         "relbias=4,9 bidir relkeys vbias ranks=upto"},
        {"out=bf16 key=i8 query=f32", "key=i8 out=bf16"},
        {"dropout=1e-1 scale=2", "scale=2 dropout=0.1"},
        {"seed=3 sinks q7 h4/2 block=8x16", "h4/2 q7 block=8x16 sinks seed=3"}};
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        char text[256];
        struct test_problem p = run_parse(texts[t][0]);
        assert_int_equal(problem_format(&p, text, sizeof text), strlen(texts[t][1]));
        assert_string_equal(text, texts[t][1]);
    }
}

static void format_works_like_snprintf(void **state) {
    (void)state;
    struct test_problem p = run_parse("b12 causal");
    char text[16] = "################";
    assert_int_equal(problem_format(&p, NULL, 0), 10);
    assert_int_equal(problem_format(&p, text, 6), 10);
    assert_string_equal(text, "b12 c");
    assert_int_equal(text[6], '#');
    assert_int_equal(problem_format(&p, text, 11), 10);
    assert_string_equal(text, "b12 causal");
}

static void text_reads_back(void **state) {
    (void)state;
    for (uint64_t number = 0; number < 2000; number++) {
        int data;
        char text[512], again[512];
        struct test_problem p = compose_problem(number, &data), back;
        assert_true(problem_format(&p, text, sizeof text) < sizeof text);
        back = run_parse(text);
        problem_format(&back, again, sizeof again);
        assert_string_equal(text, again);
        assert_int_equal(p.kv_length, back.kv_length);
        assert_int_equal(p.alignment, back.alignment);
        assert_true(p.softcap == back.softcap && p.scale == back.scale);
        assert_true(p.dropout == back.dropout);
        assert_true(p.seed == back.seed);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_set_members),
        cmocka_unit_test(missing_words_have_defaults),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(shortest_text),
        cmocka_unit_test(format_works_like_snprintf),
        cmocka_unit_test(text_reads_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
