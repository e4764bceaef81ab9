/*
 * Each block is preceded by its size, for the count of bytes, and filled with NaN,
 * since nobody may count on zeros. What follows it must still be NaN when it is given
 * back.
 */
#include "tests/support/counting.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER = 64 };

void *counting_allocate(void *user, size_t bytes, size_t alignment) {
    struct counting *counting = user;
    long call = atomic_fetch_add(&counting->calls, 1) + 1;
    int power = alignment > 0 && (alignment & (alignment - 1)) == 0;
    if (bytes == 0 || !power || alignment > HEADER) {
        atomic_fetch_add(&counting->violations, 1);
        return NULL;
    }
    if (call == atomic_load(&counting->fail_at)) {
        return NULL;
    }
    size_t whole = HEADER + (bytes + HEADER - 1) / HEADER * HEADER + HEADER;
    char *block = aligned_alloc(HEADER, whole);
    if (block == NULL) {
        return NULL;
    }
    memset(block, 0xff, whole);
    memcpy(block, &bytes, sizeof bytes);
    atomic_fetch_add(&counting->live, 1);
    long now = atomic_fetch_add(&counting->bytes, (long)bytes) + (long)bytes;
    long most = atomic_load(&counting->most);
    while (now > most && !atomic_compare_exchange_weak(&counting->most, &most, now)) {
    }
    return block + HEADER;
}

void counting_release(void *user, void *memory) {
    struct counting *counting = user;
    if (memory == NULL) {
        atomic_fetch_add(&counting->violations, 1);
        return;
    }
    char *block = (char *)memory - HEADER;
    size_t bytes;
    memcpy(&bytes, block, sizeof bytes);
    for (size_t i = 0; i < HEADER; i++) {
        if ((unsigned char)block[HEADER + bytes + i] != 0xff) {
            atomic_fetch_add(&counting->violations, 1);
            break;
        }
    }
    atomic_fetch_sub(&counting->live, 1);
    atomic_fetch_sub(&counting->bytes, (long)bytes);
    free(block);
}
