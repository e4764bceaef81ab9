/*
 * Samples, and what must not have happened to them.
 */
#include "tests/support/layer_refuse.h"

struct layer_call refuse_call;
struct layer_problem refuse_problem;

static void open_sample(int n) {
    refuse_problem = layer_sample(n);
    layer_open(&refuse_call, &refuse_problem);
    layer_forward(&refuse_call);
    layer_reset(&refuse_call);
}

int refuse_setup(void **state) {
    (void)state;
    open_sample(0);
    return 0;
}

int refuse_teardown(void **state) {
    (void)state;
    layer_close(&refuse_call);
    return 0;
}

void refuse_reopen(int sample) {
    layer_close(&refuse_call);
    open_sample(sample);
}

void refuse_forward(attn_status status, const char *says) {
    expect_refusal(attn_layer_forward(refuse_call.layer, &refuse_call.args), status,
                   says);
    layer_need_untouched(&refuse_call);
}

void refuse_backward(attn_status status, const char *says) {
    expect_refusal(attn_layer_backward(refuse_call.layer, &refuse_call.backward),
                   status, says);
    layer_need_untouched(&refuse_call);
}

void refuse_both(attn_status status, const char *says) {
    refuse_forward(status, says);
    refuse_backward(status, says);
}

#define ARGUMENT(name, forward, written)                                               \
    { #name, &refuse_call.args.name, 0, forward, written }
#define GRADIENT(name, written)                                                        \
    { #name, &refuse_call.backward.name, 1, 0, written }

const struct refuse_member refuse_members[REFUSE_MEMBERS] = {
    ARGUMENT(input, 0, 0),       ARGUMENT(key, 0, 0),    ARGUMENT(value, 0, 0),
    ARGUMENT(positions, 0, 0),   ARGUMENT(output, 1, 1), GRADIENT(grad_output, 0),
    GRADIENT(grad_input, 1),     GRADIENT(grad_key, 1),  GRADIENT(grad_value, 1),
    GRADIENT(grad_positions, 1),
};

void refuse_member(const struct refuse_member *member, attn_status status,
                   const char *says) {
    if (!member->backward) {
        refuse_forward(status, says);
    }
    if (!member->forward) {
        refuse_backward(status, says);
    }
}

attn_tensor refuse_spare(int32_t dtype, int32_t rank, int64_t n0, int64_t n1,
                         int64_t n2) {
    static int64_t memory[4096];
    attn_tensor t;
    attn_tensor_init(&t, dtype, rank, (int64_t[]){n0, n1, n2}, memory);
    return t;
}
