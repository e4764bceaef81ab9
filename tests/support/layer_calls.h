/*
 * Members of the argument structs by the names of tensors.
 */
#ifndef TEST_LAYER_CALLS_H
#define TEST_LAYER_CALLS_H

#include "tests/support/layer.h"

/* Points the arguments of a call at its tensors and outputs. */
void layer_point(struct layer_call *call);

#endif
