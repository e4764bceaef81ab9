/*
 * Parameters by name.
 */
#include "layer/parameters.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/status.h"

void attn_parameters_add(struct parameters *parameters, const char *prefix,
                         const char *name, int32_t rank, const int64_t *shape) {
    struct parameter *parameter = &parameters->list[parameters->count++];
    *parameter = (struct parameter){
        .rank = rank,
        .is_weight = rank >= 2 && strstr(name, "weight") != NULL,
    };
    parameter->may_turn = parameter->is_weight && rank == 2;
    snprintf(parameter->name, sizeof parameter->name, "%s%s", prefix, name);
    for (int i = 0; i < rank; i++) {
        parameter->shape[i] = shape[i];
    }
}

/* The parameter of this name; NULL, and an error, if there is none. */
static struct parameter *find(struct parameters *parameters, const char *name) {
    for (int64_t i = 0; name != NULL && i < parameters->count; i++) {
        if (strcmp(parameters->list[i].name, name) == 0) {
            return &parameters->list[i];
        }
    }
    attn_fail(ATTN_ERR_INVALID,
              "the layer has no parameter \"%.64s\"; it has %lld, the first is \"%s\"",
              name != NULL ? name : "(NULL)", (long long)parameters->count,
              parameters->list[0].name);
    return NULL;
}

static attn_status check_shape(const struct parameter *parameter, const char *what,
                               const attn_tensor *tensor) {
    bool same = tensor->rank == parameter->rank;
    for (int i = 0; same && i < parameter->rank; i++) {
        same = tensor->shape[i] == parameter->shape[i];
    }
    char have[SHAPE_TEXT], want[SHAPE_TEXT];
    const int rank = tensor->rank < 0 ? 0 : tensor->rank > 6 ? 6 : tensor->rank;
    REQUIRE(same, ATTN_ERR_INVALID, "%s%s has shape %s, should be %s", what,
            parameter->name, attn_shape_text(have, tensor->shape, rank),
            attn_shape_text(want, parameter->shape, parameter->rank));
    return ATTN_OK;
}

/* True for a matrix whose columns are contiguous; the stride of one row may be
 * anything. */
static bool is_transposed(const attn_tensor *tensor) {
    return tensor->rank == 2 && tensor->shape[1] > 1 && tensor->stride[1] != 1 &&
           (tensor->shape[0] <= 1 || tensor->stride[0] == 1);
}

/* Checks a tensor by the rules that all tensors keep; a transposed one as what it is
 * the transpose of. */
static attn_status check(const struct parameter *parameter, const char *what,
                         const attn_tensor *tensor, struct extent *extent) {
    char name[PARAMETER_NAME + 16];
    snprintf(name, sizeof name, "%s%s", what, parameter->name);
    attn_tensor plain = *tensor;
    if (parameter->may_turn && is_transposed(tensor)) {
        for (int i = 0; i < 2; i++) {
            plain.shape[i] = tensor->shape[1 - i];
            plain.stride[i] = tensor->stride[1 - i];
        }
    }
    struct expected expected = {
        .name = name, .axes = "bhi", .rank = plain.rank, .dtype = ATTN_F32};
    for (int i = 0; i < plain.rank; i++) {
        expected.shape[i] = plain.shape[i];
        REQUIRE(plain.stride[i] <= INT_MAX || plain.shape[i] <= 1, ATTN_ERR_UNSUPPORTED,
                "%s has stride %lld in dimension %d, more than BLAS takes: %d", name,
                (long long)plain.stride[i], i, INT_MAX);
    }
    int64_t strides[4];
    TRY(attn_tensor_check(&plain, &expected, strides, extent));
    for (int i = 0; i + 1 < plain.rank; i++) {
        REQUIRE(plain.shape[i] <= 1 || plain.stride[i] >= plain.shape[i + 1],
                ATTN_ERR_INVALID,
                "%s has stride %lld in dimension %d, less than the %lld elements below "
                "it",
                name, (long long)plain.stride[i], i, (long long)plain.shape[i + 1]);
    }
    extent->name = parameter->name;
    return ATTN_OK;
}

static bool meet(const struct extent *a, const struct extent *b) {
    return a->begin < b->end && b->begin < a->end;
}

attn_status attn_parameters_set(struct parameters *parameters, const char *name,
                                const attn_tensor *tensor) {
    struct parameter *parameter = find(parameters, name);
    if (parameter == NULL) {
        return ATTN_ERR_INVALID;
    }
    REQUIRE(tensor != NULL, ATTN_ERR_INVALID, "the tensor of %s is NULL",
            parameter->name);
    TRY(check_shape(parameter, "", tensor));
    struct extent extent = {0};
    TRY(check(parameter, "", tensor, &extent));
    TRY(attn_parameters_gradients_apart(parameters, &extent));
    parameter->packed.data = NULL;
    parameter->value = *tensor;
    parameter->bytes = extent;
    return ATTN_OK;
}

attn_status attn_parameters_set_gradient(struct parameters *parameters,
                                         const char *name, const attn_tensor *tensor) {
    struct parameter *parameter = find(parameters, name);
    if (parameter == NULL) {
        return ATTN_ERR_INVALID;
    }
    if (tensor == NULL) {
        parameter->gradient = (attn_tensor){0};
        parameter->gradient_bytes = (struct extent){0};
        return ATTN_OK;
    }
    TRY(check_shape(parameter, "the gradient of ", tensor));
    struct extent extent = {0};
    TRY(check(parameter, "the gradient of ", tensor, &extent));
    TRY(attn_tensor_check_distinct(tensor, parameter->name));
    for (int64_t i = 0; i < parameters->count; i++) {
        const struct parameter *other = &parameters->list[i];
        REQUIRE(!meet(&extent, &other->bytes), ATTN_ERR_INVALID,
                "the gradient of %s overlaps %s: their byte ranges meet",
                parameter->name, other->name);
        REQUIRE(other == parameter || !meet(&extent, &other->gradient_bytes),
                ATTN_ERR_INVALID,
                "the gradient of %s overlaps that of %s: their byte ranges meet",
                parameter->name, other->name);
    }
    parameter->gradient = *tensor;
    parameter->gradient_bytes = extent;
    return ATTN_OK;
}

attn_status attn_parameters_check(const struct parameters *parameters) {
    for (int64_t i = 0; i < parameters->count; i++) {
        REQUIRE(parameters->list[i].value.rank > 0, ATTN_ERR_INVALID,
                "parameter %s was not given", parameters->list[i].name);
    }
    return ATTN_OK;
}

attn_status attn_parameters_gradients_apart(const struct parameters *parameters,
                                            const struct extent *extent) {
    for (int64_t i = 0; i < parameters->count; i++) {
        const struct parameter *parameter = &parameters->list[i];
        REQUIRE(!meet(extent, &parameter->gradient_bytes), ATTN_ERR_INVALID,
                "%s overlaps the gradient of %s: their byte ranges meet", extent->name,
                parameter->name);
    }
    return ATTN_OK;
}

attn_status attn_parameters_apart(const struct parameters *parameters,
                                  const struct extent *extent) {
    for (int64_t i = 0; i < parameters->count; i++) {
        const struct parameter *parameter = &parameters->list[i];
        REQUIRE(!meet(extent, &parameter->bytes), ATTN_ERR_INVALID,
                "%s overlaps parameter %s: their byte ranges meet", extent->name,
                parameter->name);
    }
    return attn_parameters_gradients_apart(parameters, extent);
}

static struct weight weight_of(const attn_tensor *tensor, int64_t index) {
    struct weight weight = {0};
    if (tensor->rank == 0) {
        return weight;
    }
    const int row = tensor->rank - 2;
    weight.data = (float *)tensor->data + (row > 0 ? index * tensor->stride[0] : 0);
    weight.transposed = is_transposed(tensor);
    /* the stride of one row may be anything */
    weight.ld = weight.transposed        ? tensor->stride[row + 1]
                : tensor->shape[row] > 1 ? tensor->stride[row]
                                         : tensor->shape[row + 1];
    return weight;
}

struct weight attn_parameter_weight(const struct parameter *parameter, int64_t index) {
    struct weight weight = weight_of(&parameter->value, index);
    weight.packed = parameter->packed;
    if (weight.packed.data != NULL) {
        weight.packed.data += index * parameter->packed_floats;
    }
    return weight;
}

struct weight attn_parameter_weight_gradient(const struct parameter *parameter,
                                             int64_t index) {
    return weight_of(&parameter->gradient, index);
}
