/*
 * What the setters of descriptors share. The descriptor is called desc.
 */
#ifndef ATTN_API_SETTER_H
#define ATTN_API_SETTER_H

#include "api/api.h"
#include "desc/desc.h"

/* SETTER_REQUIRE(NAME, condition, status, format, ...) - leaves the setter unless it
 * holds */
#define SETTER_REQUIRE(name, condition, ...)                                           \
    do {                                                                               \
        if (!(condition)) {                                                            \
            return attn_desc_refuse(desc, SETTER_##name, attn_fail(__VA_ARGS__));      \
        }                                                                              \
    } while (0)

/* SETTER_REQUIRE_FLAG(NAME, flag) - leaves the setter unless the flag is 0 or 1 */
#define SETTER_REQUIRE_FLAG(name, flag)                                                \
    SETTER_REQUIRE(name, (flag) == 0 || (flag) == 1, ATTN_ERR_INVALID,                 \
                   "%s is %d, should be 0 or 1", #flag, (int)(flag))

#endif
