/*
 * Large products by tiles: where BLAS has small-matrix kernels, they take their input
 * as it lies, and those for a b without transposition reach more of the peak than the
 * kernels for large products, which pack a and b. One operand is packed here, b, which
 * many rows of a are then multiplied with. Where a product must be our own, it is
 * computed the same way by a kernel of ours, whatever its size.
 */
#include "layer/linear_tiles.h"

#include <stdatomic.h>

#include "base/arith.h"
#include "exec/blas.h"

/* Rows of a tile, and what one product sums over: as large as the kernels take with
 * TILES_COLUMNS. */
enum { ROWS = 64, DEPTH = 192 };

/* Fewer rows do not repay packing, and shorter sums not loading and storing c. */
enum { ROWS_WORTH = 128, DEPTH_WORTH = 128 };

/* A thread is woken for this much work, some 100 us. */
enum { FLOPS_OF_A_THREAD = 10 * 1000 * 1000 };

/* Pieces for each thread, so that uneven ones even out. */
enum { PIECES_OF_A_THREAD = 3 };

struct job {
    const struct linear_product *product;
    float *memory;
    int64_t columns, chunks; /* pieces: panels of columns, chunks of rows */
    int rows;                /* of a chunk */
    atomic_llong next;
};

bool attn_linear_is_tiled(const struct linear_product *product) {
    const struct blas *blas = attn_blas();
    const bool faster = blas->small_kernels &&
                        blas->volume >= (int64_t)ROWS * TILES_COLUMNS * DEPTH &&
                        product->m >= ROWS_WORTH && product->n >= TILES_COLUMNS &&
                        product->k >= DEPTH_WORTH;
    return product->own || faster;
}

/* panel = the rows [l, l + depth) of `columns` columns of b. */
static void pack(const struct linear_product *p, float *panel, int64_t l, int depth,
                 int64_t column, int columns) {
    if (p->transpose_b) {
        p->kernels->transpose(panel, TILES_COLUMNS, p->b + column * p->ldb + l, p->ldb,
                              columns, depth);
    } else {
        p->kernels->widen(ATTN_F32, panel, TILES_COLUMNS, p->b + l * p->ldb + column,
                          p->ldb, depth, columns);
    }
}

/* A rectangle of c, within one panel. */
struct place {
    int64_t row, column;
    int rows, columns;
};

/* Adds the product of `depth` columns of a from l on and a panel. */
static void multiply(const struct linear_product *p, const struct place *at,
                     const float *panel, int64_t l, int depth) {
    const bool add = l > 0 || linear_product_start(p, at->row, at->row + at->rows,
                                                   at->column, at->columns);
    const int most = p->own ? depth : DEPTH;
    const int64_t row_a = p->transpose_a ? 1 : p->lda,
                  column_a = p->transpose_a ? p->lda : 1;
    float *c = p->c + at->row * p->ldc + at->column;
    for (int i = 0; i < depth; i += most) {
        const int part = (int)min_i64(most, depth - i);
        const float *a = p->a + at->row * row_a + (l + i) * column_a;
        const float *b = panel + (ptrdiff_t)i * TILES_COLUMNS;
        if (p->own) {
            p->kernels->product(at->rows, at->columns, part, 1.0f, a, row_a, column_a,
                                b, TILES_COLUMNS, add || i > 0, c, p->ldc);
        } else {
            attn_blas_product(at->rows, at->columns, part, 1.0f, a, (int)p->lda,
                              p->transpose_a, b, TILES_COLUMNS, false, add || i > 0, c,
                              (int)p->ldc);
        }
    }
}

static void run_piece(const struct job *job, float *panel, int64_t piece) {
    const struct linear_product *p = job->product;
    const int64_t first = piece / job->columns * job->rows;
    const int64_t end = min_i64(p->m, first + job->rows);
    struct place at = {.column = piece % job->columns * TILES_COLUMNS};
    at.columns = (int)min_i64(TILES_COLUMNS, p->n - at.column);
    for (int64_t l = 0; l < p->k; l += TILES_DEPTH) {
        const int depth = (int)min_i64(TILES_DEPTH, p->k - l);
        pack(p, panel, l, depth, at.column, at.columns);
        for (at.row = first; at.row < end; at.row += ROWS) {
            at.rows = (int)min_i64(ROWS, end - at.row);
            multiply(p, &at, panel, l, depth);
        }
    }
}

static void run_task(void *argument, int32_t index) {
    struct job *job = argument;
    float *panel = job->memory + (ptrdiff_t)index * TILES_FLOATS;
    long long i;
    while ((i = atomic_fetch_add(&job->next, 1)) < job->columns * job->chunks) {
        run_piece(job, panel, i);
    }
}

void attn_linear_tiled(struct attn_context *context, float *memory,
                       const struct linear_product *product) {
    const double flops = 2.0 * product->m * product->n * product->k;
    const int32_t threads = context_threads(context, flops / FLOPS_OF_A_THREAD);
    struct job job = {.product = product, .memory = memory, .rows = product->m};
    job.columns = ceil_div(product->n, TILES_COLUMNS);
    job.chunks = 1;
    const int64_t wanted =
        threads > 1 ? ceil_div((int64_t)threads * PIECES_OF_A_THREAD, job.columns) : 1;
    if (wanted > 1) {
        const int64_t rows = max_i64(ROWS_WORTH, ceil_div(product->m, wanted));
        job.rows = (int)round_up(rows, ROWS);
        job.chunks = ceil_div(product->m, job.rows);
    }
    atomic_init(&job.next, 0);
    attn_context_run(context, (int32_t)min_i64(threads, job.columns * job.chunks),
                     run_task, &job);
}
