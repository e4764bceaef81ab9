/*
 * FNV-1a (Fowler, Noll and Vo 1991) on words of 8 bytes instead of single ones, and
 * with the upper half brought down, since multiplication only carries upwards.
 */
#include "checksum.h"

#include <string.h>

uint64_t checksum(uint64_t sum, const void *data, size_t size) {
    const unsigned char *byte = data;
    sum ^= 0xcbf29ce484222325u + size;
    for (size_t i = 0; i < size; i += sizeof(uint64_t)) {
        uint64_t word = 0;
        memcpy(&word, byte + i, size - i < sizeof word ? size - i : sizeof word);
        sum = (sum ^ word) * 0x100000001b3u;
        sum ^= sum >> 32;
    }
    return sum;
}
