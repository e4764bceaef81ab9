/*
 * Template: dropout. The random numbers are those of Philox 4x32-10 (Salmon et al.,
 * "Parallel Random Numbers: As Easy as 1, 2, 3", 2011): ten rounds of multiplication
 * turn a counter of four words into four random ones. Each counter is a lane, and the
 * loops over lanes are plain C, which compilers turn into vector code. Include after a
 * vec_*.h.
 */
#ifndef ATTN_KERNEL_TMPL_DROPOUT_H
#define ATTN_KERNEL_TMPL_DROPOUT_H

#include <string.h>

enum { PHILOX_LANES = 16, PHILOX_ROUNDS = 10, PHILOX_WORDS = 4 };

/* The words of PHILOX_LANES counters. */
struct philox {
    uint32_t word[PHILOX_WORDS][PHILOX_LANES];
};

static inline void philox_round(struct philox *x, uint32_t key0, uint32_t key1) {
    const uint64_t multiplier0 = 0xd2511f53u, multiplier1 = 0xcd9e8d57u;
    for (int l = 0; l < PHILOX_LANES; l++) {
        const uint64_t a = multiplier0 * x->word[0][l];
        const uint64_t b = multiplier1 * x->word[2][l];
        x->word[0][l] = (uint32_t)(b >> 32) ^ x->word[1][l] ^ key0;
        x->word[1][l] = (uint32_t)b;
        x->word[2][l] = (uint32_t)(a >> 32) ^ x->word[3][l] ^ key1;
        x->word[3][l] = (uint32_t)a;
    }
}

/* The random words of columns 4 first, 4 first + 1, ... */
static inline void philox(struct philox *x, const struct dropout_key *key, uint32_t row,
                          uint32_t first) {
    uint32_t key0 = (uint32_t)key->seed, key1 = (uint32_t)(key->seed >> 32);
    for (uint32_t l = 0; l < PHILOX_LANES; l++) {
        x->word[0][l] = key->sequence;
        x->word[1][l] = key->head;
        x->word[2][l] = row;
        x->word[3][l] = first + l;
    }
    for (int i = 0; i < PHILOX_ROUNDS; i++) {
        philox_round(x, key0, key1);
        key0 += 0x9e3779b9u;
        key1 += 0xbb67ae85u;
    }
}

static void kernel_dropout_mask(uint8_t *keep, ptrdiff_t ld, int rows, int n,
                                const struct dropout_key *key, uint32_t row,
                                int64_t column) {
    const int64_t step = PHILOX_LANES * PHILOX_WORDS;
    const int64_t start = column - column % PHILOX_WORDS;
    struct philox x;
    uint8_t kept[PHILOX_LANES * PHILOX_WORDS];
    for (int r = 0; r < rows; r++) {
        for (int64_t c = start; c < column + n; c += step) {
            philox(&x, key, row + (uint32_t)r, (uint32_t)(c / PHILOX_WORDS));
            for (int w = 0; w < PHILOX_WORDS; w++) {
                for (int l = 0; l < PHILOX_LANES; l++) {
                    kept[l * PHILOX_WORDS + w] = x.word[w][l] >> 8 >= key->threshold;
                }
            }
            const int64_t from = c > column ? c : column;
            const int64_t end = c + step < column + n ? c + step : column + n;
            memcpy(keep + r * ld + (from - column), kept + (from - c),
                   (size_t)(end - from));
        }
    }
}

static void kernel_drop(float *s, ptrdiff_t ld, int rows, int n, const uint8_t *keep,
                        ptrdiff_t ld_keep, float factor) {
    const vec f = vec_set(factor), zero = vec_set(0.0f);
    for (int r = 0; r < rows; r++) {
        float *row = s + r * ld;
        const uint8_t *k = keep + r * ld_keep;
        int i = 0;
        for (; i + WIDTH <= n; i += WIDTH) {
            vec x = vec_mul(vec_load(row + i), f);
            vec_store(row + i, vec_select(vec_bytes(k + i), x, zero));
        }
        if (i < n) {
            vec x = vec_mul(vec_load_part(row + i, n - i, 0.0f), f);
            x = vec_select(vec_bytes_part(k + i, n - i), x, zero);
            vec_store_part(row + i, n - i, x);
        }
    }
}

#endif
