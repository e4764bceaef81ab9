/*
 * Rotations over all options against the formula, some numbers by hand, what ONNX
 * RotaryEmbedding-23 says, and sizes at their ends.
 */
#include <math.h>
#include <string.h>

#include "tests/support/element.h"
#include "tests/support/rotary.h"
#include "tests/support/run.h"

static void run_and_check_rotary(const struct rotary_problem *problem,
                                 attn_context *context) {
    struct rotary_call call;
    rotary_open(&call, problem);
    rotary_run(&call, context);
    rotary_check(&call);
    rotary_close(&call);
}

static void all_options(void **state) {
    (void)state;
    for (uint64_t number = 0; number < 600; number += TEST_SHARE) {
        const struct rotary_problem problem = rotary_compose(number);
        run_and_check_rotary(&problem, NULL);
    }
}

static void all_options_on_threads(void **state) {
    (void)state;
    attn_context *context = rotary_context(3, ATTN_ISA_AUTO);
    for (uint64_t number = 2000; number < 2150; number += TEST_SHARE) {
        struct rotary_problem problem = rotary_compose(number);
        problem.rows *= 5;
        run_and_check_rotary(&problem, context);
    }
    attn_context_destroy(context);
}

/* A call on contiguous arrays of one batch element, as the header's formula reads. */
static void rotate_plainly(const float *from, float *to, const int64_t shape[4],
                           int64_t rotary_dim, int interleaved, int64_t position) {
    const int64_t one = 1;
    attn_tensor input, output, offsets;
    attn_rotary_args args;
    attn_tensor_init(&input, ATTN_F32, 4, shape, (void *)(uintptr_t)from);
    attn_tensor_init(&output, ATTN_F32, 4, shape, to);
    attn_tensor_init(&offsets, ATTN_I64, 1, &one, &position);
    attn_rotary_args_init(&args, sizeof args);
    args.input = &input;
    args.output = &output;
    args.rotary_dim = rotary_dim;
    args.interleaved = interleaved;
    args.offsets = &offsets;
    assert_int_equal(attn_rotary(NULL, &args), ATTN_OK);
}

/* The pairs (1, 2) and (3, 4) at position 3: angles 3 and 3 / 100. */
static void by_hand(void **state) {
    (void)state;
    static const int64_t shape[4] = {1, 1, 1, 6};
    static const float pairs[6] = {1, 2, 3, 4, 5, 6}, halves[6] = {1, 3, 2, 4, 5, 6};
    static const double right[4] = {-1.2722325127, -1.8388649851, 2.8786681004,
                                    4.0881866357};
    float to[6];
    rotate_plainly(pairs, to, shape, 4, 1, 3);
    for (int c = 0; c < 4; c++) {
        assert_true(fabs(to[c] - right[c]) < 1e-6);
    }
    assert_true(to[4] == 5 && to[5] == 6);
    rotate_plainly(halves, to, shape, 4, 0, 3);
    for (int c = 0; c < 4; c++) {
        assert_true(fabs(to[c % 2 * 2 + c / 2] - right[c]) < 1e-6);
    }
    assert_true(to[4] == 5 && to[5] == 6);
}

/*
 * ONNX: cos_cache and sin_cache are (max_position, rotary_embedding_dim / 2) with
 * position_ids (B, S), or (B, S, rotary_embedding_dim / 2) without. A cache gathered
 * by positions and given as the second is the first.
 */
static void caches_of_onnx(void **state) {
    (void)state;
    for (int interleaved = 0; interleaved < 2; interleaved++) {
        const struct rotary_problem problem = {.batch = 2,
                                               .heads = 3,
                                               .rows = 4,
                                               .dim = 12,
                                               .rotary_dim = 8,
                                               .interleaved = interleaved,
                                               .positions = ROTARY_IDS,
                                               .angles = ROTARY_CACHE,
                                               .wide = 1,
                                               .seed = 5};
        struct rotary_call call, gathered;
        rotary_open(&call, &problem);
        rotary_run(&call, NULL);
        rotary_check(&call);
        struct rotary_problem rows = problem;
        rows.positions = ROTARY_NOTHING;
        rows.angles = ROTARY_ROWS;
        rotary_open(&gathered, &rows);
        for (int64_t n = 0; n < element_count(&gathered.cosines); n++) {
            int64_t i[4]; /* -, b, row, pair */
            element_index(&gathered.cosines, n, i);
            const int64_t position = rotary_position(&call, i[1], i[2]);
            *(float *)element_nth(&gathered.cosines, n) =
                element_float(&call.cosines, 0, 0, position, i[3]);
            *(float *)element_nth(&gathered.sines, n) =
                element_float(&call.sines, 0, 0, position, i[3]);
        }
        for (int64_t n = 0; n < element_count(&call.input); n++) {
            *(float *)element_nth(&gathered.input, n) = call.original[n];
        }
        rotary_run(&gathered, NULL);
        rotary_need_same(&call.output, &gathered.output);
        rotary_close(&call);
        rotary_close(&gathered);
    }
}

/* Nothing to do, and nothing to be read or written. */
static void sizes_of_0(void **state) {
    (void)state;
    attn_context *context = rotary_context(2, ATTN_ISA_AUTO);
    for (int which = 0; which < 4; which++) {
        for (int options = 0; options < ROTARY_POSITIONS * ROTARY_ANGLES; options++) {
            struct rotary_problem p = {
                .batch = 2, .heads = 3, .rows = 4, .dim = 8, .seed = 6};
            *(which == 0   ? &p.batch
              : which == 1 ? &p.heads
              : which == 2 ? &p.rows
                           : &p.dim) = 0;
            p.positions = options % ROTARY_POSITIONS;
            p.angles = options / ROTARY_POSITIONS;
            if (p.angles >= ROTARY_ROWS && p.positions != ROTARY_NOTHING) {
                continue;
            }
            struct rotary_call call;
            rotary_open(&call, &p);
            attn_tensor *tensors[] = {&call.input,        &call.output,  &call.offsets,
                                      &call.position_ids, &call.cosines, &call.sines};
            for (size_t t = 0; t < COUNT_OF(tensors); t++) {
                if (element_count(tensors[t]) == 0) {
                    tensors[t]->data = NULL;
                }
            }
            rotary_run(&call, options % 2 ? context : NULL);
            rotary_close(&call);
        }
    }
    attn_context_destroy(context);
}

/* The largest dim, the smallest, and positions that are large. */
static void extreme_sizes(void **state) {
    (void)state;
    attn_context *context = rotary_context(3, ATTN_ISA_AUTO);
    static const struct rotary_problem problems[] = {
        {.batch = 1, .heads = 2, .rows = 3, .dim = 65536, .seed = 7},
        {.batch = 2, .heads = 1, .rows = 2, .dim = 65536, .interleaved = 1, .seed = 8},
        {.batch = 1, .heads = 2, .rows = 2, .dim = 65535, .rotary_dim = 2, .seed = 9},
        {.batch = 1, .heads = 1, .rows = 3000, .dim = 2, .seed = 10},
        {.batch = 700, .heads = 1, .rows = 1, .dim = 2, .positions = 1, .seed = 11},
        {.batch = 1, .heads = 700, .rows = 1, .dim = 34, .seed = 12},
        {.batch = 1,
         .heads = 1,
         .rows = 200,
         .dim = 64,
         .positions = ROTARY_IDS,
         .highest = INT64_C(1) << 31,
         .wide = 1,
         .seed = 13},
        {.batch = 3,
         .heads = 1,
         .rows = 2,
         .dim = 64,
         .positions = ROTARY_OFFSETS,
         .highest = INT64_C(1) << 53,
         .wide = 1,
         .seed = 14},
    };
    for (size_t n = 0; n < COUNT_OF(problems); n++) {
        run_and_check_rotary(&problems[n], NULL);
        run_and_check_rotary(&problems[n], context);
    }
    attn_context_destroy(context);
}

/* Position 0 rotates by nothing: every feature stays as it is, to the bit. */
static void position_0(void **state) {
    (void)state;
    static const int64_t shape[4] = {1, 1, 1, 130};
    float from[130], to[130];
    struct random random = random_stream(73, 0);
    for (int c = 0; c < 130; c++) {
        from[c] = random_float(&random);
    }
    for (int interleaved = 0; interleaved < 2; interleaved++) {
        rotate_plainly(from, to, shape, 0, interleaved, 0);
        assert_memory_equal(from, to, sizeof from);
    }
}

int main(void) {
    const int skipped = run_skip_isa();
    if (skipped != 0) {
        return skipped;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_options), cmocka_unit_test(all_options_on_threads),
        cmocka_unit_test(by_hand),     cmocka_unit_test(caches_of_onnx),
        cmocka_unit_test(sizes_of_0),  cmocka_unit_test(extreme_sizes),
        cmocka_unit_test(position_0),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
