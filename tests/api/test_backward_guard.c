/*
 * A backward call touches nothing outside of its tensors, and reads nothing beyond the
 * lengths: each tensor lies between pages that cannot be touched, and what the lengths
 * leave out lies on them.
 */
#include <stdio.h>
#include <string.h>

#include "tests/support/backward.h"
#include "tests/support/fence.h"
#include "tests/support/run.h"

static struct test_backward call, moved;

/* There is no backward pass of bytes, with two scales, and of packed sequences, with
 * two starts. */
enum { READ = GEN_TENSORS - 4 + INCOMING + 4 };

/* The tensors that a backward call reads. */
static void list_read(struct test_backward *of, attn_tensor *list[READ]) {
    struct test_inputs *in = &of->forward.inputs;
    attn_tensor *const inputs[] = {&in->query,
                                   &in->key,
                                   &in->value,
                                   &in->q_lengths,
                                   &in->kv_lengths,
                                   &in->query_offsets,
                                   &in->prefix_lengths,
                                   &in->q_documents,
                                   &in->k_documents,
                                   &in->block_mask,
                                   &in->mask,
                                   &in->bias,
                                   &in->alibi_slopes,
                                   &in->sinks,
                                   &in->rng_indices,
                                   &in->relative_bias,
                                   &in->relative_keys,
                                   &in->content_bias,
                                   &in->position_bias,
                                   &in->q_segments,
                                   &in->k_segments,
                                   &in->segment_keys,
                                   &in->segment_bias,
                                   &in->q_ranks,
                                   &in->k_ranks,
                                   &in->score_vector,
                                   &of->forward.outputs.tensor[OUT],
                                   &of->forward.outputs.tensor[LSE],
                                   &of->forward.outputs.tensor[ROW_MAX],
                                   &of->forward.outputs.tensor[ROW_SUM]};
    _Static_assert(COUNT_OF(inputs) == READ - INCOMING, "all are listed");
    memcpy(list, inputs, sizeof inputs);
    for (int w = 0; w < INCOMING; w++) {
        list[COUNT_OF(inputs) + (size_t)w] = &of->incoming.tensor[w];
    }
}

/* Runs `moved`, whose tensors are elsewhere; alignment differs, so only the oracle can
 * judge. */
static void run_and_check_moved(void) {
    struct test_backward original = moved;
    run_args(&moved.forward.args, &moved.forward.inputs, &moved.forward.outputs);
    moved.args.forward = &moved.forward.args;
    incoming_give(&moved.incoming, &moved.args);
    outputs_give_gradients(&moved.gradients, &moved.args);
    backward_run(&moved);
    memset(moved.gradients.block, 0, sizeof moved.gradients.block);
    assert_int_equal(backward_check(&moved), 0);
    moved = original;
}

static void tensors_between_pages(void **state) {
    (void)state;
    static const char *const texts[] = {
        "b2 h4/2 q37 k75 d17/9 causal align=br seed=1",
        "b2 h2 q70 k131 d64/40 qlens kvlens docs layout=bshd seed=2",
        "h3 q33 k65 d3/1 mask bias block=7x9 alibi sinks softcap=5 seed=3",
        "b2 h4/1 q1 k259 d128 causal prefix align=offsets dropout=0.1 seed=4",
        "q300 k317 d40/33 seed=5",
        "h2 q5 k31 d1 bias sinks dropout=0.3 seed=6",
        "b2 h4/2 q37 k150 d17 relkeys ubias vbias relbias=9,30 seed=7",
        "b2 h2 q70 k60 d9 relkeys segments ranks=below layout=bshd seed=8"};
    for (size_t n = 0; n < COUNT_OF(texts) * 2; n++) {
        attn_tensor *list[READ];
        int at_end = n % 2 == 0;
        backward_open(&call, texts[n / 2], ALL_INCOMING, ALL_GRADIENTS);
        moved = call;
        list_read(&moved, list);
        for (size_t t = 0; t < READ; t++) {
            fence_tensor(list[t], at_end, 1);
        }
        for (int o = GRAD_QUERY; o < SLOTS; o++) {
            fence_tensor(&moved.gradients.tensor[o], at_end, 0);
        }
        run_and_check_moved();
        fence_free();
        backward_close(&call);
    }
}

static void nothing_beyond_the_lengths_is_read(void **state) {
    (void)state;
    static const char *const words[] = {"",
                                        "causal align=br",
                                        "docs",
                                        "bias",
                                        "mask sinks",
                                        "alibi softcap=3",
                                        "dropout=0.4",
                                        "segments",
                                        "ranks=below",
                                        "relkeys vbias relbias=4,9"};
    static const struct fence_cut cuts[] = {{90, 41}, {300, 77}};
    for (size_t n = 0; n < COUNT_OF(words); n++) {
        char text[128];
        attn_tensor *list[READ];
        int64_t q_length[1] = {41}, kv_length[1] = {77};
        snprintf(text, sizeof text, "q90 k300 d24 qlens kvlens %s", words[n]);
        backward_open(&call, text, ALL_INCOMING, ALL_GRADIENTS);
        struct test_inputs *in = &call.forward.inputs;
        in->q_lengths.dtype = in->kv_lengths.dtype = ATTN_I64;
        in->q_lengths.data = q_length;
        in->kv_lengths.data = kv_length;
        backward_forward(&call);
        moved = call;
        list_read(&moved, list);
        for (size_t t = 0; t < READ; t++) {
            fence_beyond(list[t], cuts, COUNT_OF(cuts));
        }
        run_and_check_moved();
        fence_free();
        backward_close(&call);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_between_pages),
        cmocka_unit_test(nothing_beyond_the_lengths_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
