/*
 * Products of a tile in pieces.
 */
#include "core/pieces_tile.h"

#include <string.h>

#include "base/arith.h"

/*
 * What repays making pieces: so many keys, queries, and both together. Without, 128 of
 * 128 take 1.01 to 1.06 times as long, 160 of 160 1.1, 512 of 512 1.4. Of bfloat16
 * there is one piece each: 64 of 64 take 1.6 times as long without.
 */
enum { QUERIES_LEAST = 32, KEYS_LEAST = 128, BOTH_LEAST = 256 };
enum { KEYS_LEAST_SINGLE = 64, BOTH_LEAST_SINGLE = 128 };

/* Weights are multiplied by this and sums divided by it, so that pieces of small ones
 * are no subnormals. */
#define RAISED 0x1p40f

/* True if all that is multiplied is bfloat16. */
static bool all_single(const struct head *head) {
    return source_is_single(&head->query) && source_is_single(&head->key) &&
           source_is_single(&head->value);
}

bool attn_pieces_fit(const struct toolbox *tools, const struct head *head) {
    const bool single = all_single(head);
    return tools->recipe.pieces &&
           head->keys >= (single ? KEYS_LEAST_SINGLE : KEYS_LEAST) &&
           head->rows >= QUERIES_LEAST && head->rows > tools->recipe.few_rows &&
           head->rows >= (single ? BOTH_LEAST_SINGLE : BOTH_LEAST) - head->keys;
}

bool attn_pieces_book(struct layout *layout, const struct toolbox *tools) {
    const struct problem *problem = tools->problem;
    const struct recipe *recipe = &tools->recipe;
    const int64_t key_dim = round_up(problem->key_dim, PIECES_SIDE),
                  value_dim = round_up(problem->value_dim, PIECES_SIDE);
    const int64_t tile_k = round_up(recipe->tile_k, PIECES_SIDE);
    const size_t strip = 3 * sizeof(uint16_t); /* of one number */
    return !recipe->pieces ||
           (attn_layout_book(layout, REGION_PANEL_KEY_PIECES,
                             tools->panel_slots * tile_k, key_dim, strip) &&
            attn_layout_book(layout, REGION_PANEL_VALUE_PIECES,
                             tools->panel_slots * tile_k, value_dim, strip) &&
            attn_layout_book(layout, REGION_PANEL_STRIP, PIECES_SIDE, problem->key_dim,
                             sizeof(float)) &&
            attn_layout_book(layout, REGION_PLAIN_SCORES, recipe->tile_q,
                             recipe->tile_k, sizeof(float)) &&
            attn_layout_book(layout, REGION_QUERY_PIECES,
                             round_up(recipe->tile_q, PIECES_SIDE), key_dim, strip) &&
            attn_layout_book(layout, REGION_WEIGHT_PIECES, PIECES_SCRATCH, 1,
                             sizeof(uint16_t)) &&
            attn_layout_book(layout, REGION_PIECE_SUMS,
                             round_up(recipe->tile_q, PIECES_SIDE), value_dim,
                             sizeof(float)));
}

static uint16_t *work_pieces(const struct work *work, enum region region) {
    return layout_at(&work->tools->layout, work->memory, region);
}

/*
 * How queries meet keys: they are bfloat16 and stay it, times a power of two, and a
 * factor from 1 to 2 makes sums of that what the scale would; or they are multiplied by
 * the scale, of which 0 makes all of them odd.
 */
struct scaling {
    bool single;
    float power, factor;
};

static struct scaling scaling_of(const struct head *head) {
    const struct problem *problem = head->problem;
    const bool single = source_is_single(&head->query) && problem->scale != 0.0f &&
                        head->call->tables[TABLE_CONTENT_BIAS].data == NULL;
    return single ? (struct scaling){true, problem->scale_power, problem->scale_factor}
                  : (struct scaling){false, problem->scale, 1.0f};
}

/* Rows of the query as floats. */
static struct matrix plain_query(const struct work *work, const struct head *head,
                                 int64_t row, int rows) {
    return attn_shifted_query(work, head, REGION_QUERY, TABLE_CONTENT_BIAS, row, rows);
}

struct matrix attn_pieces_query(const struct work *work, const struct head *head,
                                int64_t row, int rows) {
    const struct piece_kernels *kernels = work->tools->kernels->pieces;
    const int dim = head->problem->key_dim;
    const struct scaling scaling = scaling_of(head);
    const int64_t step = pieces_of_strip(dim, scaling.single);
    uint16_t *pieces = work_pieces(work, REGION_QUERY_PIECES);
    const uint16_t *bf16 =
        scaling.single ? attn_source_bf16(&head->query, row, rows) : NULL;
    const int64_t stride = head->query.stride;
    struct matrix query = {.data = NULL};
    if (bf16 == NULL) {
        query = plain_query(work, head, row, rows);
    }
    for (int64_t i = 0; i < rows; i += PIECES_SIDE) {
        uint16_t *strip = pieces + i / PIECES_SIDE * step;
        const int count = (int)min_i64(PIECES_SIDE, rows - i);
        if (bf16 != NULL) {
            kernels->take_rows(strip, bf16 + i * stride, stride, count, dim,
                               scaling.power);
        } else {
            kernels->split_rows(strip, query.data + i * query.ld, query.ld, count, dim,
                                scaling.power, scaling.single);
        }
    }
    query.pieces.strips = (struct strips){pieces, step, scaling.single};
    query.pieces.odd =
        bf16 != NULL
            ? !pieces_take_bf16_queries(kernels, bf16, stride, rows, dim, scaling.power)
            : !pieces_take_queries(kernels, query.data, query.ld, rows, dim,
                                   scaling.power);
    return query;
}

/* The scores of odd keys and queries, as they are without pieces. */
static void mend_scores(struct work *work, const struct head *head,
                        const struct tile *tile, bool odd_queries, float *scores,
                        int64_t ld) {
    const struct toolbox *tools = work->tools;
    const struct kernels *kernels = tools->kernels;
    const int dim = head->problem->key_dim;
    const float scale = head->problem->scale;
    const float power = scaling_of(head).power;
    const int64_t ld_plain = tools->recipe.tile_k;
    float *plain = work_floats(work, REGION_PLAIN_SCORES);
    const struct matrix query = plain_query(work, head, tile->row, tile->rows);
    const struct factor keys =
        attn_panel_keys(&work->panel, head, tile->key / tools->recipe.tile_k);
    attn_product(kernels, tools->recipe.cut, tile->rows, tile->keys, dim, scale,
                 (struct operand){query.data, query.ld, false}, keys, false, plain,
                 ld_plain);
    for (int j = 0; j < tile->keys; j++) {
        const float *key = keys.data + j / keys.columns * keys.step + j % keys.columns;
        if (!pieces_take_keys(kernels->pieces, key, keys.ld, dim, 1)) {
            for (int64_t i = 0; i < tile->rows; i++) {
                scores[i * ld + j] = plain[i * ld_plain + j];
            }
        }
    }
    for (int64_t i = 0; odd_queries && i < tile->rows; i++) {
        if (!pieces_take_queries(kernels->pieces, query.data + i * query.ld, query.ld,
                                 1, dim, power)) {
            memcpy(scores + i * ld, plain + i * ld_plain,
                   (size_t)tile->keys * sizeof *scores);
        }
    }
}

void attn_pieces_scores(struct work *work, const struct head *head,
                        const struct tile *tile, const struct matrix *query,
                        float *scores, int64_t ld) {
    const struct toolbox *tools = work->tools;
    const int dim = head->problem->key_dim;
    const enum stage before = work_turn(work, STAGE_COPIES);
    const struct pieces keys =
        attn_panel_key_pieces(&work->panel, head, tile->key / tools->recipe.tile_k);
    work_turn(work, STAGE_SCORES);
    tools->kernels->pieces->product(tile->rows, tile->keys, dim,
                                    scaling_of(head).factor, &query->pieces.strips,
                                    &keys.strips, scores, ld);
    if (keys.odd || query->pieces.odd) {
        mend_scores(work, head, tile, query->pieces.odd, scores, ld);
    }
    work_turn(work, before);
}

/* out = weights values times a factor, or out = rescale out + that. Where out is
 * bfloat16 as well, of which rounding may be off by 2^-9, weights are rounded to 16
 * bits. */
static void add_values(const struct work *work, const struct head *head,
                       const struct tile *tile, const struct pieces *values,
                       const float *weights, int64_t ld, const float *factor,
                       bool accumulate, const float *rescale, float *out,
                       int64_t ld_out) {
    const struct piece_kernels *kernels = work->tools->kernels->pieces;
    const int dim = head->problem->value_dim;
    const int64_t ld_sums = round_up(dim, PIECES_SIDE);
    const bool two = all_single(head) && head->call->out.dtype == ATTN_BF16;
    float *sums = work_floats(work, REGION_PIECE_SUMS);
    kernels->product_split(tile->rows, dim, tile->keys, RAISED, weights, ld, two,
                           &values->strips, work_pieces(work, REGION_WEIGHT_PIECES),
                           sums, ld_sums);
    kernels->scale_rows(out, ld_out, sums, ld_sums, tile->rows, dim, 1.0f / RAISED,
                        factor, rescale, accumulate ? out : NULL, ld_out);
}

static struct pieces values_of(struct work *work, const struct head *head,
                               const struct tile *tile) {
    const enum stage before = work_turn(work, STAGE_COPIES);
    const struct pieces values = attn_panel_value_pieces(
        &work->panel, head, tile->key / work->tools->recipe.tile_k);
    work_turn(work, before);
    return values;
}

bool attn_pieces_are_odd(struct work *work, const struct head *head,
                         const struct tile *tile) {
    return values_of(work, head, tile).odd;
}

/*
 * Adds the values that are odd, as they are without pieces; those that are not finite
 * one by one to what may have them. `apart` has what all of them have in common.
 */
static void add_odd_values(struct work *work, const struct head *head,
                           struct apart *apart, enum cover cover) {
    const struct toolbox *tools = work->tools;
    const struct kernels *kernels = tools->kernels;
    const struct tile *tile = apart->tile;
    const int dim = apart->dim;
    const float *values =
        attn_panel_values(&work->panel, head, tile->key / tools->recipe.tile_k);
    float *finite = work_floats(work, REGION_FINITE);
    if (cover == COVER_SOME) {
        float *attended = work_floats(work, REGION_ATTENDED);
        attn_attended(work, head, tile, attended, apart->ld_attended);
        apart->attended = attended;
    }
    memset(finite, 0, (size_t)tile->keys * (size_t)dim * sizeof *finite);
    for (int l = 0; l < tile->keys; l++) {
        const float *row = values + (int64_t)l * dim;
        if (pieces_take_values(kernels->pieces, row, dim, 1, dim)) {
            continue;
        }
        if (kernels->all_finite(row, dim, 1, dim)) {
            memcpy(finite + (int64_t)l * dim, row, (size_t)dim * sizeof *row);
        } else {
            attn_apart_add(apart, l, row);
        }
    }
    attn_product(kernels, tools->recipe.cut, tile->rows, dim, tile->keys, 1.0f,
                 (struct operand){apart->weights, apart->ld, false},
                 factor_rows(finite, dim), true, apart->sums, dim);
}

void attn_pieces_values(struct work *work, const struct head *head,
                        const struct tile *tile, enum cover cover, const float *weights,
                        int64_t ld, bool begun, const float *rescale, float *sums) {
    const int dim = head->problem->value_dim;
    const struct pieces values = values_of(work, head, tile);
    const enum stage before = work_turn(work, STAGE_VALUES);
    add_values(work, head, tile, &values, weights, ld, NULL, begun, rescale, sums, dim);
    if (values.odd) {
        struct apart apart = {.tile = tile,
                              .over = OVER_KEYS,
                              .factor = 1.0f,
                              .weights = weights,
                              .ld = ld,
                              .ld_attended = work->tools->recipe.tile_k,
                              .dim = dim,
                              .sums = sums};
        add_odd_values(work, head, &apart, cover);
    }
    work_turn(work, before);
}

void attn_pieces_write(struct work *work, const struct head *head,
                       const struct tile *tile, const float *weights, int64_t ld,
                       const float *factor, float *out, int64_t ld_out) {
    const struct pieces values = values_of(work, head, tile);
    const enum stage before = work_turn(work, STAGE_VALUES);
    add_values(work, head, tile, &values, weights, ld, factor, false, NULL, out,
               ld_out);
    work_turn(work, before);
}
