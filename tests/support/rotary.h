/*
 * Calls of attn_rotary() with data of their own, and an oracle: the formula in
 * attn/rotary.h.
 */
#ifndef TEST_ROTARY_H
#define TEST_ROTARY_H

#include "tests/support/random.h"
#include "tests/support/test.h"

/* What says the positions. */
enum {
    ROTARY_NOTHING,
    ROTARY_IDS,         /* position_ids (B, S) */
    ROTARY_IDS_ONE_ROW, /* (1, S) */
    ROTARY_IDS_SHARED,  /* (S) */
    ROTARY_OFFSETS,
    ROTARY_POSITIONS
};

/* What says the angles. */
enum {
    ROTARY_COMPUTED,
    ROTARY_CACHE,       /* cosines (P, R / 2); P is the highest position and one */
    ROTARY_ROWS,        /* (B, S, R / 2), without positions */
    ROTARY_SHARED_ROWS, /* (1, S, R / 2), the same */
    ROTARY_ANGLES
};

struct rotary_problem {
    int64_t batch, heads, rows, dim;
    int64_t rotary_dim; /* 0: dim */
    int interleaved, inverse;
    double base; /* 0: the default */
    int positions, angles;
    int64_t highest; /* of the positions; 0: 40 + rows */
    int wide;        /* integers are int64 */
    int bshd;        /* heads inside of rows */
    int in_place;
    uint64_t seed;
};

enum { ROTARY_BLOCKS = 6 };

struct rotary_call {
    struct rotary_problem problem;
    attn_tensor input, output, position_ids, offsets, cosines, sines;
    attn_rotary_args args;
    float *original;     /* the values of input, contiguous */
    long double *powers; /* of base, for each pair */
    void *block[ROTARY_BLOCKS];
};

/* Problem number n of an endless list over all options. */
struct rotary_problem rotary_compose(uint64_t number);

/* Makes the data; output, but in place, and the gaps of all tensors are NaN. */
void rotary_open(struct rotary_call *call, const struct rotary_problem *problem);
void rotary_close(struct rotary_call *call);

/* Runs the call, which must succeed. */
void rotary_run(struct rotary_call *call, attn_context *context);

/* Input and output as rotary_open() left them. */
void rotary_reset(struct rotary_call *call);

/* The position of a row. */
int64_t rotary_position(const struct rotary_call *call, int64_t b, int64_t row);

/* Fails the test unless all of output is right and nothing beside it was written. */
void rotary_check(const struct rotary_call *call);

/* Fails the test unless two outputs, in whatever strides, have the same bits. */
void rotary_need_same(const attn_tensor *a, const attn_tensor *b);

/* True if no element of output, nor what lies between, was written. */
int rotary_untouched(const struct rotary_call *call);

/* A context of so many threads (0: its default) and this kernel set; NULL if the
 * set does not run here. */
attn_context *rotary_context(int32_t threads, int32_t isa);

#endif
