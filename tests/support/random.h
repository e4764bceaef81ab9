/*
 * Random numbers for tests: SplitMix64 (Steele, Lea and Flood 2014), the same on every
 * machine. A test names its seed; nothing here reads a clock.
 */
#ifndef TEST_RANDOM_H
#define TEST_RANDOM_H

#include <stdint.h>

struct random {
    uint64_t state;
};

/* 64 random bits. */
static inline uint64_t random_bits(struct random *random) {
    uint64_t x = random->state += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* A stream of its own for each pair of seed and number. */
static inline struct random random_stream(uint64_t seed, uint64_t number) {
    struct random random = {seed * 0xd1342543de82ef95u + number};
    random.state = random_bits(&random);
    return random;
}

/* From least to most, both included. */
static inline int64_t random_between(struct random *random, int64_t least,
                                     int64_t most) {
    return least + (int64_t)(random_bits(random) % (uint64_t)(most - least + 1));
}

/* True in `chances` of 100 cases. */
static inline int random_percent(struct random *random, int chances) {
    return random_bits(random) % 100 < (uint64_t)chances;
}

/* Uniform with mean 0 and variance 1: in [-1.732, 1.732). */
static inline float random_float(struct random *random) {
    return ((float)(random_bits(random) >> 40) * 0x1p-23f - 1.0f) * 1.7320508f;
}

#endif
