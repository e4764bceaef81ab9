/*
 * What a context was tuned to: for problems of some dims the numbers of a recipe, which
 * plan/recipe.c reads and plan/tune.c finds.
 */
#ifndef ATTN_EXEC_TUNING_H
#define ATTN_EXEC_TUNING_H

#include "exec/context.h"

/* The largest tiles that may be tuned to; the most keys of one softmax. */
enum { TUNED_TILE_Q = 256, TUNED_TILE_K = 512, TUNED_DENSE = 4096, TUNED_FEW = 64 };

/* The numbers stand in the text in this order. */
struct tuned {
    int32_t key_dim, value_dim, group;                         /* problems it is for */
    int32_t tile_q, tile_k, edge, depth, dense_keys, few_rows, /* see core/recipe.h */
        turn_keys, own;
    int32_t q_length, kv_length, megaflops, before; /* measured: queries, keys, MFLOP/s,
                                                     * and those of what it replaced */
};

struct tuning {
    int32_t count;
    struct tuned entry[];
};

/* The entry for these dims, or NULL. */
const struct tuned *attn_tuning_find(const struct tuning *tuning, int32_t key_dim,
                                     int32_t value_dim, int32_t group);

/* Puts an entry in, in place of one for the same problems. */
attn_status attn_tuning_put(struct attn_context *context, const struct tuned *entry);

/* The largest product that an entry, of which turn_keys and own are looked at, may ask
 * for in this context. */
int64_t attn_tuning_volume(const struct attn_context *context,
                           const struct tuned *entry);

/* Fails unless these are sizes that the context's BLAS policy allows. */
attn_status attn_tuning_check(const struct attn_context *context,
                              const struct tuned *entry);

/* attn_context_tuning_export() and _import(). */
size_t attn_tuning_write(const struct attn_context *context, char *buffer, size_t size);
attn_status attn_tuning_read(struct attn_context *context, const char *text);

#endif
