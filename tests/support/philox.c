/*
 * Ten rounds, each of two products of which high and low half change places.
 */
#include "tests/support/philox.h"

struct philox philox(struct philox counter, uint32_t key0, uint32_t key1) {
    for (int round = 0; round < 10; round++) {
        const uint32_t *c = counter.word;
        uint64_t a = UINT64_C(0xd2511f53) * c[0], b = UINT64_C(0xcd9e8d57) * c[2];
        counter = (struct philox){{(uint32_t)(b >> 32) ^ c[1] ^ key0, (uint32_t)b,
                                   (uint32_t)(a >> 32) ^ c[3] ^ key1, (uint32_t)a}};
        key0 += 0x9e3779b9; /* the golden ratio */
        key1 += 0xbb67ae85; /* the square root of 3, less 1 */
    }
    return counter;
}
