/*
 * The kernels in plain C, for any processor; the reference for the others. Once more
 * with what AMX has beside its own, for tests of that.
 */
#include "kernel/vec_scalar.h"

#define KERNELS_NAME attn_kernels_scalar
#define KERNELS_ISA  ATTN_ISA_SCALAR
#include "kernel/tmpl_table.h"

const struct kernels attn_kernels_pieces =
    KERNELS_OF(ATTN_ISA_PIECES, &attn_pieces_plain);
