/*
 * attn_kernels: what the kernels cost beside what their instructions must cost.
 *
 * The unit is a vector multiply-add: the time of one, where there is nothing else to
 * do, from a loop of them in the same rounds. `takes` is how many of those a kernel
 * takes for each vector of numbers it works on, `bound` how many arithmetic
 * instructions it has for it (counted in the templates; a division or a permutation
 * counts as one, loads and stores do not count). So bound / takes is the part of the
 * processor that is used; above 1 where additions and comparisons run beside
 * multiplications. Numbers lie in the first-level cache.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "bench/clock.h"
#include "bench/fma.h"
#include "bench/stats.h"
#include "kernel/kernel.h"

/* A tile of scores, as engines have it, and what meets it. */
enum { ROWS = 32, KEYS = 128, DIM = 64, ADDITIVE_DIM = 32, HEADS = 8, ROUNDS = 60 };

static struct {
    float s[ROWS * KEYS], other[ROWS * KEYS], saved[ROWS * KEYS];
    float row[4][ROWS], columns[KEYS];
    float sums[HEADS * KEYS], total[HEADS * KEYS];
    uint16_t half[ROWS * KEYS];
    float negative[ROWS * ADDITIVE_DIM], positive[KEYS * ADDITIVE_DIM];
    uint8_t keep[ROWS * KEYS];
    int8_t bytes[ROWS * KEYS];
    _Alignas(64) uint16_t row_pieces[KEYS / PIECES_SIDE * PIECES_STEP];
    _Alignas(64) uint16_t column_pieces[KEYS / PIECES_SIDE * PIECES_STEP];
    _Alignas(64) uint16_t scratch[PIECES_SCRATCH];
} data;

static const struct kernels *k;

static void run_softmax(void) {
    for (int r = 0; r < ROWS; r++) {
        data.row[0][r] = -INFINITY;
        data.row[1][r] = 0;
    }
    (void)k->softmax(data.s, KEYS, ROWS, KEYS, data.row[0], data.row[1], data.row[2]);
}

static void run_weights(void) {
    k->weights(data.s, KEYS, ROWS, KEYS, data.row[3], data.row[3]);
}

static void run_scale(void) {
    k->scale(data.s, KEYS, data.s, KEYS, ROWS, KEYS, data.row[3]);
}

static void run_softcap(void) {
    k->softcap(data.s, KEYS, ROWS, KEYS, 30.0f);
}

static void run_bias(void) {
    k->add_bias(data.s, KEYS, ROWS, KEYS, data.other, KEYS, 1);
}

static void run_alibi(void) {
    k->add_alibi(data.s, KEYS, ROWS, KEYS, 0.01f, 3);
}

static void run_gradients(void) {
    k->score_gradients(data.s, KEYS, ROWS, KEYS, data.other, KEYS, data.row[3]);
}

static void run_dropout(void) {
    const struct dropout_key key = {0};
    k->dropout_mask(data.keep, KEYS, ROWS, KEYS, &key, 5, 0);
}

static void run_transpose(void) {
    k->transpose(data.s, ROWS, data.other, KEYS, ROWS, KEYS);
}

static void run_widen(void) {
    k->widen(ATTN_BF16, data.s, KEYS, data.half, KEYS, ROWS, KEYS);
}

static void run_narrow(void) {
    k->narrow(ATTN_BF16, data.half, KEYS, data.other, KEYS, ROWS, KEYS);
}

static void run_quantize(void) {
    k->quantize(data.bytes, KEYS, data.row[2], 1, data.other, KEYS, ROWS, KEYS);
}

static void run_gelu(void) {
    k->activate(ACTIVATION_GELU_TANH, data.s, KEYS, data.other, KEYS, ROWS, KEYS);
}

static void run_norm(void) {
    k->norm(data.s, KEYS, data.other, KEYS, ROWS, KEYS, 1e-5f, data.columns,
            data.columns, data.row[0], data.row[1]);
}

/* Scores of the tile, by features that have powers. */
static struct additive additive_tile(ptrdiff_t ld_key) {
    return (struct additive){.rows = ROWS,
                             .keys = KEYS,
                             .dim = ADDITIVE_DIM,
                             .factor = 1.0f,
                             .power = 1.0f,
                             .query = data.negative,
                             .key = data.positive,
                             .vector = data.columns,
                             .ld_query = ADDITIVE_DIM,
                             .ld_key = ld_key};
}

static void run_additive(void) {
    const struct additive additive = additive_tile(KEYS);
    k->additive.scores(&additive, true, data.s, KEYS);
}

/* One query, keys as they lie. */
static void run_additive_few(void) {
    struct additive additive = additive_tile(KEYS);
    additive.rows = 1;
    additive.keys = ROWS;
    additive.dim = KEYS;
    additive.query = data.columns;
    additive.key = data.other;
    k->additive.few(&additive, data.sums, ROWS);
}

static void run_additive_gradients(void) {
    const struct additive additive = additive_tile(ADDITIVE_DIM);
    const struct additive_gradients to = {data.sums, data.s, data.total, 1.0f};
    k->additive.gradients(&additive, true, data.saved, KEYS, &to);
}

/* Eight heads and ROWS keys, or values, of KEYS numbers. */
static void run_few_scores(void) {
    k->few_scores(ATTN_F32, HEADS, ROWS, KEYS, 0.1f, data.sums, KEYS, data.other, KEYS,
                  data.s, KEYS);
}

static void run_block_scores(void) {
    k->block_scores(ATTN_F32, HEADS, 16, 0, ROWS, KEYS, 0.1f, data.sums, KEYS,
                    data.other, 0, data.s, KEYS);
}

static void run_few_values(void) {
    k->few_values(ATTN_F32, HEADS, ROWS, KEYS, data.saved, KEYS, data.other, KEYS,
                  data.sums, KEYS);
}

static void run_block_values(void) {
    k->block_values(ATTN_F32, HEADS, 16, 0, ROWS, KEYS, data.saved, KEYS, data.other, 0,
                    data.sums, KEYS, data.total, 0);
}

static void run_product(void) {
    const float one = 1.0f;
    k->product(ROWS, ROWS, DIM, &one, 0, data.saved, DIM, 1, data.other, ROWS, false,
               data.s, ROWS);
}

/* One head, or several if vectors are short. */
enum { SMALL = 16, SMALL_DIM = 32 };
static void run_small(void) {
    const int keys = 2 * k->width < SMALL ? 2 * k->width : SMALL;
    const struct small small = {
        .rows = SMALL,
        .keys = keys,
        .key_dim = SMALL_DIM,
        .value_dim = SMALL_DIM,
        .scale = 0.1f,
        .query = data.saved,
        .key = data.other,
        .value = data.other,
        .ld_query = SMALL_DIM,
        .ld_key = SMALL_DIM,
        .ld_value = SMALL_DIM,
        .out = data.sums,
        .ld_out = SMALL_DIM,
        .maximum = data.row[0],
        .sum = data.row[1],
        .factor = data.row[2],
    };
    for (int j = 0; j < SMALL; j += keys) {
        k->small(&small, data.s);
    }
}

static void run_split_rows(void) {
    k->pieces->split_rows(data.row_pieces, data.other, KEYS, ROWS, KEYS, 0.1f, false);
}

static void run_split_columns(void) {
    k->pieces->split_columns(data.column_pieces, data.other, ROWS, KEYS, ROWS, false);
}

static void run_within(void) {
    (void)k->pieces->within(data.other, KEYS, ROWS, KEYS, 0x1p-50f, 0x1p60f);
}

/* So often that it makes no difference that tiles take a while to start. */
enum { TIMES = 32 };

static void product_of(bool single) {
    const struct strips rows = {data.row_pieces, 0, single},
                        columns = {data.column_pieces, 0, single};
    for (int i = 0; i < TIMES; i++) {
        k->pieces->product(ROWS, ROWS, KEYS, 1.0f, &rows, &columns, data.s, ROWS);
    }
}

static void product_split_of(bool single, bool two) {
    const struct strips columns = {data.column_pieces, 0, single};
    for (int i = 0; i < TIMES; i++) {
        k->pieces->product_split(ROWS, ROWS, KEYS, 0.1f, data.other, KEYS, two,
                                 &columns, data.scratch, data.s, ROWS);
    }
}

static void run_product_pieces(void) {
    product_of(false);
}

static void run_product_single(void) {
    product_of(true);
}

static void run_product_split(void) {
    product_split_of(false, false);
}

static void run_product_split_single(void) {
    product_split_of(true, false);
}

static void run_product_split_two(void) {
    product_split_of(true, true);
}

struct bench {
    const char *name, *of;
    void (*run)(void);
    double bound;   /* instructions for a vector */
    double vectors; /* numbers worked on, to be divided by the lanes */
};

/* A tile takes 16 cycles for 8192 products of pieces, of which six make one of floats,
 * three one with bfloat16, or two, and one a product of those, where two multiply-adds
 * of vectors a cycle make one each. */
#define PIECES_BOUND(pieces) ((pieces)*16 * 2 / (8192.0 / 16))

static const struct bench piece_benches[] = {
    {"split_rows", "number", run_split_rows, 8, ROWS *KEYS},
    {"split_columns", "number", run_split_columns, 7, ROWS *KEYS},
    {"within", "number", run_within, 4, ROWS *KEYS},
    {"product of pieces, 32 x 32 x 128", "product", run_product_pieces, PIECES_BOUND(6),
     TIMES *ROWS *ROWS *KEYS},
    {"the same of bfloat16", "product", run_product_single, PIECES_BOUND(1),
     TIMES *ROWS *ROWS *KEYS},
    {"product_split, 32 x 32 x 128", "product", run_product_split, PIECES_BOUND(6),
     TIMES *ROWS *ROWS *KEYS},
    {"the same with bfloat16", "product", run_product_split_single, PIECES_BOUND(3),
     TIMES *ROWS *ROWS *KEYS},
    {"the same in two pieces", "product", run_product_split_two, PIECES_BOUND(2),
     TIMES *ROWS *ROWS *KEYS},
};

static const struct bench benches[] = {
    {"softmax", "score", run_softmax, 14, ROWS *KEYS},
    {"weights", "score", run_weights, 15, ROWS *KEYS},
    {"softcap", "score", run_softcap, 30, ROWS *KEYS},
    {"additive, scores", "feature of a pair", run_additive, 5.25,
     ROWS *KEYS *ADDITIVE_DIM},
    {"additive, one query", "feature of a pair", run_additive_few, 19, ROWS *KEYS},
    {"additive, gradients", "feature of a pair", run_additive_gradients, 12.25,
     ROWS *KEYS *ADDITIVE_DIM},
    {"add_bias", "score", run_bias, 1, ROWS *KEYS},
    {"add_alibi", "score", run_alibi, 4, ROWS *KEYS},
    {"scale", "number", run_scale, 1, ROWS *KEYS},
    {"score_gradients", "score", run_gradients, 2, ROWS *KEYS},
    {"dropout_mask", "score", run_dropout, 100, ROWS *KEYS / 4.0},
    {"transpose", "number", run_transpose, 4, ROWS *KEYS},
    {"widen, bf16", "number", run_widen, 1, ROWS *KEYS},
    {"narrow, bf16", "number", run_narrow, 7, ROWS *KEYS},
    {"quantize", "number", run_quantize, 6, ROWS *KEYS},
    {"activate, gelu", "number", run_gelu, 25, ROWS *KEYS},
    {"norm", "number", run_norm, 5, ROWS *KEYS},
    {"few_scores, 8 heads", "key number", run_few_scores, HEADS, ROWS *KEYS},
    {"block_scores, 8 heads", "key number", run_block_scores, HEADS, ROWS *KEYS},
    {"few_values, 8 heads", "value number", run_few_values, HEADS, ROWS *KEYS},
    {"block_values, 8 heads", "value number", run_block_values, HEADS, ROWS *KEYS},
    {"product, 32 x 32 x 64", "product", run_product, 1, ROWS *ROWS *DIM},
    {"small, 16 x 16 x 32", "product", run_small, 1, 2.0 * SMALL *SMALL *SMALL_DIM},
};
enum { BENCHES = sizeof benches / sizeof benches[0] };
enum { PIECE_BENCHES = sizeof piece_benches / sizeof piece_benches[0] };

static void fill(void) {
    for (int i = 0; i < ROWS * KEYS; i++) {
        data.saved[i] = data.other[i] = (float)(i * 7919 % 1000) / 200.0f - 2.5f;
        data.half[i] = 0x3f80;
    }
    for (int i = 0; i < KEYS * ADDITIVE_DIM; i++) {
        data.positive[i] = 0.5f + (float)(i % 100) / 50.0f;
    }
    for (int i = 0; i < ROWS * ADDITIVE_DIM; i++) {
        data.negative[i] = -data.positive[i];
    }
    for (int r = 0; r < ROWS; r++) {
        data.row[3][r] = 1.0f;
    }
    for (int c = 0; c < KEYS; c++) {
        data.columns[c] = 1.0f;
    }
}

/* Seconds of a call; the scores are made anew before each. */
static double time_bench(const struct bench *bench) {
    enum { CALLS = 20 };
    double taken = 0;
    for (int i = 0; i < CALLS; i++) {
        memcpy(data.s, data.saved, sizeof data.s);
        memset(data.sums, 0, sizeof data.sums);
        const double start = clock_seconds();
        bench->run();
        taken += clock_seconds() - start;
    }
    return taken / CALLS;
}

/* What a clock adds to what lies between two readings of it. */
static double clock_cost(void) {
    double least = 1;
    for (int i = 0; i < 1000; i++) {
        const double start = clock_seconds(), cost = clock_seconds() - start;
        least = cost < least ? cost : least;
    }
    return least;
}

/* Seconds of a vector multiply-add. */
static double time_unit(const struct fma_loop *loop) {
    enum { STEPS = 20000 };
    const double start = clock_seconds();
    volatile float result = loop->run(STEPS, 0.5f, 0.25f);
    (void)result;
    return (clock_seconds() - start) / STEPS / loop->flops * 2 * loop->lanes;
}

static void bench_set(const struct fma_loop *loop, const struct bench *bench,
                      int count) {
    struct samples unit = {0}, ratio[BENCHES] = {{0}};
    const double cost = clock_cost();
    fill();
    for (int round = 0; round < ROUNDS; round++) {
        samples_add(&unit, time_unit(loop));
        for (int b = 0; b < count; b++) {
            const double vectors = bench[b].vectors / k->width;
            samples_add(&ratio[b],
                        (time_bench(&bench[b]) - cost) / vectors / unit.value[round]);
        }
    }
    printf("\n%s: vectors of %d, %.3f ns for a multiply-add of one\n",
           attn_cpu_isa_name(k->isa), k->width, 1e9 * samples_median(&unit));
    printf("   takes   bound   used  for a vector of each\n");
    for (int b = 0; b < count; b++) {
        const double takes = samples_median(&ratio[b]);
        printf("%8.2f%8.3g%7.2f  %s: %s\n", takes, bench[b].bound,
               bench[b].bound / takes, bench[b].name, bench[b].of);
        samples_free(&ratio[b]);
    }
    samples_free(&unit);
}

int main(int count, char **arguments) {
    (void)arguments;
    if (count > 1) {
        printf("Usage: attn_kernels\n"
               "Measures the kernels of every instruction set that runs here, beside\n"
               "the instructions that they consist of. The unit is the time of one\n"
               "vector multiply-add, from a loop of them: takes, what a kernel takes\n"
               "for each vector of numbers; bound, its arithmetic instructions for\n"
               "it; used, the one over the other, above 1 where additions run\n"
               "beside multiplications. Medians of %d rounds.\n",
               ROUNDS);
        return EXIT_FAILURE;
    }
    for (int32_t isa = ATTN_ISA_AVX2; isa <= ATTN_ISA_NEON; isa++) {
        const struct fma_loop *loop = fma_loop_of(attn_cpu_isa_name(isa));
        k = attn_kernels(isa);
        if (k != NULL && loop != NULL && attn_cpu_allows(isa)) {
            bench_set(loop, benches, BENCHES);
        }
    }
    k = attn_kernels(ATTN_ISA_AMX);
    if (k != NULL && attn_cpu_allows(ATTN_ISA_AMX)) {
        fill();
        run_split_rows();
        run_split_columns();
        bench_set(fma_loop_of("avx512"), piece_benches, PIECE_BENCHES);
    }
    return EXIT_SUCCESS;
}
