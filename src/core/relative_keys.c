/*
 * Relative keys: a row for each distance, which the query meets as it meets a key (Shaw
 * et al. 2018; Dai et al. 2019, Transformer-XL, where the query gets a bias of its
 * own).
 *
 * The keys of a tile's rows + keys - 1 distances are its band, from that of the last
 * row and first key on. One product gives each row of the tile a score for the whole
 * band; row r of the tile takes those from rows - 1 - r on. So nothing is as large as
 * queries times keys, and a row of scores is moved by nothing but an address.
 */
#include <string.h>

#include "base/arith.h"
#include "core/work.h"

static bool present(const struct problem *problem) {
    return problem->relative_keys;
}

/* Room for the distances of a tile; the stride of scores of a band. */
static int64_t band_room(const struct toolbox *tools) {
    return (int64_t)tools->recipe.tile_q + tools->recipe.tile_k;
}

static bool book(struct layout *layout, const struct toolbox *tools) {
    const int64_t band = band_room(tools), tile_q = tools->recipe.tile_q;
    const int64_t dim = tools->problem->key_dim;
    const size_t size = sizeof(float);
    return attn_layout_book(layout, REGION_BAND, band, 1, size) &&
           attn_layout_book(layout, REGION_SHIFTED_QUERY, tile_q, dim, size) &&
           attn_layout_book(layout, REGION_BAND_KEYS, band, dim, size) &&
           attn_layout_book(layout, REGION_BAND_TURNED, band, dim, size) &&
           attn_layout_book(layout, REGION_BAND_SCORES, band, tile_q, size) &&
           attn_layout_book(layout, REGION_BAND_GRADIENTS, band, dim, size) &&
           attn_layout_book(layout, REGION_FINITE, band, dim, size);
}

/* The rows of the table that a tile needs. */
struct band {
    int count;
    int64_t first; /* may lie outside of the table, as all may */
    int64_t rows;  /* of the table */
};

static struct band band_of(const struct head *head, const struct tile *tile) {
    return (struct band){
        .count = tile->rows + tile->keys - 1,
        .first =
            tile_distance(head, tile) - (tile->rows - 1) + head->call->relative_zero,
        .rows = head->call->relative_rows,
    };
}

/* The row of the table for distance t of the band. */
static int64_t row_at(const struct band *band, int t) {
    return min_i64(max_i64(band->first + t, 0), band->rows - 1);
}

/* The relative keys of a band, contiguous: where they lie, or a copy. */
static const float *keys_of(const struct work *work, const struct head *head,
                            const struct band *band) {
    const struct view *table = &head->call->tables[TABLE_RELATIVE_KEYS];
    const int64_t dim = head->problem->key_dim;
    if (table->stride[ROW] == dim && band->first >= 0 &&
        band->first + band->count <= band->rows) {
        return view_at(table, 0, head->h, band->first, 0);
    }
    float *copy = work_floats(work, REGION_BAND_KEYS);
    for (int t = 0; t < band->count; t++) {
        memcpy(copy + t * dim, view_at(table, 0, head->h, row_at(band, t), 0),
               (size_t)dim * sizeof *copy);
    }
    return copy;
}

static struct matrix query_of(const struct work *work, const struct head *head,
                              const struct tile *tile) {
    return attn_shifted_query(work, head, REGION_SHIFTED_QUERY, TABLE_POSITION_BIAS,
                              tile->row, tile->rows);
}

static void apply(struct work *work, const struct head *head, const struct tile *tile,
                  float *scores, int64_t ld) {
    const struct toolbox *tools = work->tools;
    const struct band band = band_of(head, tile);
    const int dim = head->problem->key_dim;
    const int64_t room = band_room(tools);
    const struct matrix query = query_of(work, head, tile);
    float *turned = work_floats(work, REGION_BAND_TURNED);
    float *band_scores = work_floats(work, REGION_BAND_SCORES);
    tools->kernels->transpose(turned, room, keys_of(work, head, &band), dim, band.count,
                              dim);
    attn_product(tools->kernels, tools->recipe.cut, tile->rows, band.count, dim,
                 head->problem->scale, (struct operand){query.data, query.ld, false},
                 factor_rows(turned, room), false, band_scores, room);
    tools->kernels->add_bias(scores, ld, tile->rows, tile->keys,
                             band_scores + tile->rows - 1, room - 1, 1);
}

/* Gradients of a tile's scores as those of its rows' scores for the band. */
static float *spread(const struct work *work, const struct tile *tile,
                     const float *gradients, int64_t ld) {
    const int64_t room = band_room(work->tools);
    float *spread = work_floats(work, REGION_BAND_SCORES);
    for (int64_t r = 0; r < tile->rows; r++) {
        float *row = spread + r * room;
        memset(row, 0, (size_t)(tile->rows + tile->keys - 1) * sizeof *row);
        memcpy(row + tile->rows - 1 - r, gradients + r * ld,
               (size_t)tile->keys * sizeof *row);
    }
    return spread;
}

/* What the band gives the gradient of the table. */
static void add_to_table(struct work *work, const struct head *head,
                         const struct tile *tile, const struct band *band,
                         const float *spread) {
    const struct view *total = &head->call->grad_tables[TABLE_RELATIVE_KEYS];
    const int dim = head->problem->key_dim;
    const struct matrix query = query_of(work, head, tile);
    float *sums = work_floats(work, REGION_BAND_GRADIENTS);
    memset(sums, 0, (size_t)band->count * (size_t)dim * sizeof *sums);
    attn_product_add_nonzero(work, band->count, dim, tile->rows, head->problem->scale,
                             (struct operand){spread, band_room(work->tools), true},
                             query.data, sums);
    /* distances beyond the table share a row: they are summed before they meet it */
    for (int t = 0; t < band->count; t++) {
        float *from = sums + (int64_t)t * dim;
        const bool shared =
            t + 1 < band->count && row_at(band, t + 1) == row_at(band, t);
        float *to =
            shared ? from + dim : view_at(total, 0, head->h, row_at(band, t), 0);
        work->tools->kernels->add_columns(to, from, dim, 1, dim);
    }
}

static void gradient(struct work *work, const struct head *head,
                     const struct tile *tile, float *gradients, int64_t ld) {
    const struct call *call = head->call;
    const struct view *grad_bias = &call->grad_tables[TABLE_POSITION_BIAS];
    const bool for_table = call->grad_tables[TABLE_RELATIVE_KEYS].data != NULL;
    if (work->grad_query == NULL && grad_bias->data == NULL && !for_table) {
        return;
    }
    const struct band band = band_of(head, tile);
    const int dim = head->problem->key_dim;
    const float *keys = keys_of(work, head, &band);
    const float *band_gradients = spread(work, tile, gradients, ld);
    if (work->grad_query != NULL) {
        attn_product_add_nonzero(
            work, tile->rows, dim, band.count, head->problem->scale,
            (struct operand){band_gradients, band_room(work->tools), false}, keys,
            work->grad_query);
    }
    if (grad_bias->data != NULL) {
        float *sums = work_floats(work, REGION_BAND);
        attn_band_sums(work, tile, gradients, ld, sums);
        attn_product_add_nonzero(work, 1, dim, band.count, head->problem->scale,
                                 (struct operand){sums, band.count, false}, keys,
                                 view_at(grad_bias, 0, head->h, 0, 0));
    }
    if (for_table) {
        add_to_table(work, head, tile, &band, band_gradients);
    }
}

const struct term attn_term_relative_keys = {
    .name = "relative keys",
    .present = present,
    .book = book,
    .apply = apply,
    .gradient = gradient,
};
