/*
 * One sample of a layer at a time, and calls on it that must be refused, with the words
 * of the message, and have written nothing.
 */
#ifndef TEST_LAYER_REFUSE_H
#define TEST_LAYER_REFUSE_H

#include "tests/support/expect.h"
#include "tests/support/layer_calls.h"
#include "tests/support/layer_data.h"

/* The sample at hand; its forward call has run. */
extern struct layer_call refuse_call;
extern struct layer_problem refuse_problem;

/* CMocka's setup, with sample 0, and teardown; and another sample instead. */
int refuse_setup(void **state);
int refuse_teardown(void **state);
void refuse_reopen(int sample);

/* The forward call, the backward call, and both. */
void refuse_forward(attn_status status, const char *says);
void refuse_backward(attn_status status, const char *says);
void refuse_both(attn_status status, const char *says);

/* The tensors of the layer's own arguments. */
struct refuse_member {
    const char *name;
    const attn_tensor **tensor;
    int backward; /* of backward calls alone */
    int forward;  /* of forward calls alone */
    int written;
};
enum { REFUSE_MEMBERS = 10 };
extern const struct refuse_member refuse_members[REFUSE_MEMBERS];

/* By the calls that look at it. */
void refuse_member(const struct refuse_member *member, attn_status status,
                   const char *says);

/* A tensor that would be good, were it asked for. */
attn_tensor refuse_spare(int32_t dtype, int32_t rank, int64_t n0, int64_t n1,
                         int64_t n2);

#endif
