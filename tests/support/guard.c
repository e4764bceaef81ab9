/*
 * Pages without access on both sides of a block. MAP_ANONYMOUS needs _DEFAULT_SOURCE
 * with -std=c11.
 */
#define _DEFAULT_SOURCE

#include "tests/support/guard.h"

#include <sys/mman.h>
#include <unistd.h>

#include "tests/support/test.h"

#ifndef MAP_ANONYMOUS
#define MAP_ANONYMOUS MAP_ANON
#endif

/* Maps room for bytes between two pages without access; returns the first byte of the
 * room and its whole length. */
static char *map(struct guard *guard, size_t bytes, size_t *room) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    *room = (bytes + page - 1) / page * page;
    guard->bytes = *room + 2 * page;
    guard->pages = mmap(NULL, guard->bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(guard->pages != MAP_FAILED);
    assert_int_equal(mprotect(guard->pages, page, PROT_NONE), 0);
    assert_int_equal(mprotect(guard->pages + page + *room, page, PROT_NONE), 0);
    return guard->pages + page;
}

void *guard_before(struct guard *guard, size_t bytes) {
    size_t room;
    char *start = map(guard, bytes, &room);
    return start + room - bytes;
}

void *guard_after(struct guard *guard, size_t bytes) {
    size_t room;
    return map(guard, bytes, &room);
}

void guard_free(struct guard *guard) {
    munmap(guard->pages, guard->bytes);
}
