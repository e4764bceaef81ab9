/*
 * Large products by tiles. One operand is packed here, b, which many rows of a are then
 * multiplied with, unless the caller has it packed.
 *
 * Where BLAS has small-matrix kernels, they take their input as it lies, and those for
 * a b without transposition reach more of the peak than the kernels for large products,
 * which pack a and b. Elsewhere a kernel of ours takes the place of BLAS, with b in
 * blocks of the columns that it takes at a time: BLAS is slower for up to a thousand
 * rows. Where a product must be our own, it is that whatever its size.
 */
#include "layer/linear_tiles.h"

#include <stdatomic.h>

#include "base/arith.h"
#include "exec/blas.h"
#include "layer/linear_few.h"
#include "layer/linear_pieces.h"

/* Rows of a tile, and what one product sums over: as large as the kernels take with
 * TILES_COLUMNS. Of our own kernel, rows that stay in the second-level cache. */
enum { ROWS = 64, DEPTH = 192, ROWS_OWN = 48 };

/* Fewer rows do not repay packing, and shorter sums not loading and storing c. */
enum { ROWS_WORTH = 128, DEPTH_WORTH = 128 };

/* Up to so many rows, kernels that read b as it lies are as fast as with it packed; not
 * ours, which then read it in one piece. */
enum { ROWS_FEW = 8 };

/* Fewer rows take no longer than reading b, which processors do best alone; beside more
 * than ROWS_TURNED it is of no use to transpose b piece by piece. */
enum { ROWS_AHEAD = 5, ROWS_TURNED = 48 };

/* With fewer, rows stay in the second-level cache beside the pieces of one panel. */
enum { ROWS_WIDE = 512 };

/* Shares of the work for each thread, so that uneven ones even out. */
enum { SHARES_OF_A_THREAD = 3 };

_Static_assert((int)TILES_DEPTH <= (int)LINEAR_PIECES_DEPTH, "a panel in pieces");

struct job {
    const struct linear_product *product;
    float *memory;
    int64_t columns, chunks; /* shares: panels of columns, chunks of rows */
    int width, rows;         /* of a panel, or several, and of a chunk */
    bool own, ahead;         /* ahead: the kernel calls for what follows */
    bool pieces;             /* tiles are made of pieces */
    atomic_llong next;
};

/* True if the small-matrix kernels of BLAS take tiles. */
static bool small_is_faster(const struct linear_product *product) {
    const struct blas *blas = attn_blas();
    return blas->small_kernels && !attn_product_own_is_faster(product->kernels) &&
           blas->volume >= (int64_t)ROWS * TILES_COLUMNS * DEPTH &&
           product->n >= TILES_COLUMNS && product->k >= DEPTH_WORTH;
}

int64_t attn_linear_tiled_floats(const struct kernels *kernels) {
    return TILES_FLOATS + attn_linear_pieces_floats(kernels);
}

/* Columns of a block for our own kernel; pieces are made of whole panels. */
static int own_columns(const struct kernels *kernels) {
    return kernels->pieces != NULL ? TILES_COLUMNS : product_columns(kernels);
}

int attn_linear_packed_columns(const struct kernels *kernels) {
    return attn_product_own_is_faster(kernels) ? own_columns(kernels)
           : attn_blas()->small_kernels        ? TILES_COLUMNS
                                               : 0;
}

bool attn_linear_is_tiled(const struct linear_product *product) {
    const bool packed = product->packed.data != NULL;
    if (small_is_faster(product)) {
        return product->own || product->m >= (packed ? ROWS_FEW + 1 : ROWS_WORTH);
    }
    /* one large call would be faster for a transposed a, but on the threads of BLAS */
    const bool large = product->transpose_a && !attn_blas()->small_kernels &&
                       !attn_linear_is_pieces(product);
    return product->own || (attn_product_own_is_faster(product->kernels) && !large &&
                            (packed || !attn_linear_is_few(product)));
}

void attn_linear_pack(const struct kernels *kernels, struct factor *to, float *memory,
                      const float *b, int64_t ldb, bool transposed, int k, int n) {
    to->data = memory;
    to->ld = to->columns;
    to->step = (int64_t)k * to->columns;
    if (!transposed && to->columns == product_columns(kernels)) {
        kernels->to_blocks(memory, to->step, b, ldb, k, n);
        return;
    }
    for (int j = 0; j < n; j += to->columns, memory += to->step) {
        const int columns = (int)min_i64(to->columns, n - j);
        if (transposed) {
            kernels->transpose(memory, to->ld, b + j * ldb, ldb, columns, k);
        } else {
            kernels->widen(ATTN_F32, memory, to->ld, b + j, ldb, k, columns);
        }
    }
}

/* A rectangle of c, within one panel. */
struct place {
    int64_t row, column;
    int rows, columns;
};

/* The rows [l, l + depth) of a panel's columns of b. */
static struct factor panel_of(const struct job *job, float *memory,
                              const struct place *at, int64_t l, int depth) {
    const struct linear_product *p = job->product;
    struct factor panel = p->packed;
    if (panel.data != NULL) {
        panel.data += at->column / panel.columns * panel.step + l * panel.ld;
        return panel;
    }
    if (job->ahead) {
        return panel; /* turned as it is multiplied with */
    }
    panel.columns = job->own ? own_columns(p->kernels) : TILES_COLUMNS;
    const float *b =
        p->b + (p->transpose_b ? at->column * p->ldb + l : l * p->ldb + at->column);
    attn_linear_pack(p->kernels, &panel, memory, b, p->ldb, p->transpose_b, depth,
                     at->columns);
    return panel;
}

/*
 * Where the first block of what follows lies in b, packed or transposed: the rows below
 * of a panel, or the next panel. After the last comes the last again, which is at hand.
 */
static const float *next_of(const struct linear_product *p, const struct place *at,
                            int64_t l) {
    int64_t column = at->column;
    if (l + TILES_DEPTH < p->k) {
        l += TILES_DEPTH;
    } else if (column + TILES_COLUMNS < p->n) {
        column += TILES_COLUMNS;
        l = 0;
    }
    const struct factor *packed = &p->packed;
    if (packed->data == NULL) {
        return p->b + column * p->ldb + l;
    }
    return packed->data + column / packed->columns * packed->step + l * packed->ld;
}

/* The rows of a from this one on, and their columns from l on. */
static struct operand rows_of(const struct linear_product *p, int64_t row, int64_t l) {
    return (struct operand){p->a +
                                (p->transpose_a ? row + l * p->lda : row * p->lda + l),
                            p->lda, p->transpose_a};
}

/* Adds the product of `depth` columns of a from l on and a panel. */
static void multiply(const struct job *job, const struct place *at, struct factor panel,
                     int64_t l, int depth) {
    const struct linear_product *p = job->product;
    const bool add = l > 0 || linear_product_start(p, at->row, at->row + at->rows,
                                                   at->column, at->columns);
    struct operand a = rows_of(p, at->row, l);
    float *c = p->c + at->row * p->ldc + at->column;
    if (job->ahead && panel.data == NULL) {
        attn_product_turned(p->kernels, at->rows, at->columns, depth, a.data, a.ld,
                            p->b + at->column * p->ldb + l, p->ldb, next_of(p, at, l),
                            add, c, p->ldc);
        return;
    }
    if (job->ahead) {
        attn_product_ahead(p->kernels, at->rows, at->columns, depth, a.data, a.ld,
                           panel, next_of(p, at, l), add, c, p->ldc);
        return;
    }
    if (job->own || at->rows == 1 || at->columns == 1) {
        /* BLAS may hand vectors on to kernels with other rules for threads */
        attn_product_own(p->kernels, at->rows, at->columns, depth, 1.0f, &a, panel, add,
                         c, p->ldc);
        return;
    }
    for (int i = 0; i < depth; i += DEPTH) {
        attn_blas_product(at->rows, at->columns, (int)min_i64(DEPTH, depth - i), 1.0f,
                          a.data, (int)a.ld, a.transposed, panel.data, (int)panel.ld,
                          false, add || i > 0, c, (int)p->ldc);
        a.data += a.transposed ? DEPTH * a.ld : DEPTH;
        panel.data += DEPTH * panel.ld;
    }
}

/* One panel of several beside each other, from column j of them on. */
static struct place panel_at(const struct place *at, int j) {
    struct place panel = *at;
    panel.column += j;
    panel.columns = (int)min_i64(TILES_COLUMNS, at->columns - j);
    return panel;
}

/* Rows up to end times a panel of floats. */
static void multiply_rows(const struct job *job, float *memory, struct place at,
                          int64_t l, int depth, int64_t end) {
    const struct linear_product *p = job->product;
    const int rows = job->ahead ? p->m : job->own ? ROWS_OWN : ROWS;
    const struct factor panel = panel_of(job, memory, &at, l, depth);
    for (; at.row < end; at.row += rows) {
        at.rows = (int)min_i64(rows, end - at.row);
        multiply(job, &at, panel, l, depth);
    }
}

/* Makes pieces of panels; false: of one none can be made. */
static bool take_panels(const struct job *job, float *memory, const struct place *at,
                        int64_t l, int depth, const struct linear_pieces *pieces) {
    for (int j = 0; j < at->columns; j += TILES_COLUMNS) {
        const struct place one = panel_at(at, j);
        const struct factor panel = panel_of(job, memory, &one, l, depth);
        if (!attn_linear_pieces_take(pieces, j, panel.data, panel.ld, depth,
                                     one.columns)) {
            return false;
        }
    }
    return true;
}

/* The same as multiply_rows() for panels beside each other, in pieces. */
static void multiply_pieces(const struct job *job, float *memory, struct place at,
                            int64_t l, int depth, int64_t end) {
    const struct linear_product *p = job->product;
    const struct linear_pieces pieces =
        attn_linear_pieces_in(p->kernels, memory + TILES_FLOATS);
    if (!take_panels(job, memory, &at, l, depth, &pieces)) {
        for (int j = 0; j < at.columns; j += TILES_COLUMNS) {
            multiply_rows(job, memory, panel_at(&at, j), l, depth, end);
        }
        return;
    }
    for (; at.row < end; at.row += LINEAR_PIECES_ROWS) {
        at.rows = (int)min_i64(LINEAR_PIECES_ROWS, end - at.row);
        const struct operand a =
            attn_linear_pieces_rows(&pieces, rows_of(p, at.row, l), at.rows, depth);
        float *c = p->c + at.row * p->ldc + at.column;
        const float *more = l > 0 || p->add   ? c
                            : p->bias != NULL ? p->bias + at.column
                                              : NULL;
        const int64_t ld_more = more == c ? p->ldc : 0;
        if (attn_linear_pieces_multiply(&pieces, at.rows, at.columns, depth, a.data,
                                        a.ld, more, ld_more, c, p->ldc)) {
            continue;
        }
        for (int j = 0; j < at.columns; j += TILES_COLUMNS) {
            const struct place one = panel_at(&at, j);
            attn_linear_pieces_mend(&pieces, j, at.rows, one.columns, depth, a.data,
                                    a.ld, panel_of(job, memory, &one, l, depth),
                                    more != NULL ? more + j : NULL, ld_more, c + j,
                                    p->ldc);
        }
    }
}

static void run_share(const struct job *job, float *memory, int64_t share) {
    const struct linear_product *p = job->product;
    const int64_t first = share / job->columns * job->rows;
    const int64_t end = min_i64(p->m, first + job->rows);
    struct place at = {.row = first, .column = share % job->columns * job->width};
    at.columns = (int)min_i64(job->width, p->n - at.column);
    for (int64_t l = 0; l < p->k; l += TILES_DEPTH) {
        const int depth = (int)min_i64(TILES_DEPTH, p->k - l);
        if (job->pieces) {
            multiply_pieces(job, memory, at, l, depth, end);
        } else {
            multiply_rows(job, memory, at, l, depth, end);
        }
    }
}

static void run_task(void *argument, int32_t index) {
    struct job *job = argument;
    float *memory =
        job->memory + index * attn_linear_tiled_floats(job->product->kernels);
    long long i;
    while ((i = atomic_fetch_add(&job->next, 1)) < job->columns * job->chunks) {
        run_share(job, memory, i);
    }
}

/* True if rows are so few that b is to be called for meanwhile, packed or transposed.
 */
static bool is_ahead(const struct linear_product *p) {
    const bool packed = p->packed.data != NULL;
    const bool ready =
        packed ? p->packed.columns == product_columns(p->kernels) : p->transpose_b;
    const int most = packed ? PRODUCT_AHEAD_ROWS(p->kernels->width) : ROWS_TURNED;
    return ready && !p->transpose_a && p->m >= ROWS_AHEAD && p->m <= most;
}

/* True if our own kernel multiplies. */
static bool is_own(const struct linear_product *product) {
    return product->own || !small_is_faster(product);
}

const char *attn_linear_tiled_words(const struct linear_product *product) {
    const bool packed = product->packed.data != NULL;
    if (!is_own(product)) {
        return packed ? "small-matrix kernels of BLAS, with the packed weight"
                      : "small-matrix kernels of BLAS, the weight packed each time";
    }
    if (attn_linear_is_pieces(product)) {
        return packed ? "tiles of AMX, the packed weight in pieces of bfloat16"
                      : "tiles of AMX, the weight in pieces of bfloat16";
    }
    if (is_ahead(product)) {
        return packed ? "a kernel of our own that reads the packed weight meanwhile"
                      : "a kernel of our own, pieces of the weight transposed for it";
    }
    return packed ? "a kernel of our own, with the packed weight"
                  : "a kernel of our own, the weight packed each time";
}

void attn_linear_tiled(struct attn_context *context, float *memory,
                       const struct linear_product *product) {
    const int32_t threads = linear_product_threads(product, context);
    struct job job = {.product = product, .memory = memory, .rows = product->m};
    job.own = is_own(product);
    job.pieces = job.own && attn_linear_is_pieces(product);
    job.ahead = job.own && !job.pieces && is_ahead(product);
    job.width =
        job.pieces && product->m >= ROWS_WIDE ? LINEAR_PIECES_COLUMNS : TILES_COLUMNS;
    job.columns = ceil_div(product->n, job.width);
    job.chunks = 1;
    const int64_t wanted =
        threads > 1 ? ceil_div((int64_t)threads * SHARES_OF_A_THREAD, job.columns) : 1;
    if (wanted > 1) {
        const int64_t rows = max_i64(ROWS_WORTH, ceil_div(product->m, wanted));
        job.rows = (int)round_up(rows, ROWS);
        job.chunks = ceil_div(product->m, job.rows);
    }
    atomic_init(&job.next, 0);
    attn_context_run(context, (int32_t)min_i64(threads, job.columns * job.chunks),
                     run_task, &job);
}
