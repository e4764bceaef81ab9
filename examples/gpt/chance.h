/*
 * Random numbers that have no state: each is a function of a seed and of where it is
 * used, so that a training that goes on from a checkpoint meets the same ones, and any
 * thread may ask for any of them.
 */
#ifndef GPT_CHANCE_H
#define GPT_CHANCE_H

#include <stdint.h>

/* What numbers are for; each purpose has its own. */
enum purpose { FOR_WEIGHTS, FOR_BATCHES, FOR_WRITING, FOR_CHECKING };

/* 64 random bits: number index of a purpose. */
uint64_t chance_bits(uint64_t seed, enum purpose purpose, uint64_t index);

/* From 0 to 1, without 1. */
double chance_unit(uint64_t seed, enum purpose purpose, uint64_t index);

/* Of the normal distribution with variance 1. */
double chance_normal(uint64_t seed, enum purpose purpose, uint64_t index);

#endif
