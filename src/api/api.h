/*
 * What the exported functions share.
 */
#ifndef ATTN_API_API_H
#define ATTN_API_API_H

#include "base/status.h"

/* REQUIRE_POINTER(pointer) - fails with the argument's own name if it is NULL */
#define REQUIRE_POINTER(pointer)                                                       \
    REQUIRE((pointer) != NULL, ATTN_ERR_INVALID, "%s is NULL", #pointer)

/* REQUIRE_FLAG(flag) - fails unless it is 0 or 1 */
#define REQUIRE_FLAG(flag)                                                             \
    REQUIRE((flag) == 0 || (flag) == 1, ATTN_ERR_INVALID,                              \
            "%s is %d, should be 0 or 1", #flag, (int)(flag))

#endif
