/*
 * Gradients with each mask and score term alone, on several geometries and seeds,
 * against the oracle.
 */
#include <stdio.h>

#include "tests/support/backward.h"
#include "tests/support/run.h"

/* Within one tile, across tiles, few queries, more queries than keys, grouped heads. */
static const char *const sizes[] = {"b2 h2 q20 k33 d16", "q150 k300 d24",
                                    "h2 q1 k270 d8", "q270 k60 d8",
                                    "b2 h4/2 q65 k129 d32 layout=bshd"};

static int check_words(const char *words) {
    static size_t turn; /* goes on from words to words, so that a share has all sizes */
    int wrong = 0;
    for (size_t n = 0; n < 2 * COUNT_OF(sizes); n++) {
        if (turn++ % TEST_SHARE == 0) {
            char text[256];
            snprintf(text, sizeof text, "%s %s seed=%d", sizes[n / 2], words,
                     (int)(n % 2 + 1));
            struct test_problem problem = run_parse(text);
            wrong += backward_run_and_check(&problem, DATA_RANDOM,
                                            n % 2 ? ALL_INCOMING : ONLY_OF_OUT,
                                            ALL_GRADIENTS);
        }
    }
    return wrong;
}

#define MASK_TEST(name, ...)                                                           \
    static void name(void **state) {                                                   \
        static const char *const words[] = {__VA_ARGS__};                              \
        int wrong = 0;                                                                 \
        (void)state;                                                                   \
        for (size_t w = 0; w < COUNT_OF(words); w++) {                                 \
            wrong += check_words(words[w]);                                            \
        }                                                                              \
        assert_int_equal(wrong, 0);                                                    \
    }

MASK_TEST(causal, "causal", "causal align=br", "causal align=offsets",
          "causal align=kvlens kvlens")
MASK_TEST(window, "window=0,0", "window=64,0", "window=-1,2", "window=100,-1 align=br",
          "window=7,7 align=offsets", "window=3,9 kvlens align=kvlens",
          "causal window=16,16")
MASK_TEST(lengths, "qlens", "kvlens", "qlens kvlens", "causal align=br qlens kvlens")
MASK_TEST(documents, "docs", "docs causal", "docs qlens kvlens")
MASK_TEST(prefix, "causal prefix", "causal prefix align=br",
          "causal prefix window=10,-1")
MASK_TEST(block_mask, "block=16x16", "block=1x1", "block=64x100", "block=7x50 causal")
MASK_TEST(boolean_mask, "mask", "mask causal", "mask kvlens")
MASK_TEST(bias, "bias", "bias causal", "bias softcap=3", "bias qlens kvlens")
MASK_TEST(alibi, "alibi", "alibi causal align=br", "alibi align=offsets",
          "alibi bias softcap=5", "alibi qlens kvlens align=br")
MASK_TEST(sinks, "sinks", "sinks causal align=br", "sinks softcap=0.5 scale=2",
          "sinks kvlens", "sinks qlens kvlens", "sinks docs", "sinks bias dropout=0.3")
MASK_TEST(softcap, "softcap=0.25", "softcap=1", "softcap=50", "softcap=1e4")
MASK_TEST(scale, "scale=0", "scale=1", "scale=-0.3", "scale=3e-5")
MASK_TEST(dropout, "dropout=0.1", "dropout=0.9 causal", "dropout=0.5 qlens kvlens",
          "dropout=1", "dropout=1e-7", "dropout=0.5 mask")
MASK_TEST(relative_bias, "relbias=32,128", "relbias=32,128 bidir",
          "relbias=8,20 causal align=br", "relbias=6,400 bidir align=offsets softcap=3",
          "relbias=2,2", "relbias=301,70000 qlens kvlens align=br")
MASK_TEST(relative_keys, "relkeys", "relkeys causal align=br",
          "relkeys align=offsets vbias", "relkeys ubias vbias",
          "relkeys vbias softcap=2 scale=-0.3", "relkeys qlens kvlens align=br",
          "relkeys ubias window=20,9 dropout=0.3", "relkeys relbias=9,30 alibi bias")
MASK_TEST(content_bias, "ubias", "ubias softcap=2", "ubias causal align=br sinks",
          "ubias scale=0")
MASK_TEST(segments, "segments", "segments causal", "segments qlens kvlens softcap=2",
          "segments relkeys ubias vbias align=br", "segments docs bias")
MASK_TEST(ranks, "ranks=upto", "ranks=below", "ranks=below qlens kvlens sinks",
          "ranks=upto causal align=br",
          "ranks=upto segments relkeys ubias vbias relbias=32,128 bidir")
MASK_TEST(additive, "additive", "additive causal align=br",
          "additive window=20,9 sinks", "additive qlens kvlens softcap=2",
          "additive mask bias scale=-0.3", "additive relbias=32,128 bidir docs",
          "additive dropout=0.5 alibi ranks=upto")

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(causal),        cmocka_unit_test(window),
        cmocka_unit_test(lengths),       cmocka_unit_test(documents),
        cmocka_unit_test(prefix),        cmocka_unit_test(block_mask),
        cmocka_unit_test(boolean_mask),  cmocka_unit_test(bias),
        cmocka_unit_test(alibi),         cmocka_unit_test(sinks),
        cmocka_unit_test(softcap),       cmocka_unit_test(scale),
        cmocka_unit_test(dropout),       cmocka_unit_test(relative_bias),
        cmocka_unit_test(relative_keys), cmocka_unit_test(content_bias),
        cmocka_unit_test(segments),      cmocka_unit_test(ranks),
        cmocka_unit_test(additive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
