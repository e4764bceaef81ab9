/*
 * Looks at statuses, messages and explanations.
 */
#include "tests/support/expect.h"

#include <string.h>

void expect_refusal_at(attn_status status, attn_status expected, const char *says,
                       const char *file, int line) {
    const char *message = attn_last_error();
    if (status != expected) {
        fail_msg("%s instead of %s; the last error is \"%s\"",
                 attn_status_string(status), attn_status_string(expected), message);
    }
    while (*says != '\0') {
        char part[64];
        size_t length = strcspn(says, "|");
        assert_true(length < sizeof part);
        memcpy(part, says, length);
        part[length] = '\0';
        if (strstr(message, part) == NULL) {
            print_error("the message does not say \"%s\": \"%s\"\n", part, message);
            _fail(file, line);
        }
        says += length + (says[length] == '|');
    }
}

void expect_mark(void) {
    expect_refusal(attn_context_create(NULL), ATTN_ERR_INVALID, "context");
}

void expect_marked(void) {
    expect_refusal(ATTN_ERR_INVALID, ATTN_ERR_INVALID, "context|NULL");
}

void expect_explaining(explaining *explain, const void *object) {
    static char whole[16384], part[16384];
    size_t length = explain(object, NULL, 0);
    assert_true(length > 0 && length + 2 <= sizeof whole);
    assert_int_equal(explain(object, whole, sizeof whole), length);
    assert_int_equal(strlen(whole), length);
    for (size_t size = 1; size <= length + 1; size++) {
        memset(part, '#', length + 2);
        assert_int_equal(explain(object, part, size), length);
        assert_int_equal(strlen(part), size - 1);
        assert_memory_equal(part, whole, size - 1);
        assert_int_equal(part[size], '#');
    }
    /* "name: value" on every line. */
    for (const char *line = whole; *line != '\0'; line = strchr(line, '\n') + 1) {
        assert_non_null(strchr(line, '\n'));
        assert_true(strstr(line, ": ") != NULL &&
                    strstr(line, ": ") < strchr(line, '\n'));
    }
}
