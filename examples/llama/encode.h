/*
 * Byte-pair encoding with a given vocabulary.
 */
#ifndef LLAMA_ENCODE_H
#define LLAMA_ENCODE_H

#include "vocabulary.h"

/* The tokens of a text behind TOKEN_BEGIN; free() gives them back. */
int *encode(const struct vocabulary *vocabulary, const char *text, int *count);

#endif
