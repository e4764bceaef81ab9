/*
 * What the exported functions share.
 */
#ifndef ATTN_API_API_H
#define ATTN_API_API_H

#include "base/status.h"

/* REQUIRE_POINTER(pointer) - fails with the argument's own name if it is NULL */
#define REQUIRE_POINTER(pointer)                                                       \
    REQUIRE((pointer) != NULL, ATTN_ERR_INVALID, "%s is NULL", #pointer)

#endif
