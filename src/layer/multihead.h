/*
 * Multi-head attention: projections, rotation, attention, projection.
 */
#ifndef ATTN_LAYER_MULTIHEAD_H
#define ATTN_LAYER_MULTIHEAD_H

#include "attn/layer.h"
#include "desc/bind.h"
#include "layer/ledger.h"
#include "layer/parameters.h"
#include "layer/rotary.h"
#include "plan/plan.h"

/* Parameters, in the order in which a layer lists them. */
enum multihead_parameter {
    IN_WEIGHT,
    Q_WEIGHT,
    K_WEIGHT,
    V_WEIGHT,
    IN_BIAS,
    BIAS_K,
    BIAS_V,
    OUT_WEIGHT,
    OUT_BIAS,
    R_WEIGHT,
    CONTENT_BIAS,
    POSITION_BIAS,
    SEGMENT_KEYS,
    SEGMENT_BIAS,
    MULTIHEAD_PARAMETERS
};

struct named_tensor {
    const char *name;
    const attn_tensor *tensor; /* NULL: not there */
};

/* The parts of a projected row, and of a weight of all three. */
enum part { PART_QUERY, PART_KEY, PART_VALUE, PARTS };

struct multihead {
    attn_multihead_options facts; /* with defaults filled in */
    int64_t width[PARTS];         /* features of queries, keys and values, all heads */
    int64_t inputs[PARTS];        /* features that they are projected from */
    int64_t combined;             /* features that the output is projected from */
    int64_t extras;               /* keys that are parameters, or zero */
    int64_t parameter[MULTIHEAD_PARAMETERS]; /* -1: not there; else from the first on */
    struct attn_plan plan;
    struct attn_plan extra_plan; /* attention to the extra keys; with extras only */
};

/*
 * Checks options and descriptor, and makes the plans in place: *multihead must not
 * move. name is what errors call the options.
 */
attn_status attn_multihead_setup(struct multihead *multihead,
                                 struct attn_context *context,
                                 const attn_multihead_options *options,
                                 const attn_desc *desc, const attn_bounds *bounds,
                                 const char *name);

/* Appends the parameters; their numbers count from `first`. */
void attn_multihead_list(struct multihead *multihead, struct parameters *parameters,
                         int64_t first, const char *prefix);

/* The extra keys of a call. */
struct multihead_extra {
    float *keys, *values, *heads;
    float *own_lse; /* of the extra keys */
    float *lse;     /* of the other keys, then of all */
};

/* What one call works with; the caller fills it in, but for the last part. */
struct multihead_call {
    const struct multihead *multihead;
    const struct parameters *parameters;
    int64_t first; /* number of the first parameter */
    struct linear linear;
    int64_t batch, q_length, kv_length;
    int64_t rows;            /* of input and output: q_length, but for targets */
    struct integers targets; /* rows are the axis COLUMN */
    struct sequences input, key, value;
    bool one_input;                     /* key and value are input */
    bool one_key;                       /* value is key */
    const char *name;                   /* of attention, for errors */
    const attn_forward_args *attention; /* masks and the like; outputs */
    const attn_layer_args *args;        /* rotary positions, positions */
    bool training;                      /* a backward call will follow */
    const struct others *others;
    attn_should_stop *should_stop;
    void *should_stop_user;
    /* made by attn_multihead_keep() and attn_multihead_scratch(), from here on */
    struct sequences part[PARTS];
    float *heads; /* outputs of the heads */
    float *row_max, *row_sum;
    float *relative_keys;
    float *average; /* of the heads */
    float *target_rows;
    void *plan_workspace;
    struct multihead_extra extra;
};

/* Book, or find, what a backward call needs of a forward call; and the rest of what a
 * forward call needs. */
void attn_multihead_keep(struct multihead_call *call, struct ledger *ledger);
void attn_multihead_scratch(struct multihead_call *call, struct ledger *ledger);

struct multihead_extra_bound {
    attn_tensor key, value, out, lse, own_lse, weights, extra_weights;
    attn_forward_args args;
    struct call call;
};

/* A call that was checked: running it cannot fail but by being stopped. */
struct multihead_bound {
    attn_tensor query, key, value, out, row_max, row_sum, relative_keys;
    attn_forward_args args;
    struct call call;
    struct rotary rotate_query, rotate_key;
    struct multihead_extra_bound extra;
};

/* Checks a call whose memory is placed. */
attn_status attn_multihead_bind(struct multihead_bound *bound,
                                const struct multihead_call *call);

/* output = the layer of the inputs, or += with add. */
attn_status attn_multihead_forward(const struct multihead_call *call,
                                   const struct multihead_bound *bound,
                                   const struct sequences *output, bool add);

/* Asks the caller whether to stop, between the parts of a call. */
attn_status attn_layer_poll(attn_should_stop *should_stop, void *user);

/* The gradients of one call. */
struct multihead_gradients {
    struct sequences grad_output;
    /* where they go; data NULL: not asked for */
    struct sequences grad_input, grad_key, grad_value;
    bool add_input, add_key, add_value; /* to what is there */
    attn_backward_args args;            /* gradients of the attention's own inputs */
    const attn_tensor *grad_positions;  /* NULL: not asked for */
    /* made by attn_multihead_backward_scratch(), from here on */
    struct sequences part[PARTS];
    float *heads, *average, *relative_keys, *extra_keys, *extra_values;
    void *plan_workspace;
};

void attn_multihead_backward_scratch(const struct multihead_call *call,
                                     struct multihead_gradients *gradients,
                                     struct ledger *ledger);

struct multihead_extra_backward_bound {
    attn_tensor grad_key, grad_value;
    attn_backward_args args;
    struct call call;
};

/* A backward call that was checked. */
struct multihead_backward_bound {
    attn_tensor grad_out, grad_query, grad_key, grad_value, grad_relative_keys;
    attn_tensor grad_table[4];
    attn_backward_args args;
    struct call call;
    struct rotary rotate_query, rotate_key;
    struct multihead_extra_backward_bound extra;
};

attn_status attn_multihead_bind_backward(struct multihead_backward_bound *bound,
                                         const struct multihead_call *call,
                                         const struct multihead_bound *forward,
                                         const struct multihead_gradients *gradients);

attn_status attn_multihead_backward(const struct multihead_call *call,
                                    const struct multihead_backward_bound *bound,
                                    const struct multihead_gradients *gradients);

/* A parameter of the call's layer as a matrix, and its gradient; data NULL where there
 * is none. */
struct weight attn_multihead_matrix(const struct multihead_call *call,
                                    enum multihead_parameter parameter, int64_t index);
struct weight attn_multihead_matrix_gradient(const struct multihead_call *call,
                                             enum multihead_parameter parameter,
                                             int64_t index);

/* The same as tensors; rank 0 where there is none. */
const attn_tensor *attn_multihead_value(const struct multihead_call *call,
                                        enum multihead_parameter parameter);
const attn_tensor *attn_multihead_gradient(const struct multihead_call *call,
                                           enum multihead_parameter parameter);

#endif
