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
    bool is_weight; /* it, or each of its matrices, takes part in products */
    bool may_turn;  /* it may be stored transposed */
    int64_t shape[PARAMETER_RANK];
    attn_tensor value, gradient; /* rank 0: not given */
    struct extent bytes, gradient_bytes;
    struct factor packed;  /* a copy for products, of the first matrix; data NULL */
    int64_t packed_floats; /* of each matrix */
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

/* Bytes of the packed copies of all weights; 0 where products have no use for them, or
 * too many to count. */
size_t attn_parameters_packed_size(const struct parameters *parameters,
                                   const struct kernels *kernels);

/* Writes packed copies of all weights. Fails if a parameter was not given, or if size
 * is less than they need. */
attn_status attn_parameters_pack(const struct parameters *parameters,
                                 const struct kernels *kernels, void *memory,
                                 int64_t size);

/* Lets products read such copies, until a parameter is set anew; memory NULL: none. */
attn_status attn_parameters_set_packed(struct parameters *parameters,
                                       const struct kernels *kernels,
                                       const void *memory, int64_t size);

/* Fails if a parameter was not given. */
attn_status attn_parameters_check(const struct parameters *parameters);

/* Fails if this memory, which is written, meets a parameter or a gradient. */
attn_status attn_parameters_apart(const struct parameters *parameters,
                                  const struct extent *extent);

/* Fails if this memory, which is read, meets a gradient. */
attn_status attn_parameters_gradients_apart(const struct parameters *parameters,
                                            const struct extent *extent);

/* A parameter, or its gradient, as a matrix; of rank 3, the matrix with this index. */
struct weight attn_parameter_weight(const struct parameter *parameter, int64_t index);
struct weight attn_parameter_weight_gradient(const struct parameter *parameter,
                                             int64_t index);

/* The same of rank 1, and of rank 3 with leading sizes of 1: its elements. */
static inline float *parameter_vector(const attn_tensor *tensor) {
    return tensor->rank > 0 ? tensor->data : NULL;
}

#endif
