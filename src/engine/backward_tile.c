/*
 * One tile of the backward pass, computed again from queries and keys. With the names
 * of attn/backward.h and delta = M - grad_lse,
 *
 *     S = scale Q K^T, terms, masks       as in the forward pass, by the same products
 *     P = exp(S - row_max) / row_sum      0 by selection where masked
 *     dS = P (grad_out V^T - delta)       0 by selection where P is 0
 *     grad_value += P^T grad_out, grad_key += scale dT^T Q, grad_query += scale dT K
 *
 * K^T and V^T are packed, so that no product has its second factor transposed, which
 * OpenBLAS would be slow at.
 */
#include <string.h>

#include "core/additive_tile.h"
#include "core/dropout.h"
#include "core/product.h"
#include "engine/backward.h"

/* The weights of a tile. */
static enum cover weights_of(struct work *work, const struct rows_state *rows,
                             const struct tile *tile, struct matrix query,
                             float *weights, int64_t ld) {
    const enum cover cover =
        attn_scores_tile(work, rows->head, tile, query, weights, ld);
    if (cover != COVER_NONE) {
        const enum stage before = work_turn(work, STAGE_SOFTMAX);
        work->tools->kernels->weights(weights, ld, tile->rows, tile->keys,
                                      rows->maximum, rows->factor);
        work_turn(work, before);
    }
    return cover;
}

void attn_backward_add_delta(struct work *work, const struct rows_state *rows,
                             const struct tile *tile) {
    const struct head *head = rows->head;
    const struct view *each = &head->call->grad_weights;
    const struct view *sums = &head->call->grad_key_sums;
    const struct kernels *kernels = work->tools->kernels;
    const int64_t ld = work->tools->recipe.tile_k;
    float *weights = work_floats(work, REGION_SCORES);
    const struct matrix query = attn_query_tile(work, head, rows->row, rows->count);
    if (weights_of(work, rows, tile, query, weights, ld) == COVER_NONE) {
        return;
    }
    if (each->data != NULL) {
        kernels->dot_rows(rows->delta, weights, ld,
                          view_at(each, head->b, head->h, tile->row, tile->key),
                          each->stride[ROW], tile->rows, tile->keys);
    }
    if (sums->data != NULL) {
        kernels->dot_rows(rows->delta, weights, ld,
                          view_at(sums, head->b, head->h, 0, tile->key), 0, tile->rows,
                          tile->keys);
    }
}

/* The gradients of the weights of a tile: dP. */
static void gradients_of_weights(struct work *work, const struct head *head,
                                 const struct tile *tile, struct matrix grad_out,
                                 const uint8_t *keep, float *gradients, int64_t ld) {
    const struct toolbox *tools = work->tools;
    const struct view *each = &head->call->grad_weights;
    const struct view *sums = &head->call->grad_key_sums;
    if (grad_out.data != NULL) {
        const struct factor values =
            attn_panel_turned_values(&work->panel, head, tile->key / ld);
        attn_product(tools->kernels, tools->recipe.cut, tile->rows, tile->keys,
                     head->problem->value_dim, 1.0f,
                     (struct operand){grad_out.data, grad_out.ld, false}, values, false,
                     gradients, ld);
    } else {
        memset(gradients, 0, (size_t)tile->rows * (size_t)ld * sizeof *gradients);
    }
    if (keep != NULL) {
        attn_dropout_apply(head, tile, tools->kernels, keep, ld, gradients, ld);
    }
    if (each->data != NULL) {
        tools->kernels->add_bias(gradients, ld, tile->rows, tile->keys,
                                 view_at(each, head->b, head->h, tile->row, tile->key),
                                 each->stride[ROW], 1);
    }
    if (sums->data != NULL) {
        tools->kernels->add_bias(gradients, ld, tile->rows, tile->keys,
                                 view_at(sums, head->b, head->h, 0, tile->key), 0, 1);
    }
}

/* True if rows of data that a tile's masks may exclude are not all finite. */
static bool must_guard(const struct work *work, enum cover cover, struct matrix data,
                       int rows) {
    return cover == COVER_SOME &&
           !work->tools->kernels->all_finite(data.data, data.ld, rows, (int)data.ld);
}

/* From the gradients of the scores of a tile to those of keys and queries. */
static void add_to_factors(struct work *work, const struct rows_state *rows,
                           const struct tile *tile, enum cover cover,
                           struct matrix query, const float *gradients, int64_t ld,
                           float *grad_key) {
    const struct head *head = rows->head;
    const int dim = head->problem->key_dim;
    const float scale = head->problem->scale;
    if (head->call->grad_key.data != NULL) {
        attn_tile_product_add(
            work, head, tile, OVER_ROWS, must_guard(work, cover, query, tile->rows),
            scale, gradients, ld, factor_rows(query.data, dim), dim, grad_key);
    }
    if (head->call->grad_query.data != NULL) {
        const int64_t t = tile->key / ld;
        const float *plain =
            cover == COVER_SOME ? attn_panel_plain_keys(&work->panel, head, t) : NULL;
        const bool guarded = must_guard(
            work, cover, (struct matrix){.data = plain, .ld = dim}, tile->keys);
        attn_tile_product_add(work, head, tile, OVER_KEYS, guarded, scale, gradients,
                              ld,
                              guarded ? factor_rows(plain, dim)
                                      : attn_panel_key_rows(&work->panel, head, t),
                              dim, rows->grad_query);
    }
}

/* True if a gradient is asked for that those of scores are needed for. */
static bool needs_scores(const struct call *call) {
    return call->grad_query.data != NULL || call->grad_key.data != NULL ||
           attn_call_wants_sums(call);
}

void attn_backward_tile(struct work *work, const struct rows_state *rows,
                        const struct tile *tile, struct key_tile *keys) {
    const struct head *head = rows->head;
    const struct call *call = head->call;
    const struct toolbox *tools = work->tools;
    const int64_t ld = tools->recipe.tile_k;
    float *weights = work_floats(work, REGION_SCORES);
    float *gradients = work_floats(work, REGION_GRAD_SCORES);
    uint8_t *keep = NULL;
    const struct matrix query = attn_query_tile(work, head, rows->row, rows->count);
    const enum cover cover = weights_of(work, rows, tile, query, weights, ld);
    if (cover == COVER_NONE) {
        return;
    }
    attn_backward_open(keys, call);
    struct matrix grad_out = {.data = NULL};
    if (head->grad_out != NULL) {
        grad_out = attn_grad_out_tile(work, head, rows->row, rows->count);
    }
    if (head->problem->dropout > 0.0f) {
        keep = layout_at(&tools->layout, work->memory, REGION_KEEP);
        attn_dropout_mask(head, tile, tools->kernels, keep, ld);
    }
    if (needs_scores(call)) {
        gradients_of_weights(work, head, tile, grad_out, keep, gradients, ld);
        tools->kernels->score_gradients(gradients, ld, tile->rows, tile->keys, weights,
                                        ld, rows->delta);
    }
    if (call->grad_value.data != NULL && grad_out.data != NULL) {
        if (keep != NULL) {
            attn_dropout_apply(head, tile, tools->kernels, keep, ld, weights, ld);
        }
        attn_tile_product_add(
            work, head, tile, OVER_ROWS, must_guard(work, cover, grad_out, tile->rows),
            1.0f, weights, ld, factor_rows(grad_out.data, head->problem->value_dim),
            head->problem->value_dim, keys->grad_value);
    }
    if (needs_scores(call)) {
        work->grad_query = call->grad_query.data != NULL ? rows->grad_query : NULL;
        attn_terms_gradient(work, head, tile, gradients, ld);
        if (head->problem->additive) {
            attn_additive_gradients(
                work, head, tile, query, gradients, ld, work->grad_query,
                call->grad_key.data != NULL ? keys->grad_key : NULL);
        } else {
            add_to_factors(work, rows, tile, cover, query, gradients, ld,
                           keys->grad_key);
        }
    }
}
