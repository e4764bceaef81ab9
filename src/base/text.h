/*
 * Text that is appended to a caller's buffer under the rules of snprintf: what does not
 * fit is counted, not written.
 */
#ifndef ATTN_BASE_TEXT_H
#define ATTN_BASE_TEXT_H

#include "base/compiler.h"

struct text {
    char *buffer;
    size_t size;   /* of buffer */
    size_t length; /* of the whole text, without the terminating 0 */
};

/* An empty text in a buffer of this size, which may be 0. */
struct text attn_text_start(char *buffer, size_t size);

void attn_text_add(struct text *text, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
