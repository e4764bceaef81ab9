/*
 * A table, read in both directions.
 */
#include "storage.h"

#include <stddef.h>
#include <string.h>

#include "attn.h"

static const struct storage {
    const char *name;
    int32_t type;
} known[] = {
    {"f32", ATTN_F32}, {"f16", ATTN_F16}, {"bf16", ATTN_BF16}, {"i8", ATTN_I8}};

enum { KNOWN = sizeof known / sizeof *known };

int32_t storage_type(const char *name) {
    for (int i = 0; i < KNOWN; i++) {
        if (strcmp(known[i].name, name) == 0) {
            return known[i].type;
        }
    }
    return 0;
}

const char *storage_name(int32_t type) {
    for (int i = 0; i < KNOWN; i++) {
        if (known[i].type == type) {
            return known[i].name;
        }
    }
    return NULL;
}
