/*
 * Slicing (Kounavis and Berry 2005), by 16: half of the look-ups do not wait for those
 * of the bytes before.
 */
#include "cache/checksum.h"

static const uint64_t polynomial = UINT64_C(0xc96c5795d7870f42);

void attn_checksum_start(struct checksum *checksum) {
    checksum->turned = ~UINT64_C(0);
    for (int i = 0; i < 256; i++) {
        uint64_t rest = (uint64_t)i;
        for (int bit = 0; bit < 8; bit++) {
            rest = rest >> 1 ^ (rest % 2 == 1 ? polynomial : 0);
        }
        checksum->table[0][i] = rest;
    }
    for (int k = 1; k < CHECKSUM_STEP; k++) {
        for (int i = 0; i < 256; i++) {
            const uint64_t rest = checksum->table[k - 1][i];
            checksum->table[k][i] = rest >> 8 ^ checksum->table[0][rest & 0xff];
        }
    }
}

void attn_checksum_add(struct checksum *checksum, const void *bytes, size_t count) {
    const unsigned char *at = bytes;
    uint64_t rest = checksum->turned;
    for (; count >= CHECKSUM_STEP; at += CHECKSUM_STEP, count -= CHECKSUM_STEP) {
        const uint64_t low = rest ^ little_u64(at), high = little_u64(at + 8);
        rest = 0;
        for (int k = 0; k < 8; k++) {
            rest ^= checksum->table[15 - k][low >> (8 * k) & 0xff] ^
                    checksum->table[7 - k][high >> (8 * k) & 0xff];
        }
    }
    for (; count > 0; at++, count--) {
        rest = rest >> 8 ^ checksum->table[0][(rest ^ *at) & 0xff];
    }
    checksum->turned = rest;
}

uint64_t attn_checksum_value(const struct checksum *checksum) {
    return ~checksum->turned;
}
