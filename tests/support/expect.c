/*
 * Looks at statuses and messages.
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
