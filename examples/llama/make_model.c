/*
 * make_model FOLDER: small models of random numbers, as llama2.c would have them, and a
 * small vocabulary; for check.sh.
 *
 *     shared.bin       3 layers, 6 heads of 8 on 2 of keys and values
 *     own.bin          the same with a classifier of its own
 *     tokenizer.bin    all bytes, some letters, and words of them
 *
 * The file is written part by part and in the order that weights.c reads it in, but
 * from the layout's description, not from that code, so that one checks the other.
 */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"

const char program_name[] = "make_model";

enum {
    DIM = 48,
    HIDDEN = 120,
    LAYERS = 3,
    HEADS = 6,
    KV_HEADS = 2,
    WORDS = 14, /* of the vocabulary, behind the special tokens and the bytes */
    KINDS = 3 + 256 + WORDS,
    CONTEXT = 160,
    KV_DIM = DIM / HEADS * KV_HEADS
};

static FILE *out;

static void open_file(const char *folder, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    out = fopen(path, "wb");
    if (out == NULL) {
        fail(FAILED, "cannot write %s", path);
    }
}

static void close_file(void) {
    if (fclose(out) != 0) {
        fail(FAILED, "cannot write");
    }
}

static void put(const void *data, size_t size) {
    if (fwrite(data, 1, size, out) != size) {
        fail(FAILED, "cannot write");
    }
}

static void put_number(int32_t number) {
    put(&number, sizeof number);
}

static void put_float(float number) {
    put(&number, sizeof number);
}

/* From -1 to 1. */
static float chance(void) {
    static uint64_t state = 1;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (float)(int32_t)(uint32_t)(state >> 32) * 0x1p-31f;
}

static void put_gains(int count) {
    for (int i = 0; i < count; i++) {
        put_float(1 + 0.3f * chance());
    }
}

/* So large that what comes out is about as large as what goes in. */
static void put_matrices(int count, int rows, int columns) {
    float size = 1.7f / sqrtf((float)columns);
    for (int i = 0; i < count * rows * columns; i++) {
        put_float(size * chance());
    }
}

static void put_model(const char *folder, const char *name, bool shared) {
    open_file(folder, name);
    const int32_t header[] = {
        DIM, HIDDEN, LAYERS, HEADS, KV_HEADS, shared ? KINDS : -KINDS, CONTEXT};
    for (size_t i = 0; i < sizeof header / sizeof *header; i++) {
        put_number(header[i]);
    }
    put_matrices(1, KINDS, DIM);       /* embedding */
    put_gains(LAYERS * DIM);           /* before attention */
    put_matrices(LAYERS, DIM, DIM);    /* query */
    put_matrices(LAYERS, KV_DIM, DIM); /* key */
    put_matrices(LAYERS, KV_DIM, DIM); /* value */
    put_matrices(LAYERS, DIM, DIM);    /* behind attention */
    put_gains(LAYERS * DIM);           /* before the feed-forward network */
    put_matrices(LAYERS, HIDDEN, DIM); /* w1: gate */
    put_matrices(LAYERS, DIM, HIDDEN); /* w2: down */
    put_matrices(LAYERS, HIDDEN, DIM); /* w3: up */
    put_gains(DIM);                    /* before the classifier */
    for (int i = 0; i < CONTEXT * DIM / HEADS; i++) {
        put_float(NAN); /* cosines and sines: nobody may look at them */
    }
    if (!shared) {
        put_matrices(1, KINDS, DIM);
    }
    close_file();
}

static void put_piece(const char *text, float score) {
    put_float(score);
    put_number((int32_t)strlen(text));
    put(text, strlen(text));
}

/* Token 259 is " ", then come letters, then what is joined of them: "the" can be made
 * in two ways, and the scores say which is the first step. */
static void put_tokenizer(const char *folder) {
    static const char *const words[WORDS] = {" ",   "t",    "h",  "e",  "\xc3\xa9",
                                             "c",   "a",    "he", "th", " t",
                                             "the", " the", "ca", "at"};
    static const float scores[WORDS] = {0,  0,  0,  0,  0,  0,  0,
                                        -2, -1, -5, -3, -4, -7, -6};
    open_file(folder, "tokenizer.bin");
    put_number(6);
    put_piece("<unk>", 0);
    put_piece("\n<s>\n", 0);
    put_piece("\n</s>\n", 0);
    for (int byte = 0; byte < 256; byte++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", (unsigned)byte);
        put_piece(text, 0);
    }
    for (int i = 0; i < WORDS; i++) {
        put_piece(words[i], scores[i]);
    }
    close_file();
}

int main(int count, char **arguments) {
    if (count != 2) {
        fail(MISUSED, "usage: make_model FOLDER");
    }
    put_model(arguments[1], "shared.bin", true);
    put_model(arguments[1], "own.bin", false);
    put_tokenizer(arguments[1]);
    return EXIT_SUCCESS;
}
