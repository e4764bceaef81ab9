/*
 * The table, and its text:
 *
 *     attn-tuning 4
 *     version 0.1.0
 *     cpu AMD EPYC
 *     isa avx512
 *     blas OpenBLAS 0.3.21 (Cooperlake, pthread)
 *     policy 0
 *     entry 64 64 1 64 128 64 128 512 8 1 0 512 512 97000 96000
 *     ...
 *     end
 */
#include "exec/tuning.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attn/version.h"
#include "base/arith.h"
#include "base/cpu.h"
#include "base/status.h"
#include "base/text.h"
#include "exec/blas.h"

enum { NUMBERS = (int)(sizeof(struct tuned) / sizeof(int32_t)), FACTS = 6 };
enum { ENTRIES_MAX = 1024, LINE_MAX = 256 };

const struct tuned *attn_tuning_find(const struct tuning *tuning, int32_t key_dim,
                                     int32_t value_dim, int32_t group) {
    for (int32_t i = 0; tuning != NULL && i < tuning->count; i++) {
        const struct tuned *entry = &tuning->entry[i];
        if (entry->key_dim == key_dim && entry->value_dim == value_dim &&
            entry->group == group) {
            return entry;
        }
    }
    return NULL;
}

/* A table with room for so many entries, which are still missing; NULL: no memory. */
static struct tuning *make(const struct attn_context *context, int32_t count) {
    struct tuning *tuning = attn_mem_allocate(
        &context->allocator, sizeof *tuning + (size_t)count * sizeof tuning->entry[0]);
    if (tuning != NULL) {
        tuning->count = 0;
    }
    return tuning;
}

static void replace(struct attn_context *context, struct tuning *tuning) {
    attn_mem_release(&context->allocator, context->tuning);
    context->tuning = tuning;
}

attn_status attn_tuning_put(struct attn_context *context, const struct tuned *entry) {
    const struct tuning *old = context->tuning;
    const int32_t count = old != NULL ? old->count : 0;
    struct tuning *tuning = make(context, count + 1);
    REQUIRE(tuning != NULL, ATTN_ERR_NO_MEMORY, "no memory for %d tuned problems",
            (int)count + 1);
    for (int32_t i = 0; i < count; i++) {
        if (&old->entry[i] !=
            attn_tuning_find(old, entry->key_dim, entry->value_dim, entry->group)) {
            tuning->entry[tuning->count++] = old->entry[i];
        }
    }
    tuning->entry[tuning->count++] = *entry;
    replace(context, tuning);
    return ATTN_OK;
}

static bool is_size(int32_t size, int32_t most) {
    return size >= 16 && size <= most && size % 16 == 0;
}

int64_t attn_tuning_volume(const struct attn_context *context,
                           const struct tuned *entry) {
    const struct blas *blas = attn_blas();
    const int64_t volume = entry->own != 0 ? INT64_MAX : blas->volume;
    return context->blas_policy != ATTN_BLAS_SAFE ? INT64_MAX
           : entry->turn_keys != 0                ? volume
                                                  : min_i64(volume, blas->volume_rows);
}

attn_status attn_tuning_check(const struct attn_context *context,
                              const struct tuned *entry) {
    const int64_t volume = attn_tuning_volume(context, entry);
    REQUIRE(entry->key_dim >= 1 && entry->value_dim >= 1 && entry->group >= 1,
            ATTN_ERR_INVALID, "tuning for dims %d and %d, %d heads of a group",
            (int)entry->key_dim, (int)entry->value_dim, (int)entry->group);
    REQUIRE(
        is_size(entry->tile_q, TUNED_TILE_Q) && is_size(entry->tile_k, TUNED_TILE_K) &&
            is_size(entry->edge, TUNED_TILE_K) && is_size(entry->depth, TUNED_TILE_K),
        ATTN_ERR_INVALID,
        "tiles of %d x %d in products of %d x %d are not within 16 to %d x %d and "
        "multiples of 16",
        (int)entry->tile_q, (int)entry->tile_k, (int)entry->edge, (int)entry->depth,
        (int)TUNED_TILE_Q, (int)TUNED_TILE_K);
    REQUIRE((int64_t)entry->edge * entry->edge * entry->depth <= volume,
            ATTN_ERR_INVALID,
            "products of %d x %d x %d are beyond the %lld multiplications that the "
            "BLAS policy allows",
            (int)entry->edge, (int)entry->edge, (int)entry->depth, (long long)volume);
    REQUIRE(entry->dense_keys >= 0 && entry->dense_keys <= TUNED_DENSE &&
                entry->few_rows >= 0 && entry->few_rows <= TUNED_FEW,
            ATTN_ERR_INVALID,
            "%d keys at once are not within 0 to %d, or %d few queries not within %d",
            (int)entry->dense_keys, (int)TUNED_DENSE, (int)entry->few_rows,
            (int)TUNED_FEW);
    REQUIRE(entry->turn_keys == 0 || entry->turn_keys == 1, ATTN_ERR_INVALID,
            "keys are transposed, 1, or not, 0, and not %d", (int)entry->turn_keys);
    REQUIRE(
        entry->own == 0 || (entry->own == 1 && entry->turn_keys == 1), ATTN_ERR_INVALID,
        "products are by BLAS, 0, or our own, 1, which takes keys transposed, 1, and "
        "not %d of keys %d",
        (int)entry->own, (int)entry->turn_keys);
    REQUIRE(entry->q_length >= 0 && entry->kv_length >= 0 && entry->megaflops >= 0 &&
                entry->before >= 0,
            ATTN_ERR_INVALID,
            "%d MFLOP/s, %d before, measured with %d queries and %d keys",
            (int)entry->megaflops, (int)entry->before, (int)entry->q_length,
            (int)entry->kv_length);
    return ATTN_OK;
}

/* What a tuning is for: a line each. */
static void write_fact(const struct attn_context *context, int fact, char *line) {
    struct text text = attn_text_start(line, LINE_MAX);
    char cpu[CPU_NAME];
    switch (fact) {
    case 0:
        attn_text_add(&text, "attn-tuning 4");
        break;
    case 1:
        attn_text_add(&text, "version %d.%d.%d", ATTN_VERSION_MAJOR, ATTN_VERSION_MINOR,
                      ATTN_VERSION_PATCH);
        break;
    case 2:
        attn_cpu_name(cpu);
        attn_text_add(&text, "cpu %s", cpu);
        break;
    case 3:
        attn_text_add(&text, "isa %s", attn_cpu_isa_name(context->isa));
        break;
    case 4:
        attn_text_add(&text, "blas %s", attn_blas()->name);
        break;
    default:
        attn_text_add(&text, "policy %d", (int)context->blas_policy);
    }
}

size_t attn_tuning_write(const struct attn_context *context, char *buffer,
                         size_t size) {
    struct text text = attn_text_start(buffer, size);
    const struct tuning *tuning = context->tuning;
    for (int fact = 0; fact < FACTS; fact++) {
        char line[LINE_MAX];
        write_fact(context, fact, line);
        attn_text_add(&text, "%s\n", line);
    }
    for (int32_t i = 0; tuning != NULL && i < tuning->count; i++) {
        int32_t number[NUMBERS];
        memcpy(number, &tuning->entry[i], sizeof number);
        attn_text_add(&text, "entry");
        for (int n = 0; n < NUMBERS; n++) {
            attn_text_add(&text, " %d", (int)number[n]);
        }
        attn_text_add(&text, "\n");
    }
    attn_text_add(&text, "end\n");
    return text.length;
}

/* Takes the next line of the text, without its end; false if there is none. */
static bool take_line(const char **text, char *line) {
    const char *end = strchr(*text, '\n');
    if (end == NULL || end - *text >= LINE_MAX) {
        return false;
    }
    memcpy(line, *text, (size_t)(end - *text));
    line[end - *text] = '\0';
    *text = end + 1;
    return true;
}

static attn_status read_facts(const struct attn_context *context, const char **text) {
    for (int fact = 0; fact < FACTS; fact++) {
        char line[LINE_MAX], own[LINE_MAX];
        write_fact(context, fact, own);
        const size_t name = strcspn(own, " ") + 1;
        REQUIRE(take_line(text, line) && strncmp(line, own, name) == 0,
                ATTN_ERR_INVALID,
                "line %d is not \"%.*s...\": this is no export of a "
                "tuning",
                fact + 1, (int)name, own);
        REQUIRE(strcmp(line, own) == 0, ATTN_ERR_UNSUPPORTED,
                "the tuning is for \"%s\", this is \"%s\"", line, own);
    }
    return ATTN_OK;
}

static attn_status read_entry(const struct attn_context *context, const char *line,
                              struct tuned *entry) {
    int32_t number[NUMBERS];
    const char *at = line + strlen("entry");
    for (int n = 0; n < NUMBERS; n++) {
        char *end;
        REQUIRE(at[0] == ' ' && at[1] >= '0' && at[1] <= '9', ATTN_ERR_INVALID,
                "\"%s\" should be \"entry\" and %d numbers", line, (int)NUMBERS);
        const long long value = strtoll(at + 1, &end, 10);
        REQUIRE(value <= INT32_MAX, ATTN_ERR_INVALID, "\"%s\": %lld is too large", line,
                value);
        number[n] = (int32_t)value;
        at = end;
    }
    REQUIRE(*at == '\0', ATTN_ERR_INVALID, "\"%s\" has more than %d numbers", line,
            (int)NUMBERS);
    memcpy(entry, number, sizeof number);
    return attn_tuning_check(context, entry);
}

/* Reads entries up to "end" into a table with room for ENTRIES_MAX. */
static attn_status read_entries(const struct attn_context *context, const char *text,
                                struct tuning *tuning) {
    char line[LINE_MAX];
    for (;;) {
        REQUIRE(take_line(&text, line), ATTN_ERR_INVALID,
                "the tuning ends without a line \"end\"");
        if (strcmp(line, "end") == 0) {
            break;
        }
        REQUIRE(strncmp(line, "entry", 5) == 0 && tuning->count < ENTRIES_MAX,
                ATTN_ERR_INVALID,
                "\"%s\" is neither \"end\" nor one of up to %d "
                "entries",
                line, (int)ENTRIES_MAX);
        struct tuned *entry = &tuning->entry[tuning->count];
        TRY(read_entry(context, line, entry));
        REQUIRE(attn_tuning_find(tuning, entry->key_dim, entry->value_dim,
                                 entry->group) == NULL,
                ATTN_ERR_INVALID, "\"%s\": a second entry for these dims", line);
        tuning->count++;
    }
    REQUIRE(*text == '\0', ATTN_ERR_INVALID, "there is more behind the line \"end\"");
    return ATTN_OK;
}

attn_status attn_tuning_read(struct attn_context *context, const char *text) {
    TRY(read_facts(context, &text));
    struct tuning *tuning = make(context, ENTRIES_MAX);
    REQUIRE(tuning != NULL, ATTN_ERR_NO_MEMORY, "no memory for %d tuned problems",
            (int)ENTRIES_MAX);
    const attn_status status = read_entries(context, text, tuning);
    if (status != ATTN_OK) {
        attn_mem_release(&context->allocator, tuning);
        return status;
    }
    replace(context, tuning);
    return ATTN_OK;
}
