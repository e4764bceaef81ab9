/*
 * The kernels for AVX2, FMA and F16C. Compiled with the flags of that instruction set
 * and exporting one constant: nothing here may run on a processor without it.
 */
#include "kernel/vec_avx2.h"

#define KERNELS_NAME attn_kernels_avx2
#define KERNELS_ISA  ATTN_ISA_AVX2
#include "kernel/tmpl_table.h"
