/*
 * Bits of outputs and gradients.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/element.h"
#include "tests/support/layer.h"

enum { MOST = 2 + LAYER_OUTPUTS + LAYER_TENSORS };

/* The tensors that are looked at, of rank 4 at most. */
static int list(const struct layer_call *call, int what, const attn_tensor *tensors[]) {
    int count = 0;
    if (what & LAYER_OUTPUT) {
        tensors[count++] = &call->output;
    }
    for (int o = 0; what & LAYER_OTHERS && o < LAYER_OUTPUTS; o++) {
        tensors[count++] = &call->extra[o];
    }
    for (int t = 0; what & LAYER_GRADIENTS && t < call->tensors; t++) {
        tensors[count++] = &call->tensor[t].gradient;
    }
    return count;
}

/* Block l of a tensor of rank 5; any other as it is. */
static attn_tensor part_of(const attn_tensor *tensor, int64_t l) {
    attn_tensor part = *tensor;
    if (tensor->rank > 4) {
        part.rank--;
        memmove(part.shape, part.shape + 1, 5 * sizeof *part.shape);
        memmove(part.stride, part.stride + 1, 5 * sizeof *part.stride);
        part.data = (float *)tensor->data + l * tensor->stride[0];
    }
    return part;
}

struct layer_snapshot layer_take(const struct layer_call *call, int what) {
    const attn_tensor *tensors[MOST];
    const int count = list(call, what, tensors);
    struct layer_snapshot snapshot = {0, NULL};
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1) {
            snapshot.values = malloc((size_t)(snapshot.count + 1) * sizeof(float));
            assert_non_null(snapshot.values);
            snapshot.count = 0;
        }
        for (int t = 0; t < count; t++) {
            const int64_t parts = tensors[t]->rank > 4 ? tensors[t]->shape[0] : 1;
            for (int64_t l = 0; l < parts; l++) {
                const attn_tensor part = part_of(tensors[t], l);
                for (int64_t n = 0; n < element_count(&part); n++, snapshot.count++) {
                    if (pass == 1) {
                        snapshot.values[snapshot.count] =
                            *(float *)element_nth(&part, n);
                    }
                }
            }
        }
    }
    return snapshot;
}

void layer_need_same(struct layer_snapshot *expected, const struct layer_call *call,
                     int what, const char *title) {
    struct layer_snapshot got = layer_take(call, what);
    assert_int_equal(expected->count, got.count);
    for (int64_t n = 0; n < got.count; n++) {
        if (memcmp(&expected->values[n], &got.values[n], sizeof(float)) != 0) {
            fail_msg("layer problem %" PRIu64 ": %s: number %" PRId64
                     " of what was written is %.9g, was %.9g",
                     call->problem.seed, title, n, got.values[n], expected->values[n]);
        }
    }
    free(expected->values);
    free(got.values);
    *expected = (struct layer_snapshot){0, NULL};
}

void layer_need_untouched(const struct layer_call *call) {
    struct layer_snapshot now = layer_take(call, LAYER_ALL);
    struct layer_call before = *call;
    layer_reset(&before);
    layer_need_same(&now, &before, LAYER_ALL, "a refused call");
}
