/*
 * What the files that check a layer's arguments share.
 */
#ifndef ATTN_LAYER_LAYER_BIND_H
#define ATTN_LAYER_LAYER_BIND_H

#include "layer/layer.h"

/* A tensor (batch, rows, features) of an argument struct. */
struct sequence_row {
    const char *name;
    const attn_tensor *tensor;
    int64_t batch, rows, features; /* -1: any */
    bool output;
};

/* Checks a tensor, notes its bytes, and makes it rows. */
attn_status attn_layer_bind_row(struct layer_call *call, const struct sequence_row *row,
                                struct sequences *sequences);

/* Positions or their gradient: (rows, embed_dim). */
attn_status attn_layer_bind_encoding(struct layer_call *call, const char *name,
                                     const attn_tensor *tensor, int64_t rows);

/* Input, key, value, targets and positions, which give the sizes of the call. */
attn_status attn_layer_bind_sequences(struct layer_call *call);

/* The last bytes that were noted are written: they must not meet any others, nor a
 * parameter. */
attn_status attn_layer_apart(struct layer_call *call);

#endif
