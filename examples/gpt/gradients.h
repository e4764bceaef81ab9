/*
 * A check of all that goes backwards.
 */
#ifndef GPT_GRADIENTS_H
#define GPT_GRADIENTS_H

#include <stdbool.h>

#include "workers.h"

/* Compares the gradients of a small model with differences of its loss, and prints how
 * far they are apart; false: too far. */
bool gradients_check(struct workers *workers, uint64_t seed);

#endif
