/*
 * The simplest model that looks back at all: the next symbol depends on the one before.
 */
#ifndef GPT_BIGRAM_H
#define GPT_BIGRAM_H

#include <stddef.h>
#include <stdint.h>

/* Learns from some symbols of so many kinds, and returns the bits that it needs for
 * each of the others but the first, all together. */
double bigram_bits(const uint16_t *train, size_t train_count, const uint16_t *held,
                   size_t held_count, int kinds);

/* The same, where symbols are characters: held[1] to held[held_size - 1]. */
double bigram_character_bits(const char *train, size_t train_size, const char *held,
                             size_t held_size);

#endif
