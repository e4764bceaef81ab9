/*
 * Additive scores and their gradients, tile by tile.
 *
 * Kernels take powers of queries and keys (kernel/tmpl_additive.h), which are made for
 * each tile: that is some hundredth of the work. There are none of numbers beyond
 * ADDITIVE_MOST, infinite or NaN. Queries and keys that have such are apart: what they
 * make is computed from the numbers themselves, so that no other pair is touched, be
 * they masked or not.
 */
#include "core/additive_tile.h"

#include <math.h>
#include <string.h>

#include "base/arith.h"

bool attn_additive_book(struct layout *layout, const struct toolbox *tools) {
    const struct problem *problem = tools->problem;
    const struct recipe *recipe = &tools->recipe;
    if (!problem->additive) {
        return true;
    }
    return attn_layout_book(layout, REGION_ADDITIVE_QUERY, recipe->tile_q,
                            problem->key_dim, sizeof(float)) &&
           attn_layout_book(layout, REGION_ADDITIVE_KEYS, recipe->tile_k,
                            problem->key_dim, sizeof(float)) &&
           attn_layout_book(layout, REGION_ADDITIVE_VECTOR, problem->key_dim, 1,
                            sizeof(float)) &&
           attn_layout_book(layout, REGION_ADDITIVE_APART,
                            (int64_t)recipe->tile_q + recipe->tile_k, 1, 1);
}

/* The exponent of the largest number of the vector; 0 if that is 0, infinite or NaN. */
static int exponent_of(const float *vector, int dim) {
    float most = 0.0f;
    int exponent;
    for (int c = 0; c < dim; c++) {
        most = fabsf(vector[c]) > most ? fabsf(vector[c]) : most;
    }
    if (most == 0.0f || !isfinite(most)) {
        return 0;
    }
    frexpf(most, &exponent);
    return exponent - 1;
}

static const float *vector_of(const struct head *head) {
    return view_at(&head->call->tables[TABLE_SCORE_VECTOR], 0, head->h, 0, 0);
}

/*
 * What kernels want to know of a tile for its scores; the key is not there yet. The
 * vector is brought near 1 by a power of 2, which goes into the factor with that of the
 * scale: in two parts, since all of it may lie beyond what a float holds.
 */
static struct additive additive_of(const struct work *work, const struct head *head,
                                   const struct tile *tile, struct matrix query) {
    const struct problem *problem = head->problem;
    const int dim = problem->key_dim, exponent = exponent_of(vector_of(head), dim);
    const int all = exponent + (problem->scale != 0.0f ? ilogbf(problem->scale) : 0);
    float *scaled = work_floats(work, REGION_ADDITIVE_VECTOR);
    for (int c = 0; c < dim; c++) {
        scaled[c] = ldexpf(vector_of(head)[c], -exponent);
    }
    return (struct additive){.rows = tile->rows,
                             .keys = tile->keys,
                             .dim = dim,
                             .factor = problem->scale_factor * ldexpf(1.0f, all / 2),
                             .power = ldexpf(1.0f, all - all / 2),
                             .query = query.data,
                             .ld_query = query.ld,
                             .vector = scaled};
}

/* Powers of rows, or of keys, and which of them have none. */
struct powers {
    float *data;
    uint8_t *apart; /* a byte each */
    bool some_apart;
};

/* Room for those of this region, of which `before` others are told apart before. */
static struct powers powers_at(const struct work *work, enum region region,
                               int before) {
    uint8_t *apart =
        layout_at(&work->tools->layout, work->memory, REGION_ADDITIVE_APART);
    return (struct powers){.data = work_floats(work, region), .apart = apart + before};
}

static void powers_of_rows(const struct kernels *kernels, const float *from, int64_t ld,
                           int rows, int dim, float sign, struct powers *to) {
    to->some_apart = false;
    for (int64_t r = 0; r < rows; r++) {
        to->apart[r] = !kernels->additive.powers(to->data + r * dim, dim, from + r * ld,
                                                 ld, 1, dim, sign);
        to->some_apart = to->some_apart || to->apart[r] != 0;
    }
}

/* The same of a block of transposed keys, laid out as those. */
static bool powers_of_keys(const struct kernels *kernels, const struct additive *block,
                           float *to, uint8_t *apart) {
    const int dim = block->dim, keys = block->keys;
    const ptrdiff_t ld = block->ld_key;
    memset(apart, 0, (size_t)keys);
    if (kernels->additive.powers(to, ld, block->key, ld, dim, keys, 1.0f)) {
        return false;
    }
    for (int j = 0; j < keys; j++) {
        apart[j] =
            !kernels->additive.powers(to + j, ld, block->key + j, ld, dim, 1, 1.0f);
    }
    return true;
}

/* The end of the keys from j on that are apart, or are not, like that one. */
static int end_of_run(const uint8_t *apart, int j, int end) {
    int next = j + 1;
    while (next < end && (apart[next] != 0) == (apart[j] != 0)) {
        next++;
    }
    return next;
}

/* Scores of those that are apart, within a block of transposed keys. */
static void scores_apart(const struct kernels *kernels, const struct additive *block,
                         const uint8_t *rows_apart, const uint8_t *keys_apart,
                         float *scores, int64_t ld) {
    struct additive part = *block;
    part.rows = 1;
    for (int64_t r = 0; r < block->rows; r++) {
        part.query = block->query + r * block->ld_query;
        if (rows_apart[r] != 0) {
            kernels->additive.scores(&part, false, scores + r * ld, ld);
        }
    }
    part = *block;
    for (int j = 0, end; j < block->keys; j = end) {
        end = end_of_run(keys_apart, j, block->keys);
        part.key = block->key + j;
        part.keys = end - j;
        if (keys_apart[j] != 0) {
            kernels->additive.scores(&part, false, scores + j, ld);
        }
    }
}

/* For few queries, whose keys' powers would not be used often enough, keys do as they
 * lie, unless they lie transposed: 0.65 of the time for one. */
static bool takes_rows(const struct head *head) {
    enum { FEW = 2 };
    return head->rows <= FEW && head->key.order != ORDER_KEY_BLOCKS;
}

static void scores_of_rows(struct work *work, const struct head *head,
                           const struct tile *tile, struct matrix query, float *scores,
                           int64_t ld) {
    const struct toolbox *tools = work->tools;
    const enum stage before = work_turn(work, STAGE_COPIES);
    struct additive rows = additive_of(work, head, tile, query);
    rows.key =
        attn_panel_plain_keys(&work->panel, head, tile->key / tools->recipe.tile_k);
    rows.ld_key = head->problem->key_dim;
    work_turn(work, STAGE_SCORES);
    tools->kernels->additive.few(&rows, scores, ld);
    work_turn(work, before);
}

/* Scores with the keys of a block, of which key_powers takes the powers. */
static void scores_of_block(const struct kernels *kernels, const struct additive *block,
                            const struct powers *query, float *key_powers,
                            uint8_t *keys_apart, float *scores, int64_t ld) {
    struct additive powers = *block;
    powers.query = query->data;
    powers.ld_query = block->dim;
    powers.key = key_powers;
    const bool apart = powers_of_keys(kernels, block, key_powers, keys_apart);
    kernels->additive.scores(&powers, true, scores, ld);
    if (apart || query->some_apart) {
        scores_apart(kernels, block, query->apart, keys_apart, scores, ld);
    }
}

void attn_additive_scores(struct work *work, const struct head *head,
                          const struct tile *tile, struct matrix query, float *scores,
                          int64_t ld) {
    const struct toolbox *tools = work->tools;
    if (takes_rows(head)) {
        scores_of_rows(work, head, tile, query, scores, ld);
        return;
    }
    const enum stage before = work_turn(work, STAGE_COPIES);
    const struct factor turned =
        attn_panel_keys(&work->panel, head, tile->key / tools->recipe.tile_k);
    work_turn(work, STAGE_SCORES);
    struct additive block = additive_of(work, head, tile, query);
    struct powers rows = powers_at(work, REGION_ADDITIVE_QUERY, 0);
    const struct powers keys =
        powers_at(work, REGION_ADDITIVE_KEYS, tools->recipe.tile_q);
    powers_of_rows(tools->kernels, query.data, query.ld, tile->rows, block.dim, -1.0f,
                   &rows);
    block.ld_key = turned.ld;
    for (int j = 0; j < tile->keys; j += turned.columns) {
        const int64_t at = j / turned.columns * turned.step;
        block.keys = (int)min_i64(turned.columns, tile->keys - j);
        block.key = turned.data + at;
        scores_of_block(tools->kernels, &block, &rows, keys.data + at, keys.apart,
                        scores + j, ld);
    }
    work_turn(work, before);
}

/* Those of some rows and keys, of which nothing is left. */
static void gradients_of_part(const struct kernels *kernels,
                              const struct additive *whole,
                              const struct additive_gradients *to, int row, int rows,
                              int key, int keys, float *gradients, int64_t ld) {
    const int64_t dim = whole->dim;
    struct additive part = *whole;
    struct additive_gradients to_part = *to;
    float *from = gradients + row * ld + key;
    part.rows = rows;
    part.keys = keys;
    part.query += row * whole->ld_query;
    part.key += key * whole->ld_key;
    to_part.query = to->query != NULL ? to->query + row * dim : NULL;
    to_part.key = to->key != NULL ? to->key + key * dim : NULL;
    kernels->additive.gradients(&part, false, from, ld, &to_part);
    for (int64_t r = 0; r < rows; r++) {
        memset(from + r * ld, 0, (size_t)keys * sizeof *from);
    }
}

/* Those of pairs that are apart, key by key: keys whose neighbours are masked must not
 * be added up with them. */
static void gradients_apart(const struct kernels *kernels, const struct additive *whole,
                            const struct additive_gradients *to,
                            const uint8_t *rows_apart, const uint8_t *keys_apart,
                            float *gradients, int64_t ld) {
    for (int r = 0; r < whole->rows; r++) {
        if (rows_apart[r] != 0) {
            gradients_of_part(kernels, whole, to, r, 1, 0, whole->keys, gradients, ld);
        }
    }
    for (int j = 0; j < whole->keys; j++) {
        if (keys_apart[j] != 0) {
            gradients_of_part(kernels, whole, to, 0, whole->rows, j, 1, gradients, ld);
        }
    }
}

/* Makes powers of those that are apart harmless. */
static void clear_apart(const struct powers *powers, int rows, int dim) {
    for (int64_t r = 0; r < rows; r++) {
        for (int c = 0; powers->apart[r] != 0 && c < dim; c++) {
            powers->data[r * dim + c] = 0.0f;
        }
    }
}

void attn_additive_gradients(struct work *work, const struct head *head,
                             const struct tile *tile, struct matrix query,
                             float *gradients, int64_t ld, float *grad_query,
                             float *grad_key) {
    const struct toolbox *tools = work->tools;
    const struct kernels *kernels = tools->kernels;
    const struct view *of_vector = &head->call->grad_tables[TABLE_SCORE_VECTOR];
    const int dim = head->problem->key_dim;
    const struct additive whole = {
        .rows = tile->rows,
        .keys = tile->keys,
        .dim = dim,
        .factor = head->problem->scale,
        .query = query.data,
        .ld_query = query.ld,
        .key =
            attn_panel_plain_keys(&work->panel, head, tile->key / tools->recipe.tile_k),
        .ld_key = dim,
        .vector = vector_of(head),
    };
    const struct additive_gradients to = {
        .query = grad_query,
        .key = grad_key,
        .vector = of_vector->data != NULL ? view_at(of_vector, 0, head->h, 0, 0) : NULL,
        .factor = head->problem->scale};
    struct powers rows = powers_at(work, REGION_ADDITIVE_QUERY, 0);
    struct powers keys = powers_at(work, REGION_ADDITIVE_KEYS, tools->recipe.tile_q);
    powers_of_rows(kernels, query.data, query.ld, tile->rows, dim, -1.0f, &rows);
    powers_of_rows(kernels, whole.key, dim, tile->keys, dim, 1.0f, &keys);
    if (rows.some_apart || keys.some_apart) {
        gradients_apart(kernels, &whole, &to, rows.apart, keys.apart, gradients, ld);
        clear_apart(&rows, tile->rows, dim);
        clear_apart(&keys, tile->keys, dim);
    }
    struct additive part = whole;
    part.query = rows.data;
    part.key = keys.data;
    part.ld_query = part.ld_key = dim;
    kernels->additive.gradients(&part, true, gradients, ld, &to);
}
