/*
 * What the files of a multi-head layer share.
 */
#ifndef ATTN_LAYER_MULTIHEAD_PARTS_H
#define ATTN_LAYER_MULTIHEAD_PARTS_H

#include "layer/multihead.h"

/* Queries, keys and values, or their gradients: those that one product makes lie in the
 * same rows. */
void attn_multihead_place_parts(const struct multihead_call *call,
                                struct sequences part[PARTS], struct ledger *ledger);

/* Rows of the queries in `data`, of this many features, in the order in which the rows
 * of input lie: so that one product takes all of them. */
struct sequences attn_multihead_rows(const struct multihead_call *call, float *data,
                                     int64_t features);

/* True if this part and the next are made by one product. */
bool attn_multihead_with_next(const struct multihead_call *call, int part);

/* The weight of a part, from its first row on, and its bias or NULL; of slices, that of
 * this head, and the bias of all. */
struct weight attn_multihead_weight(const struct multihead_call *call, int part,
                                    int64_t head, const float **bias);
struct weight attn_multihead_weight_gradient(const struct multihead_call *call,
                                             int part, int64_t head, float **bias);

/* Outputs of the heads as the output is projected from them, for each row of the
 * output: averaged, if need be, and with targets those of the targets. */
struct sequences attn_multihead_combined(const struct multihead_call *call);

/* With targets: to = from at the rows that stand for queries, and 0 elsewhere, for all
 * queries; and back, one row for each target. Rows of from, of to, follow each other.
 */
void attn_multihead_scatter(const struct multihead_call *call,
                            const struct sequences *to, const float *from, int64_t n);
void attn_multihead_gather(const struct multihead_call *call, float *to,
                           const struct sequences *from, int64_t n);

/* The rows of positions; of a call that is only measured, the most there may be. */
int64_t attn_multihead_relative_rows(const struct multihead_call *call);

/* Positions, or their gradient, as rows. */
struct sequences attn_multihead_positions(const attn_tensor *positions);

/* Rows as a tensor (batch, heads, length, dim). */
attn_tensor attn_heads_of(const struct sequences *rows, int64_t batch, int64_t heads,
                          int64_t length, int64_t dim);

/* A number for each row of each head as a tensor. */
attn_tensor attn_multihead_statistic(const struct multihead_call *call, float *data);

/* Fails if one of these, which were checked but for that, meets a parameter. */
attn_status attn_multihead_apart(const struct multihead_call *call,
                                 const struct named_tensor *list, size_t count);

/* Fails if an input of the attention meets this memory, which is written. */
attn_status attn_multihead_inputs_apart(const attn_forward_args *args,
                                        const struct extent *written);

/* The rotation of queries or keys, or its inverse. */
attn_status attn_multihead_bind_rotary(const struct multihead_call *call,
                                       const attn_tensor *tensor, bool key,
                                       bool inverse, struct rotary *rotary);

/*
 * Keys and values that are parameters or zero: attention to them is a call of its own,
 * whose result is merged with that of the others.
 */
void attn_multihead_keep_extra(struct multihead_call *call, struct ledger *ledger);
void attn_multihead_extra_scratch(const struct multihead_call *call,
                                  struct multihead_gradients *gradients,
                                  struct ledger *ledger);
attn_status attn_multihead_bind_extra(const struct multihead_call *call,
                                      struct multihead_bound *bound,
                                      const struct others *others);
attn_status attn_multihead_add_extra(const struct multihead_call *call,
                                     const struct multihead_bound *bound);
attn_status attn_multihead_bind_extra_backward(
    const struct multihead_call *call, const struct multihead_bound *forward,
    struct multihead_backward_bound *bound, const struct multihead_gradients *gradients,
    const struct others *others);
attn_status attn_multihead_extra_backward(const struct multihead_call *call,
                                          const struct multihead_backward_bound *bound,
                                          const struct multihead_gradients *gradients);

#endif
