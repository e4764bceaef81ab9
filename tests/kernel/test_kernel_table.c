/*
 * The tables themselves: complete, of the instruction set they say, and the best one is
 * the last that runs, but for the model of tiles.
 */
#include "base/cpu.h"
#include "kernel/kernel.h"
#include "tests/support/test.h"

/* The next kernel set after isa that runs here, or NULL; start with *isa = 0. */
static const struct kernels *next_kernels(int32_t *isa) {
    while (++*isa <= ATTN_ISA_PIECES) {
        const struct kernels *kernels = attn_kernels(*isa);
        if (kernels != NULL && attn_cpu_allows(*isa)) {
            return kernels;
        }
    }
    return NULL;
}

static void tables_are_complete(void **state) {
    (void)state;
    int32_t isa = 0, last = 0;
    const struct kernels *k;
    while ((k = next_kernels(&isa)) != NULL) {
        last = isa == ATTN_ISA_PIECES ? last : isa;
        assert_int_equal(k->isa, isa);
        assert_true(k->width >= 1 && k->width <= 16);
        assert_true((isa == ATTN_ISA_SCALAR || isa == ATTN_ISA_PIECES) ==
                    (k->width == 1));
        assert_true(k->product && k->transpose && k->to_blocks && k->softcap &&
                    k->add_bias);
        assert_true(k->add_alibi && k->mask_bias && k->mask_bytes && k->scan_bias);
        assert_true(k->all_finite && k->softmax && k->weights && k->scale);
        assert_true(k->scale_add && k->add_columns && k->dot_rows &&
                    k->score_gradients);
        assert_true(k->softcap_gradients && k->sum_alibi);
        assert_true(k->dropout_mask && k->drop);
        assert_true(k->rotate_halves && k->rotate_pairs);
        assert_true(k->norm && k->norm_gradient);
        assert_true(k->activate && k->activation_gradient);
        assert_true(k->gate && k->gate_gradient);
        assert_true(k->widen && k->narrow && k->quantize);
        assert_true((isa == ATTN_ISA_AMX || isa == ATTN_ISA_PIECES) ==
                    (k->pieces != NULL));
    }
    assert_true(last >= ATTN_ISA_SCALAR);
    assert_int_equal(attn_kernels_best(), last);
    assert_null(attn_kernels(ATTN_ISA_AUTO));
    assert_null(attn_kernels(ATTN_ISA_PIECES + 1));
    assert_null(attn_kernels(-1));
}

/* A build for a processor has kernels beyond plain C for it. */
static void builds_have_vectors(void **state) {
    (void)state;
#if defined(__x86_64__)
    assert_non_null(attn_kernels(ATTN_ISA_AVX2));
    assert_non_null(attn_kernels(ATTN_ISA_AVX512));
#elif defined(__aarch64__)
    assert_non_null(attn_kernels(ATTN_ISA_NEON));
#else
    skip();
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_complete),
        cmocka_unit_test(builds_have_vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
