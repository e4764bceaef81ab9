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

/* The keys of the rounds. */
struct philox_keys {
    uint32_t first[PHILOX_ROUNDS], second[PHILOX_ROUNDS];
};

static inline void philox_schedule(struct philox_keys *keys, uint64_t seed) {
    for (uint32_t i = 0; i < PHILOX_ROUNDS; i++) {
        keys->first[i] = (uint32_t)seed + i * 0x9e3779b9u;
        keys->second[i] = (uint32_t)(seed >> 32) + i * 0xbb67ae85u;
    }
}

/* 1 if a random word keeps its weight, in what is byte `place` of a uint32_t. */
static inline uint32_t keep_byte(uint32_t word, uint32_t threshold, int place) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    place = PHILOX_WORDS - 1 - place;
#endif
    return (uint32_t)(word >> 8 >= threshold) << (8 * place);
}

/* What becomes of the four weights of each of PHILOX_LANES counters from `counter` on:
 * four bytes each, in the order of memory. */
static inline void philox_keep(uint32_t *kept, const struct philox_keys *keys,
                               const struct dropout_key *key, uint32_t row,
                               uint32_t counter) {
    const uint64_t multiplier0 = 0xd2511f53u, multiplier1 = 0xcd9e8d57u;
    const uint32_t sequence = key->sequence, head = key->head;
    const uint32_t threshold = key->threshold;
    for (uint32_t l = 0; l < PHILOX_LANES; l++) {
        uint32_t word0 = sequence, word1 = head, word2 = row, word3 = counter + l;
#pragma GCC unroll 10
        for (int i = 0; i < PHILOX_ROUNDS; i++) {
            const uint64_t a = multiplier0 * word0, b = multiplier1 * word2;
            word0 = (uint32_t)(b >> 32) ^ word1 ^ keys->first[i];
            word1 = (uint32_t)b;
            word2 = (uint32_t)(a >> 32) ^ word3 ^ keys->second[i];
            word3 = (uint32_t)a;
        }
        kept[l] = keep_byte(word0, threshold, 0) | keep_byte(word1, threshold, 1) |
                  keep_byte(word2, threshold, 2) | keep_byte(word3, threshold, 3);
    }
}

static void kernel_dropout_mask(uint8_t *keep, ptrdiff_t ld, int rows, int n,
                                const struct dropout_key *key, uint32_t row,
                                int64_t column) {
    const int64_t step = (int64_t)PHILOX_LANES * PHILOX_WORDS;
    const int64_t start = column - column % PHILOX_WORDS;
    uint32_t kept[PHILOX_LANES];
    struct philox_keys keys;
    philox_schedule(&keys, key->seed);
    for (int r = 0; r < rows; r++) {
        for (int64_t c = start; c < column + n; c += step) {
            philox_keep(kept, &keys, key, row + (uint32_t)r,
                        (uint32_t)(c / PHILOX_WORDS));
            const int64_t from = c > column ? c : column;
            const int64_t end = c + step < column + n ? c + step : column + n;
            memcpy(keep + r * ld + (from - column), (const uint8_t *)kept + (from - c),
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
