/*
 * Data of merges, and their oracle.
 *
 * Own roundings are those of attn/merge.h; what is off in a state goes on by the
 * derivatives: an error e_i of lses[i] changes lse by w_i e_i, and w_i by as much as
 * w_i (e_i + sum_j w_j e_j).
 */
#include "tests/support/merge.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/check.h"
#include "tests/support/element.h"
#include "tests/support/layout.h"

static const double u = 0x1p-24;

/* Products of errors, which the formulas leave out. */
static const double second_order = 1.01;

struct merge_problem merge_compose(uint64_t number) {
    static const int32_t counts[] = {1, 1, 2, 2, 2, 3, 4, 5, 6, 7, 9, 31, 32, 33, 64};
    static const int64_t dims[] = {1, 2, 3, 4, 7, 16, 31, 64, 127, 128, 129, 260};
    static const double spreads[] = {0, 1, 1, 3, 10, 40, 1000, 1e30};
    struct random r = random_stream(101, number);
    return (struct merge_problem){
        .count = counts[random_bits(&r) % COUNT_OF(counts)],
        .batch = random_between(&r, 1, 3),
        .heads = random_between(&r, 1, 4),
        .rows = random_between(&r, 1, 19),
        .dim = dims[random_bits(&r) % COUNT_OF(dims)],
        .spread = spreads[random_bits(&r) % COUNT_OF(spreads)],
        .empty = random_percent(&r, 50) ? (int)random_between(&r, 1, 90) : 0,
        .plain = random_percent(&r, 20),
        .seed = number,
    };
}

/* --------------------------------------------------------------------------- data */

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count + 1, size);
    assert_non_null(memory);
    return memory;
}

/* Gives a tensor of the problem's shape strides and memory. */
static void *place(attn_tensor *tensor, const struct merge_problem *p, int32_t rank,
                   int repeat, struct random *random) {
    const int64_t shape[4] = {p->batch, p->heads, p->rows, p->dim};
    assert_int_equal(attn_tensor_init(tensor, ATTN_F32, rank, shape, NULL), ATTN_OK);
    if (!p->plain) {
        layout_strides(tensor, rank == 4 && random_percent(random, 40), random);
        if (repeat && random_percent(random, 10)) {
            tensor->stride[random_between(random, 0, rank - 2)] = 0;
        }
    }
    return layout_place(tensor, random);
}

void merge_open(struct merge_call *call, const struct merge_problem *problem) {
    struct random random = random_stream(102, problem->seed);
    const size_t count = (size_t)problem->count;
    *call = (struct merge_call){.problem = *problem};
    call->outs = allocate(count, sizeof *call->outs);
    call->lses = allocate(count, sizeof *call->lses);
    call->out_list = allocate(count, sizeof *call->out_list);
    call->lse_list = allocate(count, sizeof *call->lse_list);
    call->block = allocate(2 * count + 2, sizeof *call->block);
    for (size_t i = 0; i < count; i++) {
        attn_tensor *out = &call->outs[i], *lse = &call->lses[i];
        call->block[2 * i] = place(out, problem, 4, 1, &random);
        call->block[2 * i + 1] = place(lse, problem, 3, 1, &random);
        call->out_list[i] = out;
        call->lse_list[i] = lse;
    }
    call->block[2 * count] = place(&call->out, problem, 4, 0, &random);
    call->block[2 * count + 1] = place(&call->lse, problem, 3, 0, &random);

    struct random numbers = random_stream(103, problem->seed);
    for (size_t i = 0; i < count; i++) {
        for (int64_t n = 0; n < element_count(&call->outs[i]); n++) {
            *(float *)element_nth(&call->outs[i], n) = random_float(&numbers);
        }
        for (int64_t n = 0; n < element_count(&call->lses[i]); n++) {
            *(float *)element_nth(&call->lses[i], n) =
                (float)problem->spread * random_float(&numbers);
        }
        for (int64_t n = 0; n < element_count(&call->lses[i]); n++) {
            if (random_percent(&numbers, problem->empty)) {
                merge_make_empty(call, (int32_t)i, n);
            }
        }
    }
    const size_t elements = (size_t)element_count(&call->out);
    const size_t rows = (size_t)element_count(&call->lse);
    call->out_value = allocate(elements, sizeof *call->out_value);
    call->out_error = allocate(elements, sizeof *call->out_error);
    call->lse_value = allocate(rows, sizeof *call->lse_value);
    call->lse_error = allocate(rows, sizeof *call->lse_error);
}

void merge_close(struct merge_call *call) {
    for (int32_t i = 0; i < 2 * call->problem.count + 2; i++) {
        free(call->block[i]);
    }
    void *const all[] = {call->outs,      call->lses,      call->out_list,
                         call->lse_list,  call->block,     call->out_value,
                         call->out_error, call->lse_value, call->lse_error};
    for (size_t n = 0; n < COUNT_OF(all); n++) {
        free(all[n]);
    }
}

void merge_make_empty(struct merge_call *call, int32_t state, int64_t row) {
    static const float poison[] = {NAN, INFINITY, -INFINITY, FLT_MAX, -FLT_MAX};
    attn_tensor *out = &call->outs[state], *lse = &call->lses[state];
    for (int i = 0; i < 3; i++) {
        if (out->stride[i] == 0 || lse->stride[i] == 0) {
            return; /* the row is others' too */
        }
    }
    *(float *)element_nth(lse, row) = -INFINITY;
    for (int64_t c = 0; c < out->shape[3]; c++) {
        *(float *)element_nth(out, row * out->shape[3] + c) =
            poison[(row + c) % (int64_t)COUNT_OF(poison)];
    }
}

/* ------------------------------------------------------------------------- oracle */

/* What all elements of a row share. */
struct row {
    double maximum, sum; /* of lse, and of exp(lse - maximum) */
    double distance;     /* mean of maximum - lse, by weight */
    double error;        /* mean of the errors of lse, likewise */
};

static struct row row_of(int32_t n, const struct merge_number *lse) {
    struct row row = {.maximum = -INFINITY};
    for (int32_t i = 0; i < n; i++) {
        if (lse[i].value > row.maximum || isnan(lse[i].value)) {
            row.maximum = lse[i].value;
        }
        if (isnan(row.maximum) || row.maximum == INFINITY) {
            return (struct row){NAN, NAN, 0, 0};
        }
    }
    for (int32_t i = 0; i < n; i++) {
        if (lse[i].value > -INFINITY) {
            const double distance = row.maximum - lse[i].value;
            const double weight = exp(-distance);
            row.sum += weight;
            row.distance += weight * distance;
            row.error += weight * lse[i].error;
        }
    }
    row.distance /= row.sum > 0 ? row.sum : 1;
    row.error /= row.sum > 0 ? row.sum : 1;
    return row;
}

struct merge_number merge_lse(int32_t n, const struct merge_number *lse) {
    const struct row row = row_of(n, lse);
    const double value = row.sum == 0 ? -INFINITY : row.maximum + log(row.sum);
    const double own = fabs(value) + 2 * log(n) + n + 1 + row.distance;
    return (struct merge_number){
        value, row.sum == 0 ? 0 : second_order * (row.error + u * own)};
}

struct merge_number merge_out(int32_t n, const struct merge_number *lse,
                              const struct merge_number *out) {
    const struct row row = row_of(n, lse);
    struct merge_number result = {0, 0};
    if (isnan(row.sum)) {
        return (struct merge_number){NAN, 0};
    }
    for (int32_t i = 0; i < n; i++) {
        if (lse[i].value > -INFINITY) {
            const double distance = row.maximum - lse[i].value;
            const double weight = exp(-distance) / row.sum, size = fabs(out[i].value);
            result.value += weight * out[i].value;
            result.error += weight * (out[i].error + size * (lse[i].error + row.error));
            result.error += weight * size * u * (2.0 * n + 4 + distance + row.distance);
            result.error += 0x1p-148 * (1 + size); /* of what underflows */
        }
    }
    result.error *= second_order;
    return result;
}

/* True if the element is infinite or NaN in a state that counts. */
static int not_finite(int32_t n, const struct merge_number *lse,
                      const struct merge_number *out) {
    int found = 0;
    for (int32_t i = 0; i < n; i++) {
        found |= lse[i].value != -INFINITY && !isfinite(out[i].value);
    }
    return found;
}

void merge_expect(struct merge_call *call) {
    const int32_t n = call->problem.count;
    const int64_t dim = call->problem.dim;
    struct merge_number *lse = allocate((size_t)n, sizeof *lse);
    struct merge_number *out = allocate((size_t)n, sizeof *out);
    for (int64_t row = 0; row < element_count(&call->lse); row++) {
        for (int32_t i = 0; i < n; i++) {
            lse[i].value = *(float *)element_nth(&call->lses[i], row);
        }
        const struct merge_number sum = merge_lse(n, lse);
        call->lse_value[row] = sum.value;
        call->lse_error[row] = sum.error;
        for (int64_t e = row * dim; e < (row + 1) * dim; e++) {
            for (int32_t i = 0; i < n; i++) {
                out[i].value = *(float *)element_nth(&call->outs[i], e);
            }
            const struct merge_number right = merge_out(n, lse, out);
            call->out_value[e] = right.value;
            call->out_error[e] = not_finite(n, lse, out) ? -1 : right.error;
        }
    }
    free(lse);
    free(out);
}

/* -------------------------------------------------------------------------- calls */

void merge_run(const struct merge_call *call, attn_context *context) {
    const attn_status status = attn_merge(context, call->problem.count, call->out_list,
                                          call->lse_list, &call->out, &call->lse);
    if (status != ATTN_OK) {
        fail_msg("merge: %s", attn_last_error());
    }
}

static void check(const struct merge_call *call, const char *name,
                  const attn_tensor *tensor, const double *value, const double *error) {
    const struct merge_problem *p = &call->problem;
    for (int64_t n = 0; n < element_count(tensor); n++) {
        const double got = *(float *)element_nth(tensor, n);
        if (error[n] < 0 ? isfinite(got) : !check_number(got, value[n], error[n])) {
            fail_msg("merge of %d states, %d x %d x %d x %d, seed %d: element %d of %s "
                     "is %.9g, expected %.9g within %.3g",
                     (int)p->count, (int)p->batch, (int)p->heads, (int)p->rows,
                     (int)p->dim, (int)p->seed, (int)n, name, got, value[n], error[n]);
        }
    }
}

void merge_check(const struct merge_call *call) {
    check(call, "out", &call->out, call->out_value, call->out_error);
    check(call, "lse", &call->lse, call->lse_value, call->lse_error);
}

/* The bytes from the first to the last element of a tensor. */
struct bytes {
    char *kept;
    size_t size;
};

static struct bytes keep(const attn_tensor *tensor) {
    const size_t size = (size_t)element_extent(tensor) * sizeof(float);
    struct bytes bytes = {allocate(size, 1), size};
    if (size > 0) {
        memcpy(bytes.kept, tensor->data, size);
    }
    return bytes;
}

/* Fails unless the bytes are as they were, but for the elements of an output. */
static void need_kept(const attn_tensor *tensor, struct bytes bytes,
                      const attn_tensor *output) {
    for (int64_t n = 0; tensor->data == output->data && n < element_count(output);
         n++) {
        const char *at = element_nth(output, n);
        memcpy(bytes.kept + (at - (char *)output->data), at, sizeof(float));
    }
    assert_memory_equal(bytes.kept, tensor->data, bytes.size);
    free(bytes.kept);
}

void merge_run_and_check(struct merge_call *call, attn_context *context) {
    const int32_t count = call->problem.count;
    struct bytes *outs = allocate((size_t)count + 1, sizeof *outs);
    struct bytes *lses = allocate((size_t)count + 1, sizeof *lses);
    for (int32_t i = 0; i <= count; i++) {
        outs[i] = keep(i < count ? &call->outs[i] : &call->out);
        lses[i] = keep(i < count ? &call->lses[i] : &call->lse);
    }
    merge_expect(call);
    merge_run(call, context);
    merge_check(call);
    for (int32_t i = 0; i <= count; i++) {
        need_kept(i < count ? &call->outs[i] : &call->out, outs[i], &call->out);
        need_kept(i < count ? &call->lses[i] : &call->lse, lses[i], &call->lse);
    }
    free(outs);
    free(lses);
}

void merge_need_same(const attn_tensor *a, const attn_tensor *b) {
    assert_int_equal(element_count(a), element_count(b));
    for (int64_t n = 0; n < element_count(a); n++) {
        const float *x = element_nth(a, n), *y = element_nth(b, n);
        if (memcmp(x, y, sizeof *x) != 0) {
            fail_msg("element %d: %.9g and %.9g", (int)n, *x, *y);
        }
    }
}

attn_context *merge_context(int32_t threads) {
    attn_context *context = NULL;
    assert_int_equal(attn_context_create(&context), ATTN_OK);
    assert_int_equal(attn_context_set_threads(context, threads), ATTN_OK);
    return context;
}
