/*
 * Reads and writes the text of a problem.
 *
 * One table lists every word after the sizes with the member it sets, so that reading
 * and writing cannot drift apart: problem_parse() looks each word up in it, and
 * problem_format() goes through it and writes what differs from a problem with no
 * words.
 */
#include "tests/support/problem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attn.h"

enum kind {
    FLAG,   /* the bare word sets an int32_t to 1 */
    CHOICE, /* =NAME, an int32_t: the index of NAME */
    COUNT,  /* =N, an int32_t of 0 or more */
    PAIR,   /* =M,N with the word's separator: two int64_t in a row */
    REAL,   /* =X, a float */
    SEED    /* =N, a uint64_t */
};

struct word {
    const char *name;
    enum kind kind;
    size_t offset;
    int64_t least; /* PAIR */
    char separator;
    const char *choices[8]; /* CHOICE: the last is NULL */
};

#define AT(member) offsetof(struct test_problem, member)

static const struct word words[] = {
    {"causal", FLAG, AT(causal), 0, 0, {0}},
    {"align", CHOICE, AT(alignment), 0, 0, {"tl", "br", "offsets", "kvlens"}},
    {"window", PAIR, AT(left), -1, ',', {0}},
    {"qlens", FLAG, AT(q_lengths), 0, 0, {0}},
    {"kvlens", FLAG, AT(kv_lengths), 0, 0, {0}},
    {"docs", FLAG, AT(documents), 0, 0, {0}},
    {"prefix", FLAG, AT(prefix), 0, 0, {0}},
    {"block", PAIR, AT(q_block), 0, 'x', {0}},
    {"mask", FLAG, AT(mask), 0, 0, {0}},
    {"bias", FLAG, AT(bias), 0, 0, {0}},
    {"alibi", FLAG, AT(alibi), 0, 0, {0}},
    {"sinks", FLAG, AT(sinks), 0, 0, {0}},
    {"softcap", REAL, AT(softcap), 0, 0, {0}},
    {"scale", REAL, AT(scale), 0, 0, {0}},
    {"dropout", REAL, AT(dropout), 0, 0, {0}},
    {"relbias", PAIR, AT(buckets), 0, ',', {0}},
    {"bidir", FLAG, AT(bidirectional), 0, 0, {0}},
    {"relkeys", FLAG, AT(relative_keys), 0, 0, {0}},
    {"ubias", FLAG, AT(content_bias), 0, 0, {0}},
    {"vbias", FLAG, AT(position_bias), 0, 0, {0}},
    {"segments", FLAG, AT(segments), 0, 0, {0}},
    {"additive", FLAG, AT(additive), 0, 0, {0}},
    {"ranks", CHOICE, AT(ranks), 0, 0, {"off", "upto", "below"}},
    {"qpacked", FLAG, AT(q_packed), 0, 0, {0}},
    {"kpacked", FLAG, AT(k_packed), 0, 0, {0}},
    {"query", CHOICE, AT(query_type), 0, 0, {"f32", "f16", "bf16"}},
    {"key", CHOICE, AT(key_type), 0, 0, {"f32", "f16", "bf16", "i8"}},
    {"value", CHOICE, AT(value_type), 0, 0, {"f32", "f16", "bf16", "i8"}},
    {"out", CHOICE, AT(out_type), 0, 0, {"f32", "f16", "bf16"}},
    {"engine", CHOICE, AT(engine), 0, 0, {"auto", "dense", "flash", "decode"}},
    {"layout", CHOICE, AT(layout), 0, 0, {"bhsd", "bshd"}},
    {"threads", COUNT, AT(threads), 0, 0, {0}},
    {"isa",
     CHOICE,
     AT(isa),
     0,
     0,
     {"auto", "scalar", "avx2", "avx512", "neon", "amx", "pieces"}},
    {"seed", SEED, AT(seed), 0, 0, {0}},
};

enum { WORDS = sizeof words / sizeof words[0], KV_MISSING = -1 };

_Static_assert(AT(right) == AT(left) + sizeof(int64_t), "a PAIR is two in a row");
_Static_assert(AT(k_block) == AT(q_block) + sizeof(int64_t), "a PAIR is two in a row");
_Static_assert(AT(max_distance) == AT(buckets) + sizeof(int64_t),
               "a PAIR is two in a row");

/* A problem with no word in its text. */
static const struct test_problem plain = {.batch = 1,
                                          .q_length = 1,
                                          .kv_length = 1,
                                          .q_heads = 1,
                                          .kv_heads = 1,
                                          .key_dim = 1,
                                          .value_dim = 1,
                                          .left = -1,
                                          .right = -1};

/* Reads a decimal number from least to most and moves *text past it. */
static int read_number(const char **text, int64_t least, int64_t most,
                       int64_t *number) {
    char *end;
    if (**text != '-' && (**text < '0' || **text > '9')) {
        return 0;
    }
    errno = 0;
    long long value = strtoll(*text, &end, 10);
    if (end == *text || errno != 0 || value < least || value > most) {
        return 0;
    }
    *text = end;
    *number = value;
    return 1;
}

/* "12" or "12/4": the second number is the first where it is missing. */
static int read_couple(const char *text, int32_t *first, int32_t *second) {
    int64_t a;
    if (!read_number(&text, 1, INT32_MAX, &a)) {
        return 0;
    }
    int64_t b = a;
    if (*text == '/') {
        text++;
        if (!read_number(&text, 1, INT32_MAX, &b)) {
            return 0;
        }
    }
    *first = (int32_t)a;
    *second = (int32_t)b;
    return *text == '\0';
}

static int read_size(const char *text, int64_t *size) {
    return read_number(&text, 0, INT64_MAX, size) && *text == '\0';
}

/* What is wrong with a token that starts like a size, or NULL. */
static const char *parse_size(struct test_problem *problem, const char *token) {
    int good = 0;
    switch (token[0]) {
    case 'b':
        good = read_size(token + 1, &problem->batch);
        break;
    case 'q':
        good = read_size(token + 1, &problem->q_length);
        break;
    case 'k':
        good = read_size(token + 1, &problem->kv_length);
        break;
    case 'h':
        good = read_couple(token + 1, &problem->q_heads, &problem->kv_heads) &&
               problem->q_heads % problem->kv_heads == 0;
        break;
    case 'd':
        good = read_couple(token + 1, &problem->key_dim, &problem->value_dim);
        break;
    default:
        break;
    }
    return good ? NULL
                : "not a size: bN hN/N qN kN dN, query heads a multiple of kv heads";
}

static int read_choice(const struct word *word, const char *value, int32_t *choice) {
    for (int32_t i = 0; word->choices[i] != NULL; i++) {
        if (strcmp(value, word->choices[i]) == 0) {
            *choice = i;
            return 1;
        }
    }
    return 0;
}

/* Sets the word's member from value, the text after "=" ("" for a bare word). */
static int read_value(struct test_problem *problem, const struct word *word,
                      const char *value) {
    void *member = (char *)problem + word->offset;
    int64_t *pair = member;
    int64_t number;
    char *end;
    switch (word->kind) {
    case FLAG:
        *(int32_t *)member = 1;
        return value[0] == '\0';
    case CHOICE:
        return read_choice(word, value, member);
    case COUNT:
        if (!read_number(&value, 0, INT32_MAX, &number)) {
            return 0;
        }
        *(int32_t *)member = (int32_t)number;
        return *value == '\0';
    case PAIR:
        return read_number(&value, word->least, INT64_MAX, &pair[0]) &&
               *value++ == word->separator &&
               read_number(&value, word->least, INT64_MAX, &pair[1]) && *value == '\0';
    case REAL:
        *(float *)member = strtof(value, &end);
        if (word->offset == AT(scale)) {
            problem->has_scale = 1;
        }
        return value[0] != '\0' && *end == '\0';
    case SEED:
        errno = 0;
        *(uint64_t *)member = strtoull(value, &end, 10);
        return value[0] >= '0' && value[0] <= '9' && *end == '\0' && errno == 0;
    }
    return 0;
}

/* What is wrong with a token, or NULL. */
static const char *parse_token(struct test_problem *problem, const char *token) {
    size_t name_length = strcspn(token, "=");
    int bare = token[name_length] == '\0';
    for (int i = 0; i < WORDS; i++) {
        const struct word *word = &words[i];
        if (strlen(word->name) == name_length &&
            strncmp(token, word->name, name_length) == 0) {
            if (bare != (word->kind == FLAG)) {
                return bare ? "a word without its =value"
                            : "a word that takes no =value";
            }
            return read_value(problem, word, token + name_length + !bare)
                       ? NULL
                       : "a word with a bad value";
        }
    }
    if (token[1] >= '0' && token[1] <= '9') {
        return parse_size(problem, token);
    }
    return "an unknown word";
}

const char *problem_parse(struct test_problem *problem, const char *text) {
    static const char blank[] = " \t\r\n";
    struct test_problem result = plain;
    result.kv_length = KV_MISSING;
    for (;;) {
        char token[64];
        text += strspn(text, blank);
        size_t length = strcspn(text, blank);
        if (length == 0) {
            break;
        }
        if (length >= sizeof token) {
            return "a word of more than 63 letters";
        }
        memcpy(token, text, length);
        token[length] = '\0';
        const char *wrong = parse_token(&result, token);
        if (wrong != NULL) {
            return wrong;
        }
        text += length;
    }
    if (result.kv_length == KV_MISSING) {
        result.kv_length = result.q_length;
    }
    *problem = result;
    return NULL;
}

/* Text that grows in a buffer of fixed size, its whole length known, as by snprintf. */
struct output {
    char *text;
    size_t size, length;
};

static void append(struct output *output, const char *token) {
    const char *parts[] = {output->length > 0 ? " " : "", token};
    for (int i = 0; i < 2; i++) {
        for (const char *c = parts[i]; *c != '\0'; c++) {
            if (output->length + 1 < output->size) {
                output->text[output->length] = *c;
            }
            output->length++;
        }
    }
}

static void append_size(struct output *output, char letter, int64_t size,
                        int64_t normal) {
    char token[64];
    if (size != normal) {
        snprintf(token, sizeof token, "%c%" PRId64, letter, size);
        append(output, token);
    }
}

static void append_couple(struct output *output, char letter, int32_t a, int32_t b) {
    char token[64];
    if (a == b) {
        append_size(output, letter, a, 1);
    } else {
        snprintf(token, sizeof token, "%c%" PRId32 "/%" PRId32, letter, a, b);
        append(output, token);
    }
}

/* The fewest digits that read back as the same float. */
static void write_real(char *text, size_t size, float value) {
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, size, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value) {
            break;
        }
    }
}

/* The text of a word's value; bytes says how long its member is. Returns bytes. */
static size_t write_value(const struct word *word, const void *member, char *value,
                          size_t size) {
    const int64_t *pair = member;
    const int32_t *number = member;
    switch (word->kind) {
    case FLAG:
        value[0] = '\0';
        return sizeof *number;
    case CHOICE:
        snprintf(value, size, "=%s", word->choices[*number]);
        return sizeof *number;
    case COUNT:
        snprintf(value, size, "=%" PRId32, *number);
        return sizeof *number;
    case PAIR:
        snprintf(value, size, "=%" PRId64 "%c%" PRId64, pair[0], word->separator,
                 pair[1]);
        return 2 * sizeof *pair;
    case REAL:
        value[0] = '=';
        write_real(value + 1, size - 1, *(const float *)member);
        return sizeof(float);
    case SEED:
        snprintf(value, size, "=%" PRIu64, *(const uint64_t *)member);
        return sizeof(uint64_t);
    }
    return 0;
}

size_t problem_format(const struct test_problem *problem, char *text, size_t size) {
    struct output output = {text, size, 0};
    append_size(&output, 'b', problem->batch, 1);
    append_couple(&output, 'h', problem->q_heads, problem->kv_heads);
    append_size(&output, 'q', problem->q_length, 1);
    append_size(&output, 'k', problem->kv_length, problem->q_length);
    append_couple(&output, 'd', problem->key_dim, problem->value_dim);
    for (int i = 0; i < WORDS; i++) {
        const struct word *word = &words[i];
        const char *member = (const char *)problem + word->offset;
        char value[64], token[80];
        size_t bytes = write_value(word, member, value, sizeof value);
        int same = memcmp(member, (const char *)&plain + word->offset, bytes) == 0;
        if (word->offset == AT(scale) ? problem->has_scale : !same) {
            snprintf(token, sizeof token, "%s%s", word->name, value);
            append(&output, token);
        }
    }
    if (size > 0) {
        text[output.length < size ? output.length : size - 1] = '\0';
    }
    return output.length;
}
