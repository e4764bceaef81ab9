/*
 * What this processor can run and how many of them there are.
 */
#ifndef ATTN_BASE_CPU_H
#define ATTN_BASE_CPU_H

#include "attn/common.h"
#include "base/compiler.h"

/* True if the processor, the system and ATTN_ISA allow a kernel set. */
bool attn_cpu_allows(int32_t isa);

/* True if ATTN_ISA is that of tests, ATTN_ISA_PIECES. */
bool attn_cpu_wants_pieces(void);

/* ATTN_ISA, if it is set to what is no name of a kernel set and so limits nothing; else
 * NULL. */
const char *attn_cpu_isa_misspelt(void);

/* The name of a kernel set as in ATTN_ISA: "scalar", "avx2", ... */
const char *attn_cpu_isa_name(int32_t isa);

/* Writes the processor's own name, or "unknown" where it does not say. */
enum { CPU_NAME = 49 };
void attn_cpu_name(char name[CPU_NAME]);

/* True if vectors of 512 bits are computed in two halves (AMD's Zen 4): it multiplies
 * one of them a cycle, where others with AVX-512 may multiply two. */
bool attn_cpu_halves_512(void);

/* Processors that this process may run on, 1 or more. */
int32_t attn_cpu_count(void);

#endif
