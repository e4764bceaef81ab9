/*
 * The kernels for AVX-512 F, BW, DQ and VL. Compiled with the flags of that instruction
 * set and exporting constants alone: nothing here may run on a processor without it.
 */
#include "kernel/vec_avx512.h"

#include "kernel/steps_avx512.h"

#define KERNELS_NAME attn_kernels_avx512
#define KERNELS_ISA  ATTN_ISA_AVX512
#include "kernel/tmpl_table.h"

#ifdef HAVE_AMX
const struct kernels attn_kernels_amx = KERNELS_OF(ATTN_ISA_AMX, &attn_pieces_amx);
#endif
