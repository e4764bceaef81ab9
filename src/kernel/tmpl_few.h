/*
 * Template: a few rows of queries against many keys, and of weights against many
 * values, of any storage type. The keys come from memory and are used once, so the
 * order is theirs: whole rows one after the other, which is what processors fetch ahead
 * best (rows side by side halve the bandwidth). Include after a vec_*.h and
 * tmpl_convert.h.
 */
#ifndef ATTN_KERNEL_TMPL_FEW_H
#define ATTN_KERNEL_TMPL_FEW_H

/* Vectors of a row at a time: enough that a loop's own cost does not count. */
enum { FEW_STEP = 8 };

/* sum[r] += the products of `vecs` vectors, or of the first `part` lanes of one. */
static inline __attribute__((always_inline)) void
few_dot_step(int32_t dtype, int rows, int vecs, int part, const float *q,
             ptrdiff_t ld_q, const void *k, ptrdiff_t at, vec *sum) {
    for (int v = 0; v < vecs; v++) {
        const vec x = load_stored(dtype, k, at + v * WIDTH, part > 0 ? part : WIDTH);
        for (int r = 0; r < rows; r++) {
            const vec y =
                load_some(q + r * ld_q + v * WIDTH, part > 0 ? part : WIDTH, 0.0f);
            sum[r] = vec_muladd(y, x, sum[r]);
        }
    }
}

/* The same over a whole row of dim elements, which starts at element `at` of k. */
static inline __attribute__((always_inline)) void few_dot(int32_t dtype, int rows,
                                                          int dim, const float *q,
                                                          ptrdiff_t ld_q, const void *k,
                                                          ptrdiff_t at, vec *sum) {
    int c = 0;
    for (; c + FEW_STEP * WIDTH <= dim; c += FEW_STEP * WIDTH) {
        few_dot_step(dtype, rows, FEW_STEP, 0, q + c, ld_q, k, at + c, sum);
    }
    for (; c + WIDTH <= dim; c += WIDTH) {
        few_dot_step(dtype, rows, 1, 0, q + c, ld_q, k, at + c, sum);
    }
    if (c < dim) {
        few_dot_step(dtype, rows, 1, dim - c, q + c, ld_q, k, at + c, sum);
    }
}

enum { FEW_ROWS = 8 };

/*
 * Scores of at most WIDTH keys: the sums of each key's products stay spread over a
 * vector, and WIDTH of them are added up at once.
 */
static inline __attribute__((always_inline)) void
few_scores_block(int32_t dtype, int rows, int keys, int dim, vec scale, const float *q,
                 ptrdiff_t ld_q, const void *k, ptrdiff_t at, ptrdiff_t ld_k, float *s,
                 ptrdiff_t ld_s) {
    float spread[FEW_ROWS][WIDTH * WIDTH];
    for (int j = 0; j < keys; j++) {
        vec sum[FEW_ROWS];
        for (int r = 0; r < rows; r++) {
            sum[r] = vec_set(0.0f);
        }
        few_dot(dtype, rows, dim, q, ld_q, k, at + j * ld_k, sum);
        for (int r = 0; r < rows; r++) {
            vec_store(spread[r] + j * WIDTH, sum[r]);
        }
    }
    for (int r = 0; r < rows; r++) {
        vec sum[WIDTH];
        for (int j = 0; j < WIDTH; j++) {
            sum[j] = j < keys ? vec_load(spread[r] + j * WIDTH) : vec_set(0.0f);
        }
        store_some(s + r * ld_s, keys, vec_mul(vec_sums(sum), scale));
    }
}

/* All rows, as many at once as there are sums for. */
static inline __attribute__((always_inline)) void
few_scores_keys(int32_t dtype, int rows, int keys, int dim, vec scale, const float *q,
                ptrdiff_t ld_q, const void *k, ptrdiff_t at, ptrdiff_t ld_k, float *s,
                ptrdiff_t ld_s) {
    int r = 0;
    for (; r + 8 <= rows; r += 8) {
        few_scores_block(dtype, 8, keys, dim, scale, q + r * ld_q, ld_q, k, at, ld_k,
                         s + r * ld_s, ld_s);
    }
    for (; r + 4 <= rows; r += 4) {
        few_scores_block(dtype, 4, keys, dim, scale, q + r * ld_q, ld_q, k, at, ld_k,
                         s + r * ld_s, ld_s);
    }
    for (; r + 2 <= rows; r += 2) {
        few_scores_block(dtype, 2, keys, dim, scale, q + r * ld_q, ld_q, k, at, ld_k,
                         s + r * ld_s, ld_s);
    }
    for (; r < rows; r++) {
        few_scores_block(dtype, 1, keys, dim, scale, q + r * ld_q, ld_q, k, at, ld_k,
                         s + r * ld_s, ld_s);
    }
}

static inline __attribute__((always_inline)) void
few_scores_of(int32_t dtype, int rows, int n, int dim, float scale, const float *q,
              ptrdiff_t ld_q, const void *k, ptrdiff_t ld_k, float *s, ptrdiff_t ld_s) {
    const vec factor = vec_set(scale);
    int j = 0;
    for (; j + WIDTH <= n; j += WIDTH) {
        few_scores_keys(dtype, rows, WIDTH, dim, factor, q, ld_q, k, j * ld_k, ld_k,
                        s + j, ld_s);
    }
    if (j < n) {
        few_scores_keys(dtype, rows, n - j, dim, factor, q, ld_q, k, j * ld_k, ld_k,
                        s + j, ld_s);
    }
}

static void kernel_few_scores(int32_t dtype, int rows, int n, int dim, float scale,
                              const float *q, ptrdiff_t ld_q, const void *k,
                              ptrdiff_t ld_k, float *s, ptrdiff_t ld_s) {
    switch (dtype) {
    case ATTN_F16:
        few_scores_of(ATTN_F16, rows, n, dim, scale, q, ld_q, k, ld_k, s, ld_s);
        break;
    case ATTN_BF16:
        few_scores_of(ATTN_BF16, rows, n, dim, scale, q, ld_q, k, ld_k, s, ld_s);
        break;
    case ATTN_I8:
        few_scores_of(ATTN_I8, rows, n, dim, scale, q, ld_q, k, ld_k, s, ld_s);
        break;
    default:
        few_scores_of(ATTN_F32, rows, n, dim, scale, q, ld_q, k, ld_k, s, ld_s);
    }
}

/*
 * A block of sums: 2 rows x FEW_VECS vectors stay in registers while the keys of a
 * block go by. Wider registers come with twice as many of them.
 */
enum { FEW_PAIR = 2, FEW_VECS = WIDTH >= 16 ? 8 : 4, FEW_KEYS = 8 };

/*
 * Columns from element `at` of the first row of v on: `vecs` vectors, or the first
 * `part` lanes of one. What of the rows lies behind them, `rest` bytes, is called for,
 * so that rows come in whole.
 */
static inline __attribute__((always_inline)) void
few_values_block(int32_t dtype, int rows, int vecs, int part, int keys, const float *w,
                 ptrdiff_t ld_w, const void *v, ptrdiff_t at, ptrdiff_t ld_v,
                 ptrdiff_t rest, float *sums, ptrdiff_t ld) {
    const int n = part > 0 ? part : WIDTH;
    vec sum[FEW_PAIR][FEW_VECS];
    for (int r = 0; r < rows; r++) {
        for (int i = 0; i < vecs; i++) {
            sum[r][i] = load_some(sums + r * ld + i * WIDTH, n, 0.0f);
        }
    }
    for (int j = 0; j < keys; j++) {
        const ptrdiff_t row = at + j * ld_v;
        vec x[FEW_VECS];
        for (int i = 0; i < vecs; i++) {
            x[i] = load_stored(dtype, v, row + i * WIDTH, n);
        }
        const char *behind =
            (const char *)v + (row + vecs * WIDTH) * stored_bytes(dtype);
        for (ptrdiff_t i = 0; i < rest; i += 64) {
            __builtin_prefetch(behind + i);
        }
        for (int r = 0; r < rows; r++) {
            const vec y = vec_set(w[r * ld_w + j]);
            for (int i = 0; i < vecs; i++) {
                sum[r][i] = vec_muladd(y, x[i], sum[r][i]);
            }
        }
    }
    for (int r = 0; r < rows; r++) {
        for (int i = 0; i < vecs; i++) {
            store_some(sums + r * ld + i * WIDTH, n, sum[r][i]);
        }
    }
}

/* All columns of one or two rows of weights. */
static inline __attribute__((always_inline)) void
few_values_rows(int32_t dtype, int rows, int keys, int dim, bool first, const float *w,
                ptrdiff_t ld_w, const void *v, ptrdiff_t at, ptrdiff_t ld_v,
                float *sums, ptrdiff_t ld) {
    int c = 0;
    for (; c + FEW_VECS * WIDTH <= dim; c += FEW_VECS * WIDTH) {
        const ptrdiff_t rest =
            first && c == 0 ? (dim - FEW_VECS * WIDTH) * stored_bytes(dtype) : 0;
        few_values_block(dtype, rows, FEW_VECS, 0, keys, w, ld_w, v, at + c, ld_v, rest,
                         sums + c, ld);
    }
    for (; c + 2 * WIDTH <= dim; c += 2 * WIDTH) {
        few_values_block(dtype, rows, 2, 0, keys, w, ld_w, v, at + c, ld_v, 0, sums + c,
                         ld);
    }
    for (; c + WIDTH <= dim; c += WIDTH) {
        few_values_block(dtype, rows, 1, 0, keys, w, ld_w, v, at + c, ld_v, 0, sums + c,
                         ld);
    }
    if (c < dim) {
        few_values_block(dtype, rows, 1, dim - c, keys, w, ld_w, v, at + c, ld_v, 0,
                         sums + c, ld);
    }
}

static inline __attribute__((always_inline)) void
few_values_of(int32_t dtype, int rows, int n, int dim, const float *w, ptrdiff_t ld_w,
              const void *v, ptrdiff_t ld_v, float *sums, ptrdiff_t ld) {
    for (int j = 0; j < n; j += FEW_KEYS) {
        const int keys = n - j < FEW_KEYS ? n - j : FEW_KEYS;
        int r = 0;
        for (; r + FEW_PAIR <= rows; r += FEW_PAIR) {
            few_values_rows(dtype, FEW_PAIR, keys, dim, r == 0, w + r * ld_w + j, ld_w,
                            v, j * ld_v, ld_v, sums + r * ld, ld);
        }
        if (r < rows) {
            few_values_rows(dtype, 1, keys, dim, r == 0, w + r * ld_w + j, ld_w, v,
                            j * ld_v, ld_v, sums + r * ld, ld);
        }
    }
}

static void kernel_few_values(int32_t dtype, int rows, int n, int dim, const float *w,
                              ptrdiff_t ld_w, const void *v, ptrdiff_t ld_v,
                              float *sums, ptrdiff_t ld) {
    switch (dtype) {
    case ATTN_F16:
        few_values_of(ATTN_F16, rows, n, dim, w, ld_w, v, ld_v, sums, ld);
        break;
    case ATTN_BF16:
        few_values_of(ATTN_BF16, rows, n, dim, w, ld_w, v, ld_v, sums, ld);
        break;
    case ATTN_I8:
        few_values_of(ATTN_I8, rows, n, dim, w, ld_w, v, ld_v, sums, ld);
        break;
    default:
        few_values_of(ATTN_F32, rows, n, dim, w, ld_w, v, ld_v, sums, ld);
    }
}

/* s[r][j] *= factor[j step] */
static void kernel_scale_columns(float *s, ptrdiff_t ld, int rows, int n,
                                 const float *factor, ptrdiff_t step) {
    for (int r = 0; r < rows; r++) {
        float *row = s + r * ld;
        for (int j = 0; j < n; j++) {
            row[j] *= factor[j * step];
        }
    }
}

#endif
