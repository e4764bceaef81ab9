/*
 * Packed copies of the weights of a layer: what spares products the packing.
 *
 * They start with a line that says how they are packed; each matrix starts at a line.
 */
#include <string.h>

#include "base/arith.h"
#include "base/mem.h"
#include "base/status.h"
#include "layer/parameters.h"

/* The first line. The mark changes with the order of what follows. */
struct head {
    char mark[16];
    int64_t columns, bytes;
    uint64_t forms; /* a number that other forms of weights hardly have */
};

enum { LINE_FLOATS = MEM_ALIGNMENT / sizeof(float) };

/* A weight as products see it: so many matrices of outputs x inputs. */
struct form {
    int64_t matrices;
    int outputs, inputs;
};

static struct form form_of(const struct parameter *parameter) {
    const int64_t *shape = parameter->shape;
    const int row = parameter->rank - 2;
    return (struct form){row > 0 ? shape[0] : 1, (int)shape[row], (int)shape[row + 1]};
}

static struct head head_of(const struct parameters *parameters, int columns,
                           int64_t bytes) {
    struct head head = {"attn packed 1", columns, bytes, 1469598103934665603u};
    for (int64_t i = 0; i < parameters->count; i++) {
        if (parameters->list[i].is_weight) {
            const struct form form = form_of(&parameters->list[i]);
            const int64_t numbers[] = {form.matrices, form.outputs, form.inputs};
            for (size_t n = 0; n < COUNT_OF(numbers); n++) {
                head.forms = (head.forms ^ (uint64_t)numbers[n]) * 1099511628211u;
            }
        }
    }
    return head;
}

/* Floats of a packed matrix. */
static int64_t matrix_floats(const struct form *form, int columns) {
    return round_up(round_up(form->outputs, columns) * form->inputs, LINE_FLOATS);
}

size_t attn_parameters_packed_size(const struct parameters *parameters,
                                   const struct kernels *kernels) {
    const int columns = attn_linear_packed_columns(kernels);
    int64_t bytes = MEM_ALIGNMENT;
    for (int64_t i = 0; i < parameters->count && columns > 0; i++) {
        const struct parameter *parameter = &parameters->list[i];
        int64_t more;
        if (parameter->is_weight) {
            const struct form form = form_of(parameter);
            if (!checked_mul(form.matrices, matrix_floats(&form, columns), &more) ||
                !checked_mul(more, (int64_t)sizeof(float), &more) ||
                !checked_add(bytes, more, &bytes)) {
                return 0;
            }
        }
    }
    return columns > 0 ? (size_t)bytes : 0;
}

static attn_status check_memory(const void *memory, int64_t size, int64_t needed) {
    REQUIRE(memory != NULL, ATTN_ERR_INVALID, "the memory for packed weights is NULL");
    REQUIRE((uintptr_t)memory % MEM_ALIGNMENT == 0, ATTN_ERR_INVALID,
            "the memory for packed weights is %d bytes past a multiple of %d",
            (int)((uintptr_t)memory % MEM_ALIGNMENT), (int)MEM_ALIGNMENT);
    REQUIRE(size >= needed, ATTN_ERR_INVALID,
            "size is %lld bytes, packed weights need %lld", (long long)size,
            (long long)needed);
    return ATTN_OK;
}

static void pack_weight(const struct parameter *parameter,
                        const struct kernels *kernels, int columns, float *to) {
    const struct form form = form_of(parameter);
    for (int64_t i = 0; i < form.matrices; i++) {
        const struct weight weight = attn_parameter_weight(parameter, i);
        struct factor packed = {.columns = columns};
        attn_linear_pack(kernels, &packed, to, weight.data, weight.ld,
                         !weight.transposed, form.inputs, form.outputs);
        to += matrix_floats(&form, columns);
    }
}

attn_status attn_parameters_pack(const struct parameters *parameters,
                                 const struct kernels *kernels, void *memory,
                                 int64_t size) {
    const int columns = attn_linear_packed_columns(kernels);
    const int64_t needed = (int64_t)attn_parameters_packed_size(parameters, kernels);
    if (needed == 0) {
        return ATTN_OK;
    }
    TRY(attn_parameters_check(parameters));
    TRY(check_memory(memory, size, needed));
    const uintptr_t begin = (uintptr_t)memory;
    const struct extent written = {"the memory for packed weights", begin,
                                   begin + (uintptr_t)needed};
    TRY(attn_parameters_apart(parameters, &written));
    const struct head head = head_of(parameters, columns, needed);
    memset(memory, 0, (size_t)needed); /* also what lies between matrices */
    memcpy(memory, &head, sizeof head);
    float *to = (float *)memory + LINE_FLOATS;
    for (int64_t i = 0; i < parameters->count; i++) {
        const struct parameter *parameter = &parameters->list[i];
        if (parameter->is_weight) {
            const struct form form = form_of(parameter);
            pack_weight(parameter, kernels, columns, to);
            to += form.matrices * matrix_floats(&form, columns);
        }
    }
    return ATTN_OK;
}

/* Says where the packed copies of a parameter are; from NULL: nowhere. */
static void find(struct parameter *parameter, int columns, const float *from) {
    const struct form form = form_of(parameter);
    parameter->packed_floats = matrix_floats(&form, columns);
    parameter->packed = (struct factor){
        .data = from,
        .ld = columns,
        .columns = columns,
        .step = (int64_t)form.inputs * columns,
    };
}

attn_status attn_parameters_set_packed(struct parameters *parameters,
                                       const struct kernels *kernels,
                                       const void *memory, int64_t size) {
    const int columns = attn_linear_packed_columns(kernels);
    const int64_t needed = (int64_t)attn_parameters_packed_size(parameters, kernels);
    if (needed == 0) {
        return ATTN_OK;
    }
    if (memory != NULL) {
        const struct head head = head_of(parameters, columns, needed);
        TRY(check_memory(memory, size, needed));
        REQUIRE(memcmp(memory, &head, sizeof head) == 0, ATTN_ERR_INVALID,
                "the memory does not hold %lld bytes of weights of these shapes in "
                "blocks of %d columns, as attn_layer_pack() writes for this layer",
                (long long)needed, columns);
    }
    const float *from = memory != NULL ? (const float *)memory + LINE_FLOATS : NULL;
    for (int64_t i = 0; i < parameters->count; i++) {
        struct parameter *parameter = &parameters->list[i];
        if (parameter->is_weight) {
            const struct form form = form_of(parameter);
            find(parameter, columns, from);
            from += from != NULL ? form.matrices * matrix_floats(&form, columns) : 0;
        }
    }
    return ATTN_OK;
}
