/*
 * The parameters of a layer: names, shapes, and views of the caller's tensors.
 */
#ifndef ATTN_LAYER_PARAMETERS_H
#define ATTN_LAYER_PARAMETERS_H

#include "attn/common.h"
#include "desc/tensor.h"
#include "layer/linear.h"

enum { PARAMETER_NAME = 64, PARAMETER_RANK = 3 };

struct parameter {
    char name[PARAMETER_NAME];
    int32_t rank;
    bool may_turn; /* it may be stored transposed */
    int64_t shape[PARAMETER_RANK];
    attn_tensor value, gradient; /* rank 0: not given */
    struct extent bytes, gradient_bytes;
};

struct parameters {
    int64_t count, room;
    struct parameter *list;
};

/* Appends a parameter; name is a prefix and what follows it. There must be room. */
void attn_parameters_add(struct parameters *parameters, const char *prefix,
                         const char *name, int32_t rank, const int64_t *shape);

attn_status attn_parameters_set(struct parameters *parameters, const char *name,
                                const attn_tensor *tensor);

/* tensor NULL: none. */
attn_status attn_parameters_set_gradient(struct parameters *parameters,
                                         const char *name, const attn_tensor *tensor);

/* Fails if a parameter was not given. */
attn_status attn_parameters_check(const struct parameters *parameters);

/* Fails if this memory, which is written, meets a parameter or a gradient. */
attn_status attn_parameters_apart(const struct parameters *parameters,
                                  const struct extent *extent);

/* Fails if this memory, which is read, meets a gradient. */
attn_status attn_parameters_gradients_apart(const struct parameters *parameters,
                                            const struct extent *extent);

/* A parameter, or its gradient, as a matrix; of rank 3, the matrix with this index. */
struct weight attn_parameter_weight(const attn_tensor *tensor, int64_t index);

/* The same of rank 1, and of rank 3 with leading sizes of 1: its elements. */
static inline float *parameter_vector(const attn_tensor *tensor) {
    return tensor->rank > 0 ? tensor->data : NULL;
}

#endif
