/*
 * The mixer is that of SplitMix64 (Steele, Lea and Flood 2014), applied once for each
 * number that goes in.
 */
#include "chance.h"

#include <math.h>

static uint64_t mix(uint64_t bits) {
    bits += 0x9e3779b97f4a7c15u;
    bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9u;
    bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebu;
    return bits ^ (bits >> 31);
}

uint64_t chance_bits(uint64_t seed, enum purpose purpose, uint64_t index) {
    return mix(mix(mix(seed) + (uint64_t)purpose) + index);
}

double chance_unit(uint64_t seed, enum purpose purpose, uint64_t index) {
    return (double)(chance_bits(seed, purpose, index) >> 11) * 0x1p-53;
}

/* Box and Muller 1958: a direction and a distance. */
double chance_normal(uint64_t seed, enum purpose purpose, uint64_t index) {
    static const double two_pi = 6.283185307179586;
    double distance = 1 - chance_unit(seed, purpose, 2 * index); /* never 0 */
    double direction = chance_unit(seed, purpose, 2 * index + 1);
    return sqrt(-2 * log(distance)) * cos(two_pi * direction);
}
