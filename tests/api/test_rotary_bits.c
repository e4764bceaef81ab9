/*
 * What changes no bit of a rotation: threads, the kernel set, strides, working in
 * place, the other batch elements, and which of several ways says a position; and what
 * is not read at all.
 */
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "tests/support/element.h"
#include "tests/support/fence.h"
#include "tests/support/loops.h"
#include "tests/support/rotary.h"

/* Enough work for several threads, in all the ways to cut it. */
static const struct rotary_problem large[] = {
    {.batch = 1, .heads = 8, .rows = 700, .dim = 128, .seed = 1},
    {.batch = 3,
     .heads = 8,
     .rows = 300,
     .dim = 128,
     .interleaved = 1,
     .bshd = 1,
     .seed = 2},
    {.batch = 64,
     .heads = 32,
     .rows = 1,
     .dim = 128,
     .positions = ROTARY_OFFSETS,
     .seed = 3},
    {.batch = 64, .heads = 32, .rows = 1, .dim = 128, .seed = 4},
    {.batch = 2,
     .heads = 1,
     .rows = 3000,
     .dim = 64,
     .positions = ROTARY_IDS,
     .in_place = 1,
     .seed = 5},
    {.batch = 2,
     .heads = 5,
     .rows = 500,
     .dim = 200,
     .rotary_dim = 50,
     .in_place = 1,
     .positions = ROTARY_IDS_SHARED,
     .angles = ROTARY_CACHE,
     .seed = 6},
    {.batch = 2,
     .heads = 5,
     .rows = 500,
     .dim = 600,
     .rotary_dim = 598,
     .angles = ROTARY_ROWS,
     .bshd = 1,
     .seed = 7},
};

static void threads(void **state) {
    (void)state;
    static const int32_t counts[] = {1, 2, 3, 7};
    for (size_t n = 0; n < COUNT_OF(large); n++) {
        struct rotary_call alone, call;
        rotary_open(&alone, &large[n]);
        rotary_run(&alone, NULL);
        rotary_check(&alone);
        for (size_t t = 0; t < COUNT_OF(counts); t++) {
            attn_context *context = rotary_context(counts[t], ATTN_ISA_AUTO);
            rotary_open(&call, &large[n]);
            rotary_run(&call, context);
            rotary_need_same(&alone.output, &call.output);
            rotary_close(&call);
            attn_context_destroy(context);
        }
        rotary_close(&alone);
    }
}

/* Large calls use the threads there are, small ones wake nobody. */
static void threads_of_the_application(void **state) {
    (void)state;
    static attn_parallel_for *const functions[] = {loops_on_threads, loops_on_caller};
    for (size_t f = 0; f < COUNT_OF(functions); f++) {
        struct loops loops = {0};
        attn_context *context = rotary_context(3, ATTN_ISA_AUTO);
        assert_int_equal(attn_context_set_parallel_for(context, functions[f], &loops),
                         ATTN_OK);
        for (size_t n = 0; n < COUNT_OF(large); n++) {
            struct rotary_call call;
            rotary_open(&call, &large[n]);
            rotary_run(&call, context);
            rotary_check(&call);
            rotary_close(&call);
            assert_int_equal(loops.calls, n + 1);
        }
        assert_int_equal(loops.most, 3);
        const struct rotary_problem small = {
            .batch = 1, .heads = 32, .rows = 4, .dim = 128, .seed = 8};
        struct rotary_call call;
        rotary_open(&call, &small);
        rotary_run(&call, context);
        rotary_close(&call);
        assert_int_equal(loops.calls, COUNT_OF(large));
        attn_context_destroy(context);
    }
}

static void kernel_sets(void **state) {
    (void)state;
    for (uint64_t number = 3000; number < 3100; number += TEST_SHARE) {
        const struct rotary_problem problem = rotary_compose(number);
        struct rotary_call scalar, call;
        attn_context *context = rotary_context(1, ATTN_ISA_SCALAR);
        rotary_open(&scalar, &problem);
        rotary_run(&scalar, context);
        attn_context_destroy(context);
        for (int32_t isa = ATTN_ISA_AVX2; isa <= ATTN_ISA_PIECES; isa++) {
            context = rotary_context(1, isa);
            if (context != NULL) {
                rotary_open(&call, &problem);
                rotary_run(&call, context);
                rotary_need_same(&scalar.output, &call.output);
                rotary_close(&call);
                attn_context_destroy(context);
            }
        }
        rotary_close(&scalar);
    }
}

/* Sets the input of a call to what that of another is, whatever their strides. */
static void copy_input(struct rotary_call *to, const struct rotary_call *from) {
    memcpy(to->original, from->original,
           (size_t)element_count(&from->input) * sizeof(float));
    rotary_reset(to);
}

static void strides_and_place(void **state) {
    (void)state;
    for (uint64_t number = 3200; number < 3300; number += TEST_SHARE) {
        struct rotary_problem problem = rotary_compose(number);
        problem.positions = ROTARY_NOTHING;
        problem.angles = ROTARY_COMPUTED;
        problem.in_place = 0;
        struct rotary_call one, other;
        rotary_open(&one, &problem);
        rotary_run(&one, NULL);
        for (int way = 0; way < 4; way++) {
            problem.in_place = way % 2;
            problem.bshd = way / 2;
            problem.seed = number + 1000 * (uint64_t)way; /* other gaps */
            rotary_open(&other, &problem);
            copy_input(&other, &one);
            rotary_run(&other, NULL);
            rotary_need_same(&one.output, &other.output);
            rotary_close(&other);
        }
        rotary_close(&one);
    }
}

/* A batch element, a row of input with stride 0, alone and among others. */
static void the_batch(void **state) {
    (void)state;
    const struct rotary_problem problem = {.batch = 4,
                                           .heads = 3,
                                           .rows = 37,
                                           .dim = 34,
                                           .positions = ROTARY_IDS,
                                           .seed = 9};
    struct rotary_call call;
    rotary_open(&call, &problem);
    rotary_run(&call, NULL);
    float alone[37 * 34];
    for (int64_t b = 0; b < 4; b++) {
        for (int64_t h = 0; h < 3; h++) {
            attn_tensor in = call.input, out, ids = call.position_ids;
            in.data = element_at(&call.input, b, h, 0, 0);
            in.shape[0] = in.shape[1] = 1;
            ids.data = element_at(&call.position_ids, 0, 0, b, 0);
            ids.shape[0] = 1;
            attn_tensor_init(&out, ATTN_F32, 4, in.shape, alone);
            attn_rotary_args args = call.args;
            args.input = &in;
            args.output = &out;
            args.position_ids = &ids;
            assert_int_equal(attn_rotary(NULL, &args), ATTN_OK);
            attn_tensor among = call.output;
            among.data = element_at(&call.output, b, h, 0, 0);
            among.shape[0] = among.shape[1] = 1;
            rotary_need_same(&out, &among);
        }
    }
    rotary_close(&call);
}

/* Row i with offset p, position id p + i, and row p + i of a longer input. */
static void ways_to_say_a_position(void **state) {
    (void)state;
    const struct rotary_problem problem = {
        .batch = 1, .heads = 2, .rows = 60, .dim = 70, .bshd = 1, .seed = 10};
    struct rotary_call whole;
    rotary_open(&whole, &problem);
    rotary_run(&whole, NULL);
    for (int way = ROTARY_IDS; way < ROTARY_POSITIONS; way++) {
        for (int64_t start = 0; start < 53; start += 13) {
            struct rotary_problem p = problem;
            struct rotary_call part;
            p.rows = 7;
            p.positions = way;
            rotary_open(&part, &p);
            if (way == ROTARY_OFFSETS) {
                element_set_int(&part.offsets, 0, 0, start);
            }
            for (int64_t i = 0; i < 7 && way != ROTARY_OFFSETS; i++) {
                element_set_int(&part.position_ids, 0, i, start + i);
            }
            attn_tensor in = whole.input, right = whole.output;
            in.data = element_at(&whole.input, 0, 0, start, 0);
            right.data = element_at(&whole.output, 0, 0, start, 0);
            in.shape[2] = right.shape[2] = 7;
            part.args.input = &in;
            rotary_run(&part, NULL);
            rotary_need_same(&part.output, &right);
            rotary_close(&part);
        }
    }
    rotary_close(&whole);
}

/* An input that repeats over heads and batch elements; sines or cosines that do. */
static void stride_0(void **state) {
    (void)state;
    const struct rotary_problem problem = {.batch = 3,
                                           .heads = 4,
                                           .rows = 9,
                                           .dim = 10,
                                           .angles = ROTARY_ROWS,
                                           .seed = 11};
    for (int repeated = 0; repeated < 8; repeated++) {
        struct rotary_call call;
        rotary_open(&call, &problem);
        attn_tensor *const tensors[] = {&call.input, &call.cosines, &call.sines};
        for (int t = 0; t < 3; t++) {
            if (repeated >> t & 1) {
                tensors[t]->stride[0] = 0;
            }
        }
        call.input.stride[1] *= repeated % 2;
        for (int64_t n = 0; n < element_count(&call.input); n++) {
            call.original[n] = *(float *)element_nth(&call.input, n);
        }
        rotary_run(&call, NULL);
        rotary_check(&call);
        rotary_close(&call);
    }
}

/* Rows of cosines that no position asks for. */
static void rows_of_cosines_not_asked_for(void **state) {
    (void)state;
    const struct rotary_problem problem = {.batch = 2,
                                           .heads = 2,
                                           .rows = 8,
                                           .dim = 20,
                                           .positions = ROTARY_IDS,
                                           .angles = ROTARY_CACHE,
                                           .highest = 500,
                                           .seed = 12};
    struct rotary_call call;
    rotary_open(&call, &problem);
    for (int64_t p = 0; p <= 500; p++) {
        int asked = 0;
        for (int64_t n = 0; n < 16; n++) {
            asked += rotary_position(&call, n / 8, n % 8) == p;
        }
        for (int64_t k = 0; k < 10 && !asked; k++) {
            *(float *)element_at(&call.cosines, 0, 0, p, k) = NAN;
            *(float *)element_at(&call.sines, 0, 0, p, k) = NAN;
        }
    }
    rotary_run(&call, NULL);
    rotary_check(&call);
    rotary_close(&call);
}

/* All tensors end or start at pages that cannot be touched. */
static void nothing_beyond_is_touched(void **state) {
    (void)state;
    attn_context *context = rotary_context(2, ATTN_ISA_AUTO);
    for (uint64_t number = 3400; number < 3500; number += TEST_SHARE) {
        for (int at_end = 0; at_end < 2; at_end++) {
            struct rotary_problem problem = rotary_compose(number);
            struct rotary_call plain, call;
            problem.in_place = 0;
            rotary_open(&plain, &problem);
            rotary_run(&plain, NULL);
            rotary_open(&call, &problem);
            attn_tensor *tensors[] = {&call.input,        &call.output,  &call.offsets,
                                      &call.position_ids, &call.cosines, &call.sines};
            for (size_t t = 0; t < COUNT_OF(tensors); t++) {
                fence_tensor(tensors[t], at_end, 1);
            }
            rotary_run(&call, context);
            rotary_need_same(&plain.output, &call.output);
            rotary_close(&plain);
            rotary_close(&call);
            fence_free();
        }
    }
    attn_context_destroy(context);
}

enum { CALLERS = 5 };

struct caller {
    pthread_t thread;
    struct rotary_call call;
    attn_context *context;
    attn_status status;
};

static void *run_caller(void *user) {
    struct caller *caller = user;
    for (int round = 0; round < 5 && caller->status == ATTN_OK; round++) {
        caller->status = attn_rotary(caller->context, &caller->call.args);
    }
    return NULL;
}

static void many_callers_of_one_context(void **state) {
    (void)state;
    static struct caller callers[CALLERS];
    attn_context *context = rotary_context(3, ATTN_ISA_AUTO);
    for (int c = 0; c < CALLERS; c++) {
        rotary_open(&callers[c].call, &large[c % 4]);
        callers[c].context = context;
        assert_int_equal(
            pthread_create(&callers[c].thread, NULL, run_caller, &callers[c]), 0);
    }
    for (int c = 0; c < CALLERS; c++) {
        assert_int_equal(pthread_join(callers[c].thread, NULL), 0);
        assert_int_equal(callers[c].status, ATTN_OK);
        rotary_check(&callers[c].call);
        rotary_close(&callers[c].call);
    }
    attn_context_destroy(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads),
        cmocka_unit_test(threads_of_the_application),
        cmocka_unit_test(kernel_sets),
        cmocka_unit_test(strides_and_place),
        cmocka_unit_test(the_batch),
        cmocka_unit_test(ways_to_say_a_position),
        cmocka_unit_test(stride_0),
        cmocka_unit_test(rows_of_cosines_not_asked_for),
        cmocka_unit_test(nothing_beyond_is_touched),
        cmocka_unit_test(many_callers_of_one_context),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
