/*
 * From descriptor to problem. What one setter can judge it has judged; here stand the
 * rules that join several, first broken first told.
 */
#include "desc/desc.h"

#include <math.h>
#include <stdio.h>

#include "base/status.h"

void attn_desc_setup(attn_desc *desc) {
    *desc = (attn_desc){.facts = {.left = -1, .right = -1}};
}

attn_status attn_desc_refuse(attn_desc *desc, enum setter setter, attn_status status) {
    desc->refused |= 1u << setter;
    desc->refusal[setter].status = status;
    snprintf(desc->refusal[setter].text, REFUSAL_TEXT, "%s", attn_last_error());
    return status;
}

attn_status attn_desc_accept(attn_desc *desc, enum setter setter) {
    desc->refused &= ~(1u << setter);
    return ATTN_OK;
}

/* Fails as the first setter did whose last call failed. */
static attn_status check_setters(const struct attn_desc *desc) {
    for (int i = 0; i < SETTERS; i++) {
        REQUIRE((desc->refused >> i & 1) == 0, desc->refusal[i].status,
                "a setter of the descriptor had failed: %s", desc->refusal[i].text);
    }
    return ATTN_OK;
}

/* What has a number for each token or pair of tokens has no packed form. */
static attn_status check_packed(const struct problem *facts) {
    const struct {
        const char *name;
        bool there;
    } apart[] = {
        {"a mask", facts->mask},
        {"a bias", facts->bias},
        {"a block mask", facts->q_block > 0},
        {"documents", facts->documents},
        {"segments", facts->segments},
        {"ranks", facts->ranks != RANKS_OFF},
    };
    REQUIRE((!facts->q_packed || !facts->q_lengths) &&
                (!facts->kv_packed || !facts->kv_lengths),
            ATTN_ERR_INVALID, "%s with packed %s: their starts say how long they are",
            facts->q_packed && facts->q_lengths ? "q_lengths" : "kv_lengths",
            facts->q_packed && facts->q_lengths ? "queries" : "keys");
    for (size_t i = 0; i < COUNT_OF(apart); i++) {
        REQUIRE(!apart[i].there || (!facts->q_packed && !facts->kv_packed),
                ATTN_ERR_UNSUPPORTED, "%s with packed %s", apart[i].name,
                facts->q_packed ? "queries" : "keys");
    }
    return ATTN_OK;
}

/* What is made of products of the query has no additive form. */
static attn_status check_additive(const struct attn_desc *desc) {
    const struct problem *facts = &desc->facts;
    const struct {
        const char *name;
        bool there;
    } apart[] = {
        {"relative keys", facts->relative_keys},
        {"a content bias", facts->content_bias},
        {"segments", facts->segments},
        {"the decode engine", desc->engine == ATTN_ENGINE_DECODE},
    };
    for (size_t i = 0; i < COUNT_OF(apart); i++) {
        REQUIRE(!facts->additive || !apart[i].there, ATTN_ERR_UNSUPPORTED,
                "additive scores with %s", apart[i].name);
    }
    return ATTN_OK;
}

attn_status attn_desc_resolve(struct problem *problem, const struct attn_desc *desc) {
    const struct problem *facts = &desc->facts;
    TRY(check_setters(desc));
    REQUIRE(facts->query_heads > 0, ATTN_ERR_INVALID,
            "the descriptor has no heads: attn_desc_set_heads() was not called");
    REQUIRE(facts->key_dim > 0, ATTN_ERR_INVALID,
            "the descriptor has no dims: attn_desc_set_dims() was not called");
    REQUIRE(!facts->prefix || facts->causal, ATTN_ERR_INVALID,
            "prefix lengths without causal: they extend a causal mask");
    REQUIRE(!facts->position_bias || facts->relative_keys, ATTN_ERR_INVALID,
            "a position bias without relative keys: it is added to the query where it "
            "meets them");
    TRY(check_packed(facts));
    TRY(check_additive(desc));
    *problem = *facts;
    problem->group = facts->query_heads / facts->kv_heads;
    if (!desc->has_scale) {
        problem->scale = facts->additive ? 1.0f : 1.0f / sqrtf((float)facts->key_dim);
    }
    int exponent;
    const float fraction = frexpf(problem->scale, &exponent);
    problem->scale_power = fraction == 0.0f ? 0.0f : ldexpf(1.0f, exponent - 1);
    problem->scale_factor = 2.0f * fraction;
    return ATTN_OK;
}
