/*
 * Memory that calls on layers refuse: too small, misplaced, or in each other's way.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/element.h"
#include "tests/support/layer_refuse.h"

/* Enough for a forward and for a backward call. */
static size_t workspace_bytes(void) {
    const size_t forward = attn_layer_workspace_size(refuse_call.layer);
    const size_t backward = attn_layer_backward_workspace_size(refuse_call.layer);
    return forward > backward ? forward : backward;
}

static void lent_memory(void **state) {
    (void)state;
    for (int n = 0; n < LAYER_SAMPLES; n += 5) {
        refuse_reopen(n);
        const attn_layer_args args = refuse_call.args;
        const size_t bytes = attn_layer_workspace_size(refuse_call.layer);
        const size_t backward_bytes =
            attn_layer_backward_workspace_size(refuse_call.layer);
        char *memory = aligned_alloc(64, workspace_bytes() + 64);
        assert_non_null(memory);
        refuse_call.args.workspace = memory + 32;
        refuse_call.args.workspace_size = (int64_t)bytes;
        refuse_forward(ATTN_ERR_INVALID, "workspace is 32 bytes past|64");
        refuse_call.args.workspace = memory;
        static const int64_t less[] = {1, 64};
        for (size_t l = 0; l < COUNT_OF(less); l++) {
            refuse_call.args.workspace_size = (int64_t)bytes - less[l];
            refuse_forward(ATTN_ERR_INVALID, "workspace has|needs");
            refuse_call.backward.workspace = memory;
            refuse_call.backward.workspace_size = (int64_t)backward_bytes - less[l];
            refuse_backward(ATTN_ERR_INVALID, "workspace has|needs");
        }
        refuse_call.args.workspace_size = -1;
        refuse_forward(ATTN_ERR_INVALID, "workspace has -1");
        refuse_call.args.workspace = NULL;
        refuse_call.args.workspace_size = 64;
        refuse_forward(ATTN_ERR_INVALID, "workspace_size is 64|NULL");
        refuse_call.args = args;
        refuse_call.backward.workspace = NULL;
        refuse_backward(ATTN_ERR_INVALID, "workspace_size|NULL");
        refuse_call.backward.workspace_size = 0;
        refuse_call.args.state = (char *)args.state + 4;
        refuse_both(ATTN_ERR_INVALID, "state is 4 bytes past|64");
        refuse_call.args = args;
        refuse_call.args.state_size--;
        refuse_both(ATTN_ERR_INVALID, "state has|needs");
        refuse_call.args = args;
        refuse_call.args.state = NULL;
        refuse_forward(ATTN_ERR_INVALID, "state_size|NULL");
        refuse_call.args = args;
        /* the workspace of the forward call is not looked at backwards */
        refuse_call.args.workspace = memory + 1;
        refuse_call.args.workspace_size = 3;
        layer_backward(&refuse_call);
        free(memory);
    }
}

/* --------------------------------------------------------------------- overlaps */

/* What one call writes, moved into each of what it reads or writes elsewhere. */
struct region {
    const char *name;
    void *at;
    size_t bytes;
};

static size_t bytes_of(const attn_tensor *tensor) {
    return (size_t)element_extent(tensor) * element_size(tensor->dtype);
}

/* Where a tensor lies that may be missing. */
static struct region place_of(const char *name, const attn_tensor *tensor) {
    return tensor == NULL ? (struct region){name, NULL, 0}
                          : (struct region){name, tensor->data, bytes_of(tensor)};
}

/* What is named where a tensor is moved there; one that does not fit may meet a
 * neighbour in memory first. */
static const char *met(const struct region *region, const attn_tensor *moved) {
    return bytes_of(moved) <= region->bytes ? region->name : "";
}

static void moved_into(const struct refuse_member *written,
                       const struct region *regions, size_t count) {
    const attn_tensor *before = *written->tensor;
    attn_tensor t = *before;
    *written->tensor = &t;
    for (size_t r = 0; r < count; r++) {
        char says[128];
        if (regions[r].at != NULL && regions[r].at != before->data) {
            t.data = regions[r].at;
            snprintf(says, sizeof says, "overlaps|%s", met(&regions[r], before));
            refuse_member(written, ATTN_ERR_INVALID, says);
        }
    }
    *written->tensor = before;
}

/* A parameter of the last group. */
static const struct layer_tensor *some_parameter(void) {
    return layer_find(&refuse_call,
                      refuse_problem.layers == 0   ? ""
                      : refuse_problem.layers == 2 ? "layers.1.multihead_attn."
                                                   : "layers.0.self_attn.",
                      "out_proj.weight");
}

/* Each tensor of the layer that is written, into these. */
static void all_moved_into(const struct region *regions, size_t count) {
    for (size_t m = 0; m < REFUSE_MEMBERS; m++) {
        if (refuse_members[m].written && *refuse_members[m].tensor != NULL) {
            moved_into(&refuse_members[m], regions, count);
        }
    }
}

static void overlaps(void **state) {
    (void)state;
    for (int n = 0; n < LAYER_SAMPLES; n++) {
        refuse_reopen(n);
        const size_t bytes = workspace_bytes();
        char *memory = aligned_alloc(64, bytes + 64);
        assert_non_null(memory);
        refuse_call.args.workspace = refuse_call.backward.workspace = memory;
        refuse_call.args.workspace_size = refuse_call.backward.workspace_size =
            (int64_t)bytes;
        const struct region regions[] = {
            place_of("input", refuse_call.args.input),
            place_of("key", refuse_call.args.key),
            place_of("value", refuse_call.args.value),
            place_of("positions", refuse_call.args.positions),
            place_of("targets", refuse_call.args.targets),
            {"workspace", memory, bytes},
            {"state", refuse_call.args.state, (size_t)refuse_call.args.state_size},
            place_of("parameter ", &some_parameter()->tensor),
            place_of("the gradient of ", &some_parameter()->gradient),
        };
        all_moved_into(regions, COUNT_OF(regions));
        const struct region incoming[] = {place_of("", &refuse_call.grad_output)};
        const struct region other[] = {
            place_of("grad_", refuse_call.backward.grad_input)};
        for (size_t m = 0; m < REFUSE_MEMBERS; m++) {
            if (refuse_members[m].backward && refuse_members[m].written &&
                *refuse_members[m].tensor != NULL) {
                moved_into(&refuse_members[m], incoming, 1);
                moved_into(&refuse_members[m], other, 1);
            }
        }
        free(memory);
    }
}

/* An input moved to the end of what is written, of the same contents as before. */
static void share(const struct refuse_member *written, const char *name,
                  const attn_tensor **input) {
    const attn_tensor *before = *written->tensor, *from = *input;
    const size_t bytes = (size_t)element_extent(before) * sizeof(float);
    const size_t needed =
        ((size_t)element_extent(from) * element_size(from->dtype) + 63) / 64 * 64;
    char *memory = aligned_alloc(64, (bytes + needed + 63) / 64 * 64);
    assert_non_null(memory);
    attn_tensor to = *before, moved = *from;
    to.data = memory;
    moved.data = memory + (bytes - 1) / 64 * 64;
    memcpy(moved.data, from->data,
           (size_t)element_extent(from) * element_size(from->dtype));
    *written->tensor = &to;
    *input = &moved;
    char says[64];
    snprintf(says, sizeof says, "overlaps|%s", name);
    refuse_member(written, ATTN_ERR_INVALID, says);
    *written->tensor = before;
    *input = from;
    free(memory);
}

/* What is written meets no input of the attention or of rotations either. */
static void overlaps_of_inputs(void **state) {
    (void)state;
    for (int n = 0; n < LAYER_SAMPLES; n++) {
        refuse_reopen(n);
        attn_forward_args *self = &refuse_call.attention[0];
        attn_forward_args *cross = &refuse_call.attention[1];
        const struct {
            const char *name;
            const attn_tensor **input;
        } inputs[] = {
            {"position_ids", &refuse_call.args.position_ids},
            {"q_lengths", &self->q_lengths},
            {"kv_lengths", &self->kv_lengths},
            {"mask", &self->mask},
            {"bias", &self->bias},
            {"alibi_slopes", &self->alibi_slopes},
            {"sinks", &self->sinks},
            {"relative_bias", &self->relative_bias},
            {"q_segments", &self->q_segments},
            {"k_segments", &self->k_segments},
            {"kv_lengths", &cross->kv_lengths},
        };
        for (size_t m = 0; m < REFUSE_MEMBERS; m++) {
            for (size_t i = 0; i < COUNT_OF(inputs); i++) {
                if (refuse_members[m].written && *refuse_members[m].tensor != NULL &&
                    *inputs[i].input != NULL) {
                    share(&refuse_members[m], inputs[i].name, inputs[i].input);
                }
            }
        }
    }
}

/* With extra keys weights are bound in two parts, each with its own inputs. */
static void overlaps_of_extra_columns(void **state) {
    (void)state;
    refuse_reopen(1);
    attn_forward_args *args = &refuse_call.attention[0];
    attn_tensor lengths = *args->kv_lengths, weights = *args->weights;
    const int64_t last = element_extent(&weights) - 1;
    const size_t bytes = (size_t)element_extent(&lengths) * element_size(lengths.dtype);
    float *memory = aligned_alloc(64, ((size_t)last * 4 + bytes + 127) / 64 * 64);
    assert_non_null(memory);
    weights.data = memory;
    /* aligned to its own elements */
    lengths.data = memory + (lengths.dtype == ATTN_I64 ? last / 2 * 2 : last);
    memcpy(lengths.data, args->kv_lengths->data, bytes);
    args->weights = &weights;
    args->kv_lengths = &lengths;
    refuse_forward(ATTN_ERR_INVALID, "weights overlaps kv_lengths");
    free(memory);
}

/* Weights meet nothing of the layer. */
static void overlaps_of_weights(void **state) {
    (void)state;
    for (int n = 0; n < LAYER_SAMPLES; n++) {
        refuse_reopen(n);
        const size_t bytes = workspace_bytes();
        char *memory = aligned_alloc(64, bytes + 64);
        assert_non_null(memory);
        refuse_call.args.workspace = memory;
        refuse_call.args.workspace_size = (int64_t)bytes;
        const struct region regions[] = {
            place_of("", refuse_call.args.input),
            place_of("", &refuse_call.output),
            {"", refuse_call.args.state, 0},
            {"", memory, 0},
            place_of("", &some_parameter()->tensor),
            place_of("", &some_parameter()->gradient),
        };
        const struct refuse_member weights = {"weights",
                                              refuse_problem.layers > 0
                                                  ? &refuse_call.args.weights
                                                  : &refuse_call.attention[0].weights,
                                              0, 1, 1};
        moved_into(&weights, regions, COUNT_OF(regions));
        free(memory);
    }
}

/* Gradients that are added to are in nobody's way. */
static void overlaps_of_gradients(void **state) {
    (void)state;
    for (int n = 0; n < LAYER_SAMPLES; n += LAYER_STACK) {
        refuse_reopen(n);
        const char *name =
            refuse_problem.layers == 0 ? "out_proj.bias" : "layers.0.linear2.bias";
        const attn_tensor before = layer_find(&refuse_call, "", name)->gradient;
        const struct region regions[] = {
            place_of("input", refuse_call.args.input),
            place_of("grad_output", &refuse_call.grad_output),
            place_of("grad_input", refuse_call.backward.grad_input),
            {"state", refuse_call.args.state, (size_t)refuse_call.args.state_size},
        };
        for (size_t r = 0; r < COUNT_OF(regions); r++) {
            char says[128];
            attn_tensor t = before;
            t.data = regions[r].at;
            layer_need(&refuse_call,
                       attn_layer_set_gradient(refuse_call.layer, name, &t), name);
            snprintf(says, sizeof says, "overlaps|%s", met(&regions[r], &before));
            refuse_backward(ATTN_ERR_INVALID, says);
        }
        layer_need(&refuse_call,
                   attn_layer_set_gradient(refuse_call.layer, name, &before), name);
    }
    /* those of the attention's inputs */
    refuse_reopen(4);
    const attn_tensor before = *refuse_call.gradients[0].grad_bias;
    attn_tensor t = before;
    refuse_call.gradients[0].grad_bias = &t;
    const struct region regions[] = {
        place_of("input", refuse_call.args.input),
        place_of("grad_output", &refuse_call.grad_output),
        place_of("grad_input", refuse_call.backward.grad_input),
        {"state", refuse_call.args.state, (size_t)refuse_call.args.state_size},
        place_of("", &layer_find(&refuse_call, "", "q_proj_weight")->tensor),
        place_of("", &layer_find(&refuse_call, "", "q_proj_weight")->gradient),
    };
    for (size_t r = 0; r < COUNT_OF(regions); r++) {
        char says[128];
        t.data = regions[r].at;
        snprintf(says, sizeof says, "overlaps|%s", met(&regions[r], &before));
        refuse_backward(ATTN_ERR_INVALID, says);
    }
}

/* Outputs do not meet themselves. */
static void repeated_outputs(void **state) {
    (void)state;
    for (size_t m = 0; m < REFUSE_MEMBERS; m++) {
        refuse_reopen(1);
        if (!refuse_members[m].written || *refuse_members[m].tensor == NULL) {
            continue;
        }
        const attn_tensor *before = *refuse_members[m].tensor;
        for (int d = 0; d < 2; d++) {
            char says[64];
            attn_tensor t = *before;
            t.stride[d] = 0;
            *refuse_members[m].tensor = &t;
            snprintf(says, sizeof says, "%s|overlap", refuse_members[m].name);
            refuse_member(&refuse_members[m], ATTN_ERR_INVALID, says);
        }
        *refuse_members[m].tensor = before;
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, refuse_setup, refuse_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(lent_memory),
        TEST(overlaps),
        TEST(overlaps_of_inputs),
        TEST(overlaps_of_weights),
        TEST(overlaps_of_gradients),
        TEST(repeated_outputs),
        TEST(overlaps_of_extra_columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
