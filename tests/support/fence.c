/*
 * Tensors in guarded memory.
 */
#include "tests/support/fence.h"

#include <string.h>

#include "tests/support/element.h"
#include "tests/support/guard.h"

enum { MOST = 56 };

static struct guard guards[MOST];
static int used;

void fence_tensor(attn_tensor *tensor, int at_end, int copy) {
    if (tensor->rank == 0 || element_extent(tensor) == 0) {
        return;
    }
    size_t bytes = (size_t)element_extent(tensor) * element_size(tensor->dtype);
    assert_true(used < MOST);
    struct guard *guard = &guards[used++];
    char *memory = at_end ? guard_before(guard, bytes) : guard_after(guard, bytes);
    if (copy) {
        memcpy(memory, tensor->data, bytes);
    }
    tensor->data = memory;
}

void fence_beyond(attn_tensor *tensor, const struct fence_cut *cuts, int count) {
    const attn_tensor whole = *tensor;
    for (int32_t d = 0; d < tensor->rank; d++) {
        for (int c = 0; c < count; c++) {
            if (whole.shape[d] == cuts[c].size) {
                tensor->shape[d] = cuts[c].kept;
            }
        }
    }
    fence_tensor(tensor, 1, 1);
    memcpy(tensor->shape, whole.shape, sizeof whole.shape);
}

void fence_free(void) {
    while (used > 0) {
        guard_free(&guards[--used]);
    }
}
