/*
 * Work: what one thread has at hand while it computes, and the steps that all engines
 * are made of. An engine is a loop over them.
 *
 * Order of use for a tile of query rows: attn_query_tile(); then for each tile of keys
 * attn_scores_tile(), a step of the softmax, attn_values_add().
 */
#ifndef ATTN_CORE_WORK_H
#define ATTN_CORE_WORK_H

#include <stdatomic.h>

#include "core/call.h"
#include "core/mask.h"
#include "core/panel.h"
#include "core/product.h"
#include "core/profile.h"
#include "core/recipe.h"
#include "core/term.h"
#include "core/workspace.h"

/* Facts of a plan that every thread reads. */
struct toolbox {
    const struct problem *problem;
    const struct kernels *kernels;
    struct mask_list masks;
    struct term_list terms;
    struct layout layout;
    struct recipe recipe;
    const int64_t *bucket_starts; /* of the relative bias; NULL without */
    int block_rows;               /* rows whose softmax is kept open at a time */
    int panel_slots;              /* tiles of keys kept packed */
};

struct work {
    const struct toolbox *tools;
    void *memory; /* laid out by tools->layout */
    struct panel panel;
    bool keep_raw;     /* scores are made for a backward pass */
    float *grad_query; /* there: of the rows of the tile at hand; NULL: not asked for */
    atomic_bool *stop; /* shared by the threads of a call */
    struct watch *watch; /* NULL: nobody asks where the time goes */
};

/* A work that starts with nothing packed. */
void attn_work_setup(struct work *work, const struct toolbox *tools, void *memory,
                     atomic_bool *stop);

/* Asks the caller whether to stop. True from then on, in all threads of the call. */
bool attn_work_stopped(struct work *work, const struct call *call);

/* The time from now on is that of another stage; returns the stage until now. */
static inline enum stage work_turn(const struct work *work, enum stage stage) {
    return work->watch != NULL ? attn_watch_turn(work->watch, stage) : stage;
}

/* Gives the work a watch until work_unwatch(), if the call wants to know. */
static inline void work_watch(struct work *work, struct watch *watch,
                              const struct call *call) {
    if (call->profile != NULL) {
        attn_watch_start(watch, call->profile);
        work->watch = watch;
    }
}

static inline void work_unwatch(struct work *work) {
    if (work->watch != NULL) {
        attn_watch_stop(work->watch);
        work->watch = NULL;
    }
}

/*
 * How far apart rows of so many scores lie: one line of the cache further than they
 * are long, since rows that are a power of two apart share few of its places.
 */
static inline int64_t scores_stride(int64_t columns) {
    return columns + 16;
}

static inline float *work_floats(const struct work *work, enum region region) {
    return layout_at(&work->tools->layout, work->memory, region);
}

/* A matrix with contiguous rows of floats, or its pieces if products take those, which
 * may be odd, or both. */
struct matrix {
    const float *data;
    int64_t ld;
    struct pieces pieces;
};

/* True if this head's sequence has so few queries that kernels for a few rows do it. */
static inline bool work_few(const struct work *work, const struct head *head) {
    return head->rows <= work->tools->recipe.few_rows;
}

/* Copies rows of the query, as they meet the keys: key_dim floats each. */
void attn_query_copy(const struct work *work, const struct head *head, int64_t row,
                     int rows, float *to);

/* Rows of the query, copied where they are not contiguous. */
struct matrix attn_query_tile(const struct work *work, const struct head *head,
                              int64_t row, int rows);

/* The same plus the head's row of this table, if the call has that. */
struct matrix attn_shifted_query(const struct work *work, const struct head *head,
                                 enum region region, enum table table, int64_t row,
                                 int rows);

/* The same of the gradient of out. */
struct matrix attn_grad_out_tile(const struct work *work, const struct head *head,
                                 int64_t row, int rows);

/*
 * scores = scale * query key^T for a tile of keys and so many rows of queries, which
 * may be those of several heads, by the kernels for a few rows.
 */
void attn_few_scores(const struct work *work, const struct head *head,
                     const struct tile *tile, int rows, struct matrix query,
                     float *scores, int64_t ld);

/*
 * sums += weights values, likewise; spoils the weights. The sums have taken in so many
 * values before; whenever it is a multiple of SUM_KEYS, they go into the total.
 */
void attn_few_values(const struct work *work, const struct head *head,
                     const struct tile *tile, int rows, float *weights, int64_t ld,
                     float *sums, float *total, int taken);

/* scores = scale * query key^T for a tile. */
void attn_scores_product(struct work *work, const struct head *head,
                         const struct tile *tile, struct matrix query, float *scores,
                         int64_t ld);

/*
 * The finished scores of a tile: product, terms, masks. COVER_NONE: the tile is masked
 * whole and scores was not written.
 */
enum cover attn_scores_tile(struct work *work, const struct head *head,
                            const struct tile *tile, struct matrix query, float *scores,
                            int64_t ld);

/* Dropout of the weights of a tile, in place. */
void attn_weights_drop(struct work *work, const struct head *head,
                       const struct tile *tile, float *weights, int64_t ld);

/* True if masks leave out some pairs of a tile with this cover, and some of its values
 * are not finite. */
bool attn_values_guarded(struct work *work, const struct head *head,
                         const struct tile *tile, enum cover cover);

/*
 * sums = rescale sums + weights values for a tile whose scores had this cover, after
 * dropout, which is done to the weights in place; without what the sums were unless
 * they have begun. rescale has a factor for each row, or is NULL.
 */
void attn_values_add(struct work *work, const struct head *head,
                     const struct tile *tile, enum cover cover, float *weights,
                     int64_t ld, bool begun, const float *rescale, float *sums);

/* out = weights values times a factor for each row, likewise, for a tile that is not
 * guarded; by the kernel of our own, within the depth of a product. */
void attn_values_write(struct work *work, const struct head *head,
                       const struct tile *tile, float *weights, int64_t ld,
                       const float *factor, float *out, int64_t ld_out);

/* Makes a tile that is 0 where a row attends a key and -inf elsewhere. */
void attn_attended(const struct work *work, const struct head *head,
                   const struct tile *tile, float *attended, int64_t ld);

/* Which index of a tile a product sums over: then data has a row for each of those. */
enum over { OVER_KEYS, OVER_ROWS };

/* A product of a tile some of whose rows of data do not take part in it, but are added
 * one by one to the sums that may have them. */
struct apart {
    const struct tile *tile;
    enum over over;
    float factor;
    const float *weights, *attended; /* without attended all may */
    int64_t ld, ld_attended;
    int dim;
    float *sums;
};

/* Adds row l of data. */
void attn_apart_add(const struct apart *apart, int l, const float *row);

/*
 * sums += factor weights data over keys, factor weights^T data over rows, where weights
 * are 0 at what the masks exclude. Data there may be infinite or NaN, which `guarded`
 * says, and does not arrive all the same: then they are contiguous rows. Sums and data
 * are dim floats wide.
 */
void attn_tile_product_add(struct work *work, const struct head *head,
                           const struct tile *tile, enum over over, bool guarded,
                           float factor, const float *weights, int64_t ld,
                           struct factor data, int dim, float *sums);

/*
 * sums += factor a b for m x k numbers of a and k x n of b, contiguous, where 0 times
 * anything is 0.
 */
void attn_product_add_nonzero(struct work *work, int m, int n, int k, float factor,
                              struct operand a, const float *b, float *sums);

/* The sum of each column of a tile. */
float *attn_column_sums(const struct work *work, const struct tile *tile,
                        const float *numbers, int64_t ld);

/*
 * The sum of each diagonal of a tile, one for each of its distances j - p in ascending
 * order: its band.
 */
void attn_band_sums(const struct work *work, const struct tile *tile,
                    const float *numbers, int64_t ld, float *band);

/* The tiles [*first, *end) of keys that these rows may attend, and the last key + 1. */
void attn_tiles_of_rows(const struct work *work, const struct head *head, int64_t row,
                        int rows, int64_t *first, int64_t *end, int64_t *end_key);

/* Tile t of keys for these rows, cut off at end_key. */
struct tile attn_tile_at(const struct work *work, int64_t row, int rows, int64_t t,
                         int64_t end_key);

#endif
