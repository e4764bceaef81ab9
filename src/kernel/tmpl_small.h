/*
 * Template: attention of one head with few keys. Include after a vec_*.h,
 * tmpl_math.h, tmpl_some.h, tmpl_product.h and tmpl_softmax.h.
 *
 * Queries lie across the lanes: scores[j] holds the scores of key j with WIDTH queries,
 * so that the softmax needs no step over lanes. Sums are in the order of those kernels,
 * to the bit.
 */
#ifndef ATTN_KERNEL_TMPL_SMALL_H
#define ATTN_KERNEL_TMPL_SMALL_H

/* Floats from one key's scores, or queries' numbers, to the next. */
static const ptrdiff_t small_lanes = WIDTH;

/* Keys whose scores are made together: eight sums hide the latency of FMA, and there
 * are registers for twelve. */
enum { SMALL_BLOCK = 8, SMALL_LAST = 12 };

/* to[c] = element c of up to WIDTH rows, 0 for rows that are not there; c goes on to
 * a multiple of WIDTH. */
static inline void small_queries(const struct small *small, int row, int rows,
                                 float *to) {
    const float *from = small->query + row * small->ld_query;
    for (int c = 0; c < small->key_dim; c += WIDTH) {
        vec square[WIDTH];
        turned_square(square, from + c, small->ld_query, rows, small->key_dim - c);
        for (int i = 0; i < WIDTH; i++) {
            vec_store(to + (c + i) * small_lanes, square[i]);
        }
    }
}

/* The scores of so many keys, which is a constant where this is called. */
static inline __attribute__((always_inline)) void
small_block(int keys, const struct small *small, int key, const float *queries,
            float *scores) {
    const float *k = small->key + key * small->ld_key;
    vec sum[SMALL_LAST];
    UNROLL_LOOP
    for (int j = 0; j < keys; j++) {
        sum[j] = vec_set(0.0f);
    }
    UNROLL_SOME
    for (int c = 0; c < small->key_dim; c++) {
        const vec x = vec_load(queries + c * small_lanes);
        UNROLL_LOOP
        for (int j = 0; j < keys; j++) {
            sum[j] = vec_muladd(vec_set(k[j * small->ld_key + c]), x, sum[j]);
        }
    }
    UNROLL_LOOP
    for (int j = 0; j < keys; j++) {
        vec_store(scores + (key + j) * small_lanes,
                  vec_mul(vec_set(small->scale), sum[j]));
    }
}

static inline void small_scores(const struct small *small, const float *queries,
                                float *scores) {
    int j = 0;
    for (; small->keys - j > SMALL_LAST; j += SMALL_BLOCK) {
        small_block(SMALL_BLOCK, small, j, queries, scores);
    }
    switch (small->keys - j) {
#define LAST(n)                                                                        \
    case n:                                                                            \
        small_block(n, small, j, queries, scores);                                     \
        break
        LAST(1);
        LAST(2);
        LAST(3);
        LAST(4);
        LAST(5);
        LAST(6);
        LAST(7);
        LAST(8);
        LAST(9);
        LAST(10);
        LAST(11);
        LAST(12);
#undef LAST
    default:
        break;
    }
}

/* -inf where the band leaves a key out. */
static inline void small_mask(const struct small *small, int row, float *scores) {
    const vec lowest = vec_set(-INFINITY);
    const vec first = vec_add(vec_iota(), vec_set((float)(small->first + row)));
    const vec end = vec_add(vec_iota(), vec_set((float)(small->end + row)));
    for (int j = 0; j < small->keys; j++) {
        const vec key = vec_set((float)j);
        vec s =
            vec_select(vec_less(key, end), vec_load(scores + j * small_lanes), lowest);
        vec_store(scores + j * small_lanes,
                  vec_select(vec_less(key, first), lowest, s));
    }
}

/* The largest score of each lane. */
static inline vec small_maximum(const float *scores, int keys) {
    vec a = vec_set(-INFINITY), b = a;
    int j = 0;
    for (; j + 2 <= keys; j += 2) {
        a = vec_max(vec_load(scores + j * small_lanes), a);
        b = vec_max(vec_load(scores + (j + 1) * small_lanes), b);
    }
    return vec_max(j < keys ? vec_max(vec_load(scores + j * small_lanes), a) : a, b);
}

/* The sums of weights, in the order of row_exp() and across(). */
static inline vec small_sums(const float *weights, int keys) {
    const int whole = keys - keys % WIDTH;
    vec sum[WIDTH];
    for (int i = 0; i < WIDTH; i++) {
        const float *w = weights + i * small_lanes;
        vec a = vec_set(0.0f), b = a;
        int j = 0;
        for (; j + WIDTH < whole; j += 2 * WIDTH) {
            a = vec_add(a, vec_load(w + j * small_lanes));
            b = vec_add(b, vec_load(w + (j + WIDTH) * small_lanes));
        }
        if (j < whole) {
            a = vec_add(a, vec_load(w + j * small_lanes));
        }
        if (whole + i < keys) {
            const vec last = vec_load(w + whole * small_lanes);
            if (whole % (2 * WIDTH) == 0) {
                a = vec_add(a, last);
            } else {
                b = vec_add(b, last);
            }
        }
        sum[i] = vec_add(a, b);
    }
    UNROLL_LOOP
    for (int half = WIDTH / 2; half > 0; half /= 2) {
        UNROLL_LOOP
        for (int i = 0; i < half; i++) {
            sum[i] = vec_add(sum[i], sum[i + half]);
        }
    }
    return sum[0];
}

/* Scores become weights; returns their sums. */
static inline vec small_weights(float *scores, int keys, vec shift) {
    for (int j = 0; j < keys; j++) {
        const vec below = vec_sub(shift, vec_load(scores + j * small_lanes));
        vec_store(scores + j * small_lanes, vec_weight(below));
    }
    return small_sums(scores, keys);
}

static void kernel_small(const struct small *small, float *scratch) {
    float *scores = scratch, *queries = scratch + SMALL_KEYS * small_lanes;
    for (int row = 0; row < small->rows; row += WIDTH) {
        const int rows = small->rows - row < WIDTH ? small->rows - row : WIDTH;
        small_queries(small, row, rows, queries);
        small_scores(small, queries, scores);
        if (small->band) {
            small_mask(small, row, scores);
        }
        const vec maximum = small_maximum(scores, small->keys);
        const vec sum = small_weights(scores, small->keys, softmax_shift(maximum));
        const vec empty = vec_set(0.0f), one = vec_set(1.0f);
        const vec_mask none = vec_equal(sum, empty);
        const vec factor =
            vec_select(none, empty, vec_div(one, vec_select(none, one, sum)));
        store_some(small->maximum + row, rows, maximum);
        store_some(small->sum + row, rows, sum);
        store_some(small->factor + row, rows, factor);
        product_rest(rows, small->value_dim, small->keys, small->factor + row, 1,
                     scores, 1, WIDTH, small->value, small->ld_value, false,
                     small->out + row * small->ld_out, small->ld_out);
    }
}

#endif
