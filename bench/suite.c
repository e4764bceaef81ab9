/*
 * Reads problems from arguments and from case files: a line is "name: problem" or only
 * "problem", and # starts a comment. The words "backward", "cache" and "tuned" belong
 * to the benchmark, not to the problem.
 */
#include "bench/suite.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/fail.h"
#include "bench/memory.h"

static char *skip_space(char *text) {
    return text + strspn(text, " \t\r\n");
}

static void cut_space_at_end(char *text) {
    size_t length = strlen(text);
    while (length > 0 && strchr(" \t\r\n", text[length - 1]) != NULL) {
        length--;
    }
    text[length] = '\0';
}

/* Blanks the word out of the text, also where it is followed by =N, a number from 1 on
 * that *number gets if it is not NULL. Returns whether the word was there. */
static int take_word(char *text, const char *word, int64_t *number) {
    const size_t size = strlen(word);
    int found = 0;
    char *token = skip_space(text);
    while (*token != '\0') {
        size_t length = strcspn(token, " \t\r\n");
        int same = length >= size && memcmp(token, word, size) == 0;
        if (same && length > size) {
            char *end = token;
            long long n = token[size] == '=' ? strtoll(token + size + 1, &end, 10) : 0;
            same = number != NULL && end == token + length && n > 0;
            if (same) {
                *number = n;
            }
        }
        if (same) {
            memset(token, ' ', length);
            found = 1;
        }
        token = skip_space(token + length);
    }
    return found;
}

/* Why a problem cannot be measured from a cache, or NULL. */
static const char *not_from_cache(const struct suite_entry *entry) {
    const struct test_problem *p = &entry->problem;
    if (entry->backward) {
        return "the backward pass takes no cache";
    }
    return p->key_type != p->value_type ? "a cache has keys and values of one type"
                                        : NULL;
}

void suite_add(struct suite *suite, const char *text, const char *where) {
    char *line = memory_text(text);
    char *problem = line, *name = line + strlen(line);
    char *colon = strchr(line, ':');
    if (colon != NULL) {
        *colon = '\0';
        name = skip_space(line);
        cut_space_at_end(name);
        problem = colon + 1;
    }

    struct suite_entry entry = {.backward = take_word(problem, "backward", NULL)};
    entry.cached = take_word(problem, "cache", &entry.page_keys);
    entry.tuned = take_word(problem, "tuned", NULL);
    const char *wrong = problem_parse(&entry.problem, problem);
    const struct test_problem *p = &entry.problem;
    if (wrong == NULL && (p->buckets > 0 || p->relative_keys || p->content_bias ||
                          p->position_bias || p->segments || p->ranks != 0)) {
        wrong = "relative positions, segments and ranks are not measured here";
    }
    if (wrong == NULL && p->additive) {
        wrong = "additive scores are measured by ./dev peers --cases=additive";
    }
    if (wrong == NULL && entry.backward &&
        (p->query_type != STORE_F32 || p->key_type != STORE_F32 ||
         p->value_type != STORE_F32 || p->out_type != STORE_F32)) {
        wrong = "the backward pass takes float32";
    }
    if (wrong == NULL && (p->q_packed || p->k_packed)) {
        wrong = "packed sequences are not measured here";
    }
    if (wrong == NULL && entry.cached) {
        wrong = not_from_cache(&entry);
    }
    if (wrong != NULL) {
        fail(MISUSED, "%s: \"%s\": %s", where, text, wrong);
    }
    entry.name = memory_text(name);
    free(line);

    suite->entry = memory_grow(suite->entry, suite->count + 1, sizeof entry);
    suite->entry[suite->count++] = entry;
}

static FILE *open_cases(const char *name) {
    FILE *file = fopen(name, "r");
    if (file == NULL && errno == ENOENT && strchr(name, '/') == NULL) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s.txt", BENCH_CASES, name);
        file = fopen(path, "r");
        if (file == NULL) {
            errno = ENOENT;
        }
    }
    if (file == NULL) {
        fail(MISUSED, "cannot read the cases in %s: %s", name, strerror(errno));
    }
    return file;
}

void suite_add_file(struct suite *suite, const char *name) {
    FILE *file = open_cases(name);
    char *line = NULL;
    size_t size = 0;
    int before = suite->count;
    for (int number = 1; getline(&line, &size, file) >= 0; number++) {
        char where[4096 + 32];
        snprintf(where, sizeof where, "%s, line %d", name, number);
        line[strcspn(line, "#")] = '\0';
        cut_space_at_end(line);
        if (*skip_space(line) != '\0') {
            suite_add(suite, skip_space(line), where);
        }
    }
    if (ferror(file)) {
        fail(MISUSED, "cannot read the cases in %s: %s", name, strerror(errno));
    }
    if (suite->count == before) {
        fail(MISUSED, "%s holds no problem", name);
    }
    free(line);
    fclose(file);
}

void suite_tune(struct suite *suite) {
    const int count = suite->count;
    suite->entry = memory_grow(suite->entry, 2 * (int64_t)count, sizeof *suite->entry);
    for (int i = count; i > 0; i--) { /* each behind its own */
        struct suite_entry *entry = &suite->entry[2 * i - 2];
        entry[0] = entry[1] = suite->entry[i - 1];
        entry[1].name = memory_text(entry[0].name);
        entry[1].tuned = 1;
    }
    suite->count = 2 * count;
}

void suite_close(struct suite *suite) {
    for (int i = 0; i < suite->count; i++) {
        free(suite->entry[i].name);
    }
    free(suite->entry);
    *suite = (struct suite){0};
}
