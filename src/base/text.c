/*
 * Appended text.
 */
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>

struct text attn_text_start(char *buffer, size_t size) {
    if (size > 0) {
        buffer[0] = '\0';
    }
    return (struct text){buffer, size, 0};
}

void attn_text_add(struct text *text, const char *format, ...) {
    const bool room = text->length < text->size;
    va_list arguments;
    va_start(arguments, format);
    int added = vsnprintf(room ? text->buffer + text->length : NULL,
                          room ? text->size - text->length : 0, format, arguments);
    va_end(arguments);
    text->length += added > 0 ? (size_t)added : 0;
}
