/*
 * Attention rollout (Abnar and Zuidema 2020).
 *
 * The product of the layers' matrices is made from the first layer on, one batch
 * element after the other: R = A_l R, with A_l = (W_l + 1) / 2 and so A_l R = (W_l R +
 * R) / 2.
 */
#include "layer/rollout.h"

#include <limits.h>
#include <string.h>

#include "base/status.h"
#include "desc/binding.h"
#include "exec/blas.h"
#include "layer/rows.h"

/* Checks a tensor of square matrices. */
static attn_status check(const attn_tensor *tensor, const char *name, int rank,
                         int64_t batch, int64_t size, struct extent *extent) {
    REQUIRE(tensor != NULL, ATTN_ERR_INVALID, "%s is NULL", name);
    REQUIRE(tensor->rank == rank, ATTN_ERR_INVALID, "%s has rank %d, should be %d",
            name, (int)tensor->rank, rank);
    const int64_t *shape = tensor->shape + rank - 3;
    REQUIRE(shape[0] == batch && shape[1] == size && shape[2] == size, ATTN_ERR_INVALID,
            "%s has batch %lld and matrices of %lld x %lld, should be %lld and %lld x "
            "%lld",
            name, (long long)shape[0], (long long)shape[1], (long long)shape[2],
            (long long)batch, (long long)size, (long long)size);
    struct expected expected = {
        .name = name, .axes = "bhij", .rank = rank, .dtype = ATTN_F32};
    memcpy(expected.shape, tensor->shape, (size_t)rank * sizeof *expected.shape);
    int64_t strides[4];
    TRY(attn_tensor_check(tensor, &expected, strides, extent));
    REQUIRE(size <= 1 || (tensor->stride[rank - 2] >= size &&
                          tensor->stride[rank - 2] <= INT_MAX),
            ATTN_ERR_INVALID, "%s has stride %lld between rows of %lld", name,
            (long long)tensor->stride[rank - 2], (long long)size);
    return ATTN_OK;
}

attn_status attn_rollout_bind(struct rollout *rollout, const attn_tensor *mean_weights,
                              const attn_tensor *output) {
    REQUIRE(mean_weights != NULL, ATTN_ERR_INVALID, "mean_weights is NULL");
    REQUIRE(mean_weights->rank == 4, ATTN_ERR_INVALID,
            "mean_weights has rank %d, should be 4", (int)mean_weights->rank);
    struct extent from = {0}, to = {0};
    *rollout = (struct rollout){
        .layers = mean_weights->shape[0],
        .batch = mean_weights->shape[1],
        .size = mean_weights->shape[3],
        .mean_weights = *mean_weights,
        .output = *output,
    };
    REQUIRE(rollout->size <= INT_MAX, ATTN_ERR_UNSUPPORTED,
            "sequences of %lld, more than BLAS takes: %d", (long long)rollout->size,
            INT_MAX);
    TRY(check(mean_weights, "mean_weights", 4, rollout->batch, rollout->size, &from));
    TRY(check(output, "rollout", 3, rollout->batch, rollout->size, &to));
    TRY(attn_tensor_check_distinct(output, "rollout"));
    REQUIRE(to.begin >= from.end || from.begin >= to.end, ATTN_ERR_INVALID,
            "rollout overlaps mean_weights: their byte ranges meet");
    return ATTN_OK;
}

/* The stride of a dimension; any will do for one element. */
static int64_t step(const attn_tensor *tensor, int dimension) {
    return tensor->shape[dimension] > 1 ? tensor->stride[dimension] : 0;
}

/* to = (W from + from) / 2 for matrices with contiguous rows. */
static void multiply(const struct rollout *rollout, const float *weights,
                     int ld_weights, const float *from, float *to) {
    const int64_t n = rollout->size;
    memcpy(to, from, (size_t)(n * n) * sizeof *to);
    attn_blas_large((int)n, (int)n, (int)n, weights, ld_weights, false, from, (int)n,
                    false, true, to, (int)n);
    for (int64_t i = 0; i < n * n; i++) {
        to[i] *= 0.5f;
    }
}

void attn_rollout_run(const struct rollout *rollout, float *scratch) {
    const int64_t n = rollout->size;
    const attn_tensor *weights = &rollout->mean_weights, *output = &rollout->output;
    const int ld = (int)max_i64(n, step(weights, 2));
    for (int64_t b = 0; b < rollout->batch; b++) {
        float *now = scratch, *next = scratch + n * n;
        memset(now, 0, (size_t)(n * n) * sizeof *now);
        for (int64_t i = 0; i < n; i++) {
            now[i * n + i] = 1.0f;
        }
        for (int64_t l = 0; l < rollout->layers && n > 0; l++) {
            const float *layer =
                (float *)weights->data + l * step(weights, 0) + b * step(weights, 1);
            multiply(rollout, layer, ld, now, next);
            float *last = now;
            now = next;
            next = last;
        }
        for (int64_t i = 0; i < n; i++) {
            float *row =
                (float *)output->data + b * step(output, 0) + i * step(output, 1);
            memcpy(row, now + i * n, (size_t)n * sizeof *row);
        }
    }
}
