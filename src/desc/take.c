/*
 * Public structs that grow: the caller's copy may be older (smaller) or newer (larger)
 * than the library's.
 */
#include <string.h>

#include "base/status.h"
#include "desc/bind.h"

enum { SIZE_LIMIT = 1 << 16 };

attn_status attn_struct_init(void *theirs, size_t size, const char *type) {
    const int64_t noted = (int64_t)size;
    REQUIRE(theirs != NULL, ATTN_ERR_INVALID, "%s is NULL", type);
    REQUIRE(size >= sizeof noted && size % 8 == 0, ATTN_ERR_INVALID,
            "size is %zu, should be sizeof(%s): a multiple of 8", size, type);
    memset(theirs, 0, size);
    memcpy(theirs, &noted, sizeof noted);
    return ATTN_OK;
}

attn_status attn_struct_take(void *mine, size_t mine_size, const void *theirs,
                             const char *name) {
    REQUIRE(theirs != NULL, ATTN_ERR_INVALID, "%s is NULL", name);
    int64_t size;
    memcpy(&size, theirs, sizeof size);
    /* members take 8 bytes each, and no struct will have thousands */
    REQUIRE(
        size >= (int64_t)sizeof size && size % 8 == 0 && size <= SIZE_LIMIT,
        ATTN_ERR_INVALID,
        "%s says its size is %lld bytes: the size member must hold that of the struct",
        name, (long long)size);
    const size_t common = (size_t)size < mine_size ? (size_t)size : mine_size;
    const unsigned char *bytes = theirs;
    for (size_t i = common; i < (size_t)size; i++) {
        REQUIRE(
            bytes[i] == 0, ATTN_ERR_UNSUPPORTED,
            "%s has a nonzero byte at offset %zu, in a member that this library, which "
            "knows %zu bytes, does not have",
            name, i, mine_size);
    }
    memset(mine, 0, mine_size);
    memcpy(mine, theirs, common);
    return ATTN_OK;
}
