/*
 * What the files that make the data of a layer's call share.
 */
#ifndef TEST_LAYER_DATA_H
#define TEST_LAYER_DATA_H

#include "tests/support/layer.h"

/* A float tensor of the call, of rank 1 to 4: with numbers of this size, and with
 * strides and memory. */
struct layer_tensor *layer_add(struct layer_call *call, struct random *random,
                               const char *prefix, const char *name, int32_t rank,
                               int64_t n0, int64_t n1, int64_t n2, int64_t n3,
                               double size);

/* One of integers, all `least` to `most`; of booleans, two in three true, where most is
 * 1 and dtype says so. */
struct layer_tensor *layer_add_integers(struct layer_call *call, struct random *random,
                                        const char *prefix, const char *name,
                                        int32_t dtype, int32_t rank, int64_t n0,
                                        int64_t n1, int64_t n2, int64_t n3,
                                        int64_t least, int64_t most);

/* How a tensor may lie. */
enum {
    LAYER_TABLE,   /* the last dimension fastest, with gaps */
    LAYER_ROWS,    /* and, of rank 3, batch first or rows first */
    LAYER_REPEATED /* and repeat over the batch, or over rows */
};

/* Gives a tensor whose shape is set strides, plainly or as it may lie, and memory, NaN
 * everywhere. */
void *layer_place(attn_tensor *tensor, int plain, int how, struct random *random);

/* Whether a tensor is one of the sequences of a call. */
int layer_is_sequence(const char *name);

/* The parameters of the header's lists. */
void layer_add_parameters(struct layer_call *call, struct random *random);

/* The inputs that a descriptor announces and the attention's own; keys is how many. */
void layer_add_inputs(struct layer_call *call, struct random *random,
                      const struct layer_attention *attention, const char *prefix,
                      int64_t keys);

/* Whether tables of relative positions are parameters, not inputs. */
int layer_tables_are_parameters(const struct layer_attention *attention);

#endif
