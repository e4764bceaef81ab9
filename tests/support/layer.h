/*
 * Layers with data of their own, and calls on them: what attn/layer.h describes, from
 * a problem, which is options, a few facts of the descriptor and a seed.
 */
#ifndef TEST_LAYER_H
#define TEST_LAYER_H

#include "tests/support/random.h"
#include "tests/support/tape.h"
#include "tests/support/test.h"

/* What says the positions of rotations; the last are the angles themselves. */
enum {
    LAYER_AT_ROWS,
    LAYER_AT_IDS,     /* (B, S) */
    LAYER_AT_ONE_ROW, /* (1, S) */
    LAYER_AT_OFFSETS, /* (B) */
    LAYER_AT_BOTH,    /* ids of queries, offsets of keys */
    LAYER_AT_CACHE,   /* cosines (P, R / 2) by ids */
    LAYER_AT_COSINES, /* (B, S, R / 2): as many keys as queries */
    LAYER_AT_POSITIONS
};

/* One attention of a layer: its options, and what the descriptor says. */
struct layer_attention {
    attn_multihead_options options;
    int desc; /* 0: none, 1: without heads and dims, 2: with them */
    int causal, align, window, q_lengths, kv_lengths; /* window 0: none */
    int mask, bias, alibi, sinks; /* mask and bias: a LAYER_OF_... */
    int buckets, bidirectional;
    int relative_keys; /* a table in the call, without options.relative */
    int content, position, segments;
    int rotation; /* LAYER_AT_... */
    int zero_row; /* of positions and relative_keys, for j = p; and rows after it */
    int rows_after;
    float scale, softcap, dropout; /* 0: none */
};

/* Shapes that broadcast to (B, H, Sq, Sk). */
enum {
    LAYER_OF_NOTHING,
    LAYER_OF_ALL,  /* (B, H, Sq, Sk) */
    LAYER_OF_HEAD, /* (1, H, Sq, Sk) */
    LAYER_OF_ROW,  /* (Sq, Sk) */
    LAYER_OF_KEYS, /* (B, 1, 1, Sk) */
    LAYER_SHAPES
};

struct layer_problem {
    int64_t batch, q_length, kv_length;
    int64_t layers;           /* 0: a multi-head layer */
    attn_stack_options stack; /* but for layers and the attentions */
    int cross;                /* a stack has cross attention */
    struct layer_attention self, memory;
    int inputs;      /* of a multi-head layer: 1 to 3 of input, key, value */
    int64_t targets; /* rows of input, with options.targets */
    int plain;       /* contiguous tensors, no stride 0 */
    int outputs;     /* the call asks for all outputs there are */
    int packed;      /* forward calls read packed weights, if there are any */
    int isa;
    int threads;
    uint64_t seed;
};

/* A tensor of a call, or a parameter. */
struct layer_tensor {
    char name[64];
    int parameter;
    int added_to;                 /* its gradient is, else overwritten */
    attn_tensor tensor, gradient; /* gradient rank 0: none */
    float *before;                /* what the gradient holds before a call */
    node *leaf;                   /* elements on the tape, the last index fastest */
    void *block[2];
};

enum { LAYER_TENSORS = 160 };

/* Outputs of a call beside output itself; those of rank 0 are not there. */
enum {
    LAYER_WEIGHTS,
    LAYER_MEAN_WEIGHTS,
    LAYER_CROSS_WEIGHTS, /* from here on of stacks */
    LAYER_CROSS_MEAN_WEIGHTS,
    LAYER_LSE, /* from here on of multi-head layers */
    LAYER_KEY_SUMS,
    LAYER_OUTPUTS
};

struct layer_call {
    struct layer_problem problem;
    int tensors;
    struct layer_tensor tensor[LAYER_TENSORS];
    attn_tensor output, grad_output, extra[LAYER_OUTPUTS], grad_extra[LAYER_OUTPUTS];
    void *block[2 + 2 * LAYER_OUTPUTS];
    int64_t dropout_seed;
    attn_context *context;
    attn_layer *layer;
    attn_forward_args attention[2]; /* self or the only one, cross */
    attn_backward_args gradients[2];
    attn_layer_args args;
    attn_layer_backward_args backward;
    void *state, *packed;
};

/* Sizes of an attention with defaults filled in. */
struct layer_sizes {
    int64_t embed, heads, kv_heads, key_dim, value_dim, key_embed, value_embed;
    int64_t extras; /* keys that are added */
};
struct layer_sizes layer_sizes(const attn_multihead_options *options);

/* Rows of input and output, and keys of the first attention. */
int64_t layer_rows(const struct layer_problem *problem);
int64_t layer_keys(const struct layer_problem *problem);

/* Problem number n of an endless list over all options. */
struct layer_problem layer_compose(uint64_t number);

/* A few that have everything together, on contiguous tensors of sizes that are
 * multiples of 16; the first LAYER_STACK are multi-head layers. */
enum { LAYER_SAMPLES = 8, LAYER_STACK = 5 };
struct layer_problem layer_sample(int n);

/* Makes data, context, layer and arguments. Outputs, gradients of inputs, and the gaps
 * of all tensors are NaN; gradients of parameters hold something. */
void layer_open(struct layer_call *call, const struct layer_problem *problem);
void layer_close(struct layer_call *call);

/* Whether it is packed, where there is a use for it; and all of these become NaN. */
int layer_is_weight(const struct layer_tensor *t);
void layer_spoil_weights(const struct layer_call *call);

/* Packs the weights as they are; its bytes, 0 where there is no use for it. */
int64_t layer_pack(struct layer_call *call);

/* The data alone. */
void layer_open_data(struct layer_call *call, const struct layer_problem *problem);

/* A descriptor; NULL where the attention has none. */
attn_desc *layer_desc(const struct layer_attention *attention);

/* The layer of a problem, on a context, without parameters. */
attn_status layer_create(attn_layer **layer, attn_context *context,
                         const struct layer_problem *problem);

/* Gives the layer the parameters of a call, and their gradients. */
void layer_give(attn_layer *layer, const struct layer_call *call);

/* Runs the calls, which must succeed. */
void layer_forward(struct layer_call *call);
void layer_backward(struct layer_call *call);

/* Outputs and gradients as layer_open() left them. */
void layer_reset(struct layer_call *call);

/* A tensor by its name: "input", "self.bias", "out_proj.weight"; NULL: none. */
struct layer_tensor *layer_find(const struct layer_call *call, const char *prefix,
                                const char *name);

/* What a call wrote, element by element. */
enum { LAYER_OUTPUT = 1, LAYER_OTHERS = 2, LAYER_GRADIENTS = 4, LAYER_ALL = 7 };
struct layer_snapshot {
    int64_t count;
    float *values;
};
struct layer_snapshot layer_take(const struct layer_call *call, int what);

/* Fails the test unless both have the same bits; frees the first. */
void layer_need_same(struct layer_snapshot *expected, const struct layer_call *call,
                     int what, const char *title);

/* Fails the test unless all outputs and gradients are as layer_reset() left them. */
void layer_need_untouched(const struct layer_call *call);

/* Fails the test, with the problem's number. */
void layer_need(const struct layer_call *call, attn_status status, const char *what);

#endif
