/*
 * What attn_rotary() refuses: one thing wrong at a time, the status, the words and
 * numbers of the message, and that nothing was written.
 */
#include <math.h>
#include <stdio.h>

#include "tests/support/element.h"
#include "tests/support/expect.h"
#include "tests/support/rotary.h"

static struct rotary_call call;

static const struct rotary_problem problem = {.batch = 2,
                                              .heads = 3,
                                              .rows = 5,
                                              .dim = 12,
                                              .rotary_dim = 8,
                                              .positions = ROTARY_IDS,
                                              .angles = ROTARY_CACHE,
                                              .seed = 1};

/* Opens the problem with other positions and angles. */
static void reopen(int positions, int angles) {
    struct rotary_problem other = problem;
    other.positions = positions;
    other.angles = angles;
    rotary_close(&call);
    rotary_open(&call, &other);
}

static int setup(void **state) {
    (void)state;
    rotary_open(&call, &problem);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    rotary_close(&call);
    return 0;
}

static void refused(attn_status status, const char *says) {
    expect_refusal(attn_rotary(NULL, &call.args), status, says);
    assert_true(rotary_untouched(&call));
}

static void the_call_is_good(void **state) {
    (void)state;
    expect_mark();
    rotary_run(&call, NULL);
    expect_marked();
    rotary_check(&call);
}

static void facts(void **state) {
    (void)state;
    static const struct {
        int64_t rotary_dim, interleaved, inverse;
        double base;
        const char *says;
    } cases[] = {
        {7, 0, 0, 0, "rotary_dim|7|even"}, {14, 0, 0, 0, "rotary_dim|14|12"},
        {-2, 0, 0, 0, "rotary_dim|-2|12"}, {8, 2, 0, 0, "interleaved|2"},
        {8, -1, 0, 0, "interleaved|-1"},   {8, 0, 3, 0, "inverse|3"},
        {8, 0, 0, -1, "base|-1"},          {8, 0, 0, NAN, "base|nan"},
        {8, 0, 0, INFINITY, "base|inf"},
    };
    reopen(ROTARY_NOTHING, ROTARY_COMPUTED);
    const attn_rotary_args good = call.args;
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        call.args = good;
        call.args.rotary_dim = cases[c].rotary_dim;
        call.args.interleaved = cases[c].interleaved;
        call.args.inverse = cases[c].inverse;
        call.args.base = cases[c].base;
        refused(ATTN_ERR_INVALID, cases[c].says);
    }
}

static void odd_dims(void **state) {
    (void)state;
    reopen(ROTARY_NOTHING, ROTARY_COMPUTED);
    call.input.shape[3] = call.output.shape[3] = 11;
    call.args.rotary_dim = 0;
    refused(ATTN_ERR_INVALID, "rotary_dim|0|11|even");
    call.args.rotary_dim = 10;
    rotary_run(&call, NULL);
}

static void large_sizes(void **state) {
    (void)state;
    reopen(ROTARY_NOTHING, ROTARY_COMPUTED);
    call.input.shape[3] = 65538;
    refused(ATTN_ERR_INVALID, "input|dim|65538|65536");
    call.input.shape[3] = 12;
    call.input.shape[1] = INT64_C(1) << 31;
    refused(ATTN_ERR_INVALID, "input|2147483648|heads");
}

static void missing_and_clashing(void **state) {
    (void)state;
    expect_refusal(attn_rotary(NULL, NULL), ATTN_ERR_INVALID, "args|NULL");
    const attn_rotary_args good = call.args;
    call.args.input = NULL;
    refused(ATTN_ERR_INVALID, "input|missing");
    call.args = good;
    call.args.output = NULL;
    refused(ATTN_ERR_INVALID, "output|missing");
    call.args = good;
    call.args.cosines = NULL;
    refused(ATTN_ERR_INVALID, "sines is given|cosines is missing");
    call.args = good;
    call.args.sines = NULL;
    refused(ATTN_ERR_INVALID, "cosines is given|sines is missing");
    call.args = good;
    call.args.base = 10000;
    refused(ATTN_ERR_INVALID, "base|10000|cosines");
    call.args = good;
    call.args.offsets = call.args.position_ids;
    refused(ATTN_ERR_INVALID, "position_ids|offsets");
}

static void rows_of_cosines_have_no_positions(void **state) {
    (void)state;
    int64_t zeros[10] = {0};
    attn_tensor ids, offsets;
    reopen(ROTARY_NOTHING, ROTARY_ROWS);
    attn_tensor_init(&ids, ATTN_I64, 2, (int64_t[]){2, 5}, zeros);
    attn_tensor_init(&offsets, ATTN_I64, 1, (int64_t[]){2}, zeros);
    call.args.position_ids = &ids;
    refused(ATTN_ERR_INVALID, "position_ids|cosines|rank 3");
    call.args.position_ids = NULL;
    call.args.offsets = &offsets;
    refused(ATTN_ERR_INVALID, "offsets|cosines|rank 3");
}

struct member {
    const char *name;
    const attn_tensor **tensor;
};

#define MEMBER(name)                                                                   \
    { #name, &call.args.name }

static const struct member members[] = {MEMBER(input),        MEMBER(output),
                                        MEMBER(position_ids), MEMBER(offsets),
                                        MEMBER(cosines),      MEMBER(sines)};

/* Each tensor in turn, broken in each of these ways. */
static void break_tensors(void) {
    for (size_t m = 0; m < COUNT_OF(members); m++) {
        const attn_tensor *before = *members[m].tensor;
        const char *name = members[m].name;
        if (before == NULL) {
            continue;
        }
        char says[64];
        attn_tensor t = *before;
        const int32_t last = t.rank - 1;
        *members[m].tensor = &t;
        static const int32_t ranks[] = {0, -3, 5, 7};
        for (size_t r = 0; r < COUNT_OF(ranks); r++) {
            t.rank = ranks[r];
            snprintf(says, sizeof says, "%s|%d", name, (int)ranks[r]);
            refused(ATTN_ERR_INVALID, says);
        }
        t = *before;
        t.dtype = 77;
        snprintf(says, sizeof says, "%s|77", name);
        refused(ATTN_ERR_INVALID, says);
        t.dtype = ATTN_BOOL;
        snprintf(says, sizeof says, "%s|bool", name);
        refused(ATTN_ERR_INVALID, says);
        t.dtype = ATTN_F16;
        snprintf(says, sizeof says, "%s|f16", name);
        refused(before->dtype == ATTN_F32 ? ATTN_ERR_UNSUPPORTED : ATTN_ERR_INVALID,
                says);
        t = *before;
        t.reserved[1] = 1;
        refused(ATTN_ERR_UNSUPPORTED, name);
        t = *before;
        t.data = NULL;
        refused(ATTN_ERR_INVALID, name);
        t.data = (char *)before->data + 2;
        snprintf(says, sizeof says, "%s|aligned", name);
        refused(ATTN_ERR_INVALID, says);
        t = *before;
        t.stride[last] = 2;
        snprintf(says, sizeof says, "%s|2", name);
        refused(ATTN_ERR_INVALID, says);
        t.stride[last] = -1;
        snprintf(says, sizeof says, "%s|-1", name);
        refused(ATTN_ERR_INVALID, says);
        t = *before;
        if (last > 0) {
            t.stride[0] = INT64_MAX / 2;
            refused(ATTN_ERR_INVALID, name);
        }
        *members[m].tensor = before;
    }
}

static void bad_tensors(void **state) {
    (void)state;
    break_tensors();
    reopen(ROTARY_OFFSETS, ROTARY_CACHE);
    break_tensors();
    reopen(ROTARY_NOTHING, ROTARY_ROWS);
    break_tensors();
}

/* A size that does not fit, in each dimension: both are named. */
static void bad_shapes(void **state) {
    (void)state;
    static const int kinds[][2] = {{ROTARY_IDS, ROTARY_CACHE},
                                   {ROTARY_IDS_SHARED, ROTARY_COMPUTED},
                                   {ROTARY_OFFSETS, ROTARY_CACHE},
                                   {ROTARY_NOTHING, ROTARY_ROWS},
                                   {ROTARY_NOTHING, ROTARY_SHARED_ROWS}};
    for (size_t kind = 0; kind < COUNT_OF(kinds); kind++) {
        reopen(kinds[kind][0], kinds[kind][1]);
        /* of input the others would be found wrong, and P may be anything */
        for (size_t m = 1; m < COUNT_OF(members); m++) {
            const attn_tensor *before = *members[m].tensor;
            const int32_t rank = before != NULL ? before->rank : 0;
            const int free_rows = before == &call.cosines && rank == 2;
            for (int32_t d = free_rows; d < rank; d++) {
                attn_tensor t = *before;
                char says[64];
                *members[m].tensor = &t;
                t.shape[d] += 1000;
                /* cosines are compared with input only if sines are like them */
                attn_tensor sines = call.sines;
                if (before == &call.cosines) {
                    sines.shape[d] = t.shape[d];
                    call.args.sines = &sines;
                }
                snprintf(says, sizeof says, "%s|%lld|dimension %d|%lld",
                         members[m].name, (long long)t.shape[d], (int)d,
                         (long long)t.shape[d] - 1000);
                const int one = before->shape[d] == 1;
                if (one) {
                    snprintf(says, sizeof says, "%s|1001|dimension 0|2",
                             members[m].name);
                }
                refused(ATTN_ERR_INVALID, members[m].tensor == &call.args.sines && one
                                              ? "sines|1001|1"
                                              : says);
                *members[m].tensor = before;
                call.args.sines =
                    call.args.cosines != NULL ? &call.sines : call.args.sines;
            }
        }
    }
}

static void positions_beyond_cosines(void **state) {
    (void)state;
    char says[64];
    const int64_t rows = call.cosines.shape[0];
    for (int64_t n = 0; n < 10; n++) {
        const int64_t kept = element_int(&call.position_ids, n / 5, n % 5);
        const int64_t wrong[] = {rows, rows + 1000, -1, INT32_MIN};
        for (size_t w = 0; w < COUNT_OF(wrong); w++) {
            element_set_int(&call.position_ids, n / 5, n % 5, wrong[w]);
            snprintf(says, sizeof says,
                     "position_ids[%d][%d] is %lld|0 to %lld|cosines", (int)(n / 5),
                     (int)(n % 5), (long long)wrong[w], (long long)rows - 1);
            refused(ATTN_ERR_INVALID, says);
        }
        element_set_int(&call.position_ids, n / 5, n % 5, kept);
    }
    rotary_run(&call, NULL);
    reopen(ROTARY_IDS_SHARED, ROTARY_CACHE);
    element_set_int(&call.position_ids, 0, 3, rows);
    snprintf(says, sizeof says, "position_ids[3] is %lld|0 to %lld", (long long)rows,
             (long long)rows - 1);
    refused(ATTN_ERR_INVALID, says);
}

static void offsets_beyond_cosines(void **state) {
    (void)state;
    char says[64];
    reopen(ROTARY_OFFSETS, ROTARY_CACHE);
    const int64_t rows = call.cosines.shape[0], last = rows - 5;
    const int64_t wrong[] = {last + 1, rows, -1, INT32_MAX};
    for (size_t w = 0; w < COUNT_OF(wrong); w++) {
        element_set_int(&call.offsets, 0, 1, wrong[w]);
        snprintf(says, sizeof says,
                 "offsets[1] is %lld|0 to %lld|5 rows|%lld positions",
                 (long long)wrong[w], (long long)last, (long long)rows);
        refused(ATTN_ERR_INVALID, says);
    }
    element_set_int(&call.offsets, 0, 1, last);
    rotary_run(&call, NULL);
    rotary_check(&call);
    /* no offsets: the rows themselves */
    reopen(ROTARY_NOTHING, ROTARY_CACHE);
    call.cosines.shape[0] = call.sines.shape[0] = 4;
    refused(ATTN_ERR_INVALID, "input|5 rows|4 positions|cosines");
    call.cosines.shape[0] = call.sines.shape[0] = 5;
    rotary_run(&call, NULL);
}

/* Without cosines positions end where float64 has not all integers any more. */
static void positions_beyond_float64(void **state) {
    (void)state;
    struct rotary_problem wide = problem;
    wide.wide = 1;
    wide.angles = ROTARY_COMPUTED;
    rotary_close(&call);
    rotary_open(&call, &wide);
    element_set_int(&call.position_ids, 1, 4, (INT64_C(1) << 53) + 1);
    refused(ATTN_ERR_INVALID, "position_ids[1][4]|9007199254740993|9007199254740992");
    element_set_int(&call.position_ids, 1, 4, INT64_C(1) << 53);
    rotary_run(&call, NULL);
    wide.positions = ROTARY_OFFSETS;
    rotary_close(&call);
    rotary_open(&call, &wide);
    element_set_int(&call.offsets, 0, 0, INT64_MAX);
    refused(ATTN_ERR_INVALID, "offsets[0]|9223372036854775807|9007199254740988");
    element_set_int(&call.offsets, 0, 0, (INT64_C(1) << 53) - 4);
    rotary_run(&call, NULL);
}

/* Output overlaps itself, or meets what is not exactly the same tensor. */
static void overlaps(void **state) {
    (void)state;
    const attn_tensor output = call.output;
    call.output.stride[0] = 0;
    refused(ATTN_ERR_INVALID, "output|overlap");
    call.output = output;
    call.output.stride[0] = call.output.stride[1] - 1;
    refused(ATTN_ERR_INVALID, "output|overlap");
    call.output = output;
    static const size_t others[] = {0, 2, 4, 5};
    for (size_t o = 0; o < COUNT_OF(others); o++) {
        const struct member *other = &members[others[o]];
        char says[64];
        const attn_tensor *before = *other->tensor;
        attn_tensor t = *before;
        *other->tensor = &t;
        t.data = (char *)output.data + 8; /* within output, not where it starts */
        snprintf(says, sizeof says, "output overlaps %s", other->name);
        refused(ATTN_ERR_INVALID, says);
        *other->tensor = before;
    }
    /* output may be input, but then nothing else */
    const attn_tensor input = call.input, ids = call.position_ids;
    call.input = call.output;
    call.position_ids.data = (char *)output.data + 8;
    refused(ATTN_ERR_INVALID, "output overlaps position_ids");
    call.input = input;
    call.position_ids = ids;
    /* the same data with other strides is not the same tensor */
    attn_tensor turned = call.output;
    turned.stride[0] += 4;
    call.args.input = &turned;
    refused(ATTN_ERR_INVALID, "output overlaps input");
    /* strides of dimensions of size 1 do not matter */
    reopen(ROTARY_NOTHING, ROTARY_COMPUTED);
    attn_tensor one = call.output;
    one.shape[0] = call.output.shape[0] = 1;
    one.stride[0] = 1;
    call.args.input = &one;
    rotary_run(&call, NULL);
}

/* The context takes no other settings once a rotation has used it. */
static void contexts_are_settled(void **state) {
    (void)state;
    attn_context *context = rotary_context(2, ATTN_ISA_AUTO);
    call.args.rotary_dim = 7;
    expect_refusal(attn_rotary(context, &call.args), ATTN_ERR_INVALID, "rotary_dim");
    assert_int_equal(attn_context_set_threads(context, 1), ATTN_OK);
    call.args.rotary_dim = 8;
    rotary_run(&call, context);
    expect_refusal(attn_context_set_threads(context, 2), ATTN_ERR_INVALID, "context");
    attn_context_destroy(context);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_call_is_good),
        TEST(facts),
        TEST(odd_dims),
        TEST(large_sizes),
        TEST(missing_and_clashing),
        TEST(rows_of_cosines_have_no_positions),
        TEST(bad_tensors),
        TEST(bad_shapes),
        TEST(positions_beyond_cosines),
        TEST(offsets_beyond_cosines),
        TEST(positions_beyond_float64),
        TEST(overlaps),
        TEST(contexts_are_settled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
