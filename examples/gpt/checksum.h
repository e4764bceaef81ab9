/*
 * Tells whether bytes are the same as before. Any change of up to 8 bytes in a row at a
 * multiple of 8 changes the result; others do but for one in 2^64.
 */
#ifndef GPT_CHECKSUM_H
#define GPT_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* Goes on from an earlier result; the first is 0. */
uint64_t checksum(uint64_t sum, const void *data, size_t size);

#endif
