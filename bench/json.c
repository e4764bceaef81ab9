/*
 * The JSON writer: every value first writes the comma after the one before it, a new
 * line, and its key.
 */
#include "bench/json.h"

#include <math.h>
#include <string.h>

/* Length of the UTF-8 sequence at text (RFC 3629), 0 if there is none. */
static int utf8_length(const unsigned char *text) {
    unsigned char lead = text[0];
    int length = lead < 0x80   ? 1
                 : lead < 0xc2 ? 0
                 : lead < 0xe0 ? 2
                 : lead < 0xf0 ? 3
                 : lead < 0xf5 ? 4
                               : 0;
    for (int i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
    }

    /* Overlong forms, surrogates, and what lies beyond U+10FFFF. */
    if ((lead == 0xe0 && text[1] < 0xa0) || (lead == 0xed && text[1] > 0x9f) ||
        (lead == 0xf0 && text[1] < 0x90) || (lead == 0xf4 && text[1] > 0x8f)) {
        return 0;
    }
    return length;
}

static void quote(FILE *file, const char *text) {
    const unsigned char *at = (const unsigned char *)text;
    fputc('"', file);
    while (*at != '\0') {
        int length = utf8_length(at);
        if (length == 0) {
            fputs("\\ufffd", file);
        } else if (*at < 0x20) {
            fprintf(file, "\\u%04x", *at);
        } else if (*at == '"' || *at == '\\') {
            fprintf(file, "\\%c", *at);
        } else {
            fwrite(at, 1, (size_t)length, file);
        }
        at += length > 0 ? length : 1;
    }
    fputc('"', file);
}

static void new_line(struct json *json) {
    fprintf(json->file, "\n%*s", 2 * json->depth, "");
}

static void begin_value(struct json *json, const char *key) {
    if (!json->first) {
        fputc(',', json->file);
    }
    if (json->depth > 0) {
        new_line(json);
    }
    json->first = 0;
    if (key != NULL) {
        quote(json->file, key);
        fputs(": ", json->file);
    }
}

static void open_value(struct json *json, const char *key, char bracket) {
    begin_value(json, key);
    fputc(bracket, json->file);
    json->depth++;
    json->first = 1;
}

static void close_value(struct json *json, char bracket) {
    json->depth--;
    if (!json->first) {
        new_line(json);
    }
    fputc(bracket, json->file);
    if (json->depth == 0) {
        fputc('\n', json->file);
    }
    json->first = 0;
}

void json_start(struct json *json, FILE *file) {
    *json = (struct json){.file = file, .first = 1};
}

void json_open_object(struct json *json, const char *key) {
    open_value(json, key, '{');
}

void json_close_object(struct json *json) {
    close_value(json, '}');
}

void json_open_array(struct json *json, const char *key) {
    open_value(json, key, '[');
}

void json_close_array(struct json *json) {
    close_value(json, ']');
}

void json_string(struct json *json, const char *key, const char *text) {
    begin_value(json, key);
    quote(json->file, text);
}

void json_number(struct json *json, const char *key, double number) {
    begin_value(json, key);
    if (isfinite(number)) {
        fprintf(json->file, "%.9g", number);
    } else {
        fputs("null", json->file);
    }
}
