/*
 * The content bias (u of Transformer-XL, Dai et al. 2019), which is added to the query
 * where it meets the keys. A query tile has it already; here is its gradient.
 */
#include "core/work.h"

static bool present(const struct problem *problem) {
    return problem->content_bias;
}

static bool book(struct layout *layout, const struct toolbox *tools) {
    return attn_layout_book(layout, REGION_FINITE, tools->recipe.tile_k,
                            tools->problem->key_dim, sizeof(float));
}

static void gradient(struct work *work, const struct head *head,
                     const struct tile *tile, float *gradients, int64_t ld) {
    const struct view *total = &head->call->grad_tables[TABLE_CONTENT_BIAS];
    if (total->data == NULL) {
        return;
    }
    const float *sums = attn_column_sums(work, tile, gradients, ld);
    const float *keys = attn_panel_plain_keys(&work->panel, head,
                                              tile->key / work->tools->recipe.tile_k);
    attn_product_add_nonzero(work, 1, head->problem->key_dim, tile->keys,
                             head->problem->scale,
                             (struct operand){sums, tile->keys, false}, keys,
                             view_at(total, 0, head->h, 0, 0));
}

const struct term attn_term_content_bias = {
    .name = "content bias",
    .present = present,
    .book = book,
    .gradient = gradient,
};
