/*
 * attn/layer.h - layers: multi-head attention with its projections, and stacks of
 * Transformer blocks.
 *
 * A layer is made from options, a descriptor of its attention and bounds. Its
 * parameters are the caller's tensors, known by the names that PyTorch gives them: the
 * layer keeps views, and whatever the tensors hold when a call runs is what counts,
 * unless it was given packed copies (attn/packed.h).
 *
 *     attn_layer_create_multihead(&layer, context, &options, desc, &bounds);
 *     for each parameter:  attn_layer_set_parameter(layer, name, &tensor);
 *     for each step:       attn_layer_forward(layer, &args);
 *
 * Sequences are rows: (batch, tokens, features) in logical order, with strides that are
 * free but for the last, which is 1. Arithmetic is float32. Lengths and masks say which
 * tokens are attended; projections, norms and networks take all rows alike, so that
 * what lies beyond the lengths becomes rows of output of its own. For training it must
 * be finite, and grad_output 0 there, or it counts like any other row.
 *
 * Most products with parameters are computed on the context's threads, by kernels of
 * BLAS for small matrices or libattn's own (attn_layer_explain()). What is left,
 * gradients of parameters where BLAS has none for small matrices and there are no tiles
 * of AMX, and with neither all but products of a few rows, are one call of BLAS each,
 * made from the calling thread under a lock of libattn's: give BLAS as many threads as
 * the context has. The bits of a result may depend on the batch and its padding, unless
 * attn_layer_set_reproducible() says otherwise.
 */
#ifndef ATTN_LAYER_H
#define ATTN_LAYER_H

#include "backward.h"
#include "rotary.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Any number of threads may run one layer at once; its setters must not run at the same
 * time as other calls on it, and neither may two backward calls that write the same
 * gradients.
 */
typedef struct attn_layer attn_layer;

/* ---------------------------------------------------- multi-head attention */

/** How the outputs of heads become one. */
enum {
    ATTN_COMBINE_CONCAT = 0, /* side by side (Vaswani et al. 2017) */
    ATTN_COMBINE_MEAN = 1    /* averaged */
};

/** What a head's query, key and value are projected from. */
enum {
    ATTN_PROJECT_ALL = 0,   /* all features of the input */
    ATTN_PROJECT_SLICES = 1 /* slice h of as many slices as there are heads */
};

/**
 * Multi-head attention (Vaswani et al. 2017): queries, keys and values are projections
 * of the inputs, x W^T + b; so is the output of the combined heads. Set up with
 * attn_multihead_options_init(), then fill in; 0 stands for what is said beside it.
 *
 * The parameters, with E = embed_dim, H = heads, G = kv_heads, D = key_dim, Dv =
 * value_dim, Ek = key_embed_dim and Ev = value_embed_dim:
 *
 *     in_proj_weight (H D + G D + G Dv, E)   unless separate: for query, key, value
 *     q_proj_weight (H D, E)                 with separate
 *     k_proj_weight (G D, Ek)
 *     v_proj_weight (G Dv, Ev)
 *     in_proj_bias (H D + G D + G Dv)        with input_bias
 *     bias_k (1, 1, G D)                     with key_value_bias
 *     bias_v (1, 1, G Dv)
 *     out_proj.weight (E, H Dv)              (E, Dv) if heads are averaged
 *     out_proj.bias (E)                      with output_bias
 *     r_proj_weight (H D, E)                 with relative
 *
 * With slices the weights are q_proj_weight (H, D, E / H), k_proj_weight (G, D, Ek / G)
 * and v_proj_weight (G, Dv, Ev / G). With relative, those of the following that the
 * descriptor announces are parameters, not inputs of a call:
 *
 *     r_w_bias (H, D)       the content bias
 *     r_r_bias (H, D)       the position bias
 *     seg_embed (2, H, D)   the segment keys
 *     r_s_bias (H, D)       the segment bias: with segments, always
 */
typedef struct attn_multihead_options {
    int64_t size;
    int64_t embed_dim;
    int64_t heads;
    int64_t kv_heads;        /* 0: heads */
    int64_t key_dim;         /* of a head; 0: embed_dim / heads */
    int64_t value_dim;       /* of a head; 0: key_dim */
    int64_t key_embed_dim;   /* kdim, features of the key input; 0: embed_dim */
    int64_t value_embed_dim; /* vdim, of the value input; 0: embed_dim */
    int64_t separate;        /* 1: a weight each for query, key and value; needed where
                                kdim or vdim differ from embed_dim, and for slices */
    int64_t input_bias;      /* 1: projections of inputs have a bias */
    int64_t output_bias;     /* 1: that of the output has one */
    int64_t key_value_bias;  /* 1: one more key and value, parameters, that every query
                                attends (add_bias_kv of PyTorch) */
    int64_t zero_attention;  /* 1: one more key and value of zeros (add_zero_attn) */
    int64_t combine;         /* ATTN_COMBINE_... */
    int64_t project;         /* ATTN_PROJECT_... */
    int64_t rotary_dim; /* features of a head to rotate, of query and key; 0: none */
    int64_t rotary_interleaved; /* this and the next as in attn_rotary_args */
    double rotary_base;         /* 0: 10000 */
    int64_t relative; /* 1: relative keys from positions (Transformer-XL, XLNet),
                         whatever desc says of relative keys */
    int64_t targets;  /* 1: calls bring targets: rows of input that stand for some of
                         the queries (the query stream of XLNet) */
} attn_multihead_options;

/** As attn_forward_args_init(). ATTN_ERR_INVALID. Since 0.1. */
ATTN_API attn_status attn_multihead_options_init(attn_multihead_options *options,
                                                 size_t size);

/**
 * A multi-head layer. desc says what else the attention has: masks, scale, bias,
 * dropout and so on, but no packed sequences; its heads and dims are the layer's, and
 * may be left unset. NULL: a plain one. bounds are those of a plan; kv_length also
 * where keys are made of input. With key_value_bias or zero_attention the keys that are
 * added count in no mask, length, position or bound, take part in the scale and the
 * softcap, but not in other terms; weights of a call have columns for them after the
 * others (no other output has), and there are no mean_weights, key_sums, lse, row_max
 * and row_sum. Dropout counts them from 0 again, with the seed ~dropout_seed. Rows
 * beyond q_lengths attend them alone.
 *
 * ATTN_ERR_INVALID, ATTN_ERR_UNSUPPORTED, ATTN_ERR_NO_MEMORY; *layer is NULL then.
 * Since 0.1.
 */
ATTN_API attn_status attn_layer_create_multihead(attn_layer **layer,
                                                 attn_context *context,
                                                 const attn_multihead_options *options,
                                                 const attn_desc *desc,
                                                 const attn_bounds *bounds);

/* ------------------------------------------------------------------ stacks */

/** The normalisation in a stack. */
enum {
    ATTN_NORM_LAYER = 0, /* mean 0, variance 1 (Ba et al. 2016) */
    ATTN_NORM_RMS = 1    /* mean square 1 (Zhang and Sennrich 2019) */
};

/** The activation of a feed-forward network. */
enum {
    ATTN_ACTIVATION_RELU = 0,
    ATTN_ACTIVATION_GELU = 1,      /* x Phi(x) (Hendrycks and Gimpel 2016) */
    ATTN_ACTIVATION_GELU_TANH = 2, /* its approximation by tanh: gelu_new */
    ATTN_ACTIVATION_SILU = 3       /* x / (1 + exp(-x)), swish */
};

/**
 * N blocks, each of which reads what the one before wrote: self-attention, attention to
 * a memory if cross_attention is given, and a feed-forward network f(x W1^T + b1) W2^T
 * + b2, or if gated (f(x Wg^T + bg) * (x W1^T + b1)) W2^T + b2. Around each of these
 * parts S stands norm(x + S(x)), or with norm_first x + S(norm(x)). Set up with
 * attn_stack_options_init(), then fill in.
 *
 * The parameters, with E = embed_dim and F = feed_forward_dim, for each group g:
 *
 *     layers.<g>.self_attn.*           those of a multi-head layer
 *     layers.<g>.multihead_attn.*      the same, with cross_attention
 *     layers.<g>.linear1.weight (F, E)
 *     layers.<g>.linear1.bias (F)      with feed_forward_bias
 *     layers.<g>.gate.weight (F, E)    if gated
 *     layers.<g>.gate.bias (F)         if gated, with feed_forward_bias
 *     layers.<g>.linear2.weight (E, F)
 *     layers.<g>.linear2.bias (E)      with feed_forward_bias
 *     layers.<g>.norm1.weight (E)      of the first part; norm2, norm3 of the others
 *     layers.<g>.norm1.bias (E)        with norm_bias
 *     norm.weight (E), norm.bias (E)   the same after the last block, with final_norm
 */
typedef struct attn_stack_options {
    int64_t size;
    int64_t layers; /* N */
    int64_t groups; /* blocks with parameters of their own, 1 (ALBERT: all share them)
                       to N; block l is of group floor(l groups / N); 0: N */
    int64_t feed_forward_dim;
    int64_t activation; /* ATTN_ACTIVATION_... */
    int64_t gated;
    int64_t feed_forward_bias;
    int64_t norm; /* ATTN_NORM_... */
    int64_t norm_bias;
    int64_t norm_first;
    int64_t final_norm;
    int64_t recompute; /* 1: a forward call for training keeps the inputs of blocks
                          only, and the backward call computes each block again */
    double epsilon;    /* of the norms; 0: 1e-5 */
    const attn_multihead_options *self_attention;
    ATTN_PAD_POINTER(0)
    const attn_multihead_options *cross_attention; /* NULL: none */
    ATTN_PAD_POINTER(1)
} attn_stack_options;

/** As attn_forward_args_init(). ATTN_ERR_INVALID. Since 0.1. */
ATTN_API attn_status attn_stack_options_init(attn_stack_options *options, size_t size);

/**
 * A stack of blocks. self_desc and cross_desc are as desc of a multi-head layer. E is
 * embed_dim of self_attention, whose inputs all have it, and of cross_attention, whose
 * key_embed_dim and value_embed_dim are the features of the memory. Rotary and relative
 * positions are for self_attention, targets for multi-head layers. Nothing is dropped
 * but weights of attention. bounds: q_length the longest sequence, kv_length the
 * longest memory; without cross attention it is not looked at. Errors as there. Since
 * 0.1.
 */
ATTN_API attn_status attn_layer_create_stack(attn_layer **layer, attn_context *context,
                                             const attn_stack_options *options,
                                             const attn_desc *self_desc,
                                             const attn_desc *cross_desc,
                                             const attn_bounds *bounds);

/* -------------------------------------------------------------- parameters */

/** NULL is allowed. No call on the layer may be under way. Since 0.1. */
ATTN_API void attn_layer_destroy(attn_layer *layer);

/** How many parameters a layer has; 0 for NULL. Since 0.1. */
ATTN_API int64_t attn_layer_parameter_count(const attn_layer *layer);

/**
 * Name and shape of parameter number index, 0 to count - 1. The name lives as long as
 * the layer; shape gets 3 sizes, the last ones 0 where the rank is lower. name, rank
 * and shape may each be NULL. ATTN_ERR_INVALID. Since 0.1.
 */
ATTN_API attn_status attn_layer_parameter(const attn_layer *layer, int64_t index,
                                          const char **name, int32_t *rank,
                                          int64_t shape[3]);

/**
 * Gives the layer a view of a parameter: F32 of its shape. The tensor is copied, the
 * data must live as long as calls use it. What is called weight and has two dimensions
 * may be stored transposed, with the first stride 1 instead of the last.
 * ATTN_ERR_INVALID: no such name, another shape. ATTN_ERR_UNSUPPORTED: a stride beyond
 * what BLAS takes, 2^31 - 1; a 16-bit type. Since 0.1.
 */
ATTN_API attn_status attn_layer_set_parameter(attn_layer *layer, const char *name,
                                              const attn_tensor *tensor);

/**
 * Where backward calls add the gradient of a parameter: a tensor under the rules of
 * parameters that overlaps no other. NULL: the gradient is not computed. Since 0.1.
 */
ATTN_API attn_status attn_layer_set_gradient(attn_layer *layer, const char *name,
                                             const attn_tensor *tensor);

/**
 * 1: products with parameters are computed by kernels of libattn's own, on the
 * context's threads, so that the bits of its output do not depend on the other
 * sequences of the batch, on padding or on the threads of BLAS; on its place in memory
 * modulo 64 bytes attention may still depend. It takes about as long where sequences
 * have a hundred tokens and more or weights are packed, several times as long for a
 * token or two. Gradients of parameters, sums over all rows, are made as without. 0:
 * off. Since 0.1.
 */
ATTN_API attn_status attn_layer_set_reproducible(attn_layer *layer,
                                                 int32_t reproducible);

/**
 * Describes the layer for people, a "name: value" line each: its sizes, how many
 * weights are packed, by which kernels few rows and many (of all sequences) are
 * multiplied with weights of each shape, and what attn_plan_explain() says of its
 * attention. Works like snprintf, as attn_context_explain() does; not beside setters of
 * the layer. Since 0.1.
 */
ATTN_API size_t attn_layer_explain(const attn_layer *layer, char *text, size_t size);

/* ------------------------------------------------------------------- calls */

/**
 * What one call works on. Set up with attn_layer_args_init(), then fill in. NULL means
 * "not there".
 */
typedef struct attn_layer_args {
    int64_t size;
    const attn_tensor *input; /* F32 (B, Sq, E): what makes queries; of a stack the
                                 sequences; with targets (B, T, E) */
    ATTN_PAD_POINTER(0)
    const attn_tensor *key; /* F32 (B, Sk, kdim): what makes keys, of a stack with cross
                               attention the memory; NULL: input, without targets */
    ATTN_PAD_POINTER(1)
    const attn_tensor *value; /* F32 (B, Sk, vdim); NULL: key. Not of a stack */
    ATTN_PAD_POINTER(2)
    const attn_tensor *output; /* F32, the shape of input, written */
    ATTN_PAD_POINTER(3)

    /*
     * Inputs that the descriptors announce, and outputs of the attention: query, key,
     * value, out, workspace, should_stop and profile must be NULL, and so must cache,
     * since layers keep no keys; the rest is as in attn_plan_forward(). NULL where
     * there is nothing to say. In a stack each tensor serves all blocks, and there are
     * no outputs but those below. Dropout of block l has the seed dropout_seed + l,
     * here and in cross_attention: leave N between the two, and 2 N between steps.
     */
    const attn_forward_args *attention;
    ATTN_PAD_POINTER(4)
    const attn_forward_args *cross_attention; /* of a stack */
    ATTN_PAD_POINTER(5)

    /* rotary positions, as in attn_rotary_args; those of keys: NULL as of queries */
    const attn_tensor *position_ids;
    ATTN_PAD_POINTER(6)
    const attn_tensor *offsets;
    ATTN_PAD_POINTER(7)
    const attn_tensor *cosines;
    ATTN_PAD_POINTER(8)
    const attn_tensor *sines;
    ATTN_PAD_POINTER(9)
    const attn_tensor *key_position_ids;
    ATTN_PAD_POINTER(10)
    const attn_tensor *key_offsets;
    ATTN_PAD_POINTER(11)

    /* with relative: F32 (R, E), R from 1 to Sq + Sk; row r encodes the distance j - p
       = r - relative_zero (the papers have p - j), the ends also all beyond */
    const attn_tensor *positions;
    ATTN_PAD_POINTER(12)
    int64_t relative_zero;

    /* outputs of a stack (a multi-head layer has those of attention): weights of all
       blocks, before dropout, each and averaged over heads */
    const attn_tensor *weights; /* F32 (N, B, H, Sq, Sq) */
    ATTN_PAD_POINTER(13)
    const attn_tensor *mean_weights; /* F32 (N, B, Sq, Sq) */
    ATTN_PAD_POINTER(14)
    const attn_tensor *cross_weights; /* F32 (N, B, H, Sq, Sk) */
    ATTN_PAD_POINTER(15)
    const attn_tensor *cross_mean_weights; /* F32 (N, B, Sq, Sk) */
    ATTN_PAD_POINTER(16)

    /*
     * With targets: row t of input becomes query targets[t], one of query_length, which
     * is Sq everywhere; row t of output is the result of that query. Rows of the same
     * target are added. Queries that no row stands for are 0, and cost as much as
     * others.
     */
    const attn_tensor *targets; /* I32 or I64 (B, T), (1, T) or (T): 0 to Sq - 1 */
    ATTN_PAD_POINTER(17)
    int64_t query_length; /* 0 without targets */

    /* how to run; state, at a multiple of 64, keeps what a backward call needs, but for
       row_max and row_sum if attention has them; NULL: none will follow */
    void *state;
    ATTN_PAD_POINTER(18)
    int64_t state_size; /* attn_layer_state_size() or more */
    void *workspace;    /* as in attn_forward_args */
    ATTN_PAD_POINTER(19)
    int64_t workspace_size;        /* attn_layer_workspace_size() or more */
    attn_should_stop *should_stop; /* polled before products, and by attention */
    ATTN_PAD_POINTER(20)
    void *should_stop_user;
    ATTN_PAD_POINTER(21)
} attn_layer_args;

/** As attn_forward_args_init(). ATTN_ERR_INVALID. Since 0.1. */
ATTN_API attn_status attn_layer_args_init(attn_layer_args *args, size_t size);

/**
 * Bytes of workspace that the largest forward call needs, or the largest backward call.
 * They do not grow with the number of blocks. 0 for NULL. Since 0.1.
 */
ATTN_API size_t attn_layer_workspace_size(const attn_layer *layer);
ATTN_API size_t attn_layer_backward_workspace_size(const attn_layer *layer);

/**
 * Bytes of state that a forward call of these sizes keeps; 0 for NULL and for sizes
 * beyond the bounds. Of a stack without memory kv_length is not looked at. Since 0.1.
 */
ATTN_API size_t attn_layer_state_size(const attn_layer *layer, int64_t batch,
                                      int64_t q_length, int64_t kv_length);

/**
 * Computes. Thread rule and errors as of attn_plan_forward(); besides,
 * ATTN_ERR_INVALID: a parameter that was not given. Since 0.1.
 */
ATTN_API attn_status attn_layer_forward(const attn_layer *layer,
                                        const attn_layer_args *args);

/** What a backward call works on. Set up with attn_layer_backward_args_init(). */
typedef struct attn_layer_backward_args {
    int64_t size;
    /* The arguments of the forward call, with its state, which stays as it is. Inputs
     * and parameters are read again and must be what they were. */
    const attn_layer_args *forward;
    ATTN_PAD_POINTER(0)
    const attn_tensor *grad_output; /* F32, the shape of output */
    ATTN_PAD_POINTER(1)

    /* the shapes of input and so on; written, if there; parameters' are where
       attn_layer_set_gradient() says */
    const attn_tensor *grad_input;
    ATTN_PAD_POINTER(2)
    const attn_tensor *grad_key; /* where key is NULL: part of grad_input */
    ATTN_PAD_POINTER(3)
    const attn_tensor *grad_value;
    ATTN_PAD_POINTER(4)
    const attn_tensor *grad_positions; /* added to what is there */
    ATTN_PAD_POINTER(5)

    /*
     * Gradients of what attention brings (bias, alibi_slopes, relative_bias and the
     * like), summed over blocks, and of a multi-head layer those of its outputs
     * (grad_lse, grad_weights, grad_key_sums) that come in. forward, grad_out,
     * grad_query, grad_key, grad_value, workspace and should_stop must be NULL.
     */
    const attn_backward_args *attention;
    ATTN_PAD_POINTER(6)
    const attn_backward_args *cross_attention; /* of a stack */
    ATTN_PAD_POINTER(7)

    void *workspace;
    ATTN_PAD_POINTER(8)
    int64_t workspace_size; /* attn_layer_backward_workspace_size() or more */
    attn_should_stop *should_stop;
    ATTN_PAD_POINTER(9)
    void *should_stop_user;
    ATTN_PAD_POINTER(10)
} attn_layer_backward_args;

/** As attn_forward_args_init(). ATTN_ERR_INVALID. Since 0.1. */
ATTN_API attn_status attn_layer_backward_args_init(attn_layer_backward_args *args,
                                                   size_t size);

/**
 * Computes gradients: those of input, key and value are overwritten, those that
 * attention and cross_attention bring as their accumulate says, those of parameters and
 * positions are added to, which after ATTN_ERR_CANCELLED may have been done in part.
 * Errors as of attn_plan_backward(). Since 0.1.
 */
ATTN_API attn_status attn_layer_backward(const attn_layer *layer,
                                         const attn_layer_backward_args *args);

#ifdef __cplusplus
}
#endif

#endif
