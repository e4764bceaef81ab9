/*
 * Writes JSON (RFC 8259): commas, indentation and escapes. The caller opens and closes
 * in order. A key of NULL stands for an element of an array.
 */
#ifndef BENCH_JSON_H
#define BENCH_JSON_H

#include <stdio.h>

struct json {
    FILE *file;
    int depth;
    int first; /* whether the next value is the first of its object or array */
};

void json_start(struct json *json, FILE *file);

void json_open_object(struct json *json, const char *key);
void json_close_object(struct json *json);
void json_open_array(struct json *json, const char *key);
void json_close_array(struct json *json);

/* Bytes that are no UTF-8 become U+FFFD. */
void json_string(struct json *json, const char *key, const char *text);

/* NaN and infinities become null, having no place in JSON. */
void json_number(struct json *json, const char *key, double number);

#endif
