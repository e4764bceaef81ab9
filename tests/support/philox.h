/*
 * The random numbers of dropout: Philox 4x32-10 (Salmon et al., "Parallel random
 * numbers: as easy as 1, 2, 3", 2011), a function of a counter and a key.
 */
#ifndef TEST_PHILOX_H
#define TEST_PHILOX_H

#include <stdint.h>

struct philox {
    uint32_t word[4];
};

struct philox philox(struct philox counter, uint32_t key0, uint32_t key1);

#endif
