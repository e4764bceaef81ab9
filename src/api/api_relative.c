/*
 * Descriptors: relative positions, segments and ranks.
 */
#include "api/setter.h"

enum { BUCKETS_MAX = 65536 };

attn_status attn_desc_set_relative_bias(attn_desc *desc, int32_t buckets,
                                        int64_t max_distance, int32_t bidirectional) {
    REQUIRE_POINTER(desc);
    SETTER_REQUIRE_FLAG(RELATIVE_BIAS, bidirectional);
    const int32_t sides = bidirectional == 1 ? 2 : 1;
    const int64_t exact = buckets / sides / 2;
    SETTER_REQUIRE(RELATIVE_BIAS,
                   buckets == 0 || (buckets >= 2 * sides && buckets <= BUCKETS_MAX &&
                                    buckets % sides == 0),
                   ATTN_ERR_INVALID, "buckets is %d, should be 0 or within %d to %d%s",
                   (int)buckets, (int)(2 * sides), (int)BUCKETS_MAX,
                   sides == 2 ? ", and even" : "");
    SETTER_REQUIRE(RELATIVE_BIAS,
                   buckets == 0 || (max_distance > exact && max_distance <= INT32_MAX),
                   ATTN_ERR_INVALID,
                   "max_distance is %lld, should be more than %lld, which have buckets "
                   "of their own, and at most %d",
                   (long long)max_distance, (long long)exact, INT32_MAX);
    desc->facts.relative_buckets = buckets;
    desc->facts.relative_distance = max_distance;
    desc->facts.relative_both = bidirectional != 0;
    return attn_desc_accept(desc, SETTER_RELATIVE_BIAS);
}

attn_status attn_desc_set_relative_keys(attn_desc *desc, int32_t relative_keys) {
    REQUIRE_POINTER(desc);
    SETTER_REQUIRE_FLAG(RELATIVE_KEYS, relative_keys);
    desc->facts.relative_keys = relative_keys != 0;
    return attn_desc_accept(desc, SETTER_RELATIVE_KEYS);
}

attn_status attn_desc_set_query_biases(attn_desc *desc, int32_t content,
                                       int32_t position) {
    REQUIRE_POINTER(desc);
    SETTER_REQUIRE_FLAG(QUERY_BIASES, content);
    SETTER_REQUIRE_FLAG(QUERY_BIASES, position);
    desc->facts.content_bias = content != 0;
    desc->facts.position_bias = position != 0;
    return attn_desc_accept(desc, SETTER_QUERY_BIASES);
}

attn_status attn_desc_set_segments(attn_desc *desc, int32_t segments) {
    REQUIRE_POINTER(desc);
    SETTER_REQUIRE_FLAG(SEGMENTS, segments);
    desc->facts.segments = segments != 0;
    return attn_desc_accept(desc, SETTER_SEGMENTS);
}

attn_status attn_desc_set_ranks(attn_desc *desc, int32_t ranks) {
    REQUIRE_POINTER(desc);
    SETTER_REQUIRE(RANKS, ranks >= ATTN_RANKS_OFF && ranks <= ATTN_RANKS_BELOW,
                   ATTN_ERR_INVALID, "ranks is %d, which is none of ATTN_RANKS_...",
                   (int)ranks);
    desc->facts.ranks = ranks;
    return attn_desc_accept(desc, SETTER_RANKS);
}
