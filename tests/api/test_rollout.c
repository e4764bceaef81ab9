/*
 * Attention rollout: the product in float64, strides, memory, and what is refused.
 *
 * A number of R is a sum of n products and one number of the layer before, halved:
 * (n + 4) u of it for each layer, if numbers are not negative; else of the product of
 * their sizes.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/check.h"
#include "tests/support/counting.h"
#include "tests/support/element.h"
#include "tests/support/expect.h"
#include "tests/support/fence.h"
#include "tests/support/layer_data.h"

struct rollout {
    int64_t layers, batch, size;
    attn_tensor weights, result;
    void *block[2];
};

static void rollout_open(struct rollout *r, int64_t layers, int64_t batch, int64_t size,
                         int plain, uint64_t seed) {
    struct random random = random_stream(91, seed);
    *r = (struct rollout){.layers = layers, .batch = batch, .size = size};
    r->weights = (attn_tensor){
        .dtype = ATTN_F32, .rank = 4, .shape = {layers, batch, size, size}};
    r->result =
        (attn_tensor){.dtype = ATTN_F32, .rank = 3, .shape = {batch, size, size}};
    r->block[0] = layer_place(&r->weights, plain, LAYER_TABLE, &random);
    r->block[1] = layer_place(&r->result, plain, LAYER_TABLE, &random);
    for (int64_t n = 0; n < element_count(&r->weights); n++) {
        *(float *)element_nth(&r->weights, n) = random_float(&random);
    }
}

static void close(struct rollout *r) {
    free(r->block[0]);
    free(r->block[1]);
}

/* A matrix of numbers and one of their sizes, both n x n. */
struct product {
    double *value, *size;
};

static struct product matrices(int64_t n) {
    const size_t count = (size_t)(n * n) + 1;
    struct product p = {calloc(count, sizeof(double)), calloc(count, sizeof(double))};
    assert_true(p.value != NULL && p.size != NULL);
    return p;
}

static void free_matrices(struct product *p) {
    free(p->value);
    free(p->size);
}

/* (W + 1) / 2 times what there is. */
static void multiply(const struct rollout *r, int64_t l, int64_t b,
                     const struct product *from, struct product *to) {
    const int64_t n = r->size;
    for (int64_t e = 0; e < n * n; e++) {
        const int64_t i = e / n, j = e % n;
        to->value[e] = from->value[e] / 2;
        to->size[e] = from->size[e] / 2;
        for (int64_t k = 0; k < n; k++) {
            const double w = element_float(&r->weights, l, b, i, k);
            to->value[e] += w * from->value[k * n + j] / 2;
            to->size[e] += fabs(w) * from->size[k * n + j] / 2;
        }
    }
}

static void check_batch(const struct rollout *r, int64_t b) {
    const int64_t n = r->size;
    struct product now = matrices(n), next = matrices(n);
    for (int64_t i = 0; i < n; i++) {
        now.value[i * n + i] = now.size[i * n + i] = 1;
    }
    for (int64_t l = 0; l < r->layers; l++) {
        multiply(r, l, b, &now, &next);
        const struct product last = now;
        now = next;
        next = last;
    }
    for (int64_t e = 0; e < n * n; e++) {
        const double got = element_float(&r->result, 0, b, e / n, e % n);
        const double bound =
            (double)(r->layers * (n + 4)) * 0x1p-24 * 1.01 * now.size[e];
        if (!check_number(got, now.value[e], bound)) {
            fail_msg("rollout of %d layers, size %d: element (%d, %d, %d) is %.9g, "
                     "expected %.9g within %.3g",
                     (int)r->layers, (int)n, (int)b, (int)(e / n), (int)(e % n), got,
                     now.value[e], bound);
        }
    }
    free_matrices(&now);
    free_matrices(&next);
}

static void run(const struct rollout *r, attn_context *context) {
    const attn_status status = attn_rollout(context, &r->weights, &r->result);
    if (status != ATTN_OK) {
        fail_msg("rollout: %s", attn_last_error());
    }
    for (int64_t b = 0; b < r->batch; b++) {
        check_batch(r, b);
    }
}

static attn_context *context;

static int setup(void **state) {
    (void)state;
    return attn_context_create(&context) == ATTN_OK ? 0 : 1;
}

static int teardown(void **state) {
    (void)state;
    attn_context_destroy(context);
    return 0;
}

static void all_sizes(void **state) {
    (void)state;
    static const int64_t sizes[] = {1, 2, 3, 7, 16, 33, 65};
    for (size_t s = 0; s < COUNT_OF(sizes); s++) {
        for (int64_t layers = 0; layers < 5; layers++) {
            for (int plain = 0; plain < 2; plain++) {
                struct rollout r;
                rollout_open(&r, layers, 1 + (int64_t)s % 3, sizes[s], plain,
                             s * 10 + (uint64_t)layers);
                run(&r, context);
                close(&r);
            }
        }
    }
}

/* One layer: half the weights and half the identity. */
static void by_hand(void **state) {
    (void)state;
    float weights[2][4] = {{0.5f, 0.5f, 0.25f, 0.75f}, {1, 0, 0.5f, 0.5f}};
    float result[4];
    attn_tensor in, out;
    attn_tensor_init(&in, ATTN_F32, 4, (int64_t[]){2, 1, 2, 2}, weights);
    attn_tensor_init(&out, ATTN_F32, 3, (int64_t[]){1, 2, 2}, result);
    assert_int_equal(attn_rollout(context, &in, &out), ATTN_OK);
    /* (1, 0; .25, .75) (.75, .25; .125, .875) */
    static const float right[4] = {0.75f, 0.25f, 0.28125f, 0.71875f};
    for (int e = 0; e < 4; e++) {
        assert_true(result[e] == right[e]);
    }
}

static void sizes_of_0(void **state) {
    (void)state;
    static const int64_t shapes[][3] = {{0, 2, 3}, {2, 0, 3}, {2, 2, 0}, {0, 0, 0}};
    for (size_t s = 0; s < COUNT_OF(shapes); s++) {
        struct rollout r;
        rollout_open(&r, shapes[s][0], shapes[s][1], shapes[s][2], 1, s);
        if (shapes[s][0] == 0) {
            r.weights.data = NULL;
        }
        run(&r, context);
        close(&r);
    }
}

/* Layers, or batch elements, that are one and the same; pages beside all tensors. */
static void strides_and_pages(void **state) {
    (void)state;
    for (int n = 0; n < 8; n++) {
        struct rollout r;
        rollout_open(&r, 3, 2, 9, n % 2, 50 + (uint64_t)n);
        if (n / 2 % 2 == 1) {
            r.weights.stride[n / 4] = 0;
        }
        fence_tensor(&r.weights, n % 2, 1);
        fence_tensor(&r.result, n % 2, 0);
        run(&r, context);
        fence_free();
        close(&r);
    }
}

/* What is between the elements of the result stays. */
static void gaps(void **state) {
    (void)state;
    struct rollout r;
    float memory[2 * 3 * 5];
    rollout_open(&r, 2, 2, 3, 1, 70);
    attn_tensor_init(&r.result, ATTN_F32, 3, (int64_t[]){2, 3, 5}, memory);
    r.result.shape[2] = 3;
    for (size_t n = 0; n < COUNT_OF(memory); n++) {
        memory[n] = 77;
    }
    run(&r, context);
    for (size_t n = 0; n < COUNT_OF(memory); n++) {
        assert_true(n % 5 < 3 || memory[n] == 77);
    }
    close(&r);
}

/* --------------------------------------------------------------------- refusals */

static void refused(struct rollout *r, attn_status status, const char *says) {
    memset(r->result.data, 0xff, 4);
    expect_refusal(attn_rollout(context, &r->weights, &r->result), status, says);
    static const uint32_t canary = UINT32_MAX;
    assert_memory_equal(r->result.data, &canary, sizeof canary);
}

static void bad_tensors(void **state) {
    (void)state;
    struct rollout r;
    rollout_open(&r, 2, 2, 3, 1, 80);
    const struct rollout good = r;
    attn_tensor *const tensors[] = {&r.weights, &r.result};
    static const char *const names[] = {"mean_weights", "rollout"};
    for (int t = 0; t < 2; t++) {
        const int last = tensors[t]->rank - 1;
        char says[64];
        static const int32_t ranks[] = {0, 2, 5, -1};
        for (size_t n = 0; n < COUNT_OF(ranks); n++) {
            tensors[t]->rank = ranks[n];
            snprintf(says, sizeof says, "%s has rank %d", names[t], (int)ranks[n]);
            refused(&r, ATTN_ERR_INVALID, says);
            r = good;
        }
        /* neither square nor like the other */
        for (int d = 1 - t; d <= last; d++) {
            tensors[t]->shape[d]++;
            refused(&r, ATTN_ERR_INVALID, "should be");
            r = good;
        }
        tensors[t]->dtype = ATTN_BOOL;
        snprintf(says, sizeof says, "%s|bool", names[t]);
        refused(&r, ATTN_ERR_INVALID, says);
        tensors[t]->dtype = ATTN_F16;
        refused(&r, ATTN_ERR_UNSUPPORTED, names[t]);
        r = good;
        tensors[t]->reserved[0] = 1;
        refused(&r, ATTN_ERR_UNSUPPORTED, names[t]);
        r = good;
        tensors[t]->stride[last] = 2;
        refused(&r, ATTN_ERR_INVALID, names[t]);
        r = good;
        tensors[t]->stride[last - 1] = 2;
        refused(&r, ATTN_ERR_INVALID, names[t]);
        tensors[t]->stride[last - 1] = INT64_C(1) << 31;
        refused(&r, ATTN_ERR_INVALID, names[t]);
        r = good;
        tensors[t]->stride[last - 2] = -9;
        refused(&r, ATTN_ERR_INVALID, names[t]);
        r = good;
    }
    r.weights.shape[3] = INT64_C(1) << 31;
    refused(&r, ATTN_ERR_UNSUPPORTED, "2147483648|BLAS");
    r = good;
    r.weights.data = (char *)r.weights.data + 2;
    refused(&r, ATTN_ERR_INVALID, "mean_weights|aligned");
    r.weights.data = NULL;
    refused(&r, ATTN_ERR_INVALID, "mean_weights");
    r = good;
    r.result.stride[0] = 0;
    refused(&r, ATTN_ERR_INVALID, "rollout|overlap");
    r = good;
    r.result.data = (float *)r.weights.data + 3;
    expect_refusal(attn_rollout(context, &r.weights, &r.result), ATTN_ERR_INVALID,
                   "rollout overlaps mean_weights");
    close(&r);
}

static void pointers(void **state) {
    (void)state;
    struct rollout r;
    rollout_open(&r, 2, 2, 3, 1, 81);
    expect_refusal(attn_rollout(NULL, &r.weights, &r.result), ATTN_ERR_INVALID,
                   "context");
    expect_refusal(attn_rollout(context, NULL, &r.result), ATTN_ERR_INVALID,
                   "mean_weights is NULL");
    expect_refusal(attn_rollout(context, &r.weights, NULL), ATTN_ERR_INVALID,
                   "rollout");
    close(&r);
}

/* The workspace is borrowed: without memory nothing is written, and a second call
 * allocates nothing. */
static void memory(void **state) {
    (void)state;
    struct rollout r;
    struct counting counting = {.fail_at = 1};
    attn_context *own = NULL;
    rollout_open(&r, 2, 2, 20, 1, 82);
    assert_int_equal(attn_context_create(&own), ATTN_OK);
    assert_int_equal(attn_context_set_threads(own, 1), ATTN_OK);
    assert_int_equal(
        attn_context_set_allocator(own, counting_allocate, counting_release, &counting),
        ATTN_OK);
    memset(r.result.data, 0xff, 4);
    expect_refusal(attn_rollout(own, &r.weights, &r.result), ATTN_ERR_NO_MEMORY,
                   "memory");
    run(&r, own);
    const long calls = counting.calls;
    run(&r, own);
    assert_int_equal(counting.calls, calls);
    expect_refusal(attn_context_set_threads(own, 2), ATTN_ERR_INVALID, "context");
    attn_context_destroy(own);
    assert_int_equal(counting.live, 0);
    close(&r);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(all_sizes), TEST(by_hand),     TEST(sizes_of_0), TEST(strides_and_pages),
        TEST(gaps),      TEST(bad_tensors), TEST(pointers),   TEST(memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
