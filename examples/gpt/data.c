/*
 * No character is in both sections, and no sequence reaches from one into the other.
 */
#include "data.h"

#include <stdlib.h>
#include <string.h>

#include "chance.h"
#include "checksum.h"
#include "fail.h"

enum { HELD_PART = 10 };

static void append(struct section *section, const char *text, size_t size) {
    memcpy(section->text + section->size, text, size);
    section->size += size;
}

void data_open(struct data *data, const struct text *text) {
    *data = (struct data){0};
    data->train.text = memory_get(text->bytes, 1);
    data->held.text = memory_get(text->bytes, 1);
    for (int i = 0; i < text->file_count; i++) {
        const struct text_file *file = &text->file[i];
        size_t cut = file->size - file->size / HELD_PART;
        const char *line = memchr(file->data + cut, '\n', file->size - cut);
        if (line != NULL) {
            cut = (size_t)(line - file->data) + 1;
        }
        append(&data->train, file->data, cut);
        append(&data->held, file->data + cut, file->size - cut);
    }
    data->hash = checksum(checksum(0, data->train.text, data->train.size),
                          data->held.text, data->held.size);
}

void data_encode(struct data *data, const struct tokens *tokens, int context) {
    struct section *const both[] = {&data->train, &data->held};
    for (int i = 0; i < 2; i++) {
        both[i]->token =
            tokens_encode(tokens, both[i]->text, both[i]->size, &both[i]->count);
    }
    if (data->train.count <= (size_t)context || data->held.count <= (size_t)context) {
        fail(
            FAILED,
            "too little text: %zu tokens to learn from and %zu held out, and each must "
            "be more than the context, which is %d: name more text, or a smaller "
            "--context",
            data->train.count, data->held.count, context);
    }
}

const uint16_t *data_sequence(const struct data *data, uint64_t seed, int step,
                              int batch, int index, int context) {
    uint64_t number = (uint64_t)step * (uint64_t)batch + (uint64_t)index;
    uint64_t starts = data->train.count - (uint64_t)context;
    return data->train.token + chance_bits(seed, FOR_BATCHES, number) % starts;
}

int data_held_sequences(const struct data *data, int context) {
    return (int)((data->held.count - 1) / (size_t)context);
}

void data_close(struct data *data) {
    struct section *const both[] = {&data->train, &data->held};
    for (int i = 0; i < 2; i++) {
        free(both[i]->text);
        free(both[i]->token);
    }
    *data = (struct data){0};
}
