/*
 * Data and oracle of rotations.
 *
 * With given cosines there is one right result: two rounded products, and their rounded
 * sum or difference. Computed ones may be off: a float64 angle a is wrong by at most
 * (4 + |log base|) |a| 2^-53 (base^x turns an error of x into log base times that), and
 * sine and cosine by a rounding each. With u = 2^-24, x cos a - y sin a is within
 *
 *     (|x| + |y|) (4 + |log base|) |a| 2^-53 + 2 u (|x cos a| + |y sin a|) + u |result|
 *
 * and a little for products of errors and for what is below the smallest float.
 */
#include "tests/support/rotary.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/check.h"
#include "tests/support/element.h"
#include "tests/support/layout.h"

/* Floats behind the last element that layout_place() has room for. */
enum { MARGIN = 16 };

static const double u = 0x1p-24;

struct rotary_problem rotary_compose(uint64_t number) {
    static const int64_t dims[] = {2,  3,   4,   6,   8,   16,  30, 31,
                                   64, 128, 130, 256, 258, 300, 514};
    static const int64_t rows[] = {1, 1, 2, 5, 15, 16, 17, 33, 130};
    static const double bases[] = {0, 0, 10000, 500000, 1, 0.5, 1e6, 7.25};
    struct random r = random_stream(71, number);
    struct rotary_problem p = {
        .batch = random_between(&r, 1, 4),
        .heads = random_between(&r, 1, 5),
        .rows = rows[random_bits(&r) % COUNT_OF(rows)],
        .dim = dims[random_bits(&r) % COUNT_OF(dims)],
        .interleaved = random_percent(&r, 50),
        .inverse = random_percent(&r, 30),
        .positions = (int)(random_bits(&r) % ROTARY_POSITIONS),
        .angles = (int)(random_bits(&r) % ROTARY_ANGLES),
        .wide = random_percent(&r, 50),
        .bshd = random_percent(&r, 50),
        .in_place = random_percent(&r, 30),
        .seed = number,
    };
    const int whole = p.dim % 2 == 0 && random_percent(&r, 50);
    p.rotary_dim = whole ? 0 : 2 * random_between(&r, 1, p.dim / 2);
    if (p.angles == ROTARY_ROWS || p.angles == ROTARY_SHARED_ROWS) {
        p.positions = ROTARY_NOTHING;
    }
    p.base = p.angles == ROTARY_COMPUTED ? bases[random_bits(&r) % COUNT_OF(bases)] : 0;
    if (random_percent(&r, 20) && p.angles == ROTARY_COMPUTED) {
        p.highest = INT64_C(1) << random_between(&r, 10, 20);
    }
    return p;
}

static int64_t pairs_of(const struct rotary_problem *problem) {
    return (problem->rotary_dim > 0 ? problem->rotary_dim : problem->dim) / 2;
}

static double base_of(const struct rotary_problem *problem) {
    return problem->base > 0 ? problem->base : 10000;
}

static void shape(attn_tensor *tensor, int32_t dtype, int32_t rank, int64_t n0,
                  int64_t n1, int64_t n2, int64_t n3) {
    *tensor =
        (attn_tensor){.dtype = dtype, .rank = rank, .shape = {n0, n1, n2, n3, 0, 0}};
}

/* Gives a tensor whose shape is set strides and memory. */
static void place(struct rotary_call *call, attn_tensor *tensor, int bshd,
                  struct random *random) {
    size_t block = 0;
    while (call->block[block] != NULL) {
        block++;
    }
    layout_strides(tensor, bshd, random);
    call->block[block] = layout_place(tensor, random);
}

static void fill(const attn_tensor *tensor, struct random *random) {
    for (int64_t n = 0; n < element_count(tensor); n++) {
        *(float *)element_nth(tensor, n) = random_float(random);
    }
}

static int64_t highest_of(const struct rotary_problem *problem) {
    return problem->highest > 0 ? problem->highest : 40 + problem->rows;
}

static void make_positions(struct rotary_call *call, struct random *random) {
    const struct rotary_problem *p = &call->problem;
    const int32_t dtype = p->wide ? ATTN_I64 : ATTN_I32;
    attn_tensor *tensor = &call->position_ids;
    int64_t most = highest_of(p);
    if (p->positions == ROTARY_IDS || p->positions == ROTARY_IDS_ONE_ROW) {
        const int64_t batch = p->positions == ROTARY_IDS ? p->batch : 1;
        shape(tensor, dtype, 2, batch, p->rows, 0, 0);
    } else if (p->positions == ROTARY_IDS_SHARED) {
        shape(tensor, dtype, 1, p->rows, 0, 0, 0);
    } else {
        tensor = &call->offsets;
        most -= p->rows > 0 ? p->rows - 1 : 0;
        shape(tensor, dtype, 1, p->batch, 0, 0, 0);
    }
    place(call, tensor, 0, random);
    for (int64_t n = 0; n < element_count(tensor); n++) {
        int64_t i[4];
        element_index(tensor, n, i);
        element_set_int(tensor, i[2], i[3], random_between(random, 0, most));
    }
    *(tensor == &call->offsets ? &call->args.offsets : &call->args.position_ids) =
        tensor;
}

static void make_cosines(struct rotary_call *call, struct random *random) {
    const struct rotary_problem *p = &call->problem;
    attn_tensor *both[] = {&call->cosines, &call->sines};
    for (size_t t = 0; t < COUNT_OF(both); t++) {
        if (p->angles == ROTARY_CACHE) {
            shape(both[t], ATTN_F32, 2, highest_of(p) + 1, pairs_of(p), 0, 0);
        } else {
            const int64_t batch = p->angles == ROTARY_ROWS ? p->batch : 1;
            shape(both[t], ATTN_F32, 3, batch, p->rows, pairs_of(p), 0);
        }
        place(call, both[t], 0, random);
        fill(both[t], random);
    }
    call->args.cosines = &call->cosines;
    call->args.sines = &call->sines;
}

void rotary_open(struct rotary_call *call, const struct rotary_problem *problem) {
    struct random random = random_stream(72, problem->seed);
    *call = (struct rotary_call){.problem = *problem};
    assert_int_equal(attn_rotary_args_init(&call->args, sizeof call->args), ATTN_OK);
    shape(&call->input, ATTN_F32, 4, problem->batch, problem->heads, problem->rows,
          problem->dim);
    call->output = call->input;
    place(call, &call->input, problem->bshd, &random);
    fill(&call->input, &random);
    const int64_t count = element_count(&call->input);
    call->original = malloc((size_t)(count + 1) * sizeof(float));
    assert_non_null(call->original);
    for (int64_t n = 0; n < count; n++) {
        call->original[n] = *(float *)element_nth(&call->input, n);
    }
    const int64_t pairs = pairs_of(problem);
    call->powers = malloc((size_t)(pairs + 1) * sizeof *call->powers);
    assert_non_null(call->powers);
    for (int64_t k = 0; k < pairs; k++) {
        call->powers[k] = powl(base_of(problem), (long double)k / (long double)pairs);
    }
    if (problem->in_place) {
        call->output = call->input;
    } else {
        place(call, &call->output, problem->bshd, &random);
    }
    call->args.input = &call->input;
    call->args.output = &call->output;
    call->args.rotary_dim = problem->rotary_dim;
    call->args.interleaved = problem->interleaved;
    call->args.inverse = problem->inverse;
    call->args.base = problem->base;
    if (problem->positions != ROTARY_NOTHING) {
        make_positions(call, &random);
    }
    if (problem->angles != ROTARY_COMPUTED) {
        make_cosines(call, &random);
    }
}

void rotary_close(struct rotary_call *call) {
    for (size_t block = 0; block < ROTARY_BLOCKS; block++) {
        free(call->block[block]);
    }
    free(call->original);
    free(call->powers);
}

void rotary_run(struct rotary_call *call, attn_context *context) {
    const attn_status status = attn_rotary(context, &call->args);
    if (status != ATTN_OK) {
        fail_msg("rotary problem %" PRIu64 ": %s", call->problem.seed,
                 attn_last_error());
    }
}

void rotary_reset(struct rotary_call *call) {
    const int64_t count = element_count(&call->input);
    if (!call->problem.in_place) {
        memset(call->output.data, 0xff,
               (size_t)element_extent(&call->output) * sizeof(float));
    }
    for (int64_t n = 0; n < count; n++) {
        *(float *)element_nth(&call->input, n) = call->original[n];
    }
}

int64_t rotary_position(const struct rotary_call *call, int64_t b, int64_t row) {
    switch (call->problem.positions) {
    case ROTARY_IDS:
        return element_int(&call->position_ids, b, row);
    case ROTARY_IDS_ONE_ROW:
    case ROTARY_IDS_SHARED:
        return element_int(&call->position_ids, 0, row);
    case ROTARY_OFFSETS:
        return row + element_int(&call->offsets, 0, b);
    default:
        return row;
    }
}

/* A number and how wrong it may be. */
struct right {
    double value, bound;
};

/* The first or second feature of a pair by given cosines. */
static float rotated(int second, float x, float y, float c, float s) {
    const float products[] = {x * c, y * s, x * s, y * c};
    return second ? products[2] + products[3] : products[0] - products[1];
}

static struct right by_cosines(const struct rotary_call *call, const int64_t *i,
                               int64_t pair, int second, float x, float y) {
    const int cache = call->problem.angles == ROTARY_CACHE;
    const int64_t row = cache ? rotary_position(call, i[0], i[2]) : i[2];
    const float c = element_float(&call->cosines, 0, i[0], row, pair);
    const float s = element_float(&call->sines, 0, i[0], row, pair);
    const float sign = call->problem.inverse ? -1.0f : 1.0f;
    return (struct right){rotated(second, x, y, c, sign * s), 0};
}

static struct right by_angle(const struct rotary_call *call, const int64_t *i,
                             int64_t pair, int second, double x, double y) {
    const double base = base_of(&call->problem);
    const long double angle =
        (long double)rotary_position(call, i[0], i[2]) / call->powers[pair];
    const double c = (double)cosl(angle);
    const double s = (double)(call->problem.inverse ? -sinl(angle) : sinl(angle));
    const double value = second ? x * s + y * c : x * c - y * s;
    const double sizes = second ? fabs(x * s) + fabs(y * c) : fabs(x * c) + fabs(y * s);
    const double wrong_angle = (4 + fabs(log(base))) * fabs((double)angle) * 0x1p-53;
    const double bound =
        (fabs(x) + fabs(y)) * wrong_angle + 2 * u * sizes + u * fabs(value) + 0x1p-147;
    return (struct right){value, bound * 1.000001};
}

static struct right right_at(const struct rotary_call *call, const int64_t *i) {
    const struct rotary_problem *p = &call->problem;
    const int64_t pairs = pairs_of(p);
    const float *row =
        call->original + ((i[0] * p->heads + i[1]) * p->rows + i[2]) * p->dim;
    if (i[3] >= 2 * pairs) {
        return (struct right){row[i[3]], 0};
    }
    const int64_t pair = p->interleaved ? i[3] / 2 : i[3] % pairs;
    const int second = (int)(p->interleaved ? i[3] % 2 : i[3] / pairs);
    const float x = row[p->interleaved ? 2 * pair : pair];
    const float y = row[p->interleaved ? 2 * pair + 1 : pair + pairs];
    return p->angles == ROTARY_COMPUTED ? by_angle(call, i, pair, second, x, y)
                                        : by_cosines(call, i, pair, second, x, y);
}

/* A flag for each float from the first element to MARGIN after the last. */
static char *elements_of(const attn_tensor *tensor) {
    char *is_element = calloc((size_t)element_extent(tensor) + MARGIN, 1);
    assert_non_null(is_element);
    for (int64_t n = 0; n < element_count(tensor); n++) {
        is_element[(float *)element_nth(tensor, n) - (float *)tensor->data] = 1;
    }
    return is_element;
}

/* Whether the floats of output that are no elements, or all of them, still have every
 * bit set. */
static int blank(const struct rotary_call *call, int all) {
    static const uint32_t canary = UINT32_MAX;
    const attn_tensor *output = &call->output;
    const float *memory = output->data;
    char *is_element = elements_of(output);
    int stray = 0;
    for (int64_t n = 0; n < element_extent(output) + MARGIN; n++) {
        stray +=
            (all || !is_element[n]) && memcmp(&memory[n], &canary, sizeof canary) != 0;
    }
    free(is_element);
    return stray == 0;
}

void rotary_check(const struct rotary_call *call) {
    const attn_tensor *output = &call->output;
    for (int64_t n = 0; n < element_count(output); n++) {
        int64_t i[4];
        element_index(output, n, i);
        const struct right right = right_at(call, i);
        const double got = *(const float *)element_nth(output, n);
        if (!check_number(got, right.value, right.bound)) {
            fail_msg("rotary problem %" PRIu64 ": [%" PRId64 ",%" PRId64 ",%" PRId64
                     ",%" PRId64 "] is %.9g, expected %.9g within %.3g",
                     call->problem.seed, i[0], i[1], i[2], i[3], got, right.value,
                     right.bound);
        }
    }
    assert_true(blank(call, 0));
}

int rotary_untouched(const struct rotary_call *call) {
    return blank(call, 1);
}

void rotary_need_same(const attn_tensor *a, const attn_tensor *b) {
    assert_int_equal(element_count(a), element_count(b));
    for (int64_t n = 0; n < element_count(a); n++) {
        const float *x = element_nth(a, n), *y = element_nth(b, n);
        if (memcmp(x, y, sizeof *x) != 0) {
            fail_msg("element %" PRId64 ": %.9g and %.9g", n, *x, *y);
        }
    }
}

attn_context *rotary_context(int32_t threads, int32_t isa) {
    attn_context *context = NULL;
    assert_int_equal(attn_context_create(&context), ATTN_OK);
    assert_int_equal(attn_context_set_threads(context, threads), ATTN_OK);
    if (attn_context_set_isa(context, isa) != ATTN_OK) {
        attn_context_destroy(context);
        return NULL;
    }
    return context;
}
