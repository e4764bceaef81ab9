/*
 * A file is a header and the arrays that it counts, one after the other: pairs of
 * tokens, losses, weights, and Adam's two averages. Both halves have a checksum. Chance
 * has no state beside seed and step (see chance.h), so nothing else is needed.
 */
#include "checkpoint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checksum.h"
#include "fail.h"
#include "files.h"

static const char magic[8] = "attnGPT";

enum { VERSION = 1, ORDER = 0x01020304 };

/* Every member at a multiple of its size: the same bytes by all compilers. */
struct header {
    char magic[8];
    uint32_t version;
    uint32_t order;    /* of bytes: another machine may read another number */
    uint64_t size;     /* of the file */
    uint64_t body_sum; /* of all behind the header */
    uint64_t text_hash;
    uint64_t weight_count;
    struct recipe recipe;
    int32_t step;
    int32_t token_count;
    uint32_t unused;
    uint64_t sum; /* of the header up to here */
};

_Static_assert(sizeof(struct header) == 104, "the header has no padding");

enum { PARTS = 6 };

/* The arrays behind the header. */
static void list_parts(size_t size[PARTS], const struct header *header) {
    size_t step = (size_t)header->step;
    size_t weights = (size_t)header->weight_count;
    size_t list[PARTS] = {
        ((size_t)header->token_count - CHARACTERS) * sizeof(struct pair),
        step * sizeof(float),
        step * sizeof(float),
        weights * sizeof(float),
        weights * sizeof(float),
        weights * sizeof(float),
    };
    memcpy(size, list, sizeof list);
}

static uint64_t header_sum(const struct header *header) {
    return checksum(0, header, offsetof(struct header, sum));
}

bool checkpoint_save(const struct run *run) {
    struct header header = {
        .version = VERSION,
        .order = ORDER,
        .size = sizeof header,
        .text_hash = run->data.hash,
        .weight_count = run->model.weights.count,
        .recipe = run->options.recipe,
        .step = run->history.step,
        .token_count = run->tokens.count,
    };
    memcpy(header.magic, magic, sizeof magic);
    size_t size[PARTS];
    list_parts(size, &header);
    struct piece piece[PARTS + 1] = {
        {&header, sizeof header},          {run->tokens.pair + CHARACTERS, size[0]},
        {run->history.loss, size[1]},      {run->history.held, size[2]},
        {run->model.weights.all, size[3]}, {run->adam.first, size[4]},
        {run->adam.second, size[5]},
    };
    for (int i = 1; i <= PARTS; i++) {
        header.size += piece[i].size;
        header.body_sum = checksum(header.body_sum, piece[i].data, piece[i].size);
    }
    header.sum = header_sum(&header);
    return file_replace(run->checkpoint, piece, PARTS + 1);
}

_Noreturn static void refuse(const char *path, const char *why) {
    fail(FAILED, "cannot go on from %s: %s", path, why);
}

static void check_header(const char *path, const struct header *header, size_t size) {
    if (size < sizeof *header || memcmp(header->magic, magic, sizeof magic) != 0) {
        refuse(path, "it is no checkpoint of this program");
    }
    if (header->order != ORDER) {
        refuse(path, "it comes from a machine with another order of bytes");
    }
    char why[200];
    if (header->version != VERSION) {
        snprintf(why, sizeof why, "it has version %lu; this program knows version %d",
                 (unsigned long)header->version, VERSION);
        refuse(path, why);
    }
    if (header->sum != header_sum(header)) {
        refuse(path, "it is damaged: its header does not match its checksum");
    }
    if (header->size != size) {
        snprintf(why, sizeof why, "it has %zu bytes instead of %llu, so it is %s", size,
                 (unsigned long long)header->size,
                 size < header->size ? "cut off" : "something else too");
        refuse(path, why);
    }
}

/* A header that matches its checksum was written by this program, or by somebody who
 * wants to hurt it: nothing may be counted that is not there. */
static bool is_sound(const struct header *header) {
    const struct recipe *recipe = &header->recipe;
    if (recipe->layers < 1 || recipe->heads < 1 || recipe->dim < 1 ||
        recipe->context < 1 || recipe->batch < 1 || recipe->steps < 1 ||
        recipe->seed < 1 || !(recipe->rate > 0) || recipe_fault(recipe) != NULL ||
        header->step < 0 || header->token_count < CHARACTERS ||
        header->token_count > MOST_TOKENS ||
        header->weight_count > header->size / sizeof(float)) {
        return false;
    }
    size_t size[PARTS];
    list_parts(size, header);
    uint64_t sum = sizeof *header;
    for (int i = 0; i < PARTS; i++) {
        sum += size[i];
    }
    return sum == header->size;
}

bool checkpoint_read(struct checkpoint *checkpoint, const char *path) {
    size_t file_size = 0;
    unsigned char *file = file_read(path, &file_size);
    if (file == NULL) {
        if (errno != ENOENT) {
            refuse(path, strerror(errno));
        }
        return false;
    }
    struct header header = {0};
    memcpy(&header, file, file_size < sizeof header ? file_size : sizeof header);
    check_header(path, &header, file_size);
    if (!is_sound(&header)) {
        refuse(path, "its header makes no sense");
    }

    size_t size[PARTS];
    void *part[PARTS];
    list_parts(size, &header);
    unsigned char *at = file + sizeof header;
    uint64_t sum = 0;
    for (int i = 0; i < PARTS; at += size[i++]) {
        part[i] = at;
        sum = checksum(sum, at, size[i]);
    }
    if (sum != header.body_sum) {
        refuse(path, "it is damaged: its numbers do not match their checksum");
    }
    if (!tokens_sound(part[0], header.token_count)) {
        refuse(path, "its tokens make no sense");
    }
    *checkpoint = (struct checkpoint){
        .recipe = header.recipe,
        .step = header.step,
        .text_hash = header.text_hash,
        .token_count = header.token_count,
        .pair = part[0],
        .loss = part[1],
        .held = part[2],
        .weight_count = (size_t)header.weight_count,
        .weights = part[3],
        .first = part[4],
        .second = part[5],
        .file = file,
    };
    return true;
}

void checkpoint_restore(const struct checkpoint *checkpoint, struct run *run) {
    struct weights *weights = &run->model.weights;
    if (checkpoint->weight_count != weights->count) {
        fail(FAILED, "the checkpoint has %zu weights; its model would have %zu",
             checkpoint->weight_count, weights->count);
    }
    size_t bytes = weights->count * sizeof(float);
    size_t steps = (size_t)checkpoint->step * sizeof(float);
    memcpy(weights->all, checkpoint->weights, bytes);
    memcpy(run->adam.first, checkpoint->first, bytes);
    memcpy(run->adam.second, checkpoint->second, bytes);
    memcpy(run->history.loss, checkpoint->loss, steps);
    memcpy(run->history.held, checkpoint->held, steps);
    run->history.step = checkpoint->step;
}

void checkpoint_close(struct checkpoint *checkpoint) {
    free(checkpoint->file);
    *checkpoint = (struct checkpoint){0};
}
