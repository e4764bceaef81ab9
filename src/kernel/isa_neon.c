/*
 * The kernels for 64-bit ARM. Compiled with the flags of that instruction set and
 * exporting one constant: nothing here may run on a processor without it.
 */
#include "kernel/vec_neon.h"

#define KERNELS_NAME attn_kernels_neon
#define KERNELS_ISA  ATTN_ISA_NEON
#include "kernel/tmpl_table.h"
