/*
 * The kernels in plain C, for any processor; the reference for the others.
 */
#include "kernel/vec_scalar.h"

#define KERNELS_NAME attn_kernels_scalar
#define KERNELS_ISA  ATTN_ISA_SCALAR
#include "kernel/tmpl_table.h"
