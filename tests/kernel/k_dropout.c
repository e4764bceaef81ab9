/*
 * The kernels of dropout. dropout_mask is compared with the plain Philox of the tests,
 * number by number: with a number itself as the threshold its weight is kept, with the
 * next one it is dropped. That Philox, and the kernel directly, are compared with the
 * vectors that its authors publish (Random123, kat_vectors).
 */
#include <math.h>
#include <string.h>

#include "tests/kernel/matrix.h"
#include "tests/kernel/sets.h"
#include "tests/support/philox.h"
#include "tests/support/test.h"

enum { CANARY = 0xa5, MARGIN = 33, NUMBERS = 1 << 24 };

static const struct kernels *k;

/* A matrix of bytes, as struct matrix is one of floats. */
struct bytes {
    struct guard guard;
    uint8_t *memory, *at;
    ptrdiff_t ld;
    struct shape shape;
    size_t extent; /* of the rows; with MARGIN that of the memory */
};

static void bytes_open(struct bytes *bytes, struct shape shape) {
    *bytes = (struct bytes){.shape = shape, .ld = shape.n + shape.gap};
    if (shape.rows > 0) {
        bytes->extent = (size_t)((shape.rows - 1) * bytes->ld + shape.n);
    }
    if (shape.place == PLACE_BEFORE) {
        bytes->memory = guard_before(&bytes->guard, bytes->extent + MARGIN);
        bytes->at = bytes->memory + MARGIN;
    } else {
        bytes->memory = guard_after(&bytes->guard, bytes->extent + MARGIN);
        bytes->at = bytes->memory + (shape.place == PLACE_ODD ? 1 : 0);
    }
    memset(bytes->memory, CANARY, bytes->extent + MARGIN);
}

static void bytes_close(struct bytes *bytes) {
    const struct shape *shape = &bytes->shape;
    for (size_t i = 0; i < bytes->extent + MARGIN; i++) {
        const ptrdiff_t offset = bytes->memory + i - bytes->at;
        const bool element = offset >= 0 && shape->n > 0 &&
                             offset / bytes->ld < shape->rows &&
                             offset % bytes->ld < shape->n;
        if (!element && bytes->memory[i] != CANARY) {
            fail_msg("%s wrote %td bytes after the start of %d x %d, stride %td",
                     sets_name(), offset, shape->rows, shape->n, bytes->ld);
        }
    }
    guard_free(&bytes->guard);
}

/* A vector of Random123: the words of the counter, of the key, and what they give. */
static const struct known {
    uint32_t counter[4], key[2], words[4];
} known[] = {
    {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
     {0xffffffff, 0xffffffff},
     {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
     {0xa4093822, 0x299f31d0},
     {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
};

/* The number of one weight, by the definition in attn/sdpa.h. */
static uint32_t number_of(const struct dropout_key *key, uint32_t row, int64_t column) {
    const struct philox counter = {
        {key->sequence, key->head, row, (uint32_t)(column / 4)}};
    const struct philox words =
        philox(counter, (uint32_t)key->seed, (uint32_t)(key->seed >> 32));
    return words.word[column % 4] >> 8;
}

static void philox_is_right(void **state) {
    (void)state;
    k = sets_begin();
    for (size_t i = 0; i < COUNT_OF(known); i++) {
        const struct known *v = &known[i];
        struct philox counter;
        memcpy(counter.word, v->counter, sizeof counter.word);
        const struct philox words = philox(counter, v->key[0], v->key[1]);
        assert_memory_equal(words.word, v->words, sizeof v->words);

        struct dropout_key key = {.seed = (uint64_t)v->key[1] << 32 | v->key[0],
                                  .sequence = v->counter[0],
                                  .head = v->counter[1]};
        for (int w = 0; w < 4; w++) {
            const int64_t column = 4 * (int64_t)v->counter[3] + w;
            uint8_t keep;
            key.threshold = v->words[w] >> 8;
            k->dropout_mask(&keep, 1, 1, 1, &key, v->counter[2], column);
            assert_int_equal(keep, 1);
            key.threshold++;
            k->dropout_mask(&keep, 1, 1, 1, &key, v->counter[2], column);
            assert_int_equal(keep, 0);
        }
    }
}

static void check_mask(struct shape shape, const struct dropout_key *key, uint32_t row,
                       int64_t column) {
    struct bytes keep;
    bytes_open(&keep, shape);
    k->dropout_mask(keep.at, keep.ld, shape.rows, shape.n, key, row, column);
    for (int r = 0; r < shape.rows; r++) {
        for (int c = 0; c < shape.n; c++) {
            const uint32_t number = number_of(key, row + (uint32_t)r, column + c);
            const int right = number >= key->threshold, got = keep.at[r * keep.ld + c];
            if (got != right) {
                fail_msg("%s dropout_mask: %d x %d at row %u, column %lld: [%d][%d], "
                         "number %u, threshold %u, is %d",
                         sets_name(), shape.rows, shape.n, row, (long long)column, r, c,
                         number, key->threshold, got);
            }
        }
    }
    bytes_close(&keep);
}

static struct dropout_key some_key(struct random *random) {
    static const uint32_t thresholds[] = {0,           1,           NUMBERS / 10,
                                          NUMBERS / 2, NUMBERS - 1, NUMBERS};
    const uint64_t words = random_bits(random);
    return (struct dropout_key){
        .seed = random_bits(random),
        .sequence = (uint32_t)words,
        .head = (uint32_t)(words >> 32),
        .threshold = thresholds[random_bits(random) % COUNT_OF(thresholds)],
    };
}

/* Rows up to the last that has a number of its own, columns of every remainder by 4
 * and beyond what 32 bits hold. */
static void masks(void **state) {
    (void)state;
    static const uint32_t rows[] = {0, 1, 4096, 0x80000000 - 5, 0xffffffff - 10};
    static const int64_t columns[] = {0,
                                      64,
                                      1001,
                                      ((int64_t)1 << 31) - 6,
                                      ((int64_t)1 << 32) - 3,
                                      ((int64_t)1 << 32) + 128,
                                      ((int64_t)3 << 32) + 77,
                                      ((int64_t)1 << 34) - 260};
    k = sets_begin();
    struct random random = random_stream(61, 0);
    for (int number = 0; number < SHAPES; number++) {
        for (size_t i = 0; i < COUNT_OF(columns); i++) {
            const struct dropout_key key = some_key(&random);
            check_mask(shape_number(number, k->width), &key,
                       rows[random_bits(&random) % COUNT_OF(rows)],
                       columns[i] + number / 2 % 4);
        }
    }
}

/* Each number of two rows, by the thresholds at which its weight changes. */
static void numbers_are_exact(void **state) {
    (void)state;
    k = sets_begin();
    struct random random = random_stream(62, 0);
    const struct shape shape = {PLACE_BEFORE, 2, 150, 1};
    struct dropout_key key = some_key(&random);
    const uint32_t row = 77;
    const int64_t column = 4099;
    for (int i = 0; i < 2 * shape.n; i += TEST_SHARE) {
        key.threshold =
            number_of(&key, row + (uint32_t)(i / shape.n), column + i % shape.n);
        check_mask(shape, &key, row, column);
        key.threshold++;
        check_mask(shape, &key, row, column);
    }
}

/* A mask that is made in tiles is the same mask. */
static void tiles_agree(void **state) {
    (void)state;
    k = sets_begin();
    enum { ROWS = 7, N = 203 };
    struct random random = random_stream(63, 0);
    for (int number = 0; number < 20; number++) {
        struct dropout_key key = some_key(&random);
        key.threshold = NUMBERS / 3;
        uint8_t whole[ROWS * N], tiled[ROWS * N];
        k->dropout_mask(whole, N, ROWS, N, &key, 5, 1000);
        for (int r = 0, rows; r < ROWS; r += rows) {
            rows = (int)random_between(&random, 1, ROWS - r);
            for (int c = 0, n; c < N; c += n) {
                n = (int)random_between(&random, 1, N - c);
                k->dropout_mask(&tiled[r * N + c], N, rows, n, &key, 5 + (uint32_t)r,
                                1000 + c);
            }
        }
        assert_memory_equal(tiled, whole, sizeof whole);
    }
}

/* What is dropped is 0, NaN and infinity included; any byte but 0 keeps. */
static void check_drop(struct shape shape, int fill, bool same_row,
                       struct random *random) {
    static const float factors[] = {1.0f, 1.25f, 1.1111112f, 3.0f, 0x1p24f, 0.0f};
    static const uint8_t values[] = {0, 0, 0, 1, 1, 2, 0x80, 0xff};
    const float factor = factors[random_bits(random) % COUNT_OF(factors)];
    struct matrix s, old;
    struct bytes keep;
    matrix_open(&s, shape);
    matrix_open(&old, shape);
    matrix_fill(&old, fill, random);
    matrix_copy(&s, &old);
    bytes_open(&keep, shape);
    const ptrdiff_t ld = same_row ? 0 : keep.ld;
    for (int r = 0; r < shape.rows; r++) {
        for (int c = 0; c < shape.n; c++) {
            keep.at[r * keep.ld + c] = values[random_bits(random) % COUNT_OF(values)];
        }
    }
    k->drop(s.at, s.ld, shape.rows, shape.n, keep.at, ld, factor);
    for (int r = 0; r < shape.rows; r++) {
        for (int c = 0; c < shape.n; c++) {
            const float product = matrix_get(&old, r, c) * factor;
            const float right = keep.at[r * ld + c] != 0 ? product : 0.0f;
            if (!same_value(matrix_get(&s, r, c), right)) {
                matrix_fail("drop", &s, r, c, matrix_get(&s, r, c), right);
            }
        }
    }
    matrix_close(&s);
    matrix_close(&old);
    bytes_close(&keep);
}

static void drops(void **state) {
    (void)state;
    k = sets_begin();
    struct random random = random_stream(64, 0);
    for (int number = 0; number < SHAPES; number++) {
        for (int fill = 0; fill < FILLS; fill++) {
            check_drop(shape_number(number, k->width), fill, (number + fill) % 5 == 0,
                       &random);
        }
    }
}

int main(void) {
    const struct CMUnitTest checks[] = {
        cmocka_unit_test(philox_is_right),
        cmocka_unit_test(masks),
        cmocka_unit_test(numbers_are_exact),
        cmocka_unit_test(tiles_agree),
        cmocka_unit_test(drops),
    };
    int failed = 0;
    while (sets_next()) {
        failed += cmocka_run_group_tests_name(sets_name(), checks, NULL, NULL);
    }
    return sets_finish(failed, COUNT_OF(checks));
}
