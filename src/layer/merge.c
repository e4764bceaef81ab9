/*
 * Merging states: rows in blocks, and of a block first the weights of all states, then
 * columns in chunks that are summed apart from out, which may be one of the states.
 * The sums of a chunk lie on the stack and stay in the first cache. Weights of a few
 * states are kept; if there are more they are computed again for each chunk. No sum
 * depends on how rows or columns are cut.
 */
#include "layer/merge.h"

#include <math.h>
#include <string.h>

#include "base/arith.h"
#include "layer/rows.h"

enum { ROWS = 8, COLUMNS = 128, STATES = 32 };

/* The weight of an empty state. */
#define EMPTY (-1.0f)

struct place {
    int64_t b, h, row;
};

struct block {
    const struct merge *merge;
    int rows;
    struct place place[ROWS];
    float maximum[ROWS], sum[ROWS]; /* of lse, and of weights */
    float weight[STATES][ROWS];     /* exp(lse - maximum), or EMPTY */
};

/* Elements from the start of a tensor to a row. */
static int64_t row_at(const attn_tensor *tensor, const struct place *place) {
    return place->b * tensor->stride[0] + place->h * tensor->stride[1] +
           place->row * tensor->stride[2];
}

static float lse_at(const attn_tensor *lse, const struct place *place) {
    return ((const float *)lse->data)[row_at(lse, place)];
}

/* The weights of n states from the first on. */
static void weigh(struct block *block, int32_t first, int n) {
    for (int i = 0; i < n; i++) {
        const attn_tensor *lses = block->merge->lses[first + i];
        for (int r = 0; r < block->rows; r++) {
            const float lse = lse_at(lses, &block->place[r]);
            block->weight[i][r] =
                lse == -INFINITY ? EMPTY : expf(lse - block->maximum[r]);
        }
    }
}

/* How many states there are from the first on, of those whose weights are kept. */
static int states_from(const struct merge *merge, int32_t first) {
    return (int)min_i64(STATES, merge->count - first);
}

/* The largest lse of each row, then the sum of weights: 0 if all states are empty, NaN
 * if an lse is NaN or +infinity. */
static void sum_weights(struct block *block) {
    const struct merge *merge = block->merge;
    for (int r = 0; r < block->rows; r++) {
        block->maximum[r] = -INFINITY;
        block->sum[r] = 0.0f;
    }
    for (int32_t i = 0; i < merge->count; i++) {
        for (int r = 0; r < block->rows; r++) {
            const float lse = lse_at(merge->lses[i], &block->place[r]);
            block->maximum[r] = lse > block->maximum[r] ? lse : block->maximum[r];
        }
    }
    for (int64_t first = 0; first < merge->count; first += STATES) {
        const int n = states_from(merge, (int32_t)first);
        weigh(block, (int32_t)first, n);
        for (int i = 0; i < n; i++) {
            for (int r = 0; r < block->rows; r++) {
                const float weight = block->weight[i][r];
                block->sum[r] += weight == EMPTY ? 0.0f : weight;
            }
        }
    }
}

/* sum += the weighted rows of states, one after the other for each element; several of
 * them on one way over the sums. It, store() and add_states(), which finds the rows,
 * know the type of out, nothing else does. */
static void add(float *restrict sum, const float *const *row, const float *weight,
                int states, int n) {
    for (; states >= 4; states -= 4, row += 4, weight += 4) {
        for (int c = 0; c < n; c++) {
            sum[c] = sum[c] + weight[0] * row[0][c] + weight[1] * row[1][c] +
                     weight[2] * row[2][c] + weight[3] * row[3][c];
        }
    }
    for (; states >= 2; states -= 2, row += 2, weight += 2) {
        for (int c = 0; c < n; c++) {
            sum[c] = sum[c] + weight[0] * row[0][c] + weight[1] * row[1][c];
        }
    }
    for (int c = 0; c < n && states > 0; c++) {
        sum[c] = sum[c] + weight[0] * row[0][c];
    }
}

static void store(float *row, const float *sum, int n) {
    memcpy(row, sum, (size_t)n * sizeof *row);
}

/* Adds n columns of a row of some states. */
static void add_states(const struct block *block, float *sum, int r, int32_t first,
                       int states, int64_t column, int n) {
    const float *row[STATES];
    float weight[STATES];
    int there = 0;
    for (int i = 0; i < states; i++) {
        const attn_tensor *out = block->merge->outs[first + i];
        if (block->weight[i][r] != EMPTY) {
            row[there] =
                (const float *)out->data + row_at(out, &block->place[r]) + column;
            weight[there++] = block->weight[i][r] / block->sum[r];
        }
    }
    add(sum, row, weight, there, n);
}

/* n columns of out. */
static void merge_columns(struct block *block, int64_t column, int n) {
    const struct merge *merge = block->merge;
    float sums[ROWS][COLUMNS];
    memset(sums, 0, (size_t)block->rows * sizeof *sums);
    for (int64_t first = 0; first < merge->count; first += STATES) {
        const int states = states_from(merge, (int32_t)first);
        if (merge->count > STATES) {
            weigh(block, (int32_t)first, states);
        }
        for (int r = 0; r < block->rows; r++) {
            add_states(block, sums[r], r, (int32_t)first, states, column, n);
        }
    }
    for (int r = 0; r < block->rows; r++) {
        const struct place *place = &block->place[r];
        store(view_at(&merge->out, place->b, place->h, place->row, column), sums[r], n);
    }
}

/* The last step: lse may be what weights are computed from. */
static void write_lse(const struct block *block) {
    const struct view *lse = &block->merge->lse;
    for (int r = 0; r < block->rows && lse->data != NULL; r++) {
        const struct place *place = &block->place[r];
        *view_at(lse, place->b, place->h, place->row, 0) =
            block->maximum[r] + logf(block->sum[r]);
    }
}

/* To the next row, of the next head or batch element if need be. */
static void advance(const struct merge *merge, struct place *place) {
    if (++place->row == merge->rows) {
        place->row = 0;
        if (++place->h == merge->heads) {
            place->h = 0;
            place->b++;
        }
    }
}

/* Rows [row, end) of all, one head and batch element after the other. */
static void merge_rows(const void *argument, int64_t b, int64_t row, int64_t end) {
    const struct merge *merge = argument;
    const int64_t head = row / merge->rows;
    struct place place = {head / merge->heads, head % merge->heads, row % merge->rows};
    struct block block = {.merge = merge};
    (void)b;
    for (; row < end; row += block.rows) {
        block.rows = (int)min_i64(ROWS, end - row);
        for (int r = 0; r < block.rows; r++) {
            block.place[r] = place;
            advance(merge, &place);
        }
        sum_weights(&block);
        for (int64_t c = 0; c < merge->dim; c += COLUMNS) {
            merge_columns(&block, c, (int)min_i64(COLUMNS, merge->dim - c));
        }
        write_lse(&block);
    }
}

void attn_merge_run(const struct merge *merge, struct attn_context *context) {
    const bool nothing = merge->batch == 0 || merge->heads == 0 || merge->rows == 0 ||
                         (merge->dim == 0 && merge->lse.data == NULL);
    if (nothing) {
        return; /* the product of the others may overflow */
    }
    const int64_t rows = merge->batch * merge->heads * merge->rows;
    int64_t cost;
    if (!checked_mul(merge->count + INT64_C(1), merge->dim + 1, &cost)) {
        cost = INT64_MAX;
    }
    if (context == NULL) {
        merge_rows(merge, 0, 0, rows);
    } else {
        attn_rows_run(context, (struct size){1, rows}, cost, merge_rows, merge);
    }
}
