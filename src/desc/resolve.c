/*
 * From descriptor to problem. What one setter can judge it has judged; here stand the
 * rules that join several, first broken first told.
 */
#include "desc/desc.h"

#include <math.h>

#include "base/status.h"

attn_status attn_desc_resolve(struct problem *problem, const struct attn_desc *desc) {
    const struct problem *facts = &desc->facts;
    REQUIRE(facts->query_heads > 0, ATTN_ERR_INVALID,
            "the descriptor has no heads: attn_desc_set_heads() was not called");
    REQUIRE(facts->key_dim > 0, ATTN_ERR_INVALID,
            "the descriptor has no dims: attn_desc_set_dims() was not called");
    REQUIRE(!facts->prefix || facts->causal, ATTN_ERR_INVALID,
            "prefix lengths without causal: they extend a causal mask");
    *problem = *facts;
    problem->group = facts->query_heads / facts->kv_heads;
    if (!desc->has_scale) {
        problem->scale = 1.0f / sqrtf((float)facts->key_dim);
    }
    return ATTN_OK;
}
