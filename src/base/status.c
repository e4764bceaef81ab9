/*
 * The thread's last error. The text lives in thread-local storage of fixed size,
 * so that reporting an error can never fail; a longer sentence is cut.
 */
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { TEXT_BYTES = 512 };

static _Thread_local char last_error[TEXT_BYTES];

attn_status attn_fail(attn_status status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(last_error, sizeof last_error, format, arguments);
    va_end(arguments);
    return status;
}

attn_status attn_fail_in(attn_status status, const char *where) {
    char sentence[TEXT_BYTES];
    memcpy(sentence, last_error, sizeof sentence);
    return attn_fail(status, "%s: %s", where, sentence);
}

const char *attn_last_error(void) {
    return last_error;
}
