/*
 * The file is the size of the longest text in 32 bits, which nobody needs here, and for
 * each token its score, a float, the size of its text in 32 bits, and the text. How
 * many tokens there are it does not say.
 */
#include "vocabulary.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"

static int compare_texts(const char *a, size_t a_size, const char *b, size_t b_size) {
    int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
    return order != 0 ? order : (a_size > b_size) - (a_size < b_size);
}

/* qsort() passes nothing on to what it calls. */
static const struct piece *sorting;

static int compare_tokens(const void *a, const void *b) {
    const int left = *(const int *)a;
    const int right = *(const int *)b;
    const struct piece *l = &sorting[left];
    const struct piece *r = &sorting[right];
    int order = compare_texts(l->text, (size_t)l->size, r->text, (size_t)r->size);
    return order != 0 ? order : left - right;
}

/* Copies size bytes from *at on, and goes on behind them. */
static void read_bytes(const struct vocabulary *vocabulary, void *to, size_t size,
                       size_t *at, int token) {
    const struct file *file = &vocabulary->file;
    if (file->size - *at < size) {
        fail(FAILED, "%s: the file ends within token %d, and the model has %d",
             file->path, token, vocabulary->count);
    }
    memcpy(to, file->data + *at, size);
    *at += size;
}

static void read_pieces(struct vocabulary *vocabulary) {
    const struct file *file = &vocabulary->file;
    int32_t longest;
    size_t at = 0;
    read_bytes(vocabulary, &longest, sizeof longest, &at, 0);
    for (int i = 0; i < vocabulary->count; i++) {
        struct piece *piece = &vocabulary->piece[i];
        int32_t size;
        read_bytes(vocabulary, &piece->score, sizeof piece->score, &at, i);
        read_bytes(vocabulary, &size, sizeof size, &at, i);
        if (size < 0 || (size_t)size > file->size - at) {
            fail(FAILED,
                 "%s: this is no tokenizer of llama2.c, or it is cut off: token %d "
                 "would have %d characters",
                 file->path, i, (int)size);
        }
        piece->text = (const char *)file->data + at;
        piece->size = (int)size;
        at += (size_t)size;
    }
    if (at != file->size) {
        fail(FAILED,
             "%s: behind the %d tokens of the model are %zu more bytes: is this the "
             "tokenizer of another one?",
             file->path, vocabulary->count, file->size - at);
    }
}

void vocabulary_open(struct vocabulary *vocabulary, const char *path, int count) {
    *vocabulary = (struct vocabulary){.count = count, .file = file_open(path)};
    vocabulary->piece = memory_get((size_t)count, sizeof *vocabulary->piece);
    read_pieces(vocabulary);
    vocabulary->sorted = memory_get((size_t)count, sizeof *vocabulary->sorted);
    for (int i = 0; i < count; i++) {
        vocabulary->sorted[i] = i;
    }
    sorting = vocabulary->piece;
    qsort(vocabulary->sorted, (size_t)count, sizeof *vocabulary->sorted,
          compare_tokens);
}

int vocabulary_find(const struct vocabulary *vocabulary, const char *text,
                    size_t size) {
    /* the first token whose text is not before this one, of all from low to high */
    int low = 0;
    int high = vocabulary->count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        const struct piece *piece = &vocabulary->piece[vocabulary->sorted[middle]];
        if (compare_texts(piece->text, (size_t)piece->size, text, size) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == vocabulary->count) {
        return -1;
    }
    int token = vocabulary->sorted[low];
    const struct piece *piece = &vocabulary->piece[token];
    bool same = (size_t)piece->size == size && memcmp(piece->text, text, size) == 0;
    return same ? token : -1;
}

struct piece vocabulary_text(const struct vocabulary *vocabulary, int before, int token,
                             char *byte) {
    struct piece piece = vocabulary->piece[token];
    if (before == TOKEN_BEGIN && piece.size > 0 && piece.text[0] == ' ') {
        piece.text++; /* the space that encoding put before the text */
        piece.size--;
    } else if (token >= FIRST_BYTE && token < FIRST_BYTE + 256 && piece.size == 6 &&
               memcmp(piece.text, "<0x", 3) == 0) {
        *byte = (char)(unsigned char)(token - FIRST_BYTE);
        piece.text = byte;
        piece.size = 1;
    }
    return piece;
}

void vocabulary_close(struct vocabulary *vocabulary) {
    free(vocabulary->piece);
    free(vocabulary->sorted);
    file_close(&vocabulary->file);
    *vocabulary = (struct vocabulary){0};
}
