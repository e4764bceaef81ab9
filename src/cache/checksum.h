/*
 * CRC-64 as xz has it: polynomial 0x42f0e1eba9ea3693 (ECMA-182), reflected, starting
 * and ending with all bits turned. It finds every change that lies within 64 bits, and
 * misses one in 2^64 of the others.
 */
#ifndef ATTN_CACHE_CHECKSUM_H
#define ATTN_CACHE_CHECKSUM_H

#include "base/compiler.h"

/* Sixteen bytes are taken at a time: table[k] is for the byte that k bytes follow. */
enum { CHECKSUM_STEP = 16 };
struct checksum {
    uint64_t table[CHECKSUM_STEP][256];
    uint64_t turned;
};

void attn_checksum_start(struct checksum *checksum);
void attn_checksum_add(struct checksum *checksum, const void *bytes, size_t count);

/* Of all bytes so far. */
uint64_t attn_checksum_value(const struct checksum *checksum);

/* Numbers as files have them, the lowest byte first. */
static inline uint64_t little_u64(const unsigned char *bytes) {
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--) {
        value = value << 8 | bytes[i];
    }
    return value;
}

static inline void put_little(unsigned char *bytes, uint64_t value, int count) {
    for (int i = 0; i < count; i++) {
        bytes[i] = (unsigned char)(value >> (8 * i));
    }
}

#endif
